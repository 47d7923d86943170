"""Bland-Altman numbers against the worked example of their source, and the plot of them."""

import json

import cv2
import numpy as np
import pytest

from tte_tee.errors import UserError
from tte_tee.metrics.agreement import bland_altman
from tte_tee.report.bland_altman import draw_bland_altman, write_bland_altman


def test_bias_limits_and_intervals():
    differences = np.array([1.0, 3.0, 2.0, 6.0])
    found = bland_altman(10 + differences, np.full(4, 10.0))
    sd = np.sqrt(14 / 3)
    assert (found.n, found.bias) == (4, 3)
    assert found.sd == pytest.approx(sd)
    assert (found.lower, found.upper) == pytest.approx((3 - 1.959964 * sd, 3 + 1.959964 * sd))
    t = 3.182446  # of 3 degrees of freedom
    assert found.bias_interval == pytest.approx((3 - t * sd / 2, 3 + t * sd / 2))
    half = t * sd * np.sqrt(1 / 4 + 1.959964**2 / 6)
    assert found.upper_interval == pytest.approx((found.upper - half, found.upper + half))
    assert found.lower_interval == pytest.approx((found.lower - half, found.lower + half))
    assert found.means == pytest.approx((10.5, 11.5, 11, 13))
    assert found.differences == pytest.approx(tuple(differences))


def test_level_widens_the_intervals_and_leaves_the_limits():
    values = np.random.default_rng(0).normal(size=(2, 30))
    narrow, wide = bland_altman(*values, level=0.9), bland_altman(*values, level=0.99)
    assert wide.bias_interval[1] > narrow.bias_interval[1]
    assert wide.upper == narrow.upper


@pytest.mark.slow
def test_intervals_cover():
    rng = np.random.default_rng(0)
    covered = np.zeros(2)
    for _ in range(2000):
        one = bland_altman(rng.normal(0, 1, 20), np.zeros(20))
        covered += [
            one.bias_interval[0] <= 0 <= one.bias_interval[1],
            one.upper_interval[0] <= 1.96 <= one.upper_interval[1],
        ]
    assert (np.abs(covered / 2000 - 0.95) < 0.025).all()


def test_pairs_without_a_value_are_dropped_and_counted():
    found = bland_altman([1, 2, np.nan, 4, 5], [1, 2, 3, np.nan, 4])
    assert (found.n, found.dropped) == (3, 2)


@pytest.mark.parametrize(("found", "truth"), [([1, 2], [1, 2]), ([1, 2, 3], [1, 2]), ([1, 2, 3], [1, 2, np.nan])])
def test_too_little_to_compare_is_refused(found, truth):
    with pytest.raises(UserError, match="pairs"):
        bland_altman(found, truth)


def test_plot_shows_the_points_and_is_written(tmp_path):
    values = np.random.default_rng(0).normal(50, 10, (2, 20))
    document = json.loads(json.dumps(bland_altman(*values).to_json()))
    picture = draw_bland_altman(document, "LV volume", "mL")
    assert picture.dtype == np.uint8
    assert picture.ndim == 3
    fewer = {**document, "means": document["means"][:1], "differences": document["differences"][:1]}
    assert (draw_bland_altman(fewer, "LV volume", "mL") != picture).any()
    write_bland_altman(tmp_path / "figures" / "volume.png", document, "LV volume", "mL")
    assert (cv2.imread(str(tmp_path / "figures" / "volume.png"))[..., ::-1] == picture).all()
    assert [p.name for p in (tmp_path / "figures").iterdir()] == ["volume.png"]
