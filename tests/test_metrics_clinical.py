"""Clinical measures on shapes whose areas, axes and volumes are known."""

import json

import numpy as np
import pytest

from tte_tee.anatomy import CAMUS, TEE
from tte_tee.errors import UserError
from tte_tee.metrics.clinical import (
    ANNULUS,
    TOWARDS_ATRIUM,
    WIDER_END,
    area_length_volume,
    disc_volume,
    largest_part,
    long_axis,
    measure,
)
from tte_tee.metrics.surfaces import Grid

LENGTH, RADIUS = 80.0, 25.0  # mm
VOLUME = 2 / 3 * np.pi * LENGTH * RADIUS**2 / 1000  # mL


def half_ellipsoid(angle: float, step: tuple[float, float], size: int, atrium: str = "touching") -> np.ndarray:
    """An LV cut flat at its base, its apex ``angle`` degrees from straight down; ids of TEE."""
    down, right = np.meshgrid(np.arange(size) * step[0], np.arange(size) * step[1], indexing="ij")
    down, right = down - size * step[0] / 2, right - size * step[1] / 2
    turn = np.deg2rad(angle)
    along = np.cos(turn) * down + np.sin(turn) * right + LENGTH / 3
    across = np.cos(turn) * right - np.sin(turn) * down
    mask = ((along >= 0) & (np.hypot(along / LENGTH, across / RADIUS) <= 1)).astype(np.uint8)
    gap = {"touching": 0.0, "apart": 8.0, "none": np.inf}[atrium]
    mask[(along < -gap) & (np.hypot((along + gap) / 40, across / RADIUS) <= 1)] = TEE.ids["LA"]
    return mask


@pytest.mark.parametrize(
    ("atrium", "base_from"), [("touching", ANNULUS), ("apart", TOWARDS_ATRIUM), ("none", WIDER_END)]
)
@pytest.mark.parametrize(("size", "step", "within"), [(224, (0.6, 0.6), 0.02), (90, (1.9, 1.4), 0.05)])
@pytest.mark.parametrize("angle", [0, 33, 90, 200])
def test_half_an_ellipsoid_has_its_length_and_volume(angle, size, step, within, atrium, base_from):
    found = measure(half_ellipsoid(angle, step, size, atrium), TEE, step)
    assert found.base_from == base_from
    assert found.length_unit == "mm"
    assert found.lv_length == pytest.approx(LENGTH, rel=within)
    assert found.lv_volume_ml == pytest.approx(VOLUME, rel=within)
    assert found.lv_volume_area_length_ml == pytest.approx(VOLUME, rel=within)
    assert found.areas["LV"] == pytest.approx(np.pi * LENGTH * RADIUS / 200, rel=within / 2)
    assert found.area_unit == "cm2"


def test_area_length_is_exact_for_half_an_ellipsoid():
    assert area_length_volume(np.pi * LENGTH * RADIUS / 2, LENGTH) == pytest.approx(1000 * VOLUME)


def test_a_cylinder_has_the_volume_of_a_cylinder():
    lv = np.zeros((80, 60), bool)
    lv[10:70, 20:40] = True
    la = np.zeros_like(lv)
    la[70:, 20:40] = True
    grid = Grid.of(lv.shape, (1.0, 1.0))
    axis = long_axis(lv, la, grid)
    assert axis.base == (69.5, 29.5)
    upright = axis.__class__(axis.base, (9.5, 29.5), ANNULUS)
    assert disc_volume(lv, upright, grid) == pytest.approx(np.pi * 10**2 * 60, rel=1e-3)


def test_the_annulus_lies_between_its_hinge_points():
    lv, la = np.zeros((40, 40), bool), np.zeros((40, 40), bool)
    lv[10:30, 10:20] = True
    la[30:36, 14:20] = True  # shares the right part of the base alone
    assert long_axis(lv, la, Grid.of(lv.shape, None)).base == (29.5, 16.5)


def test_an_atrium_across_the_frame_is_no_neighbour():
    lv, la = np.zeros((40, 40), bool), np.zeros((40, 40), bool)
    lv[20:, 10:20] = True
    la[:8, 10:20] = True
    assert long_axis(lv, la, Grid.of(lv.shape, None)).base_from == TOWARDS_ATRIUM


def test_islands_of_the_ventricle_neither_stretch_nor_fill_it():
    step = (0.6, 0.6)
    mask = half_ellipsoid(0, step, 224)
    island = mask.copy()
    island[-4:, -4:] = TEE.ids["LV"]  # farther than the apex
    island[110:116, 172:178] = TEE.ids["LV"]  # beside the discs
    whole, with_island = measure(mask, TEE, step), measure(island, TEE, step)
    assert with_island.lv_length == whole.lv_length
    assert with_island.lv_volume_ml == whole.lv_volume_ml
    assert with_island.lv_volume_area_length_ml == whole.lv_volume_area_length_ml
    assert with_island.areas["LV"] > whole.areas["LV"], "an area is that of the whole label"
    assert largest_part(island == TEE.ids["LV"]).sum() == (mask == TEE.ids["LV"]).sum()


def test_without_spacing_there_is_no_volume_and_units_say_so():
    mask = half_ellipsoid(0, (1.0, 1.0), 150)
    sector = np.zeros_like(mask)
    sector[:, :75] = 1
    in_frame, in_sector = measure(mask, TEE, None), measure(mask, TEE, None, sector=sector)
    assert in_frame.lv_volume_ml is None
    assert in_frame.lv_volume_area_length_ml is None
    assert in_frame.length_unit == "% of diagonal"
    assert in_frame.lv_length == pytest.approx(100 * LENGTH / np.hypot(150, 150), rel=0.03)
    assert (in_frame.area_unit, in_sector.area_unit) == ("% of frame", "% of sector")
    assert in_frame.areas["LV"] == pytest.approx(100 * (mask == 1).mean())
    assert in_sector.areas["LV"] == pytest.approx(2 * in_frame.areas["LV"])


def test_the_ratio_of_the_ventricles_needs_a_four_chamber_plane():
    mask = np.zeros((30, 30), np.uint8)
    mask[:10], mask[20:25] = TEE.ids["LV"], TEE.ids["RV"]
    assert measure(mask, TEE, None, view="ME4C").rv_lv_ratio == pytest.approx(0.5)
    assert measure(mask, TEE, None, view="ME2C").rv_lv_ratio is None
    assert measure(np.where(mask == 1, 0, mask), TEE, None, view="ME4C").rv_lv_ratio is None


def test_nothing_to_measure_is_none_and_json_is_plain():
    empty = measure(np.zeros((8, 8), np.uint8), CAMUS, (1.0, 1.0), view="A4C")
    assert json.loads(json.dumps(empty.to_json())) == {
        "areas": {},
        "area_unit": "cm2",
        "rv_lv_ratio": None,
        "lv_length": None,
        "length_unit": "mm",
        "base_from": None,
        "lv_volume_ml": None,
        "lv_volume_area_length_ml": None,
    }
    pixel = np.zeros((8, 8), np.uint8)
    pixel[3, 3] = 1
    assert measure(pixel, CAMUS, (1.0, 1.0)).lv_length == pytest.approx(1)


def test_an_unknown_view_is_refused():
    with pytest.raises(UserError, match="PLAX"):
        measure(np.zeros((8, 8), np.uint8), TEE, None, view="PLAX")
