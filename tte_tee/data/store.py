"""The echo store: one HDF5 layout for every set of frames, whatever made them.

Layout (schema 1): ``images``, ``masks`` and ``sector``, uint8 ``[N, H, W]``, chunked frame by
frame and uncompressed; the group ``frames`` holds one column per field of :data:`COLUMNS`; the
root's attributes hold the schema version, the label space, the licence, the command that made
the file, its provenance (JSON) and a hash of its content. Paths never decide meaning: splits, origins and patients are
columns.
"""

import hashlib
import json
import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py
import numpy as np
import pandas as pd

from tte_tee.anatomy import PHASES, VIEWS, LabelSpace
from tte_tee.errors import UserError

SCHEMA_VERSION = 1
ORIGINS = ("acquired", "phantom", "generated")
SPLITS = ("train", "val", "test")
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
    "parent": h5py.string_dtype(),  # key of the frame this one was made from, or empty
    "seed": np.int64,  # -1 where nothing was drawn
}
ALLOWED = {"view": tuple(VIEWS), "phase": PHASES, "origin": ORIGINS, "split": SPLITS}
ARRAYS = ("images", "masks", "sector")


@dataclass(frozen=True)
class FrameInfo:
    """What a store says of one frame beside its pixels; see :data:`COLUMNS`.

    ``spacing`` is (rows, columns) in mm per pixel, or None where it is unknown.
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

    def __post_init__(self) -> None:
        for field, allowed in ALLOWED.items():
            value = getattr(self, field)
            if value not in allowed:
                raise UserError(f"frame '{self.key}': {field} '{value}' is not one of {', '.join(allowed)}")

    def row(self) -> dict[str, Any]:
        """The frame's values by column."""
        spacing_y, spacing_x = self.spacing or (np.nan, np.nan)
        fields = {name: getattr(self, name) for name in COLUMNS if not name.startswith("spacing")}
        return {**fields, "spacing_y": spacing_y, "spacing_x": spacing_x}


class StoreWriter:
    """Writes a store frame by frame; the file appears under its name only once it is whole.

    Use as a context manager. Frames go to a temporary file beside ``path``; leaving the block
    checks patients and keys, hashes the content and renames. Leaving it by an exception removes
    the temporary file.

    Raises:
        UserError: a frame has another size or a label outside the label space; on leaving, a
            patient stands in two splits, a key stands twice, or there is no frame; the
            folder cannot be written, or the name is taken by something that is no HDF5 file.
    """

    def __init__(
        self, path: str | Path, label_space: LabelSpace, *, licence: str, command: str, provenance: str = "{}"
    ) -> None:
        self.path = Path(path)
        self.label_space = label_space
        self._temporary = self.path.parent / f"{self.path.name}.tmp-{uuid.uuid4().hex[:8]}"
        self._attributes = {
            "schema_version": SCHEMA_VERSION,
            "label_space": json.dumps({"name": label_space.name, "structures": label_space.structures}),
            "licence": licence,
            "command": command,
            "provenance": provenance,
        }
        self._rows: list[dict[str, Any]] = []
        self._file: h5py.File | None = None

    def __enter__(self) -> Self:
        check_target(self.path)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = h5py.File(self._temporary, "w")
        except OSError as error:
            raise UserError(f"{self.path}: cannot write there ({error.strerror or error})") from error
        return self

    def append(self, image: np.ndarray, mask: np.ndarray, sector: np.ndarray, info: FrameInfo) -> None:
        """Adds one frame: ``image``, ``mask`` and ``sector`` uint8 ``[H, W]``; ``sector`` is 0 or 1."""
        if self._file is None:
            raise RuntimeError("StoreWriter.append outside of its with block")
        arrays = dict(zip(ARRAYS, (image, mask, sector), strict=True))
        size = self._file["images"].shape[1:] if self._rows else image.shape
        for name, array in arrays.items():
            if array.shape != size or array.ndim != 2 or array.dtype != np.uint8:
                expected = tuple(size) if len(size) == 2 else "(H, W)"
                raise UserError(f"frame '{info.key}': {name} is {array.dtype} {array.shape}, expected uint8 {expected}")
        if sector.max(initial=0) > 1:
            raise UserError(f"frame '{info.key}': sector holds {sector.max()}, expected 0 outside and 1 inside")
        if mask.max(initial=0) > len(self.label_space.structures):
            raise UserError(
                f"frame '{info.key}': label {mask.max()} is outside label space '{self.label_space.name}' "
                f"({', '.join(f'{i} {s}' for s, i in self.label_space.ids.items())})"
            )
        n = len(self._rows)
        for name, array in arrays.items():
            if not n:
                self._file.create_dataset(name, (0, *size), np.uint8, maxshape=(None, *size), chunks=(1, *size))
            self._file[name].resize(n + 1, axis=0)
            self._file[name][n] = array
        self._rows.append(info.row())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._file is not None
        try:
            if kind is None:
                self._finish(self._file)
                self._file.close()
                self._temporary.replace(self.path)
        finally:
            if self._file:
                self._file.close()
            self._temporary.unlink(missing_ok=True)

    def _finish(self, file: h5py.File) -> None:
        if not self._rows:
            raise UserError(f"{self.path}: no frame to write")
        table = pd.DataFrame(self._rows)
        check_table(table, str(self.path))
        for name, dtype in COLUMNS.items():
            file.create_dataset(f"frames/{name}", data=table[name].to_numpy(), dtype=dtype)
        file.attrs.update(self._attributes)
        file.attrs["content_hash"] = content_hash(file)
        file.flush()


def check_target(path: Path) -> None:
    """Refuses to put a store in the place of a folder, a device or a file of another kind.

    Raises:
        UserError: saying what is there.
    """
    try:
        if path.is_dir():
            raise UserError(f"{path}: is a folder; give the name of a file")
        if path.exists() and not (path.is_file() and h5py.is_hdf5(path)):
            raise UserError(f"{path}: is there and is no echo store; remove it, or give another name")
    except OSError as error:
        raise UserError(f"{path}: cannot write there ({error.strerror or error})") from error


def check_table(table: pd.DataFrame, where: str) -> None:
    """Refuses a value outside :data:`ALLOWED`, a patient in two splits and a key that stands twice.

    Raises:
        UserError: naming the first few offenders.
    """
    for column, allowed in ALLOWED.items():
        if unknown := sorted({str(value) for value in table[column]} - set(allowed)):
            raise UserError(f"{where}: {column} '{unknown[0]}' is not one of {', '.join(allowed)}")
    splits = table.groupby("patient")["split"].nunique()
    leaking = list(splits.index[splits > 1])
    if leaking:
        raise UserError(
            f"{where}: patient {', '.join(leaking[:3])} stands in more than one split; split by patient, not by frame"
        )
    twice = list(table["key"][table["key"].duplicated()])
    if twice:
        raise UserError(f"{where}: frame key {', '.join(twice[:3])} stands twice; make keys unique")


def content_hash(file: h5py.File) -> str:
    """SHA-256 over label space, columns and pixels, in order; not over when or how they were made."""
    digest = hashlib.sha256(file.attrs["label_space"].encode())
    for name in COLUMNS:
        values = file[f"frames/{name}"]
        digest.update(
            "\0".join(values.asstr()[:]).encode()
            if h5py.check_string_dtype(values.dtype)
            else np.ascontiguousarray(values[:]).tobytes()
        )
    for name in ARRAYS:
        for frame in file[name]:
            digest.update(np.ascontiguousarray(frame).tobytes())
    return digest.hexdigest()


class EchoStore:
    """Reads a store lazily; safe to copy into workers and ranks.

    Each process opens the file for itself, without a lock, on its first read of pixels.

    Attributes:
        label_space: what the masks mean.
        table: one row per frame, columns as in :data:`COLUMNS`.

    Raises:
        UserError: the file is missing, is no store, or has another schema.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._handles: dict[int, h5py.File] = {}
        try:
            if not self.path.is_file():
                raise UserError(f"{self.path}: no such echo store; make one with 'data pack' or 'data phantom'")
            with h5py.File(self.path, "r", locking=False) as file:
                if file.attrs.get("schema_version") != SCHEMA_VERSION:
                    raise UserError(
                        f"{self.path}: not an echo store of schema {SCHEMA_VERSION} "
                        f"(found {file.attrs.get('schema_version', 'none')}); pack it again"
                    )
                space = json.loads(file.attrs["label_space"])
                self.licence: str = file.attrs["licence"]
                self.command: str = file.attrs["command"]
                self.provenance: dict[str, Any] = json.loads(file.attrs["provenance"])
                self.content_hash: str = file.attrs["content_hash"]
                self.table = pd.DataFrame({name: _column(file[f"frames/{name}"]) for name in COLUMNS})
                count, *size = file["images"].shape
                if any(file[name].shape != (count, *size) for name in ARRAYS) or count != len(self.table):
                    raise UserError(f"{self.path}: images, masks, sector and frames differ in number; pack it again")
                if len(size) != 2 or any(file[name].dtype != np.uint8 for name in ARRAYS):
                    raise UserError(f"{self.path}: images, masks and sector are not uint8 [N, H, W]; pack it again")
                self.image_size: tuple[int, int] = (size[0], size[1])
            self.label_space = LabelSpace(space["name"], tuple(space["structures"]))
            check_table(self.table, str(self.path))
        except (OSError, LookupError, ValueError, TypeError, AttributeError) as error:
            raise UserError(f"{self.path}: not a readable echo store ({error}); pack it again") from error

    def __len__(self) -> int:
        return len(self.table)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_handles": {}}

    @property
    def _file(self) -> h5py.File:
        pid = os.getpid()
        if pid not in self._handles:
            self._handles[pid] = h5py.File(self.path, "r", locking=False)
        return self._handles[pid]

    def frame(self, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Image, mask and sector of one frame, each uint8 ``[H, W]``."""
        image, mask, sector = (self._file[name][index] for name in ARRAYS)
        if mask.max(initial=0) > len(self.label_space.structures) or sector.max(initial=0) > 1:
            raise UserError(
                f"{self.path}: frame '{self.table['key'][index]}': mask or sector holds a value outside "
                f"label space '{self.label_space.name}' or of 0 and 1; pack it again"
            )
        return image, mask, sector

    def indices(self, *, split: str | None = None) -> np.ndarray:
        """Indices of the frames of one split, or of all, in the order of the file."""
        if split is None:
            return np.arange(len(self))
        return np.flatnonzero((self.table["split"] == split).to_numpy())

    def info(self, index: int) -> FrameInfo:
        """What the store says of one frame."""
        row = self.table.iloc[index].to_dict()
        spacing = (row.pop("spacing_y"), row.pop("spacing_x"))
        return FrameInfo(**row, spacing=None if np.isnan(spacing[0]) else spacing)

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        return (self.frame(i) for i in range(len(self)))


def _column(values: h5py.Dataset) -> np.ndarray:
    return values.asstr()[:] if h5py.check_string_dtype(values.dtype) else values[:]
