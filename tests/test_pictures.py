"""Pictures: the colours of the structures, a readable sheet, a whole file."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from tte_tee.anatomy import STRUCTURES, TEE
from tte_tee.data.pictures import captioned, colour_mask, contact_sheet, enlarge, grey, legend, overlay, write_png


def test_structures_have_their_own_colours() -> None:
    mask, sector = np.array([[0, 1, 2], [0, 3, 4]], np.uint8), np.array([[0, 1, 1], [1, 1, 1]], np.uint8)
    picture = colour_mask(mask, sector, TEE)
    assert picture.dtype == np.uint8
    for structure, label in TEE.ids.items():
        assert tuple(picture[mask == label][0]) == STRUCTURES[structure].colour
    assert tuple(picture[0, 0]) == (0, 0, 0)
    assert tuple(picture[1, 0]) not in {(0, 0, 0), *(s.colour for s in STRUCTURES.values())}
    assert len({s.colour for s in STRUCTURES.values()}) == len(STRUCTURES)


def test_sheet_holds_every_picture_at_its_place() -> None:
    pictures = [[np.full((4, 6, 3), 10 * (3 * row + column), np.uint8) for column in range(3)] for row in range(2)]
    sheet = contact_sheet(pictures, ("mask", "reference", "sample"), scale=5)
    header, width = sheet.shape[0] - 2 * (4 * 5 + 4), 6 * 5 + 4
    assert sheet.shape[1] == 3 * width - 4
    for row in range(2):
        for column in range(3):
            top, left = header + row * 24, column * width
            assert (sheet[top : top + 20, left : left + 30] == 10 * (3 * row + column)).all()
    assert (sheet[:header] < 255).any()  # titles


@pytest.mark.parametrize("folder", [".", "new/folder"])
def test_png_is_read_back_with_its_colours(tmp_path: Path, folder: str) -> None:
    picture = grey(np.arange(48, dtype=np.uint8).reshape(6, 8))
    picture[0, 0] = (200, 100, 50)
    path = tmp_path / folder / "p.png"
    write_png(path, picture)
    np.testing.assert_array_equal(cv2.imread(str(path))[..., ::-1], picture)
    assert [p.name for p in path.parent.iterdir()] == ["p.png"]


def test_overlay_is_translucent_within_a_contour() -> None:
    mask, sector = np.zeros((20, 10), np.uint8), np.ones((20, 10), np.uint8)
    mask[5:15, 2:8] = 1
    picture = overlay(np.full((20, 10), 100, np.uint8), mask, sector, TEE, 200)
    assert picture.shape == (200, 100, 3)
    colour = np.array(STRUCTURES["LV"].colour)
    assert tuple(picture[50, 50]) == tuple(colour) and tuple(picture[20, 50]) == (100, 100, 100)
    np.testing.assert_allclose(picture[100, 50], 70 + 0.3 * colour, atol=1)


@pytest.mark.parametrize("side", [5, 30, 33])
def test_labels_are_resized_without_new_ones(side: int) -> None:
    labels = np.array([[1, 4], [4, 1]], np.uint8).repeat(8, 0).repeat(6, 1)
    assert set(np.unique(enlarge(labels, side, labels=True))) == {1, 4}
    assert enlarge(labels, side).shape == (side, round(side * 12 / 16))


def test_captions_and_legends_fit() -> None:
    picture = np.zeros((10, 120, 3), np.uint8)
    shown = captioned(picture, ["a key that is much too long to stand below", ""])
    assert shown.shape[1] == 120 and (shown[:10] == 0).all() and (shown[10:, -2:] == 255).all()
    assert captioned(picture[:, :3], ["key"]).shape[1] == 3
    wide, narrow = (legend(TEE, "title", width) for width in (600, 90))
    assert (wide.shape[1], narrow.shape[1]) == (600, 90) and narrow.shape[0] > wide.shape[0]
    for strip in (wide, narrow):
        assert all((strip == STRUCTURES[name].colour).all(axis=-1).any() for name in TEE.structures)
