"""The sector: its shape, its fit to a mask, and what is found in images."""

import cv2
import numpy as np
import pytest

from tte_tee.data.sector import SectorShape, estimate_sector, fit_sector
from tte_tee.errors import UserError

CONE = SectorShape(apex=(3.0, 64.0), left=-0.55, right=0.55, near=2.0, far=118.0)
SHAPES = {
    "cone": CONE,
    "stretched": SectorShape((3.0, 64.0), -0.5, 0.5, 3.0, 120.0, stretch=0.75),
    "curved array": SectorShape((-40.0, 64.0), -0.5, 0.5, 50.0, 160.0),
    "cut by the frame": SectorShape((4.0, 64.0), -0.75, 0.75, 2.0, 122.0),
    "askew": SectorShape((4.0, 50.0), -0.3, 0.6, 2.0, 115.0),
}


def overlap(first: np.ndarray, second: np.ndarray) -> float:
    return float((first & second).sum() / (first | second).sum())


def speckle(shape: SectorShape, seed: int = 0, size: tuple[int, int] = (128, 128)) -> np.ndarray:
    return shape.draw(size) * np.random.default_rng(seed).integers(20, 200, size).astype(np.uint8)


def test_drawing_is_exact_at_pixel_centres() -> None:
    drawn = SectorShape((0.0, 4.0), -0.8, 0.8, 0.0, 4.0).draw((8, 8))
    assert drawn.dtype == np.uint8
    assert drawn[0].tolist() == [0, 0, 0, 1, 1, 0, 0, 0]
    assert drawn[1].tolist() == [0, 0, 1, 1, 1, 1, 0, 0]
    assert drawn[3].tolist() == [0, 0, 1, 1, 1, 1, 0, 0]  # the arc cuts the corners
    assert not drawn[4:].any()


def test_outline_lies_on_the_edges() -> None:
    for places in SHAPES["stretched"].outline(20).values():
        depth = SHAPES["stretched"].depth_inside(places[:, 0], places[:, 1])
        assert np.abs(depth).max() < 1e-9


@pytest.mark.parametrize("name", SHAPES)
def test_a_drawn_sector_is_fitted(name: str) -> None:
    mask = SHAPES[name].draw((128, 128))
    assert overlap(fit_sector(mask).draw(mask.shape), mask) > 0.97


def test_a_blob_agrees_less() -> None:
    blob = cv2.circle(np.zeros((64, 64), np.uint8), (32, 32), 20, 1, -1)
    assert overlap(fit_sector(blob).draw(blob.shape), blob) < 0.93


def test_an_empty_mask_has_no_shape() -> None:
    with pytest.raises(UserError, match="empty"):
        fit_sector(np.zeros((16, 16), np.uint8))


@pytest.mark.parametrize("name", SHAPES)
def test_sector_is_found_with_confidence(name: str) -> None:
    found = estimate_sector(speckle(SHAPES[name]))
    assert found.confidence > 0.85
    assert overlap(found.mask, SHAPES[name].draw((128, 128))) > 0.95


def test_lost_edge_is_restored_with_less_confidence() -> None:
    image = speckle(CONE)
    image[:, 80:] //= 60  # shadow over the right third
    found = estimate_sector(image)
    assert overlap(found.mask, CONE.draw((128, 128))) > 0.9
    assert 0.3 < found.confidence < estimate_sector(speckle(CONE)).confidence - 0.1


def test_tip_beyond_a_dark_middle_belongs_to_the_sector() -> None:
    image = speckle(CONE)
    image[18:45] = 0
    found = estimate_sector(image)
    assert found.mask[:13].any()
    assert overlap(found.mask, CONE.draw((128, 128))) > 0.93


def test_marks_and_text_stay_outside() -> None:
    image = speckle(CONE)
    cv2.putText(image, "TIS 0.7", (2, 20), cv2.FONT_HERSHEY_PLAIN, 0.7, 255)
    assert overlap(estimate_sector(image).mask, CONE.draw((128, 128))) > 0.95


def no_sector(name: str) -> np.ndarray:
    rng = np.random.default_rng(1)
    if name == "noise":
        return rng.integers(0, 256, (96, 128)).astype(np.uint8)
    if name == "photograph":
        return cv2.GaussianBlur(rng.integers(0, 256, (96, 128)).astype(np.uint8), (0, 0), 6)
    image = np.zeros((128, 128), np.uint8)
    if name == "text":
        for row, text in enumerate(("PROBE S5-1", "HR 66 BPM", "GAIN 45")):
            cv2.putText(image, text, (6, 30 + 40 * row), cv2.FONT_HERSHEY_SIMPLEX, 0.6, 200, 2)
    if name == "box":
        image[10:110, 30:100] = 90
    return image


@pytest.mark.parametrize("name", ["noise", "photograph", "text", "box", "black"])
def test_no_sector_no_confidence(name: str) -> None:
    assert estimate_sector(no_sector(name)).confidence < 0.2


def test_black_image() -> None:
    found = estimate_sector(no_sector("black"))
    assert found.confidence == 0 and not found.mask.any()
    assert found.mask.shape == (128, 128) and found.mask.dtype == np.uint8


@pytest.mark.parametrize("size", [(8, 8), (16, 16), (1, 1), (5, 40)])
def test_tiny_frames(size: tuple[int, int]) -> None:
    found = estimate_sector(np.full(size, 90, np.uint8))
    assert found.mask.shape == size and 0 <= found.confidence <= 1
