"""Writing an echo store: frame by frame, whole or not at all."""

import errno
import glob
import json
import os
import re
import shutil
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py
import numpy as np

from tte_tee.anatomy import LabelSpace
from tte_tee.data.store.reader import read_table
from tte_tee.data.store.schema import ARRAYS, COLUMNS, SCHEMA_VERSION, FrameInfo, check_table, content_hash
from tte_tee.errors import MachineError, UserError

_BLOCK = 64  # frames written at once
_SPARE = 2**24  # bytes of the disk that stay free: for HDF5's own tables, without which it cannot even close a file


class StoreWriter:
    """Writes a store frame by frame; the file appears under its name only once it is whole.

    Use as a context manager. Frames go to a temporary file beside ``path``; leaving the block
    checks patients and keys, hashes the content and renames. Leaving it by an exception removes
    the temporary file.

    Raises:
        UserError: a frame has another size or a label outside the label space; on leaving, a
            patient stands in two splits, a key stands twice, or there is no frame; the name is
            taken by something that is no HDF5 file.
        MachineError: the folder cannot be written.
    """

    def __init__(
        self, path: str | Path, label_space: LabelSpace, *, licence: str, command: str, provenance: str = "{}"
    ) -> None:
        self.path = Path(path)
        self.label_space = label_space
        self._temporary = self.path.parent / f"{self.path.name}.tmp-{_owner(os.getpid())}-{uuid.uuid4().hex[:8]}"
        self._attributes = {
            "schema_version": SCHEMA_VERSION,
            "label_space": json.dumps(label_space.to_json()),
            "licence": licence,
            "command": command,
            "provenance": provenance,
        }
        self._count = 0
        self._size: tuple[int, ...] = ()
        self._arrays: list[tuple[np.ndarray, ...]] = []
        self._rows: list[dict[str, Any]] = []
        self._file: h5py.File | None = None

    def __enter__(self) -> Self:
        check_target(self.path)
        try:
            with self._one_line():
                self.path.parent.mkdir(parents=True, exist_ok=True)
                _sweep(self.path)
                self._check_room(0)
                self._file = h5py.File(self._temporary, "w", libver="earliest")  # see :mod:`heap`
        except BaseException:  # a signal's, perhaps: nobody leaves a block that was not entered
            with suppress(OSError, ValueError):  # nor is there anything to take away, where no file can be
                self._temporary.unlink()
            raise
        return self

    def append(self, image: np.ndarray, mask: np.ndarray, sector: np.ndarray, info: FrameInfo) -> None:
        """Adds one frame: ``image``, ``mask`` and ``sector`` uint8 ``[H, W]``; ``sector`` is 0 or 1."""
        if self._file is None:
            raise RuntimeError("StoreWriter.append outside of its with block")
        size = self._size or image.shape
        arrays = (image, mask, sector)
        for name, array in zip(ARRAYS, arrays, strict=True):
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
        self._size = size
        self._arrays.append(tuple(array.copy() for array in arrays))
        self._rows.append(info.row())
        if len(self._rows) == _BLOCK:
            with self._one_line():
                self._flush(self._file)

    @contextmanager
    def _one_line(self) -> Iterator[None]:
        """What a disk refuses, as the user's concern; HDF5 says it in several lines and as one of two errors."""
        try:
            yield
        except (OSError, RuntimeError) as error:
            number = re.search(r"errno = (\d+)", str(error))
            reason = os.strerror(int(number[1])) if number else getattr(error, "strerror", None)
            if reason is None and isinstance(error, RuntimeError):
                raise
            raise MachineError(f"{self.path}: cannot write there ({reason or error})") from error

    def _check_room(self, size: int) -> None:
        """Refuses to write ``size`` bytes to a disk that they would fill."""
        if shutil.disk_usage(self.path.parent).free < size + _SPARE:
            raise MachineError(f"{self.path}: cannot write there ({os.strerror(errno.ENOSPC)})")

    def _flush(self, file: h5py.File) -> None:
        """Writes the frames that wait, so that memory does not grow with their number."""
        if not self._rows:
            return
        if not self._count:
            for name in ARRAYS:
                file.create_dataset(
                    name, (0, *self._size), np.uint8, maxshape=(None, *self._size), chunks=(1, *self._size)
                )
            for name, dtype in COLUMNS.items():
                file.create_dataset(f"frames/{name}", (0,), dtype, maxshape=(None,), chunks=(1024,))
        stop = self._count + len(self._rows)
        values: dict[str, Any] = dict(zip(ARRAYS, map(np.stack, zip(*self._arrays, strict=True)), strict=True))
        self._check_room(sum(block.nbytes for block in values.values()))
        values |= {f"frames/{name}": [row[name] for row in self._rows] for name in COLUMNS}
        for name, block in values.items():
            file[name].resize(stop, axis=0)
            file[name][self._count : stop] = block
        self._count = stop
        self._arrays.clear()
        self._rows.clear()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._file is not None
        try:
            if kind is None:
                with self._one_line():
                    self._finish(self._file)
                    self._file.close()
                    self._temporary.replace(self.path)
        finally:
            self._discard(self._file)

    def _discard(self, file: h5py.File) -> None:
        """Takes away what is not whole."""
        if file:
            with suppress(OSError, RuntimeError):
                os.truncate(self._temporary, 0)  # makes room for what HDF5 writes to close it, if the disk is full
                file.close()
        self._temporary.unlink(missing_ok=True)

    def _finish(self, file: h5py.File) -> None:
        self._flush(file)
        if not self._count:
            raise UserError(f"{self.path}: no frame to write")
        check_table(read_table(file), str(self.path))
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


def _owner(process: int) -> str:
    return f"{socket.gethostname()}-{process}"


def _sweep(path: Path) -> None:
    """Removes what writers of the same store left when they were killed: those whose process is gone."""
    # Other hosts write here, too, and the name of one may begin with that of another.
    mine = re.compile(rf"{re.escape(path.name)}\.tmp-{re.escape(socket.gethostname())}-(\d+)-[0-9a-f]+")
    for left in path.parent.glob(f"{glob.escape(path.name)}.tmp-*"):
        found = mine.fullmatch(left.name)
        if found and not _alive(int(found[1])):
            left.unlink(missing_ok=True)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
