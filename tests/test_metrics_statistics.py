"""Intervals over seeds and patients: what they say, what they refuse, and how often they hold."""

import json

import numpy as np
import pytest
from scipy import stats

from tte_tee.errors import UserError
from tte_tee.metrics.statistics import paired_differences, paired_interval, simultaneous_intervals


def draw(seed: int, seeds: int = 4, patients: int = 20, of_seed=0.3, of_patient=1.0, of_cell=0.5) -> np.ndarray:
    """Differences of mean 0 with effects of seed, patient and cell."""
    rng = np.random.default_rng(seed)
    effects = of_seed * rng.normal(size=(seeds, 1)), of_patient * rng.normal(size=(1, patients))
    return effects[0] + effects[1] + of_cell * rng.normal(size=(seeds, patients))


def test_an_interval_knows_what_it_is_of():
    values = draw(0)
    found = paired_interval(values, resamples=2000)
    assert found.estimate == pytest.approx(values.mean())
    assert found.low < found.estimate < found.high
    assert (found.n_seeds, found.n_patients, found.n_missing, found.n_without) == (4, 20, 0, 0)
    assert "seeds and shared patients" in found.method
    assert json.loads(json.dumps(found.to_json()))["level"] == 0.95


def test_one_draw_per_seed_of_the_bootstrap():
    values = draw(0)
    assert paired_interval(values, seed=3, resamples=500) == paired_interval(values, seed=3, resamples=500)
    assert paired_interval(values, seed=3, resamples=500) != paired_interval(values, seed=4, resamples=500)


def test_shifted_and_scaled_differences_shift_and_scale_the_interval():
    values = draw(1)
    one, other = paired_interval(values, resamples=1000), paired_interval(10 * values + 5, resamples=1000)
    assert (other.low, other.high) == pytest.approx((10 * one.low + 5, 10 * one.high + 5))


@pytest.mark.parametrize("together", [False, True])
def test_where_seeds_agree_the_interval_is_nearly_that_of_students_t(together):
    scores = stats.norm.ppf((np.arange(8) + 0.5) / 8) + 1  # no skew: the shape is the normal one
    values = np.tile(scores, (8, 1))
    found = simultaneous_intervals({"a": values})["a"] if together else paired_interval(values)
    t = stats.t.interval(0.95, 7, scores.mean(), stats.sem(scores))
    assert found.high - found.low == pytest.approx(t[1] - t[0], rel=0.03), "the bare percentiles are 22 % narrower"
    assert (found.low + found.high) / 2 == pytest.approx(1, abs=0.03)
    assert found.standard_error == pytest.approx(stats.sem(scores))
    assert found.freedom == 7


def test_seeds_that_disagree_widen_the_interval_beyond_what_patients_say():
    values = draw(3, of_seed=0)
    disagreeing = values + np.array([[-2.0], [-1], [1], [2]])
    calm, torn = paired_interval(values, resamples=1000), paired_interval(disagreeing, resamples=1000)
    assert torn.high - torn.low > 3 * (calm.high - calm.low)
    assert torn.freedom < 4 < calm.freedom
    assert torn.standard_error >= np.std(disagreeing.mean(axis=1), ddof=1) / 2 - 1e-9


def test_standard_error_is_that_of_crossed_random_effects():
    # Balanced: (MS of seeds + MS of patients - MS of cells) / SP, the textbook's answer.
    values = draw(4, of_seed=1.0)
    rows, columns, grand = values.mean(axis=1, keepdims=True), values.mean(axis=0, keepdims=True), values.mean()
    of_seeds, of_patients = 20 * rows.var(ddof=1), 4 * columns.var(ddof=1)
    of_cells = ((values - rows - columns + grand) ** 2).sum() / (3 * 19)
    expected = np.sqrt((of_seeds + of_patients - of_cells) / 80)
    assert paired_interval(values, resamples=500).standard_error == pytest.approx(expected)


def test_differences_that_are_all_the_same_leave_no_doubt():
    found = paired_interval(np.full((3, 10), 0.1), resamples=200)
    assert (found.low, found.high) == pytest.approx((0.1, 0.1))


def test_level_widens():
    values = draw(5)
    narrow, wide = (paired_interval(values, level=level, resamples=2000) for level in (0.8, 0.99))
    assert wide.low < narrow.low < narrow.high < wide.high


def test_a_patient_without_a_value_is_left_out_and_counted_and_a_missing_cell_weighs_nothing():
    values = draw(6)
    without = np.insert(values, 3, np.nan, axis=1)
    whole, holed = paired_interval(values, resamples=500), paired_interval(without, resamples=500)
    assert (holed.n_patients, holed.n_without, holed.n_missing) == (20, 1, 0)
    assert (holed.low, holed.high) == pytest.approx((whole.low, whole.high))
    values[1, 5] = np.nan
    found = paired_interval(values, resamples=500)
    assert (found.n_missing, found.n_without, found.n_patients) == (1, 0, 20)
    assert found.estimate == pytest.approx(np.nanmean(values))
    assert found.high - found.low == pytest.approx(whole.high - whole.low, rel=0.1)


def test_simultaneous_intervals_are_wider_but_no_wider_than_bonferroni():
    family = {str(k): draw(k) for k in range(6)}
    together = simultaneous_intervals(family, resamples=4000)
    for name, values in family.items():
        alone = paired_interval(values, resamples=4000)
        half = (together[name].high - together[name].low) / 2
        assert together[name].estimate == pytest.approx(alone.estimate)
        assert half > (alone.high - alone.low) / 2
        assert half < 1.1 * alone.standard_error * stats.t.ppf(1 - 0.025 / 6, alone.freedom)
    assert "max-t over 6 comparisons" in together["0"].method


def test_comparisons_that_are_one_and_the_same_cost_nothing():
    values = draw(8)
    once = simultaneous_intervals({"a": values}, resamples=1000)["a"]
    many = simultaneous_intervals(dict.fromkeys("abcdef", values), resamples=1000)
    assert all((one.low, one.high) == pytest.approx((once.low, once.high)) for one in many.values())


def test_a_comparison_without_spread_does_not_disturb_the_family():
    values = draw(9)
    found = simultaneous_intervals({"a": values, "still": np.full_like(values, 0.1)}, resamples=1000)
    alone = simultaneous_intervals({"a": values}, resamples=1000)
    assert (found["a"].low, found["a"].high) == pytest.approx((alone["a"].low, alone["a"].high))
    assert (found["still"].low, found["still"].high) == pytest.approx((0.1, 0.1))


def test_a_structure_that_some_patients_lack_keeps_its_own_count():
    values = draw(10)
    lacking = values.copy()
    lacking[:, :5] = np.nan
    found = simultaneous_intervals({"LV": values, "RV": lacking}, resamples=1000)
    assert (found["LV"].n_patients, found["RV"].n_patients, found["RV"].n_without) == (20, 15, 5)
    assert found["RV"].estimate == pytest.approx(np.nanmean(lacking))
    assert found["RV"].standard_error == pytest.approx(paired_interval(lacking, resamples=500).standard_error)


def test_differences_pair_by_patient():
    values, patients = paired_differences(
        [{"a": 0.9, "b": 0.5}, {"a": 0.8}], [{"a": 0.5, "b": 0.4}, {"a": 0.7, "b": 1}]
    )
    assert patients == ["a", "b"]
    np.testing.assert_allclose(values, [[0.4, 0.1], [0.1, np.nan]])
    with pytest.raises(UserError, match="2 seeds and baseline 1"):
        paired_differences([{}, {}], [{}])


@pytest.mark.parametrize(
    ("values", "options", "says"),
    [
        (draw(0, seeds=2), {}, "2 seeds"),
        (draw(0, patients=7), {}, "7 patients"),
        (np.full((4, 20), np.nan), {}, "0 seeds"),
        (np.full((4, 20), np.inf), {}, "infinite"),
        ([[1.0] * 9, [1.0] * 8, [1.0] * 9], {}, "as long"),
        (np.zeros(20), {}, "per seed"),
        (draw(0), {"level": 95}, "level"),
        (draw(0), {"resamples": 10}, "resamples"),
    ],
)
def test_what_says_too_little_is_refused(values, options, says):
    with pytest.raises(UserError, match=says):
        paired_interval(values, **options)


@pytest.mark.parametrize(
    ("family", "says"),
    [
        ({}, "no comparison"),
        ({"a": draw(0), "b": draw(0, patients=9)}, "differ"),
        ({"a": draw(0), "RV": np.full((4, 20), np.nan)}, "RV: 0 seeds"),
    ],
)
def test_a_family_that_cannot_be_one_is_refused(family, says):
    with pytest.raises(UserError, match=says):
        simultaneous_intervals(family)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("effects", "seeds"),
    [((0, 1, 0.5), 5), ((1, 0, 0.5), 5), ((0.3, 1, 1), 5), ((0.3, 1, 1), 3)],
)
def test_intervals_cover_what_they_say(effects, seeds):
    draws, covered = 600, 0
    for seed in range(draws):
        found = paired_interval(draw(seed, seeds, 20, *effects), resamples=600)
        covered += found.low <= 0 <= found.high
    assert 0.92 <= covered / draws <= 0.975


@pytest.mark.slow
def test_simultaneous_intervals_cover_together():
    draws, covered = 300, 0
    for seed in range(draws):
        common = draw(seed, of_seed=0.2)
        family = {str(k): 0.7 * common + draw(1000 * (seed + 1) + k, of_seed=0.2) for k in range(6)}
        covered += all(one.low <= 0 <= one.high for one in simultaneous_intervals(family, resamples=600).values())
    assert 0.92 <= covered / draws <= 0.985
