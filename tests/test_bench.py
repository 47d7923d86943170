"""The bench: ratios of interleaved runs, a record of one shape, and every part on tiny networks."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "experiments/bench"))

from ratios import Row, all_against, interleaved, row, table  # noqa: E402
from run import PARTS, main, page  # noqa: E402

SLOW = ("sampling", "adapting", "loading", "scaling", "starting", "phantom", "paper")
"""Parts that start processes, which import torch anew, or compute in bfloat16, which some CPUs emulate."""


def test_arms_take_turns_and_the_first_round_only_warms_up() -> None:
    turns: list[str] = []

    def reading(name: str, values: list[float]) -> Any:
        return lambda: (turns.append(name), values.pop(0))[1]

    taken = interleaved({"a": reading("a", [99.0, 1.0, 2.0]), "b": reading("b", [99.0, 3.0, 4.0])}, rounds=2)
    assert turns == ["a", "b"] * 3
    assert taken == {"a": [1.0, 2.0], "b": [3.0, 4.0]}
    assert row(taken, "a", "b").pairs == ((1.0, 3.0), (2.0, 4.0))
    assert [(one.what, one.against) for one in all_against(taken, "b")] == [("a", "b")]


def test_a_ratio_is_of_medians_and_its_spread_of_the_pairs() -> None:
    """A machine ten times as slow in one round changes neither."""
    one = Row("a", "b", "s", [(1.0, 2.0), (1.2, 2.0), (11.0, 20.0), (1.1, 2.0), (0.9, 2.0)])
    assert one.medians == (1.1, 2.0)
    assert one.ratio == pytest.approx(0.55)
    assert one.quartiles == pytest.approx((0.5, 0.55))
    line = table([one.to_json()]).splitlines()[-1]
    assert line == "| a | b | **.550** | .500 to .550 | 1.10 against 2.00 s | 5 |"


@pytest.mark.parametrize(
    "part", [pytest.param(part, marks=pytest.mark.slow) if part in SLOW else part for part in PARTS]
)
def test_every_part_gives_ratios(part: str, tmp_path: Path) -> None:
    main(["--quick", "--only", part, "--out", str(tmp_path)])
    record = json.loads((tmp_path / "results.json").read_text())
    run = record[part]["cpu"]
    assert run["quick"] and run["commit"] and run["threads"] == 1
    for found in run["rows"]:
        again = Row(found["what"], found["against"], found["unit"], found["pairs"], found["columns"])
        assert len(found["pairs"]) == 2 and min(value for pair in found["pairs"] for value in pair) > 0
        assert found["ratio"] == pytest.approx(again.ratio)
        assert found["quartiles"] == pytest.approx(again.quartiles)
        assert found["what"] != found["against"]
    readme = (tmp_path / "README.md").read_text()
    assert "a trial, no result" in readme
    assert all(f"| {found['what']} | {found['against']} |" in readme for found in run["rows"])


def test_a_part_takes_the_place_of_itself_alone(tmp_path: Path) -> None:
    for part in ("segmenting", "peer", "segmenting"):
        main(["--quick", "--only", part, "--out", str(tmp_path)])
    record = json.loads((tmp_path / "results.json").read_text())
    assert list(record) == ["segmenting", "peer"]
    assert page(record).index("## Peer") < page(record).index("## Segmenting")
