"""Arrays with a header: NIfTI by nibabel, MetaImage by SimpleITK, pictures by OpenCV, all with axes in file order.

Whatever a library makes of corrupt bytes becomes one UserError that names the file.
"""

import gzip
import math
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from tte_tee.data.importers.files import (
    MAXIMUM_BYTES,
    check_declared,
    quiet,
    read_bytes,
    read_gray,
    read_values,
    within,
)
from tte_tee.errors import UserError

NIFTI = (".nii", ".nii.gz")
META = (".mhd", ".mha")
PICTURES = (".png", ".bmp", ".tif", ".tiff")
_LARGEST_LABEL = 2**31
_CHUNK = 2**20  # bytes
_HEADER_BYTES = 2**16  # of a MetaImage; its header is a few lines of text
_MILLIMETRES = {"meter": 1000.0, "micron": 0.001}
"""Length of a unit of a NIfTI header; what it does not name is mm, as everybody writes it."""


@dataclass(frozen=True)
class Volume:
    """An array whose axes stand as in the file, the one that runs fastest first: x, y, z, t.

    Attributes:
        values: numbers of any real type.
        spacing: mm per voxel along each axis; NaN where the file does not say.
    """

    values: np.ndarray
    spacing: tuple[float, ...]


def stem(file: str) -> str:
    """Relative path without the suffix, ``.nii.gz`` being one."""
    return file[: -len(suffix(file))] if suffix(file) else file


def suffix(file: str) -> str:
    """Suffix of a relative path in lower case, with the dot."""
    name = file.rsplit("/", 1)[-1].lower()
    return ".nii.gz" if name.endswith(".nii.gz") else PurePosixPath(name).suffix


def read_image(root: Path, file: str) -> Volume:
    """Reads grey values.

    Raises:
        UserError: the file leads outside of ``root``, is of no known kind, is corrupt or too large, or
            has no numbers.
    """
    return _read(root, file, read_gray)


def read_labels(root: Path, file: str) -> Volume:
    """Reads label values, which become integers.

    Raises:
        UserError: as :func:`read_image`; or a value is no whole number.
    """
    volume = _read(root, file, read_values)
    values = volume.values
    if values.dtype.kind == "f":
        whole = (np.abs(values) < _LARGEST_LABEL) & (values == np.round(values))  # neither holds for NaN
        if not whole.all():
            raise UserError(f"{root / file}: holds {values[~whole][0]:g}; label values are whole numbers")
    return Volume(values if values.dtype.kind in "iu" else values.astype(np.int32), volume.spacing)


def to_grey(volume: Volume, path: Path, window: tuple[float, float] | None) -> np.ndarray:
    """Values of a volume as uint8.

    Args:
        volume: what was read from ``path``.
        path: for messages.
        window: the values that become 0 and 255, with all between in proportion and all beyond cut
            off. Without it nothing is scaled: values must be whole numbers from 0 to 255 already.

    Raises:
        UserError: a value is not finite, or, without ``window``, is not fit for 8 bits as it is.
    """
    values = volume.values
    if not np.isfinite(values).all():
        raise UserError(f"{path}: holds values that are not finite; repair it, or move it away")
    if window is not None:
        low, high = window
        return np.round(np.clip((values.astype(np.float64) - low) / (high - low), 0, 1) * 255).astype(np.uint8)
    low, high = float(values.min()), float(values.max())
    if low < 0 or high > 255 or (values.dtype.kind == "f" and (values != np.round(values)).any()):
        raise UserError(
            f"{path}: holds values from {low:g} to {high:g} that are no grey levels 0-255; "
            "say with 'window: [low, high]' which become black and white"
        )
    return values.astype(np.uint8)


def _read(root: Path, file: str, picture: Callable[[Path], np.ndarray]) -> Volume:
    path, kind = within(root, file), suffix(file)
    if kind in PICTURES:
        return Volume(picture(path).T, (math.nan, math.nan))
    if kind not in NIFTI + META:
        raise UserError(f"{path}: is of no known kind; known are {', '.join(NIFTI + META + PICTURES)}")
    with _named(path), quiet():
        volume = _read_nifti(path) if kind in NIFTI else _read_meta(root, path)
    if volume.values.dtype.kind not in "biuf":
        raise UserError(f"{path}: has {volume.values.dtype} values; numbers of one channel are read")
    spacing = tuple(length if 0 < length < math.inf else math.nan for length in volume.spacing)
    return Volume(volume.values, spacing)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Whatever goes wrong while a library reads ``path``, as one line."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # the libraries raise almost every kind there is
        if isinstance(error, OSError) and error.strerror:
            raise UserError(f"{path}: cannot be read ({error.strerror}); check that it is there") from error
        what = " ".join(str(error).replace(str(path), "it").split())[-120:] or type(error).__name__
        raise UserError(f"{path}: is no whole file ({what}); copy it again, or move it away") from error


def _read_nifti(path: Path) -> Volume:
    from nibabel import Nifti1Image, Nifti2Image
    from nibabel.imageglobals import LoggingOutputSuppressor

    zipped = suffix(path.name).endswith(".gz")
    with gzip.open(path) if zipped else path.open("rb") as stream, LoggingOutputSuppressor():
        start = stream.read(4)
        if not start:
            raise UserError(f"{path}: is empty; copy the file again, or move it away")
        stream.seek(0)
        kind: Any = Nifti2Image if 540 in (int.from_bytes(start, "little"), int.from_bytes(start)) else Nifti1Image
        image = kind.from_stream(stream)
        scaled = image.dataobj.slope != 1 or image.dataobj.inter != 0
        check_declared(path, image.shape, 8 if scaled else image.get_data_dtype().itemsize)
        unit = _MILLIMETRES.get(image.header.get_xyzt_units()[0], 1.0)
        spacing = tuple(float(length) * (unit if i < 3 else 1) for i, length in enumerate(image.header.get_zooms()))
        values = np.asanyarray(image.dataobj)
        for _ in range(MAXIMUM_BYTES // _CHUNK):  # to the end, where gzip checks its sum
            if not stream.read(_CHUNK):
                break
        return Volume(values, spacing)


def _read_meta(root: Path, path: Path) -> Volume:
    import SimpleITK

    _check_meta(root, path)
    reader = SimpleITK.ImageFileReader()
    reader.SetImageIO("MetaImageIO")
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    if reader.GetNumberOfComponents() != 1:
        raise UserError(f"{path}: has {reader.GetNumberOfComponents()} channels; one is read")
    bits = int(SimpleITK.GetPixelIDValueAsString(reader.GetPixelID()).split("-")[0])  # "16-bit signed integer"
    check_declared(path, reader.GetSize(), bits // 8)
    image = reader.Execute()
    return Volume(SimpleITK.GetArrayFromImage(image).T, image.GetSpacing())


def _check_meta(root: Path, path: Path) -> None:
    """Refuses the header of a MetaImage that SimpleITK should not see.

    Raises:
        UserError: it has too many axes; or its pixels are in several files, or outside of ``root``.
    """
    head = read_bytes(path, _HEADER_BYTES).decode("latin-1")
    fields = re.findall(r"^[ \t]*(NDims|ElementDataFile)[ \t]*[=:][ \t]*([^\r\n]*)", head, re.IGNORECASE | re.MULTILINE)
    axes = [value.strip() for name, value in fields if name.lower() == "ndims"]
    pixels = [value.strip() for name, value in fields if name.lower() == "elementdatafile"]
    if len(axes) != 1 or axes[0] not in ("2", "3", "4") or len(pixels) != 1:
        raise UserError(f"{path}: is no MetaImage of 2 to 4 axes with one 'ElementDataFile'; move it away")
    if pixels[0].upper() == "LOCAL":
        return
    if not pixels[0] or pixels[0].split()[0].upper() == "LIST" or "%" in pixels[0]:
        raise UserError(f"{path}: keeps its pixels in '{pixels[0]}'; a single file beside it is read")
    raw = within(root, os.path.relpath(path.parent / pixels[0], root))
    if not raw.is_file():
        raise UserError(f"{path}: keeps its pixels in {raw}, which is not there; add it, or move {path.name} away")
