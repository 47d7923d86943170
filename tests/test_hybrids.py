"""Hybrids of drawn and acquired frames: what is swapped is the other's, all else their own."""

import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import draw_frame

from tte_tee.anatomy import TEE
from tte_tee.synthesis.gain import brightness

sys.path.insert(0, str(Path(__file__).parents[1] / "experiments"))

from hybrids import PARTS, hybrid, share, table
from sampling import Frames, kid


@pytest.fixture
def frames() -> tuple[np.ndarray, ...]:
    """Own frames, other ones, masks and sectors, 64x64."""
    own, other = ([draw_frame(4, seed, 64) for seed in seeds] for seeds in ((0, 1), (2, 3)))
    return (
        np.stack([f[0] for f in own]),
        np.stack([f[0] for f in other]),
        *(np.stack([f[i] for f in own]) for i in (1, 2)),
    )


@pytest.mark.parametrize("part", PARTS)
def test_a_frame_with_its_own_part_is_itself(part: str, frames: tuple[np.ndarray, ...]) -> None:
    own, _, *rest = frames
    assert np.array_equal(hybrid(part, own, own, *rest), own)


@pytest.mark.parametrize("part", PARTS)
def test_a_part_changes_something_and_not_all(part: str, frames: tuple[np.ndarray, ...]) -> None:
    own, other, masks, sectors = frames
    found = hybrid(part, own, other, masks, sectors)
    assert found.dtype == np.uint8 and found.shape == own.shape
    assert (found != own).any() and (found != other).any()


def test_brightness_is_the_others(frames: tuple[np.ndarray, ...]) -> None:
    own, other, masks, sectors = frames
    found = hybrid("brightness", own, other, masks, sectors)
    for one, two, sector in zip(found, other, sectors, strict=True):
        assert brightness(one, sector) == pytest.approx(brightness(two, sector), abs=0.51)


def test_levels_are_the_others_in_ones_own_places(frames: tuple[np.ndarray, ...]) -> None:
    own, other, masks, sectors = frames
    found = hybrid("grey levels", own, other, masks, sectors)
    assert np.array_equal(np.sort(found[0], axis=None), np.sort(other[0], axis=None))
    assert np.corrcoef(found[0].ravel(), own[0].ravel())[0, 1] > 0.9


def test_regions_are_the_others_inside_and_ones_own_far_from_them(frames: tuple[np.ndarray, ...]) -> None:
    own, other, masks, sectors = frames
    found = hybrid("left heart", own, other, masks, sectors)
    right = np.isin(masks, [TEE.ids["RV"], TEE.ids["RA"]])
    left = np.isin(masks, [TEE.ids["LV"], TEE.ids["LA"]])
    inside = np.abs(found.astype(int) - other)[left].mean() < np.abs(found.astype(int) - own)[left].mean()
    assert inside and (found == own)[right].mean() > 0.5


def test_detail_is_the_others_and_shading_ones_own(frames: tuple[np.ndarray, ...]) -> None:
    own, other, masks, sectors = frames
    bright = np.clip(own.astype(int) + 40, 0, 255).astype(np.uint8)
    found = hybrid("detail below 1 pixel", bright, other, masks, sectors)
    assert abs(found.mean() - bright.mean()) < 2


def test_shares_are_of_the_whole_way() -> None:
    half = share(np.array([0.5, 0.4, 0.6]), np.ones(3))
    assert half["mean"] == 0.5 and half["low"] == pytest.approx(0.5 - 1.96 * np.std([0.4, 0.6], ddof=1))
    rows = [{"part": "nothing", "drawn": 0.2, "acquired": 0.1}, {"part": "all", "drawn": 0.1, "acquired": 0.2}]
    rows[1] |= {"gained": half, "lost": half}
    assert table(rows).splitlines()[-1] == "| all | 0.1000 | 50 [22, 78] | 0.2000 | 50 [22, 78] |"


def test_halves_take_half_of_the_patients() -> None:
    rng = np.random.default_rng(0)
    one, other = (Frames(rng.normal(size=(40, 3)) + shift, np.repeat(np.arange(10), 4)) for shift in (0, 2))
    assert kid(one, other) > 10 * abs(kid(one, one))
    assert kid(one, other, np.random.default_rng(1)) != kid(one, other)
