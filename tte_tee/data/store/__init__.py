"""The echo store: one HDF5 layout for every set of frames, whatever made them."""

from tte_tee.data.store.reader import EchoStore
from tte_tee.data.store.schema import (
    ARRAYS,
    COHORTS,
    COLUMNS,
    HELD_OUT,
    MASK_SOURCES,
    MOST_FRAMES,
    ORIGINS,
    REAL_ORIGINS,
    SCHEMA_VERSION,
    SPLITS,
    FrameInfo,
    check_table,
    content_hash,
    table_faults,
)
from tte_tee.data.store.writer import StoreWriter, check_target

__all__ = [
    "ARRAYS",
    "COHORTS",
    "COLUMNS",
    "HELD_OUT",
    "MASK_SOURCES",
    "MOST_FRAMES",
    "ORIGINS",
    "REAL_ORIGINS",
    "SCHEMA_VERSION",
    "SPLITS",
    "EchoStore",
    "FrameInfo",
    "StoreWriter",
    "check_table",
    "check_target",
    "content_hash",
    "table_faults",
]
