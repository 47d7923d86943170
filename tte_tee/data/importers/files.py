"""Reading what stands in a folder: which files, 8-bit pictures, and nothing outside of it."""

import math
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np

from tte_tee.errors import UserError

MAXIMUM_BYTES = 2**31
"""Of one decoded file; what declares more is corrupt, or would take the machine down."""


def list_files(root: Path) -> list[str]:
    """Relative posix paths of all files of a folder, sorted.

    Raises:
        UserError: there is no such folder, a part of it cannot be read, or a name is not UTF-8.
    """
    if not root.is_dir():
        raise UserError(f"{root}: no such folder; give the folder that the recipe is for with --root")
    files = []
    for folder, _, names in os.walk(root, onerror=_refuse):
        files += [(Path(folder) / name).relative_to(root).as_posix() for name in names]
    for file in files:
        try:
            file.encode()
        except UnicodeEncodeError:
            raise UserError(f"{root}: the name of file {file!a} is not UTF-8; rename it") from None
    return sorted(files)


def _refuse(error: OSError) -> None:
    raise UserError(f"{error.filename}: cannot be listed ({error.strerror or error}); check its permissions") from error


def within(root: Path, relative: str) -> Path:
    """The path of a file below ``root``.

    Raises:
        UserError: it leads outside of ``root``, by ``..`` or by a link; or it is there and is no file.
    """
    path = root / relative
    try:
        outside = not path.resolve().is_relative_to(root.resolve())
        other = path.exists() and not path.is_file()
    except (OSError, RuntimeError, ValueError) as error:  # a loop of links, or a null byte
        raise UserError(f"{path}: is no usable path ({error})") from error
    if outside:
        raise UserError(f"{path}: leads outside of {root}; copy the file into the folder")
    if other:  # to read a pipe is to wait for ever
        raise UserError(f"{path}: is no regular file; move it away")
    return path


def read_bytes(path: Path, most: int = -1) -> bytes:
    """The content of a file, or its first ``most`` bytes.

    Raises:
        UserError: it cannot be read, or has nothing in it.
    """
    try:
        with path.open("rb") as file:
            data = file.read(most)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error}); check that it is there") from error
    if not data:
        raise UserError(f"{path}: is empty; copy the file again, or move it away")
    return data


def check_declared(path: Path, shape: Sequence[int], item_bytes: int) -> None:
    """Refuses an array before it is decoded, by what its header declares.

    Raises:
        UserError: an axis has no length, or all of it is beyond :data:`MAXIMUM_BYTES`.
    """
    if min(shape, default=0) < 1:
        raise UserError(f"{path}: declares a size of {'x'.join(map(str, shape))}; move it away")
    if math.prod(int(length) for length in shape) * item_bytes > MAXIMUM_BYTES:
        raise UserError(
            f"{path}: declares {'x'.join(map(str, shape))} values, more than {MAXIMUM_BYTES / 2**30:g} GiB; "
            "cut it up, or move it away"
        )


def read_gray(path: Path) -> np.ndarray:
    """Reads a picture as uint8 ``[H, W]``; colour becomes grey.

    Raises:
        UserError: the file cannot be read as a whole, or has more than 8 bits per pixel and channel.
    """
    pixels = _decode(path)
    if pixels.ndim == 2:
        return pixels
    return cv2.cvtColor(pixels, cv2.COLOR_BGRA2GRAY if pixels.shape[2] == 4 else cv2.COLOR_BGR2GRAY)


def read_values(path: Path) -> np.ndarray:
    """Reads the label values of a mask picture, uint8 ``[H, W]``.

    Raises:
        UserError: as :func:`read_gray`; or the file is in colour.
    """
    values = _decode(path)
    if values.ndim != 2:
        raise UserError(f"{path}: is in colour; a mask has one channel that holds the label values")
    return values


@contextmanager
def quiet() -> Iterator[None]:
    """Keeps libraries from printing to standard error on their own, and from warning."""
    kept, sink = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            os.dup2(sink, 2)
            yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(sink)


def _decode(path: Path) -> np.ndarray:
    data = read_bytes(path)
    try:
        with quiet():
            pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:  # it claims to be larger than OpenCV reads
        pixels = None
    if pixels is None:
        raise UserError(f"{path}: is no whole image; copy the file again, or move it away")
    if pixels.dtype != np.uint8:
        raise UserError(f"{path}: has {pixels.dtype} pixels; convert it to 8 bits")
    return pixels
