"""Reading an echo store."""

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd

from tte_tee.anatomy import LabelSpace
from tte_tee.data.store.heap import check_attributes, check_fill, check_texts
from tte_tee.data.store.schema import ARRAYS, COLUMNS, SCHEMA_VERSION, FrameInfo, blocks, check_table
from tte_tee.errors import UserError
from tte_tee.files import first_line

_LARGEST = 2**14  # pixels of a side; a frame is read as a whole


class EchoStore:
    """Reads a store lazily; safe to copy into workers and ranks.

    Each process opens the file for itself, without a lock, on its first read of pixels.

    Args:
        path: of the store.
        check: refuses a table or a provenance that breaks an invariant; who lists what is broken leaves it out.

    Attributes:
        path: of the file.
        label_space: what the masks mean.
        image_size: rows and columns of every frame.
        table: one row per frame, columns as in :data:`COLUMNS`.
        licence: who may use it.
        command: that made it.
        provenance: what it was made from, plain JSON.
        content_hash: over label space, columns and pixels; as the file says, see ``data verify``.

    Raises:
        UserError: the file is missing, is no store, or has another schema.
    """

    def __init__(self, path: str | Path, *, check: bool = True) -> None:
        self.path = Path(path)
        self._handles: dict[int, tuple[dict[str, h5py.Dataset], int, int]] = {}
        try:
            if not self.path.is_file():
                raise UserError(
                    f"{self.path}: no such echo store; 'data pack', 'data phantom' and 'synthesize' make them"
                )
            if not h5py.is_hdf5(self.path):
                raise UserError(
                    f"{self.path}: not a readable echo store (no HDF5 file); give one as 'data pack' makes them"
                )
            with h5py.File(self.path, "r", locking=False) as file:
                check_attributes(self.path, file)
                if file.attrs.get("schema_version") != SCHEMA_VERSION:
                    raise UserError(
                        f"{self.path}: not an echo store of schema {SCHEMA_VERSION} "
                        f"(found {file.attrs.get('schema_version', 'none')}); pack it again"
                    )
                _check_links(self.path, file)
                texts = [file[f"frames/{name}"] for name, dtype in COLUMNS.items() if np.dtype(dtype).kind == "O"]
                check_texts(self.path, texts)
                space = json.loads(file.attrs["label_space"])
                self.licence, self.command, self.content_hash = (
                    _text(file, name) for name in ("licence", "command", "content_hash")
                )
                self.provenance: dict[str, Any] = json.loads(file.attrs["provenance"])
                count, *size = file["images"].shape
                _check_frames(file, count, size)
                self.table = read_table(file)
                if any(file[name].shape != (count, *size) for name in ARRAYS):
                    raise UserError(f"{self.path}: images, masks, sector and frames differ in number; pack it again")
                if len(size) != 2 or any(file[name].dtype != np.uint8 for name in ARRAYS):
                    raise UserError(f"{self.path}: images, masks and sector are not uint8 [N, H, W]; pack it again")
                self.image_size: tuple[int, int] = (size[0], size[1])
            self.label_space = _label_space(self.path, space)
            if check:
                if not isinstance(self.provenance, dict):  # in which nobody would be found
                    raise UserError(f"{self.path}: the provenance is no mapping; make the store again")
                check_table(self.table, str(self.path))
        except (OSError, LookupError, ValueError, TypeError, AttributeError, RuntimeError) as error:
            raise UserError(f"{self.path}: not a readable echo store ({error}); pack it again") from error

    def __len__(self) -> int:
        return len(self.table)

    def to_json(self) -> dict[str, str]:
        """Name and hash, by which a result refers to the store that it was computed on."""
        return {"name": self.path.name, "hash": self.content_hash}

    def as_source(self) -> dict[str, str]:
        """Name and hash, by which provenance refers to the store that something was made from."""
        return {"store": self.path.name, "hash": self.content_hash}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_handles": {}}

    @property
    def _arrays(self) -> dict[str, h5py.Dataset]:
        pid = os.getpid()
        if pid not in self._handles:
            file = h5py.File(self.path, "r", locking=False)
            arrays = {name: file[name] for name in ARRAYS}  # by name is as slow as reading a frame
            self._handles[pid] = arrays, file.id.get_vfd_handle(), file.id.get_filesize()
        arrays, descriptor, size = self._handles[pid]
        if os.fstat(descriptor).st_size < size:
            raise OSError("it became shorter")  # HDF5 would read zeros
        return arrays

    def frame(self, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Image, mask and sector of one frame, each uint8 ``[H, W]``.

        Raises:
            UserError: the file went away or changed since it was opened, or a value is outside the label space.
        """
        try:
            image, mask, sector = (array[index] for array in self._arrays.values())
        except (OSError, KeyError, RuntimeError) as error:
            raise UserError(
                f"{self.path}: frame '{self.table['key'][index]}' cannot be read any more ({first_line(error)}); "
                "put the store back as it was and run the command again"
            ) from error
        if mask.max(initial=0) > len(self.label_space.structures) or sector.max(initial=0) > 1:
            raise UserError(
                f"{self.path}: frame '{self.table['key'][index]}': mask or sector holds a value outside "
                f"label space '{self.label_space.name}' or of 0 and 1; pack it again"
            )
        return image, mask, sector

    def blocks(self, name: str) -> Iterator[tuple[int, np.ndarray]]:
        """``images``, ``masks`` or ``sector`` in the order of the file, see :func:`blocks`."""
        return blocks(self._arrays[name])

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


def read_table(file: h5py.File) -> pd.DataFrame:
    """The columns of an open store, one row per frame."""
    return pd.DataFrame({name: _column(file[f"frames/{name}"]) for name in COLUMNS})


def _label_space(path: Path, space: Any) -> LabelSpace:
    try:
        return LabelSpace.from_json(space)
    except UserError as error:
        raise UserError(f"{path}: {error}; pack it again") from error


def _text(file: h5py.File, name: str) -> str:
    value = file.attrs[name]
    if not isinstance(value, str):
        raise TypeError(f"'{name}' is no text")
    value.encode()  # h5py hands on what is not UTF-8
    return value


def _check_links(path: Path, file: h5py.File) -> None:
    """Refuses what leads out of the file or unfolds when read: a store holds its frames itself, as they are."""
    arrays = (*ARRAYS, *(f"frames/{column}" for column in COLUMNS))
    for name in ("frames", *arrays):
        if not isinstance(file.get(name, getlink=True), h5py.HardLink):
            raise ValueError(f"'{name}' is a link")
    for name in arrays:
        check_fill(path, file, name)
        found = file[name]
        if found.is_virtual or found.external:
            raise ValueError(f"'{name}' lies in other files")
        if found.id.get_create_plist().get_nfilters():
            raise ValueError(f"'{name}' is compressed")


def _check_frames(file: h5py.File, count: int, size: list[int]) -> None:
    """Refuses what no file of this length holds and columns of other kinds, before as much is read as they declare."""
    if count > file.id.get_filesize() or max(size, default=0) > _LARGEST:  # a frame takes a byte at the very least
        raise ValueError(f"it declares {count} frames of {'x'.join(map(str, size))}, which are not in it")
    for name, dtype in COLUMNS.items():
        values, expected = file[f"frames/{name}"], np.dtype(dtype)
        if values.shape != (count,):
            raise ValueError(f"column '{name}' is {values.shape}, not one value for each of {count} frames")
        kind = h5py.check_string_dtype(values.dtype)
        text = kind is not None and kind.length is None  # of a fixed length, each could be as long as it says
        if text != (expected.kind == "O") or (not text and values.dtype.kind != expected.kind):
            wanted = "text" if expected.kind == "O" else expected
            raise TypeError(f"column '{name}' is {values.dtype}, and should be {wanted}")


def _column(values: h5py.Dataset) -> np.ndarray:
    if not h5py.check_string_dtype(values.dtype):
        return values[:]
    # Equal texts are one object: most columns hold a few words, many times.
    return np.array([sys.intern(text) for text in values.asstr()[:]], dtype=object)
