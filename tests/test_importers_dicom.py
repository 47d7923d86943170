"""DICOM ultrasound: what comes out of good files, and what is said of bad ones."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from dicoms import (
    COLUMNS,
    KINDS,
    LEFT,
    MASKED,
    RECIPE,
    REGION,
    ROWS,
    SIDE,
    TOP,
    as_jpeg,
    as_palette,
    as_rle,
    expected,
    grey_cine,
    in_colour,
    make,
    region_item,
    save,
    screen,
    wedge,
)
from folders import pack, refused, write_image
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import DeflatedExplicitVRLittleEndian

from tte_tee.data.importers.dicom_file import read_frames
from tte_tee.data.importers.dicom_keys import Frames
from tte_tee.data.sector import SectorShape


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    folder.mkdir()
    return folder


def test_a_palette_is_read_the_same_in_every_frame(root: Path) -> None:
    levels = np.stack([np.full((8, 8), level, np.uint8) for level in (1, 2)])
    levels[1, 0] = 1
    file = as_palette(make(levels))
    for colour in ("Red", "Green", "Blue"):
        table = np.array([0, 200, 65535, *[0] * 253], "<u2")
        setattr(file, f"{colour}PaletteColorLookupTableData", table.tobytes())
    dark, bright = read_frames(save(root / "a.dcm", file), [0, 1])
    assert not dark.any() and not bright[0].any() and (bright[1:] == 255).all()


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


@pytest.mark.parametrize("drawn", [True, False])
def test_a_given_sector_is_in_pixels_of_the_files(root: Path, drawn: bool) -> None:
    save(root / "a.dcm", grey_cine())
    apex, radii = [TOP, LEFT + SIDE / 2], [SIDE * 0.05, SIDE * 0.5]
    whole = SectorShape((apex[0], apex[1]), -0.5, 0.25, *radii).draw((ROWS, COLUMNS))
    write_image(root / "cone.png", whole * 255)
    edges = np.degrees([-0.5, 0.25]).tolist()
    given = {"apex": apex, "edges": edges, "radii": radii} if drawn else {"file": "cone.png"}
    image, _, sector = pack(root, RECIPE, sector=given).frame(0)
    assert np.array_equal(sector, whole[TOP : TOP + SIDE, LEFT : LEFT + SIDE])
    assert np.array_equal(image, expected() * sector)


def test_a_spacing_that_no_pixel_has_is_named(root: Path) -> None:
    save(root / "a.dcm", grey_cine(SequenceOfUltrasoundRegions=Sequence([region_item(delta=1e30)])))
    assert "a.dcm: gives (2e+31, 1e+31) mm per pixel" in refused(root, RECIPE)
    assert pack(root, RECIPE, spacing="unknown").info(0).spacing is None


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


# Bad keys, and paths that lead outside.


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
