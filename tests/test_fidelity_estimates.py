"""Estimates of fidelity: spreads are those of samples, and one draw has none."""

import numpy as np
import pytest

from tte_tee.evaluation.fidelity.estimates import over_draws, over_patients
from tte_tee.evaluation.fidelity.frames import Draw, Draws

VALUES = {name: np.zeros((4, 1)) for name in ("real", "synthetic", "ceiling")}


def draws(count: int) -> Draws:
    places = np.arange(4)
    return Draws(4, 4, (Draw(places, places, places, places),) * count, {})


def test_the_deviation_over_draws_is_of_a_sample() -> None:
    numbers = iter([1.0, 2.0, 6.0] * 3)
    found = over_draws(draws(3), VALUES, ["x"], lambda *_: [next(numbers)], 0)["x"]["synthetic"]
    assert found == {"mean": 3.0, "sd": pytest.approx(np.sqrt(7)), "low": 1.0, "high": 6.0, "n": 4}


def test_one_draw_has_no_deviation() -> None:
    found = over_draws(draws(1), VALUES, ["x"], lambda *_: [2.0], 0)["x"]["floor"]
    assert found == {"mean": 2.0, "low": 2.0, "high": 2.0, "n": 4}


def test_the_deviation_over_patients_is_of_a_sample() -> None:
    found = over_patients(np.array([1.0, 3.0, 4.0]), np.array(["a", "a", "b"]))
    assert found["sd"] == pytest.approx(np.sqrt(2))
    assert (found["low"], found["high"]) == pytest.approx((1.0, 5.0))
    assert set(over_patients(np.ones(2), np.array(["a", "a"]))) == {"mean", "n"}
