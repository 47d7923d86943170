"""The echo store: one HDF5 layout for every set of frames, whatever made them."""

from tte_tee.data.store.reader import EchoStore
from tte_tee.data.store.schema import COHORTS, COLUMNS, HELD_OUT, MASK_SOURCES, ORIGINS, SPLITS, FrameInfo, check_table
from tte_tee.data.store.writer import StoreWriter, check_target

__all__ = [
    "COHORTS",
    "COLUMNS",
    "HELD_OUT",
    "MASK_SOURCES",
    "ORIGINS",
    "SPLITS",
    "EchoStore",
    "FrameInfo",
    "StoreWriter",
    "check_table",
    "check_target",
]
