"""Distances between outlines: by hand, by property, and beside MONAI and SimpleITK."""

import math

import hypothesis.strategies as st
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
import torch
from hypothesis import given, settings
from hypothesis.extra.numpy import arrays
from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance, compute_surface_dice

from tte_tee.errors import UserError
from tte_tee.metrics.surfaces import Grid, outline, surface_scores

SHAPE = (14, 11)
regions = arrays(bool, SHAPE, elements=st.booleans()).filter(np.any)
steps = st.floats(0.2, 3.0)
spacings = st.tuples(steps, steps)


def square(top: int, left: int, size: int = 5, shape: tuple[int, int] = (20, 24)) -> np.ndarray:
    region = np.zeros(shape, bool)
    region[top : top + size, left : left + size] = True
    return region


def test_outline_is_what_touches_the_outside_and_the_edge_of_the_frame_is_outside():
    assert outline(square(5, 5)).sum() == 16
    assert outline(np.ones((4, 4), bool)).sum() == 12
    holed = square(5, 5)
    holed[7, 7] = False
    assert outline(holed)[7, 6]
    assert not outline(holed)[6, 6], "a corner is no neighbour"


def test_a_shift_costs_its_length_along_each_axis():
    grid = Grid.of((20, 24), (0.5, 2.0))
    down, right = (surface_scores(square(5, 5), other, grid) for other in (square(9, 5), square(5, 9)))
    assert down.hd == pytest.approx(4 * 0.5)
    assert right.hd == pytest.approx(4 * 2.0)


def test_hd95_is_the_larger_directed_percentile():
    truth = square(5, 5, size=6)
    found = truth | square(18, 20, size=1)  # one stray pixel of many: 21 outline pixels in all
    scores = surface_scores(found, truth, Grid.of(found.shape, None))
    distances = np.zeros(21)
    distances[0] = math.hypot(8, 10)
    assert scores.hd == pytest.approx(distances[0])
    assert scores.hd95 == pytest.approx(np.percentile(distances, 95))
    pooled = np.concatenate([distances, np.zeros(20)])
    assert scores.assd == pytest.approx(pooled.mean()), "mean of both outlines together"
    assert np.percentile(pooled, 95) != pytest.approx(np.percentile(distances, 96))
    assert surface_scores(truth, found, Grid.of(found.shape, None)) == pytest.approx(scores)


@pytest.mark.parametrize(
    ("spacing", "tolerance"),
    [(None, 1.5), ((0.5, 0.5), 2.0), ((2.0, 2.0), 3.0), ((0.5, 1.6), 2.4), ((1.6, 0.5), 2.4)],
)
def test_tolerance_is_two_millimetres_but_no_less_than_a_pixel_and_a_half(spacing, tolerance):
    assert Grid.of((8, 8), spacing).tolerance == pytest.approx(tolerance)


def test_a_distance_at_the_tolerance_is_within_it_whatever_float32_made_of_the_spacing():
    step = float(np.float32(0.4))
    grid = Grid.of((20, 24), (step, step))
    assert 5 * step > grid.tolerance
    assert surface_scores(square(5, 5, size=1), square(10, 5, size=1), grid).surface_dice == 1
    assert surface_scores(square(5, 5, size=1), square(11, 5, size=1), grid).surface_dice == 0


@pytest.mark.parametrize("spacing", [(0.0, 1.0), (1.0, float("nan")), (-1.0, 1.0), (float("inf"), 1.0)])
def test_a_spacing_that_is_none_is_refused(spacing):
    with pytest.raises(UserError, match="spacing"):
        Grid.of((8, 8), spacing)


@given(regions, regions, spacings)
@settings(max_examples=60, deadline=None)
def test_symmetry_order_and_bounds(found, truth, spacing):
    grid = Grid.of(SHAPE, spacing)
    scores = surface_scores(found, truth, grid)
    assert surface_scores(truth, found, grid) == pytest.approx(scores)
    assert scores.hd95 <= scores.hd < grid.diagonal
    assert 0 <= scores.assd <= scores.hd
    assert 0 <= scores.surface_dice <= 1
    assert (scores.hd == 0) == bool((outline(found) == outline(truth)).all())


@given(regions, regions, spacings, st.floats(0.1, 10), st.integers(0, 6), st.integers(0, 6))
@settings(max_examples=60, deadline=None)
def test_moving_both_changes_nothing_and_distances_scale_with_spacing(found, truth, spacing, scale, down, right):
    grid = Grid.of(SHAPE, spacing)
    scores = surface_scores(found, truth, grid)
    moved = [np.pad(region, ((down, 1), (right, 2))) for region in (found, truth)]
    assert surface_scores(*moved, grid) == pytest.approx(scores)
    larger = Grid((grid.step[0] * scale, grid.step[1] * scale), grid.diagonal * scale, grid.tolerance * scale, True)
    expected = scores._replace(**{name: getattr(scores, name) * scale for name in ("hd95", "hd", "assd")})
    assert surface_scores(found, truth, larger) == pytest.approx(expected)


@given(regions, regions, st.lists(st.floats(0, 12), min_size=3, max_size=3).map(sorted))
@settings(max_examples=40, deadline=None)
def test_surface_dice_rises_with_the_tolerance(found, truth, tolerances):
    shares = [surface_scores(found, truth, Grid((1.0, 1.0), 18.0, t, True)).surface_dice for t in tolerances]
    assert shares == sorted(shares)
    assert surface_scores(found, truth, Grid((1.0, 1.0), 18.0, 18.0, True)).surface_dice == 1


@given(regions, regions, spacings)
@settings(max_examples=40, deadline=None)
def test_agrees_with_monai_and_simpleitk(found, truth, spacing):
    grid = Grid.of(SHAPE, spacing)
    scores = surface_scores(found, truth, grid)
    a, b = (torch.as_tensor(region)[None, None].float() for region in (found, truth))
    asked = {"include_background": True, "spacing": spacing}
    assert scores.hd95 == pytest.approx(compute_hausdorff_distance(a, b, percentile=95, **asked).item(), rel=1e-4)
    assert scores.hd == pytest.approx(compute_hausdorff_distance(a, b, **asked).item(), rel=1e-4)
    assert scores.assd == pytest.approx(
        compute_average_surface_distance(a, b, symmetric=True, **asked).item(), rel=1e-4, abs=1e-6
    )
    # Off the tie that rounding decides: between the attainable distances.
    off_tie = Grid(grid.step, grid.diagonal, grid.tolerance + 1e-4, True)
    theirs = compute_surface_dice(a, b, [off_tie.tolerance], **asked).item()
    assert surface_scores(found, truth, off_tie).surface_dice == pytest.approx(theirs, abs=1e-6)
    distance = sitk.HausdorffDistanceImageFilter()
    images = [sitk.GetImageFromArray(outline(region).astype(np.uint8)) for region in (found, truth)]
    for image in images:
        image.SetSpacing(spacing[::-1])
    distance.Execute(*images)
    assert scores.hd == pytest.approx(distance.GetHausdorffDistance(), rel=1e-6)
