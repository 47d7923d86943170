"""Edits of masks: what each does to areas and places, and what it leaves alone."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from editing import LA, LV, RA, RV, SHAPE, SIDE, disc, heart

from tte_tee.data.edits import MaskFrame, dilate, open_sector, rotate, set_depth, shrink, take_sector, tell_view
from tte_tee.data.sector import SectorShape


def area(frame: MaskFrame, label: int) -> int:
    return int((frame.mask == label).sum())


def centre(frame: MaskFrame, label: int) -> np.ndarray:
    return np.argwhere(frame.mask == label).mean(0) + 0.5


def others_stand(before: MaskFrame, after: MaskFrame, label: int) -> bool:
    rest = (before.mask != label) & (before.mask != 0)
    return bool((after.mask[rest] == before.mask[rest]).all())


# sizes


@pytest.mark.parametrize("percent", [10, 20, 30])
def test_dilation_is_a_share_of_the_radius(percent: float) -> None:
    frame = heart()
    grown = dilate(frame, LV, percent)
    assert area(grown, LV) / area(frame, LV) == pytest.approx((1 + percent / 100) ** 2, rel=0.04)
    np.testing.assert_allclose(centre(grown, LV), centre(frame, LV), atol=0.1)
    assert others_stand(frame, grown, LV)
    assert (grown.mask[frame.mask == LV] == LV).all()


@pytest.mark.parametrize("percent", [10, 20, 50])
def test_shrinking_frees_background(percent: float) -> None:
    frame = heart()
    small = shrink(frame, LV, percent)
    assert area(small, LV) / area(frame, LV) == pytest.approx((1 - percent / 100) ** 2, abs=0.03)
    assert others_stand(frame, small, LV)
    assert set(np.unique(small.mask[frame.mask == LV])) == {0, LV}
    np.testing.assert_allclose(centre(small, LV), centre(frame, LV), atol=0.1)


def test_a_size_means_the_same_at_every_resolution() -> None:
    frame = heart()
    half = replace(frame, mask=frame.mask[::2, ::2].copy(), sector=frame.sector[::2, ::2].copy())
    shares = [area(dilate(f, LV, 25), LV) / area(f, LV) for f in (frame, half)]
    assert shares[0] == pytest.approx(shares[1], rel=0.03)


def test_a_known_spacing_makes_the_rim_round_in_the_body() -> None:
    frame = heart()
    wide = dilate(replace(frame, spacing=(2.0, 1.0)), LV, 30)
    rows, columns = (np.ptp(np.argwhere(wide.mask == LV)[:, axis]) - 39 for axis in (0, 1))
    assert 0 < 1.7 * rows < columns


def test_neighbours_that_were_apart_stay_apart_unless_they_yield() -> None:
    frame = heart()
    grown = dilate(frame, LV, 60)
    assert area(grown, RV) == area(frame, RV) and area(grown, LA) == area(frame, LA)
    around = cv2.dilate((grown.mask == RV).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    assert not (grown.mask[around] == LV).any()
    over = dilate(frame, LV, 60, (RV,))
    assert area(over, RV) < area(frame, RV) and area(over, LA) == area(frame, LA)
    assert not (over.mask[(frame.mask == LV)] != LV).any()


def test_growth_stays_in_the_sector_and_jumps_over_nothing() -> None:
    frame = heart()
    edge = dilate(frame, RV, 90)
    assert area(edge, RV) > area(frame, RV)
    assert not (edge.mask[frame.sector == 0] != frame.mask[frame.sector == 0]).any()
    wall = frame.mask.copy()
    wall[112:114] = RA  # a leaflet right across, which the LV nearly reaches
    frame = replace(frame, mask=wall)
    assert not (dilate(frame, LV, 50).mask[114:] == LV).any()


def test_an_edge_that_the_sector_cuts_is_no_edge() -> None:
    frame = heart()
    cut = replace(frame, mask=np.where(disc(20, 64, 30), LA, 0).astype(np.uint8) * frame.sector)
    small = shrink(cut, LA, 20)
    top = np.argwhere(small.mask == LA).min(0)[0], np.argwhere(cut.mask == LA).min(0)[0]
    assert top[0] == top[1]
    assert np.argwhere(small.mask == LA).max(0)[0] < np.argwhere(cut.mask == LA).max(0)[0]


# the plane and the sector


@pytest.mark.parametrize("degrees", [-12, 9, 15])
@pytest.mark.parametrize("spacing", [None, (1.0, 1.0), (0.5, 0.8)])
def test_rotation_turns_about_the_tip(degrees: float, spacing: tuple[float, float] | None) -> None:
    frame = replace(heart(), mask=np.where(disc(90, 64, 10), LV, 0).astype(np.uint8), spacing=spacing)
    turned = rotate(frame, degrees)
    down, right = centre(turned, LV) - SHAPE.apex
    stretch = spacing[0] / spacing[1] if spacing else 1.0
    assert np.rad2deg(np.arctan2(right / stretch, down)) == pytest.approx(degrees, abs=0.4)
    assert np.hypot(down, right / stretch) == pytest.approx(90, abs=1)
    assert area(turned, LV) == pytest.approx(area(frame, LV), rel=0.03)
    np.testing.assert_array_equal(turned.sector, frame.sector)


def test_what_a_rotation_takes_out_of_the_sector_is_cut() -> None:
    frame = heart()
    turned = rotate(frame, -25)
    assert area(turned, RV) < 0.3 * area(frame, RV)
    assert not (turned.mask * (1 - turned.sector)).any()
    assert area(rotate(turned, 25), RV) <= area(turned, RV) * 1.05  # what was cut does not come back


@pytest.mark.parametrize("spacing", [None, (1.0, 1.0), (0.5, 0.8)])
def test_the_opening_is_an_angle_of_the_body(spacing: tuple[float, float] | None) -> None:
    frame = replace(heart(), spacing=spacing)
    stretch = spacing[0] / spacing[1] if spacing else 1.0
    narrow = open_sector(frame, 40)
    row = 80
    width = narrow.sector[row].sum() / stretch
    assert width == pytest.approx(2 * np.tan(np.deg2rad(20)) * (row + 0.5), abs=3)
    assert not (narrow.mask * (1 - narrow.sector)).any()
    inside = narrow.sector > 0
    np.testing.assert_array_equal(narrow.mask[inside], frame.mask[inside])
    assert (narrow.sector <= frame.sector).all()


def test_a_wider_sector_keeps_the_old_one() -> None:
    frame = heart()
    wide = open_sector(frame, 90)
    assert (wide.sector >= frame.sector).all() and wide.sector.sum() > 1.2 * frame.sector.sum()
    np.testing.assert_array_equal(wide.mask, frame.mask)


def test_a_shallower_sector_magnifies_about_the_tip() -> None:
    frame = replace(heart(), spacing=(0.8, 0.8))
    near = set_depth(frame, 80)
    np.testing.assert_allclose(centre(near, LA) - SHAPE.apex, (centre(frame, LA) - SHAPE.apex) / 0.8, atol=0.8)
    assert area(near, LA) == pytest.approx(area(frame, LA) / 0.8**2, rel=0.04)
    assert near.spacing == pytest.approx((0.64, 0.64))
    assert near.sector[100:].tolist() == frame.sector[100:].tolist()  # the far arc and the edges stay
    assert near.sector.sum() < frame.sector.sum()  # the near arc does not
    assert not (near.mask * (1 - near.sector)).any()


def test_a_deeper_sector_makes_the_heart_smaller() -> None:
    frame = replace(heart(), spacing=(0.8, 0.8))
    deep = set_depth(frame, 125)
    assert area(deep, LV) == pytest.approx(area(frame, LV) * 0.8**2, rel=0.04)
    assert deep.spacing == pytest.approx((1.0, 1.0))
    mm = [area(f, LV) * f.spacing[0] * f.spacing[1] for f in (frame, deep) if f.spacing]
    assert mm[0] == pytest.approx(mm[1], rel=0.04)  # the heart itself is as large as before
    assert (deep.sector >= frame.sector).all()


def test_another_sector_and_another_view_leave_the_heart_in_its_place() -> None:
    frame = heart()
    other = SectorShape((0.0, 64.0), -0.3, 0.3, 4.0, 100.0).draw((SIDE, SIDE))
    seen = take_sector(frame, other, 0.5)
    np.testing.assert_array_equal(seen.mask, frame.mask * other)
    assert seen.sector_confidence == 0.5
    assert tell_view(frame, "ME2C") == replace(frame, view="ME2C")
