"""Jobs spread over processes: their order, their ranks, and what happens when one fails or dies."""

import os
import time
from pathlib import Path

import pytest

from tte_tee.data import workers
from tte_tee.data.workers import in_order, rank, with_bar
from tte_tee.errors import UserError


def test_a_worker_that_dies_is_one_line() -> None:
    with pytest.raises(UserError, match="worker process died"):
        list(in_order(os._exit, [(1,)] * 8, workers=2, description="", progress=False))


def test_a_job_that_fails_ends_the_others_at_once() -> None:
    started = time.monotonic()
    with pytest.raises(ValueError, match="bad"):
        list(
            in_order(
                exec,
                [("__import__('time').sleep(60)",), *[("raise ValueError('bad')",)] * 3],
                workers=2,
                description="",
                progress=False,
            )
        )
    assert time.monotonic() - started < 30


def test_results_do_not_pile_up_while_the_first_is_not_taken(tmp_path: Path) -> None:
    jobs = [(tmp_path / str(number),) for number in range(90)]
    results = in_order(Path.touch, jobs, workers=2, description="", progress=False)
    next(results)
    time.sleep(0.5)
    assert len(list(tmp_path.iterdir())) <= 16
    assert sum(1 for _ in results) == 89
    assert len(list(tmp_path.iterdir())) == 90


def test_every_process_has_a_rank_of_its_own() -> None:
    asked = "(__import__('time').sleep(0.5), __import__('tte_tee.data.workers').data.workers.rank())[1]"
    ranks = list(in_order(eval, [(asked,)] * 8, workers=2, description="", progress=False))
    assert set(ranks) == {0, 1}
    assert rank() == 0


def test_a_log_file_gets_lines_in_place_of_a_bar(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert list(with_bar("abc", "drawing", progress=True)) == ["a", "b", "c"]
    assert capsys.readouterr().err == ""  # done at once
    monkeypatch.setattr(workers, "_QUIET", 0.0)
    list(with_bar("abc", "drawing", progress=True))
    assert capsys.readouterr().err.splitlines() == [f"drawing: {done} of 3" for done in range(3)]
    list(with_bar(iter("ab"), "[drawing]", progress=True))
    assert capsys.readouterr().err.splitlines() == ["[drawing]: 0", "[drawing]: 1"]
    list(with_bar("abc", "drawing", progress=False))
    assert capsys.readouterr().err == ""
