"""The echo store: one HDF5 layout for every set of frames, whatever made them.

Layout (schema 2): ``images``, ``masks`` and ``sector``, uint8 ``[N, H, W]``, chunked frame by
frame and uncompressed; the group ``frames`` holds one column per field of :data:`COLUMNS`; the
root's attributes hold the schema version, the label space, the licence, the command that made
the file, its provenance (JSON) and a hash of its content. Paths never decide meaning: splits,
cohorts, origins and patients are columns.
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import h5py
import numpy as np
import pandas as pd

from tte_tee.anatomy import PHASES, VIEWS
from tte_tee.errors import UserError

SCHEMA_VERSION = 2
SPLITS = ("train", "val", "test")
ORIGINS = ("acquired", "phantom", "generated", "mask")
"""Who made the picture; ``mask``: nobody did, there is only a mask, and the picture is black."""

REAL_ORIGINS = ("acquired", "phantom")
"""Origins of the pictures that synthetic ones are held against: a scanner's, or the phantom's in their place."""

MASK_SOURCES = ("annotated", "phantom", "ssm", "atlas", "oracle", "segmenter", "none")
"""Who made the mask: a person, the phantom, a 2D statistical shape model of training masks, 3D hearts
of the atlas population, 3D hearts of the population that is tested on, a segmenter, or nobody (an
empty mask)."""

COHORTS = ("base", "adaptation", "pool", "test", "confirmatory", "none")
"""Which stage may see a patient: the base's training; adapting (and, in split ``val``, all that is
tuned); floors, audits and upper bounds; the test; the one confirmation at the end. ``none``: nobody said."""

HELD_OUT = ("test", "confirmatory")
COLUMNS: dict[str, Any] = {
    "key": h5py.string_dtype(),  # unique within the store
    "patient": h5py.string_dtype(),
    "study": h5py.string_dtype(),
    "view": h5py.string_dtype(),
    "phase": h5py.string_dtype(),
    "spacing_y": np.float32,  # mm per pixel; NaN says unknown
    "spacing_x": np.float32,
    "origin": h5py.string_dtype(),
    "split": h5py.string_dtype(),
    "cohort": h5py.string_dtype(),
    "mask_source": h5py.string_dtype(),
    "sector_confidence": np.float32,  # 1 where the sector is known, less where it was estimated
    "parent": h5py.string_dtype(),  # key of the frame this one was made from, or empty
    "seed": np.int64,  # -1 where nothing was drawn
}
ALLOWED = {
    "view": tuple(VIEWS),
    "phase": PHASES,
    "origin": ORIGINS,
    "split": SPLITS,
    "cohort": COHORTS,
    "mask_source": MASK_SOURCES,
}
ARRAYS = ("images", "masks", "sector")
MOST_FRAMES = 10_000_000
"""That are made for one store at a time: whoever opens it holds its table in memory, a third of a kB for each."""
_BLOCK_BYTES = 2**22


@dataclass(frozen=True)
class FrameInfo:
    """What a store says of one frame beside its pixels; see :data:`COLUMNS`.

    ``spacing`` is (rows, columns) in mm per pixel, or None where it is unknown.

    Raises:
        UserError: a value is outside :data:`ALLOWED`, or the patient has no name.
    """

    key: str
    patient: str
    view: str
    split: str
    origin: str
    study: str = ""
    phase: str = "unknown"
    spacing: tuple[float, float] | None = None
    parent: str = ""
    seed: int = -1
    cohort: str = "none"
    mask_source: str = field(kw_only=True)
    sector_confidence: float = 1.0

    def __post_init__(self) -> None:
        for column, allowed in ALLOWED.items():
            value = getattr(self, column)
            if value not in allowed:
                raise UserError(f"frame '{self.key}': {column} '{value}' is not one of {', '.join(allowed)}")
        if not self.patient:
            raise UserError(f"frame '{self.key}': its patient has no name; splits go by patient, so each needs one")

    def row(self) -> dict[str, Any]:
        """The frame's values by column."""
        spacing_y, spacing_x = self.spacing or (np.nan, np.nan)
        fields = {name: getattr(self, name) for name in COLUMNS if not name.startswith("spacing")}
        return {**fields, "spacing_y": spacing_y, "spacing_x": spacing_x}


def check_table(table: pd.DataFrame, where: str) -> None:
    """Refuses a table of frames that breaks an invariant, see :func:`table_faults`.

    Raises:
        UserError: naming the first few offenders.
    """
    for fault in table_faults(table):
        raise UserError(f"{where}: {fault}")


def table_faults(table: pd.DataFrame) -> Iterator[str]:
    """Every invariant that a table of frames breaks, one line each, naming the first few offenders.

    Those are: a value outside :data:`ALLOWED`; a patient without a name, in two splits or in two
    cohorts; a held-out cohort outside of split ``test``; a key that stands twice.
    """
    for column, allowed in ALLOWED.items():
        if unknown := sorted({str(value) for value in table[column]} - set(allowed)):
            key = table["key"][table[column] == unknown[0]].iloc[0]
            yield f"frame '{key}': {column} '{unknown[0]}' is not one of {', '.join(allowed)}"
    if not table["patient"].astype(bool).all():
        yield "a frame's patient has no name; splits go by patient, so each needs one"
    for column in ("split", "cohort"):
        values = table.groupby("patient")[column].nunique()
        if leaking := list(values.index[values > 1]):
            yield (
                f"patient {', '.join(leaking[:3])} stands in more than one {column}; "
                f"{column}s go by patient, not by frame"
            )
    seen = table[table["cohort"].isin(HELD_OUT) & (table["split"] != "test")]
    if len(seen):
        row = seen.iloc[0]
        yield (
            f"patient {row['patient']} of cohort {row['cohort']} stands in split {row['split']}; "
            "a held-out cohort is in split test alone"
        )
    if twice := list(table["key"][table["key"].duplicated()]):
        yield f"frame key {', '.join(twice[:3])} stands twice; make keys unique"


Visit = Callable[[str, int, np.ndarray], None]
"""(one of :data:`ARRAYS`, index of the first frame, frames uint8 ``[n, H, W]``)."""


def content_hash(file: h5py.File, visit: Visit | None = None) -> str:
    """SHA-256 over label space, columns and pixels, in order; not over when or how they were made.

    Args:
        file: an open store.
        visit: sees every block of pixels on the way, so that who has more to check reads them once.
    """
    digest = hashlib.sha256(file.attrs["label_space"].encode())
    for name in COLUMNS:
        values = file[f"frames/{name}"]
        digest.update(
            "\0".join(values.asstr()[:]).encode()
            if h5py.check_string_dtype(values.dtype)
            else np.ascontiguousarray(values[:]).tobytes()
        )
    for name in ARRAYS:
        for start, block in blocks(file[name]):
            digest.update(block.data)
            if visit:
                visit(name, start, block)
    return digest.hexdigest()


def blocks(pixels: h5py.Dataset) -> Iterator[tuple[int, np.ndarray]]:
    """Index of the first frame and frames ``[n, H, W]``, over all of ``pixels``, a few megabytes at a time."""
    count, *size = pixels.shape
    step = max(1, _BLOCK_BYTES // max(1, int(np.prod(size))))
    for start in range(0, count, step):
        yield start, np.ascontiguousarray(pixels[start : start + step])
