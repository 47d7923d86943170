"""Ratios of medians of interleaved runs: how they are taken, and the table and JSON that they become.

Rivals are read by turns, A, B, A, B, ..., in one process run, so that what slows the machine for a while slows all
of them; a ratio then holds on a busy or a slower machine of the kind, where a time would not.
"""

import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch

Reading = Callable[[], float]
"""Does a rival's work once and says what it took."""
Pick = TypeVar("Pick")


@dataclass(frozen=True)
class Options:
    """How a part measures.

    Attributes:
        device: torch device of what can be on one.
        quick: tiny networks and two rounds: that every part runs, in seconds; the ratios mean nothing.
    """

    device: str = "cpu"
    quick: bool = False

    def pick(self, full: Pick, quick: Pick) -> Pick:
        """The first, or the second where it is to be quick."""
        return quick if self.quick else full

    @property
    def rounds(self) -> int:
        """Of rivals that take a second or so."""
        return self.pick(7, 2)

    @property
    def few(self) -> int:
        """Rounds of rivals that take many seconds, or a process each."""
        return self.pick(5, 2)


@dataclass(frozen=True)
class Row:
    """One rival against another.

    Attributes:
        what, against: the rivals.
        unit: of the readings.
        pairs: one of both rivals' readings per round, in the order in which they were taken.
        columns: what else the table says of the row.
    """

    what: str
    against: str
    unit: str
    pairs: Sequence[tuple[float, float]]
    columns: Mapping[str, str] = field(default_factory=dict)

    @property
    def medians(self) -> tuple[float, float]:
        """Of the readings of either rival."""
        ours, theirs = zip(*self.pairs, strict=True)
        return statistics.median(ours), statistics.median(theirs)

    @property
    def ratio(self) -> float:
        """Of the medians."""
        return self.medians[0] / self.medians[1]

    @property
    def quartiles(self) -> tuple[float, float]:
        """Of the rounds' own ratios."""
        low, _, high = statistics.quantiles([a / b for a, b in self.pairs], n=4, method="inclusive")
        return low, high

    def to_json(self) -> dict[str, Any]:
        """Plain data, the readings included."""
        return {
            "what": self.what,
            "against": self.against,
            "ratio": self.ratio,
            "quartiles": self.quartiles,
            "medians": self.medians,
            "unit": self.unit,
            "columns": dict(self.columns),
            "pairs": self.pairs,
        }


def interleaved(readings: Mapping[str, Reading], rounds: int, *, warm_up: bool = True) -> dict[str, list[float]]:
    """What every rival took in every round.

    Args:
        readings: the rivals, in the order of their turns.
        rounds: readings of each.
        warm_up: one more round goes before, uncounted; memory needs none.
    """
    if warm_up:
        for read in readings.values():
            read()
    taken: dict[str, list[float]] = {name: [] for name in readings}
    for _ in range(rounds):
        for name, read in readings.items():
            taken[name].append(read())
    return taken


def row(taken: Mapping[str, list[float]], what: str, against: str, unit: str = "s", **columns: str) -> Row:
    """One rival of :func:`interleaved` against another."""
    return Row(what, against, unit, tuple(zip(taken[what], taken[against], strict=True)), columns)


def all_against(taken: Mapping[str, list[float]], against: str, unit: str = "s") -> list[Row]:
    """Every other rival against that one."""
    return [row(taken, what, against, unit) for what in taken if what != against]


def seconds(work: Callable[[], object], device: str = "cpu", per: int = 1) -> Reading:
    """Wall time of ``work``, what it left running on the device included, over ``per`` frames or steps."""

    def read() -> float:
        synchronize(device)
        start = time.perf_counter()
        work()
        synchronize(device)
        return (time.perf_counter() - start) / per

    return read


def synchronize(device: str) -> None:
    """Waits for what a GPU still does; on a CPU nothing is left to wait for."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)


def table(rows: Iterable[Mapping[str, Any]]) -> str:
    """Rows as :meth:`Row.to_json` gives them, as a Markdown table."""
    rows = list(rows)
    extra = list(dict.fromkeys(name for of_row in rows for name in of_row["columns"]))
    head = ["what", "against", "ratio", "quartiles", "medians", "rounds", *extra]
    lines = [head, ["---"] * len(head), *(_cells(of_row, extra) for of_row in rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n"


def _cells(values: Mapping[str, Any], extra: Sequence[str]) -> list[str]:
    low, high = (number(value) for value in values["quartiles"])
    ours, theirs = (number(value) for value in values["medians"])
    measured = [f"**{number(values['ratio'])}**", f"{low} to {high}", f"{ours} against {theirs} {values['unit']}"]
    more = [values["columns"].get(name, "") for name in extra]
    return [values["what"], values["against"], *measured, str(len(values["pairs"])), *more]


def number(value: float) -> str:
    """Three digits that count, without a leading zero."""
    text = f"{value:,.0f}" if value >= 1000 else f"{value:#.3g}".rstrip(".")
    return text.removeprefix("0") if text.startswith("0.") else text
