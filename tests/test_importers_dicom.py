"""DICOM ultrasound: what comes out of good files, what is said of bad ones, and that nobody's name gets through."""

import io
import stat
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pydicom
import pytest
import yaml
from folders import pack, refused, write_image
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    JPEGBaseline8Bit,
    RLELossless,
    UltrasoundMultiFrameImageStorage,
)

from tte_tee.cli import main
from tte_tee.data.importers.dicom_keys import Frames
from tte_tee.data.importers.identity import load_salt
from tte_tee.data.pack import pack_folder
from tte_tee.data.store import EchoStore
from tte_tee.errors import UserError

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


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    folder.mkdir()
    return folder


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


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("frames", [1, 3])
def test_every_kind_of_pixels(root: Path, kind: str, frames: int, capfd: pytest.CaptureFixture[str]) -> None:
    save(root / "a.dcm", KINDS[kind](np.stack([screen(frame=i) for i in range(frames)])))
    store = pack(root, RECIPE)
    assert len(store) == frames
    assert "Warning" not in capfd.readouterr().err
    for i in range(frames):
        image, mask, sector = store.frame(i)
        inside = sector.astype(bool) & wedge().astype(bool)
        assert inside.sum() > 0.9 * wedge().sum()
        error = np.abs(image.astype(int) - expected(i))[inside]
        assert error.mean() < (6 if "jpeg" in kind else 1) and np.median(error) <= (6 if "jpeg" in kind else 1)
        assert not image[sector == 0].any() and not mask.any()
    info = store.info(0)
    assert info.spacing == (1.0, 0.5) and info.mask_source == "none" and info.view == "ME4C"


def test_bits_above_the_stored_ones_are_no_picture(root: Path) -> None:
    grey = screen()[None].astype("<u2") | 0x8000  # an overlay plane of old files
    save(root / "a.dcm", make(grey, tags={"BitsStored": 8, "HighBit": 7}))
    image, _, sector = pack(root, RECIPE).frame(0)
    assert np.array_equal(image, expected() * sector)


@pytest.mark.parametrize(
    ("tags", "said"),
    [
        ({"BitsStored": 12, "HighBit": 11}, "12 bits and no window"),
        ({"BitsStored": 12, "HighBit": 15}, "of a kind that is not read"),
        ({"PixelRepresentation": 1}, "of a kind that is not read"),
        ({"PhotometricInterpretation": "CMYK"}, "is 'CMYK' of 1 samples"),
        ({"Modality": "CT"}, "modality 'CT'"),
        ({"Rows": None}, "holds no picture"),
        ({"Rows": 65535, "Columns": 65535}, "more than 2 GiB"),
        ({"Rows": 0}, "declares a size of 0x160"),
        ({"NumberOfFrames": 2**31 - 1}, "declares 2147483647 frames"),
        ({"NumberOfFrames": -3}, "declares -3 frames"),
        ({"NumberOfFrames": 5}, "declares 5 frames"),
        ({"PixelData": b"\0" * 100}, "declares 1 frames"),
    ],
)
def test_refused_by_its_header(root: Path, tags: dict[str, Any], said: str) -> None:
    save(root / "a.dcm", make(screen()[None].astype("<u2"), tags={"BitsStored": 8, "HighBit": 7, **tags}))
    message = refused(root, RECIPE)
    assert message.startswith(f"{root / 'a.dcm'}: ") and said in message


def test_an_encoded_file_cannot_declare_millions_of_frames(root: Path) -> None:
    file = as_jpeg(grey_cine())
    file.NumberOfFrames = 10**6
    save(root / "a.dcm", file)
    assert "declares 1000000 frames" in refused(root, RECIPE)


def test_a_deflated_file(root: Path) -> None:
    file = grey_cine()
    file.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    save(root / "a.dcm", file)
    assert "a.dcm: is deflated" in refused(root, RECIPE)


def test_no_dicom_file(root: Path) -> None:
    (root / "a.dcm").write_bytes(b"\x89PNG" * 100)
    assert "a.dcm: is no DICOM file" in refused(root, RECIPE)
    assert "none of 1 files matches 'images'" in refused(root, RECIPE, images=r"x/.*")


# What part of the screen, and at what scale.


@pytest.mark.parametrize(
    ("items", "spacing"),
    [
        ([region_item((0, 0, 20, 20), delta=1), region_item()], (1.0, 0.5)),  # the largest
        ([region_item((0, 0, ROWS, COLUMNS), plane=3), region_item()], (1.0, 0.5)),  # spectral Doppler is no plane
        ([region_item((0, 0, ROWS, COLUMNS), kind=2, delta=1), region_item()], (1.0, 0.5)),  # tissue before flow
        ([region_item(units=4)], None),
        ([region_item(delta=0)], None),
        ([region_item(delta=float("nan"))], None),
    ],
)
def test_region_and_spacing(root: Path, items: list[Dataset], spacing: tuple[float, float] | None) -> None:
    save(root / "a.dcm", grey_cine(SequenceOfUltrasoundRegions=Sequence(items)))
    store = pack(root, RECIPE)
    assert store.info(0).spacing == spacing
    image, _, sector = store.frame(0)
    assert np.array_equal(image * wedge(), expected() * sector)


@pytest.mark.parametrize("items", [None, [region_item((0, 0, 4 * ROWS, 4 * COLUMNS))]])
def test_without_a_region_that_fits_the_sector_decides(root: Path, items: list[Dataset] | None) -> None:
    save(root / "a.dcm", grey_cine(SequenceOfUltrasoundRegions=None if items is None else Sequence(items)))
    store = pack(root, RECIPE, size=COLUMNS)
    assert store.info(0).spacing is None
    above = (COLUMNS - ROWS) // 2
    assert store.frame(0)[2][above + TOP : above + TOP + SIDE, LEFT : LEFT + SIDE].sum() > 0.9 * wedge().sum()


def test_the_recipe_has_the_last_word_on_the_region(root: Path) -> None:
    save(root / "a.dcm", grey_cine(SequenceOfUltrasoundRegions=Sequence([region_item((0, 0, ROWS, COLUMNS))])))
    store = pack(root, RECIPE, region=list(REGION))
    assert np.array_equal(store.frame(0)[0], expected() * store.frame(0)[2])
    assert store.info(0).spacing == (1.0, 0.5)
    (root.parent / "out/f.h5").unlink()
    assert "'region' of" in refused(root, RECIPE, region=[0, 0, ROWS, COLUMNS + 1])


def test_an_uncertain_sector_is_never_stored(root: Path) -> None:
    page = np.zeros((ROWS, COLUMNS), np.uint8)
    for line in range(20, 110, 15):
        cv2.putText(page, "MRS JANE DOE 1950", (2, line), cv2.FONT_HERSHEY_SIMPLEX, 0.5, 255)
    save(root / "a.dcm", make(page[None], tags={"SequenceOfUltrasoundRegions": None}))
    said = refused(root, RECIPE)
    assert "a.dcm: its sector is too uncertain" in said and "'sector' or a closer 'region'" in said


# Which frames.


@pytest.mark.parametrize(
    ("frames", "numbers"),
    [
        ("all", list(range(10))),
        ("first", [0]),
        ({"every": 4}, [0, 4, 8]),
        ({"count": 3}, [0, 3, 6]),
        ({"count": 99}, list(range(10))),
        ([7, 2], [2, 7]),
    ],
)
def test_frames(root: Path, frames: Any, numbers: list[int]) -> None:
    save(root / "a.dcm", grey_cine(10))
    store = pack(root, RECIPE, frames=frames)
    assert [int(key.split("/")[1]) for key in store.table["key"]] == numbers
    assert all(np.array_equal(store.frame(i)[0], expected(n) * store.frame(i)[2]) for i, n in enumerate(numbers))


def test_a_listed_frame_that_is_not_there(root: Path) -> None:
    save(root / "a.dcm", grey_cine(3))
    assert "a.dcm: has 3 frames, so none is number 5" in refused(root, RECIPE, frames=[0, 5])


def test_spread_is_even() -> None:
    assert Frames(count=4).of(9) == [0, 2, 4, 6]


def test_a_long_cine_is_read_in_pieces(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tte_tee.data.importers.dicom._CLIP", 3)
    save(root / "a.dcm", as_rle(grey_cine(8)))
    store = pack(root, RECIPE)
    assert all(np.array_equal(store.frame(i)[0], expected(i) * store.frame(i)[2]) for i in range(8))


def test_colour_frames_are_kept_or_dropped(root: Path) -> None:
    cine = in_colour(np.stack([screen(frame=i) for i in range(3)]))
    cine[1, TOP + 40 : TOP + 60, LEFT + 40 : LEFT + 60] = (250, 20, 20)
    save(root / "a.dcm", make(cine, "RGB"))
    assert len(pack(root, RECIPE)) == len(pack(root, RECIPE, doppler="keep")) == 3
    assert [key[-2:] for key in pack(root, RECIPE, doppler="drop").table["key"]] == ["/0", "/2"]
    (root.parent / "out/f.h5").unlink()
    assert "no frame is left" in refused(root, RECIPE, doppler="drop", frames=[1])


# Masks.


def test_masks_beside_the_files(root: Path) -> None:
    save(root / "x/a.dcm", grey_cine(4))
    whole = np.zeros((ROWS, COLUMNS), np.uint8)
    whole[TOP + 40 : TOP + 60, LEFT + 30 : LEFT + 50] = 9
    write_image(root / "x/a_01.png", whole)
    write_image(root / "x/a_03.png", whole[TOP : TOP + SIDE, LEFT : LEFT + SIDE])
    store = pack(root, MASKED)
    assert [key[-2:] for key in store.table["key"]] == ["/1", "/3"]  # the others were not labelled
    assert set(store.table["mask_source"]) == {"annotated"}
    for i in range(2):
        assert np.array_equal(np.argwhere(store.frame(i)[1] == 1)[[0, -1]], [[40, 30], [59, 49]])


@pytest.mark.parametrize(
    ("mask", "changes", "said"),
    [
        ("b_00.png", {}, "a.dcm: has no mask a_00.png"),
        ("a_07.png", {"frames": "first"}, "a.dcm: has no mask a_00.png"),
        ("a.png", {"masks": "{stem}.png"}, "a.dcm: has 4 frames and one mask"),
        ("../a_00.png", {"masks": "../{stem}_{frame:02d}.png"}, "a.dcm: has no mask"),
    ],
)
def test_masks_that_do_not_fit_their_files(root: Path, mask: str, changes: dict[str, Any], said: str) -> None:
    save(root / "a.dcm", grey_cine(4))
    write_image(root / mask, np.full((ROWS, COLUMNS), 9, np.uint8))
    assert said in refused(root, MASKED, **changes)


def test_a_mask_without_a_frame(root: Path) -> None:
    save(root / "a.dcm", grey_cine(4))
    for name in ("a_00", "a_04"):
        write_image(root / f"{name}.png", np.full((ROWS, COLUMNS), 9, np.uint8))
    assert "a_04.png: is the mask of no frame" in refused(root, MASKED)


def test_a_mask_of_another_size_or_value(root: Path) -> None:
    save(root / "a.dcm", grey_cine())
    write_image(root / "a_00.png", np.full((50, 50), 9, np.uint8))
    assert "a_00.png: is 50x50" in refused(root, MASKED)
    write_image(root / "a_00.png", np.full((ROWS, COLUMNS), 4, np.uint8))
    assert "a_00.png: holds label value 4" in refused(root, MASKED)


# Whose they are.


def test_patients_and_splits(root: Path) -> None:
    for folder, patient in (("A4C", "p1"), ("A4C", "p2"), ("A2C", "p1")):
        save(root / folder / f"{patient}.dcm", grey_cine(PatientID=patient))
    (root / "splits.csv").write_text("patient,split\np1,train\np2,test\n")
    changes = {"images": r"(?P<view>A4C|A2C)/.*\.dcm", "view": None, "views": {"A4C": "A4C", "A2C": "A2C"}}
    store = pack(root, RECIPE, split={"csv": "splits.csv"}, **changes)
    table = store.table
    assert table["patient"].nunique() == 2 and table["study"].nunique() == 1
    assert sorted(table.groupby("patient")["view"].apply(sorted).map(tuple)) == [("A2C", "A4C"), ("A4C",)]
    assert sorted(zip(table["view"], table["split"], strict=True)) == [
        ("A2C", "train"),
        ("A4C", "test"),
        ("A4C", "train"),
    ]


def test_a_patient_without_an_id(root: Path) -> None:
    save(root / "anna/1.dcm", grey_cine(PatientID=None))
    save(root / "anna/2.dcm", grey_cine(PatientID="  "))
    save(root / "bert/1.dcm", grey_cine(PatientID="anna"))
    assert "1.dcm: has no Patient ID" in refused(root, RECIPE)
    store = pack(root, RECIPE, images=r"(?P<folder>\w+)/\d\.dcm", patient="{folder}")
    assert store.table["patient"].nunique() == 1  # what the folder says of one the tag says of the other


def test_a_patient_in_two_splits(root: Path) -> None:
    for folder in ("train", "test"):
        save(root / folder / "a.dcm", grey_cine())
    split = {"group": "folder", "splits": {"train": "train", "test": "test"}}
    said = refused(root, RECIPE, images=r"(?P<folder>\w+)/a\.dcm", split=split)
    assert "train/a.dcm: is of the patient of test/a.dcm, yet in another split" in said


def test_the_same_image_twice(root: Path) -> None:
    file = grey_cine(2)
    save(root / "a.dcm", file)
    save(root / "b.dcm", file)
    assert "b.dcm: is the same image as a.dcm" in refused(root, RECIPE)


def test_salt(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    save(root / "a.dcm", grey_cine())
    salt = root.parent / "toy.salt"
    first = pack(root, RECIPE)
    (line,) = caplog.messages
    assert str(salt) in line and "secret" in line
    assert len(salt.read_bytes()) == 32 and stat.S_IMODE(salt.stat().st_mode) == 0o600
    assert pack(root, RECIPE).content_hash == first.content_hash
    assert len(caplog.messages) == 1
    salt.rename(root.parent / "other.salt")
    again = pack(root, RECIPE, salt="other.salt")
    assert again.content_hash == first.content_hash
    other = pack(root, RECIPE)
    for column in ("patient", "study", "key"):
        assert set(other.table[column]).isdisjoint(first.table[column])


def test_bad_salt(root: Path) -> None:
    save(root / "a.dcm", grey_cine())
    (root.parent / "toy.salt").write_bytes(b"short")
    assert "toy.salt: a salt has 32 bytes" in refused(root, RECIPE)
    assert "the salt cannot be read or made" in refused(root, RECIPE, salt="nowhere/toy.salt")
    with pytest.raises(UserError, match="cannot be read"):
        load_salt(root)


SECRETS = {
    "PatientName": "Zephyrine^Quattlebaum",
    "PatientID": "QX-7741-ZEPHYR",
    "PatientBirthDate": "19370211",
    "PatientSex": "F",
    "PatientAddress": "11 Wisteria Lane",
    "OtherPatientIDs": "SSN559102",
    "InstitutionName": "Oakhollow Infirmary",
    "InstitutionalDepartmentName": "Cardio Ward Nine",
    "ReferringPhysicianName": "Brannagh^Ulrich",
    "PerformingPhysicianName": "Vandermeer^Ilse",
    "OperatorsName": "Sonographer^Tess",
    "AccessionNumber": "ACC990817",
    "StudyDate": "20190704",
    "StudyID": "STU4471",
    "StudyInstanceUID": "1.2.840.99887766.1",
    "SeriesInstanceUID": "1.2.840.99887766.2",
    "DeviceSerialNumber": "SN5512Q",
    "StationName": "ECHOROOM7",
    "ImageComments": "daughter of Quattlebaum senior",
}


def identified(frames: int = 3) -> FileDataset:
    """A cine with secrets in its tags, a private tag and an overlay, and text burnt in beside region and sector."""
    cine = np.stack([screen(frame=i) for i in range(frames)])
    cine[:, 2:12, 2:150] = 255  # beside the region
    cine[:, TOP + 4 : TOP + 12, LEFT + 2 : LEFT + 24] = 254  # in it, beside the sector
    file = make(cine, tags=SECRETS)
    file.SOPInstanceUID = "1.2.840.99887766.3"
    block = file.private_block(0x0019, "OAKHOLLOW PRIVATE", create=True)
    block.add_new(1, "LO", "Zephyrine private")
    file.add_new(0x60000010, "US", ROWS)
    file.add_new(0x60000011, "US", COLUMNS)
    file.add_new(0x60000040, "CS", "G")
    file.add_new(0x60000050, "SS", [1, 1])
    file.add_new(0x60000100, "US", 1)
    file.add_new(0x60000102, "US", 0)
    file.add_new(0x60000022, "LO", "Quattlebaum overlay")
    file.add_new(0x60003000, "OW", b"\xff" * (ROWS * COLUMNS // 8))
    return file


@pytest.mark.parametrize("labelled", [False, True])
def test_no_identity_reaches_the_store(tmp_path: Path, labelled: bool) -> None:
    root = tmp_path / "Oakhollow Infirmary" / "root"
    stem = "Quattlebaum_Zephyrine/QX-7741-ZEPHYR 19370211"
    save(root / f"{stem}.dcm", identified())
    save(root / "Quattlebaum_Zephyrine/broken.dcm", identified()).write_bytes(b"Quattlebaum")
    if labelled:
        write_image(root / f"{stem}_01.png", np.full((ROWS, COLUMNS), 9, np.uint8))
    recipe, out = root.parent / "recipe.yaml", tmp_path / "out" / "f.h5"
    base = {**(MASKED if labelled else RECIPE), "images": r"(?P<who>[^/]+)/[^/]+\.dcm", "patient": "{who}"}
    recipe.write_text(yaml.safe_dump(base))
    pack_folder(recipe, root, out, skip_bad=True, workers=0)

    assert [path.name for path in out.parent.iterdir()] == ["f.h5"]  # no parts either
    content = out.read_bytes()
    words = {word for text in SECRETS.values() for word in (text, *text.replace("^", " ").split()) if len(word) > 3}
    words |= {"Quattlebaum", "Zephyrine", "broken", "99887766", "private", "overlay", ".dcm", str(tmp_path)}
    for word in words:
        for text in (word, word.lower(), word.upper()):
            for encoding in ("utf-8", "utf-16-le", "utf-16-be", "latin-1"):
                assert text.encode(encoding) not in content, word
        assert word.lower().encode() not in content.lower(), word

    store = EchoStore(out)
    assert len(store) == (1 if labelled else 3)
    for i in range(len(store)):
        image, _, sector = store.frame(i)
        assert not image[sector == 0].any()
        assert not image[4:12, 2:24].any() and image.max() < 200
        number = int(store.table["key"].iloc[i].split("/")[1])
        assert np.array_equal(image, expected(number) * sector)  # nor does the overlay show


# Bad keys, and bad files by the hundred.


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"salt": None}, "key 'salt': missing"),
        ({"frames": "some"}, "key 'frames'"),
        ({"frames": {"every": 0}}, "key 'frames'"),
        ({"frames": {"each": 2}}, "key 'frames'"),
        ({"frames": [0, 0]}, "key 'frames'"),
        ({"frames": [-1]}, "key 'frames'"),
        ({"frames": []}, "key 'frames'"),
        ({"region": [0, 0, 10]}, "key 'region': expected a list of 4"),
        ({"region": [0, 0, 10, 10]}, "key 'region'"),
        ({"region": [0, 0, 40.5, 40]}, "key 'region'"),
        ({"region": [40, 40, 0, 0]}, "key 'region'"),
        ({"region": [0, 0, float("inf"), 40]}, "key 'region'"),
        ({"doppler": "maybe"}, "key 'doppler'"),
        ({"masks": "{stem}_{frame"}, "key 'masks': not a template"),
        ({"masks": "{stem.__class__}.png"}, "key 'masks'"),
        ({"masks": "{stem!r}.png"}, "key 'masks'"),
        ({"masks": "{stem:>9}.png"}, "key 'masks'"),
        ({"masks": "{frame}.png"}, "key 'masks': needs {stem}"),
        ({"patient": "{nobody}"}, "key 'patient'"),
        ({"select": {}}, "key 'select': unknown"),
    ],
)
def test_bad_key(root: Path, changes: dict[str, Any], said: str) -> None:
    message = refused(root, RECIPE, **changes)
    assert message.startswith(str(root.parent / "recipe.yaml")) and said in message


def test_link_that_leads_outside(root: Path) -> None:
    save(root.parent / "elsewhere.dcm", grey_cine())
    (root / "a.dcm").symlink_to(root.parent / "elsewhere.dcm")
    assert "a.dcm: leads outside of" in refused(root, RECIPE)
    (root / "a.dcm").unlink()
    (root / "a.dcm").symlink_to("b.dcm")
    assert "a.dcm: cannot be" in refused(root, RECIPE)


def mutations(data: bytes, count: int, header: int) -> list[bytes]:
    """Seeded damage: cut short, bytes changed in the header, bytes changed anywhere."""
    rng = np.random.default_rng(len(data))
    found = []
    for i in range(count):
        bad = bytearray(data[: rng.integers(0, len(data))] if i % 4 == 0 else data)
        reach = min(len(bad), header if i % 4 < 3 else len(bad))
        for _ in range(0 if i % 8 == 0 or not reach else rng.integers(1, 6)):
            bad[rng.integers(0, reach)] = rng.integers(0, 256)
        found.append(bytes(bad))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["monochrome2", "rle_rgb", "jpeg_ybr", "palette"])
def test_damaged_files_are_packed_or_named(root: Path, kind: str, capfd: pytest.CaptureFixture[str]) -> None:
    stream = io.BytesIO()
    KINDS[kind](np.stack([screen(frame=i) for i in range(2)])).save_as(stream)
    save(root / "good.dcm", grey_cine(PatientID="good"))
    recipe, out = root.parent / "recipe.yaml", root.parent / "out" / "f.h5"
    recipe.write_text(yaml.safe_dump({**RECIPE, "sector": {"file": "cone.png"}}))  # estimates take longer
    write_image(root / "cone.png", wedge())
    load_salt(root.parent / "toy.salt")
    capfd.readouterr()
    bad_ones = 0
    for data in mutations(stream.getvalue(), 40, 1200):
        (root / "bad.dcm").write_bytes(data)
        summary = pack_folder(recipe, root, out, skip_bad=True, workers=0)
        assert [path.name for path in out.parent.iterdir()] == ["f.h5"]
        assert summary.frames == len(EchoStore(out)) >= 1
        out.unlink()
        if summary.problems:
            (line,) = summary.problems
            assert str(root / "bad.dcm") in line and "\n" not in line
            bad_ones += 1
            with pytest.raises(UserError) as caught:
                pack_folder(recipe, root, out, workers=0)
            assert str(caught.value) == line and not list(out.parent.iterdir())
    assert bad_ones > 5
    assert capfd.readouterr().err == ""


def test_one_line_on_the_command_line(root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    save(root / "a.dcm", grey_cine()).write_bytes(b"")
    recipe = root.parent / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(RECIPE))
    load_salt(root.parent / "toy.salt")
    capfd.readouterr()
    with pytest.raises(SystemExit):
        main(["data", "pack", str(recipe), "--root", str(root), "--out", str(root.parent / "f.h5")])
    (line,) = capfd.readouterr().err.splitlines()
    assert "a.dcm" in line
