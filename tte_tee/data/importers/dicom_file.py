"""One DICOM file of ultrasound: what its header says, and its frames as 8-bit pictures, by pydicom."""

import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from tte_tee.data.importers.files import check_declared
from tte_tee.errors import UserError

if TYPE_CHECKING:
    from pydicom import Dataset

_GREY = ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR")
_COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
_TAGS = [
    "SpecificCharacterSet",
    "SOPInstanceUID",
    "Modality",
    "PatientID",
    "StudyInstanceUID",
    "SequenceOfUltrasoundRegions",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "WindowCenter",
    "WindowWidth",
    "VOILUTFunction",
    "RescaleSlope",
    "RescaleIntercept",
    *(
        f"{colour}PaletteColorLookupTable{part}"
        for colour in ("Red", "Green", "Blue")
        for part in ("Descriptor", "Data")
    ),
]  # all that is ever read: names, dates, places, private tags and overlays stay in the file
_PLANE, _TISSUE, _FLOW, _CENTIMETRES = 1, 1, 2, 3  # DICOM PS3.3 C.8.5.5: spatial format, data types, unit
_SMALLEST_REGION = 16  # pixels; what is smaller shows no heart
_SMALLEST_FRAME = 64  # bytes; no codec makes a frame smaller


@dataclass(frozen=True)
class Region:
    """Where on the screen the picture lies, in pixels: ``bottom`` and ``right`` are the first outside.

    Attributes:
        spacing: (rows, columns) in mm per pixel, None where the file does not say.
    """

    top: int
    left: int
    bottom: int
    right: int
    spacing: tuple[float, float] | None = None

    @property
    def area(self) -> int:
        """Pixels; 0 if the corners are the wrong way round."""
        return max(0, self.bottom - self.top) * max(0, self.right - self.left)

    def fits(self, rows: int, columns: int) -> bool:
        """Whether it lies within a frame and is large enough for a picture."""
        inside = self.top >= 0 and self.left >= 0 and self.bottom <= rows and self.right <= columns
        return inside and min(self.bottom - self.top, self.right - self.left) >= _SMALLEST_REGION

    def overlap(self, other: "Region") -> int:
        """Pixels in both."""
        return Region(
            max(self.top, other.top),
            max(self.left, other.left),
            min(self.bottom, other.bottom),
            min(self.right, other.right),
        ).area

    def crop(self, frame: np.ndarray) -> np.ndarray:
        """The part of ``[H, W, ...]`` that lies in it."""
        return frame[self.top : self.bottom, self.left : self.right]


@dataclass(frozen=True)
class Header:
    """What is asked of a file before its pixels; all text is as in the file, so none of it may reach a store.

    Attributes:
        image: its SOP Instance UID, empty where it has none.
        regions: 2D regions that fit the frame, the best one first: tissue before flow, large before small.
    """

    patient: str
    study: str
    image: str
    frames: int
    rows: int
    columns: int
    regions: tuple[Region, ...]


def read_header(path: Path) -> Header:
    """Reads a file up to its pixels.

    Raises:
        UserError: it is no DICOM file, no picture, no ultrasound, or declares what it cannot hold.
    """
    with _decoding(path):
        dataset = _read_tags(path)
        _check_pixels(path, dataset)
        rows, columns, frames = int(dataset.Rows), int(dataset.Columns), _frame_count(dataset)
        _check_size(path, dataset, frames)
        return Header(
            patient=" ".join(str(dataset.get("PatientID") or "").split()),
            study=str(dataset.get("StudyInstanceUID") or ""),
            image=str(dataset.get("SOPInstanceUID") or ""),
            frames=frames,
            rows=rows,
            columns=columns,
            regions=_regions(dataset, rows, columns),
        )


def read_frames(path: Path, indices: Sequence[int]) -> Iterator[np.ndarray]:
    """The frames at ``indices`` one by one: uint8, grey ``[H, W]`` or RGB ``[H, W, 3]``.

    Raises:
        UserError: a frame cannot be decoded, or has more than 8 bits and no window that says which of them to show.
    """
    from pydicom.pixels import iter_pixels

    with _decoding(path):
        dataset = _read_tags(path)
        shape = (int(dataset.Rows), int(dataset.Columns))
        frames = iter_pixels(path, indices=list(indices))
    for _ in indices:
        with _decoding(path):  # not round the yield, or it would catch what the caller raises
            frame = _to_8_bits(path, next(frames), dataset)
            if frame.shape[:2] != shape:
                raise ValueError(f"its pixels are {frame.shape[:2]}, its header says {shape}")
        yield frame


def to_grey(frame: np.ndarray) -> np.ndarray:
    """Luma, uint8 ``[H, W]``."""
    return frame if frame.ndim == 2 else cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)


@contextmanager
def _decoding(path: Path) -> Iterator[None]:
    """Whatever a decoder makes of a bad file becomes one line; what it merely dislikes is not the user's concern."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except UserError:
        raise
    except Exception as error:  # decoders raise nearly everything
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(f"{path}: cannot be decoded ({reason}); copy the file again, or move it away") from error


def _read_tags(path: Path) -> "Dataset":
    from pydicom import dcmread
    from pydicom.errors import InvalidDicomError
    from pydicom.filereader import read_file_meta_info
    from pydicom.uid import DeflatedExplicitVRLittleEndian

    try:
        syntax = read_file_meta_info(path).get("TransferSyntaxUID")
        if syntax == DeflatedExplicitVRLittleEndian:  # read as a whole, however large it turns out to be
            raise UserError(f"{path}: is deflated, which is not read; convert it to another transfer syntax")
        return dcmread(path, stop_before_pixels=True, specific_tags=list(_TAGS))
    except InvalidDicomError as error:
        raise UserError(f"{path}: is no DICOM file; narrow 'images' of the recipe, or move it away") from error


def _frame_count(dataset: "Dataset") -> int:
    return int(dataset.get("NumberOfFrames") or 1)


def _check_pixels(path: Path, dataset: "Dataset") -> None:
    """Refuses what is no picture of 8 or 16 unsigned bits in a colour space that pydicom converts."""
    if "Rows" not in dataset or "PhotometricInterpretation" not in dataset:
        raise UserError(f"{path}: holds no picture; narrow 'images' of the recipe, or move it away")
    modality, photometric = dataset.get("Modality") or "US", dataset.PhotometricInterpretation
    if modality != "US":
        raise UserError(f"{path}: has modality {modality!r}, not US; narrow 'images' of the recipe, or move it away")
    samples = {**dict.fromkeys(_GREY, 1), **dict.fromkeys(_COLOUR, 3)}.get(photometric)
    if dataset.SamplesPerPixel != samples:
        raise UserError(
            f"{path}: is {photometric!r} of {dataset.SamplesPerPixel} samples, which is not read; convert it to RGB"
        )
    allocated, stored = dataset.BitsAllocated, dataset.BitsStored
    unsigned = not dataset.get("PixelRepresentation") and dataset.get("HighBit", stored - 1) == stored - 1
    if allocated not in (8, 16) or not 1 <= stored <= allocated or not unsigned or (samples == 3 and stored > 8):
        raise UserError(
            f"{path}: has pixels of a kind that is not read ({stored!r} bits); convert it to 8 bits, unsigned"
        )
    if (
        stored > 8
        and photometric != "PALETTE COLOR"
        and not (dataset.get("WindowCenter") and dataset.get("WindowWidth"))
    ):
        raise UserError(f"{path}: has {stored} bits and no window that says how to show them; convert it to 8 bits")


def _check_size(path: Path, dataset: "Dataset", frames: int) -> None:
    """Refuses what the file cannot hold, before anything is allocated for it."""
    shape = (int(dataset.Rows), int(dataset.Columns), int(dataset.SamplesPerPixel))
    check_declared(path, shape, dataset.BitsAllocated // 8)
    syntax = getattr(getattr(dataset, "file_meta", None), "TransferSyntaxUID", None)
    encoded = syntax is None or syntax.is_encapsulated
    bits = math.prod(shape) * dataset.BitsAllocated
    if dataset.PhotometricInterpretation == "YBR_FULL_422":
        bits = bits * 2 // 3
    least = _SMALLEST_FRAME if encoded else bits // 8
    if frames < 1 or frames * least > path.stat().st_size:
        raise UserError(
            f"{path}: declares {frames} frames, which do not fit in the file; copy it again, or move it away"
        )


def _regions(dataset: "Dataset", rows: int, columns: int) -> tuple[Region, ...]:
    found = []
    for item in dataset.get("SequenceOfUltrasoundRegions") or []:
        kind = item.get("RegionDataType")
        region = Region(
            top=int(item.get("RegionLocationMinY0", -1)),
            left=int(item.get("RegionLocationMinX0", -1)),
            bottom=int(item.get("RegionLocationMaxY1", -1)) + 1,  # the tags name the last pixel inside
            right=int(item.get("RegionLocationMaxX1", -1)) + 1,
            spacing=_spacing(item),
        )
        # What does not fit stems from before somebody resized the file; its spacing is no more to be trusted.
        if item.get("RegionSpatialFormat") == _PLANE and kind in (_TISSUE, _FLOW) and region.fits(rows, columns):
            found.append((kind, -region.area, region))
    return tuple(region for *_, region in sorted(found, key=lambda entry: entry[:2]))


def _spacing(item: "Dataset") -> tuple[float, float] | None:
    """(rows, columns) in mm per pixel of a region whose axes are in centimetres."""
    units = item.get("PhysicalUnitsYDirection"), item.get("PhysicalUnitsXDirection")
    if units != (_CENTIMETRES, _CENTIMETRES):
        return None
    # Signs say which way an axis runs.
    spacing = tuple(abs(float(item.get(f"PhysicalDelta{axis}") or 0)) * 10 for axis in "YX")
    return (spacing[0], spacing[1]) if all(0 < length < math.inf for length in spacing) else None


def _to_8_bits(path: Path, frame: np.ndarray, dataset: "Dataset") -> np.ndarray:
    from pydicom.pixels.processing import apply_color_lut

    if frame.ndim == 3:
        return frame
    if dataset.BitsAllocated > dataset.BitsStored:
        frame = frame & ((1 << dataset.BitsStored) - 1)  # old files keep overlays, text among them, in the bits above
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        colour = apply_color_lut(frame, dataset)
        every = apply_color_lut(np.arange(1 << dataset.BitsStored, dtype=frame.dtype)[None], dataset)
        return (colour >> 8 if every.max() > 255 else colour).astype(np.uint8)
    if dataset.BitsStored > 8:
        frame = _window(frame, dataset)
    frame = frame.astype(np.uint8)
    return 255 - frame if dataset.PhotometricInterpretation == "MONOCHROME1" else frame


def _window(frame: np.ndarray, dataset: "Dataset") -> np.ndarray:
    """What the file's own window shows, 0-255."""
    from pydicom.pixels.processing import apply_rescale, apply_windowing

    ends: Any = apply_rescale(np.array([0, (1 << dataset.BitsStored) - 1]), dataset)
    shown = (apply_windowing(apply_rescale(frame, dataset), dataset) - ends[0]) * (255 / (ends[1] - ends[0]))
    return np.clip(np.rint(shown), 0, 255)
