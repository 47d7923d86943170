"""Rank correlation: its estimate is scipy's, its interval holds, and few points are refused."""

import numpy as np
import pytest
from scipy import stats

from tte_tee.errors import UserError
from tte_tee.metrics.correlation import rank_correlation


def test_the_estimate_is_spearmans_and_lies_in_its_interval():
    rng = np.random.default_rng(0)
    x = rng.normal(size=20)
    y = x + rng.normal(size=20)
    found = rank_correlation(x.tolist(), y.tolist())
    assert found.estimate == pytest.approx(stats.spearmanr(x, y).statistic)
    assert -1 < found.low < found.estimate < found.high < 1
    assert found.n == 20


def test_the_interval_covers_as_often_as_it_says():
    rng = np.random.default_rng(1)
    rho = 6 / np.pi * np.arcsin(0.6 / 2)  # Spearman's of a normal pair that correlates by .6
    hits = 0
    for _ in range(400):
        x, y = rng.multivariate_normal([0, 0], [[1, 0.6], [0.6, 1]], size=15).T
        found = rank_correlation(x.tolist(), y.tolist())
        hits += found.low <= rho <= found.high
    assert 0.91 <= hits / 400 <= 0.985


@pytest.mark.parametrize("sign", [1, -1])
def test_ranks_that_agree_wholly_leave_room_for_doubt(sign):
    found = rank_correlation(range(8), [sign * n for n in range(8)])
    near, far = (found.low, found.high) if sign > 0 else (-found.high, -found.low)
    assert found.estimate == pytest.approx(sign)
    assert 0 < near < 1
    assert far == pytest.approx(1)


@pytest.mark.parametrize(("x", "said"), [(range(7), "7 points"), ([1.0] * 9, "same value")])
def test_what_says_nothing_is_refused(x, said):
    with pytest.raises(UserError, match=said):
        rank_correlation(list(x), list(range(len(list(x)))))
