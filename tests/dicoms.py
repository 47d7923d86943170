"""DICOM files of a sector of speckle, in every kind of pixels; shared by the DICOM importer's tests."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, JPEGBaseline8Bit, RLELossless, UltrasoundMultiFrameImageStorage

ROWS, COLUMNS, SIDE = 120, 160, 96  # of the screen, and of the square region at (TOP, LEFT) on it
TOP, LEFT = 16, 40
REGION = (TOP, LEFT, TOP + SIDE, LEFT + SIDE)
RECIPE: dict[str, Any] = {
    "type": "dicom",
    "name": "toy",
    "licence": "none",
    "images": r".*\.dcm",
    "masks": "none",
    "view": "ME4C",
    "salt": "toy.salt",
    "label_space": "tee",
    "size": SIDE,
    "sector": "estimate",
    "split": "train",
    "spacing": "from files",
}
MASKED = {**RECIPE, "masks": "{folder}/{stem}_{frame:02d}.png", "labels": {0: "background", 9: "LV"}}


def wedge(side: int = SIDE) -> np.ndarray:
    """A sector with its tip at the top, 0 or 1."""
    y, x = np.mgrid[:side, :side] + 0.5
    radius, angle = np.hypot(y, x - side / 2), np.arctan2(x - side / 2, y)
    return ((radius > side * 0.05) & (radius < side * 0.92) & (np.abs(angle) < 0.6)).astype(np.uint8)


def screen(level: int = 120, frame: int = 0) -> np.ndarray:
    """A grey screen with a sector of speckle in its region, uint8 ``[ROWS, COLUMNS]``."""
    speckle = np.random.default_rng(frame).integers(level - 30, level + 30, (SIDE, SIDE))
    picture = np.zeros((ROWS, COLUMNS), np.uint8)
    picture[TOP : TOP + SIDE, LEFT : LEFT + SIDE] = speckle * wedge()
    return picture


def region_item(
    box: tuple[int, int, int, int] = REGION, *, kind: int = 1, plane: int = 1, delta: float = 0.05, units: int = 3
) -> Dataset:
    item = Dataset()
    item.RegionSpatialFormat, item.RegionDataType, item.RegionFlags = plane, kind, 2
    item.RegionLocationMinY0, item.RegionLocationMinX0 = box[0], box[1]
    item.RegionLocationMaxY1, item.RegionLocationMaxX1 = box[2] - 1, box[3] - 1
    item.PhysicalUnitsXDirection = item.PhysicalUnitsYDirection = units
    item.PhysicalDeltaX, item.PhysicalDeltaY = delta, -2 * delta
    return item


def make(pixels: np.ndarray, photometric: str = "MONOCHROME2", *, tags: dict[str, Any] | None = None) -> FileDataset:
    """A file of ``[N, H, W]`` or ``[N, H, W, 3]``, native, with a region; ``tags`` last."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = UltrasoundMultiFrameImageStorage
    meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
    file = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    file.SOPClassUID, file.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    file.StudyInstanceUID, file.Modality, file.PatientID = "1.2.3.4", "US", "p1"
    file.Rows, file.Columns = pixels.shape[1:3]
    file.SamplesPerPixel = 3 if pixels.ndim == 4 else 1
    if pixels.ndim == 4:
        file.PlanarConfiguration = 0
    file.PhotometricInterpretation = photometric
    file.NumberOfFrames = len(pixels)
    file.BitsAllocated = file.BitsStored = 8 * pixels.itemsize
    file.HighBit, file.PixelRepresentation = file.BitsStored - 1, 0
    file.SequenceOfUltrasoundRegions = Sequence([region_item()])
    file.PixelData = pixels.tobytes()
    for name, value in (tags or {}).items():
        if value is None:
            delattr(file, name)
        else:
            setattr(file, name, value)
    return file


def save(path: Path, file: FileDataset) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # bad values are meant
        file.save_as(path)
    return path


def grey_cine(frames: int = 1, **tags: Any) -> FileDataset:
    return make(np.stack([screen(frame=i) for i in range(frames)]), tags=tags)


def in_colour(grey: np.ndarray) -> np.ndarray:
    return np.repeat(grey[..., None], 3, axis=-1)


def as_ybr(file: FileDataset) -> FileDataset:
    from pydicom.pixels import convert_color_space

    frames = np.frombuffer(file.PixelData, np.uint8).reshape(-1, file.Rows, file.Columns, 3)
    file.PixelData = np.stack([convert_color_space(frame, "RGB", "YBR_FULL") for frame in frames]).tobytes()
    file.PhotometricInterpretation = "YBR_FULL"
    return file


def as_jpeg(file: FileDataset) -> FileDataset:
    frames = np.frombuffer(file.PixelData, np.uint8).reshape(-1, file.Rows, file.Columns, file.SamplesPerPixel)
    file.PixelData = encapsulate([cv2.imencode(".jpg", f, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes() for f in frames])
    file["PixelData"].is_undefined_length = True
    file.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    file.PhotometricInterpretation = "YBR_FULL_422" if file.SamplesPerPixel == 3 else "MONOCHROME2"
    return file


def as_rle(file: FileDataset) -> FileDataset:
    file.compress(RLELossless, generate_instance_uid=False)
    return file


def as_palette(file: FileDataset) -> FileDataset:
    file.PhotometricInterpretation = "PALETTE COLOR"
    for colour in ("Red", "Green", "Blue"):
        setattr(file, f"{colour}PaletteColorLookupTableDescriptor", [256, 0, 16])
        setattr(file, f"{colour}PaletteColorLookupTableData", (np.arange(256, dtype="<u2") * 257).tobytes())
    return file


def inverted(file: FileDataset) -> FileDataset:
    file.PixelData = (255 - np.frombuffer(file.PixelData, np.uint8)).tobytes()
    file.PhotometricInterpretation = "MONOCHROME1"
    return file


def windowed(file: FileDataset) -> FileDataset:
    """Ten bits, of which a window of 16 shows what the 8-bit file shows."""
    grey = np.frombuffer(file.PixelData, np.uint8).astype("<u2") * 2 + 100
    file.PixelData, file.BitsAllocated, file.BitsStored, file.HighBit = grey.tobytes(), 16, 10, 9
    file.VOILUTFunction, file.WindowCenter, file.WindowWidth = "LINEAR_EXACT", 355, 510
    return file


def expected(frame: int = 0) -> np.ndarray:
    return screen(frame=frame)[TOP : TOP + SIDE, LEFT : LEFT + SIDE]


KINDS: dict[str, Callable[[np.ndarray], FileDataset]] = {
    "monochrome2": lambda p: make(p),
    "monochrome1": lambda p: inverted(make(p)),
    "rgb": lambda p: make(in_colour(p), "RGB"),
    "ybr_full": lambda p: as_ybr(make(in_colour(p), "RGB")),
    "palette": lambda p: as_palette(make(p)),
    "window": lambda p: windowed(make(p)),
    "rle": lambda p: as_rle(make(p)),
    "rle_rgb": lambda p: as_rle(make(in_colour(p), "RGB")),
    "jpeg": lambda p: as_jpeg(make(p)),
    "jpeg_ybr": lambda p: as_jpeg(make(in_colour(p), "RGB")),
}
