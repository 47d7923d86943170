"""What the cells of one cohort say together: means, differences, sweeps, and what goes with a better segmenter."""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from tte_tee.errors import UserError
from tte_tee.metrics.correlation import Correlation, rank_correlation
from tte_tee.metrics.statistics import RESAMPLES
from tte_tee.report import paper
from tte_tee.report.cells import Cell, TestSet
from tte_tee.report.compare import (
    OVERALL,
    Choice,
    Comparison,
    Headline,
    Runs,
    choose_baseline,
    compare,
    endpoint,
    headline,
    measures_of,
    runs_of,
)

SWEEPS = {
    "rank": "rank of the LoRA update",
    "ratio": "synthetic frames to a real one",
    "patients": "real patients the arm may know",
}


@dataclass(frozen=True)
class Mean:
    """Dice of an arm in percent.

    Attributes:
        mean: over seeds of the mean over patients.
        deviation: standard deviation over seeds; None for one.
        by_seed: the means over patients.
    """

    mean: float
    deviation: float | None
    by_seed: Mapping[int, float]

    def over(self, seeds: Sequence[int]) -> float:
        """Mean over those seeds alone, for what is compared with another arm."""
        return float(np.mean([self.by_seed[seed] for seed in seeds]))


@dataclass(frozen=True)
class Relation:
    """Whether a number of an arm orders arms as their Dice does.

    Attributes:
        kind: ``fidelity``, ``mask fidelity`` or ``parameters``.
        measure: what x is.
        better: ``lower`` or ``higher``: where x says that frames are better.
        points: arm -> x and Dice, each a mean over ``seeds``.
        seeds: that all of these arms have.
        found: correlation of better x with higher Dice, or why there is none.
    """

    kind: str
    measure: str
    better: str
    points: Mapping[str, tuple[float, float]]
    seeds: tuple[int, ...]
    found: Correlation | str

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        found = {"not_estimable": self.found} if isinstance(self.found, str) else self.found.to_json()
        points = {arm: list(point) for arm, point in self.points.items()}
        return {
            "kind": self.kind,
            "measure": self.measure,
            "better": self.better,
            "seeds": list(self.seeds),
            "points": points,
            **found,
        }


@dataclass(frozen=True)
class Analysis:
    """Everything computed from one cohort, each thing once.

    Attributes:
        test_set: the cells.
        resamples: of each bootstrap.
    """

    test_set: TestSet
    resamples: int = RESAMPLES

    @cached_property
    def measures(self) -> tuple[str, ...]:
        """Structures, the right heart, and over structures."""
        return (*measures_of(self.test_set.structures), *OVERALL)

    @property
    def target(self) -> str:
        """The measure that usefulness is judged by."""
        wanted = " and ".join(endpoint(self.test_set.study))
        return wanted if wanted in self.measures else "global"

    @cached_property
    def runs(self) -> Runs:
        """Percent by arm, measure, seed and patient."""
        return runs_of(self.test_set)

    @cached_property
    def choice(self) -> Choice:
        """The baseline."""
        return choose_baseline(self.test_set)

    @cached_property
    def headline(self) -> Headline:
        """The primary endpoint."""
        return headline(self.test_set, self.choice, self.runs, resamples=self.resamples)

    @cached_property
    def comparisons(self) -> Mapping[tuple[str, str], Comparison]:
        """Of all other arms with the baseline; empty without one."""
        return compare(self.runs, self.choice.arm, resamples=self.resamples) if self.choice.arm else {}

    @cached_property
    def means(self) -> Mapping[tuple[str, str], Mean]:
        """(arm, measure) -> Dice; absent where no patient has a value."""
        found = {}
        for arm, measures in self.runs.items():
            for measure, seeds in measures.items():
                if by_seed := {seed: float(np.mean(list(values.values()))) for seed, values in seeds.items()}:
                    values = list(by_seed.values())
                    spread = float(np.std(values, ddof=1)) if len(values) > 1 else None
                    found[arm, measure] = Mean(float(np.mean(values)), spread, by_seed)
        return found

    def beside(self, row: paper.PaperRow) -> list[str]:
        """Our arms that stand beside a row of the paper: they know as many patients as the baseline does."""
        known = self.test_set.first(self.choice.arm).record.get("patients") if self.choice.arm else None
        cells = {arm: self.test_set.first(arm) for arm in self.test_set.arms}
        return [a for a, c in cells.items() if row.matches(c) and known in (None, c.record.get("patients"))]

    @cached_property
    def paper_changes(self) -> Mapping[tuple[str, str], Comparison]:
        """Those arms against what the paper compares with, real frames alone; empty where there is no such arm."""
        if paper.REAL_ONLY not in self.test_set.arms:
            return {}
        arms = dict.fromkeys([paper.REAL_ONLY, *(arm for row in paper.ROWS for arm in self.beside(row))])
        runs = {arm: {measure: self.runs[arm][measure] for measure in paper.STRUCTURES} for arm in arms}
        return compare(runs, paper.REAL_ONLY, resamples=self.resamples)

    def sweep(self, key: str) -> dict[str, dict[float, str]]:
        """Arms that differ in one setting alone, two or more values of it.

        Args:
            key: of :data:`SWEEPS`.

        Returns:
            name of the series, the settings its arms share -> value -> arm.
        """
        series: dict[tuple[Any, ...], dict[float, str]] = defaultdict(dict)
        for arm in self.test_set.arms:
            cell = self.test_set.first(arm)
            if (value := _SETTING[key](cell)) is not None:
                series[_otherwise(cell, key)].setdefault(float(value), arm)
        found = [dict(sorted(arms.items())) for arms in series.values() if len(arms) > 1]
        return {_series_name(self.test_set.first(next(iter(arms.values()))), key): arms for arms in found}

    @cached_property
    def comparable(self) -> tuple[str, ...]:
        """Arms with synthetic frames that are mixed as most arms' are: they differ by their frames."""
        shapes = {arm: (cell.ratio, cell.record.get("patients"), cell.before) for arm, cell in self._with_frames()}
        if not shapes:
            return ()
        commonest = Counter(shapes.values()).most_common(1)[0][0]
        return tuple(arm for arm, shape in shapes.items() if shape == commonest)

    def _with_frames(self) -> list[tuple[str, Cell]]:
        return [(arm, cell) for arm in self.test_set.arms if (cell := self.test_set.first(arm)).part("synthesis")]

    @cached_property
    def features(self) -> Mapping[str, str]:
        """What groups of features are called here."""
        return _feature_names(list(self.test_set.cells))

    def _fidelity(self, cell: Cell) -> dict[tuple[str, str, str], float]:
        """(group, measure, better) -> value."""
        return {
            (self.features[row["group"]], row["measure"], row.get("better") or "lower"): float(row["synthetic"]["mean"])
            for row in fidelity_rows(cell)
            if (row.get("synthetic") or {}).get("mean") is not None
        }

    def _fidelity_at(self, key: tuple[str, str, str]) -> Callable[[Cell], float | None]:
        return lambda cell: self._fidelity(cell).get(key)

    @cached_property
    def relations(self) -> list[Relation]:
        """Fidelity, mask fidelity and parameters against Dice."""
        cells = [cell for arm in self.comparable for cell in self.test_set.arms[arm].values()]
        rows = dict.fromkeys(key for cell in cells for key in self._fidelity(cell))
        found = [
            self._relation("fidelity", f"{group}: {measure}", better, self._fidelity_at((group, measure, better)))
            for group, measure, better in rows
        ]
        names = dict.fromkeys(name for cell in cells for name in mask_fidelity(cell))
        found += [self._relation("mask fidelity", name, "higher", _mask_fidelity_at(name)) for name in names]
        if any(cell.part("adapter") for cell in cells):
            found.append(self._relation("parameters", "trained parameters", "higher", _trained))
        return found

    def _relation(self, kind: str, measure: str, better: str, x_of: Callable[[Cell], float | None]) -> Relation:
        xs: dict[str, dict[int, float]] = {}
        for arm in self.comparable:
            own = {seed: x for seed, cell in self.test_set.arms[arm].items() if (x := x_of(cell)) is not None}
            if own and (arm, self.target) in self.means:
                xs[arm] = own
        seeds = sorted(set.intersection(*map(set, xs.values()))) if xs else []
        points = {}
        for arm, own in xs.items():
            dice = self.means[arm, self.target]
            if seeds and all(seed in dice.by_seed for seed in seeds):
                points[arm] = float(np.mean([own[s] for s in seeds])), dice.over(seeds)
        found: Correlation | str
        try:
            sign = 1 if better == "higher" else -1
            found = rank_correlation([sign * x for x, _ in points.values()], [y for _, y in points.values()])
        except UserError as error:
            found = "the arms have no seed in common" if xs and not seeds else str(error).replace("points", "arms")
        return Relation(kind, measure, better, points, tuple(seeds), found)


_SETTING: Mapping[str, Callable[[Cell], float | None]] = {
    "rank": lambda cell: cell.part("adapter").get("rank") if cell.part("adapter").get("method") == "lora" else None,
    "ratio": lambda cell: cell.ratio if cell.ratio is not None and math.isfinite(cell.ratio) else None,
    "patients": lambda cell: cell.record.get("patients"),
}


def _otherwise(cell: Cell, key: str) -> tuple[Any, ...]:
    """All settings but one. Arms without synthesis have none: what their name begins with tells them apart."""
    adapter = cell.part("adapter")
    kept = [adapter.get(name) for name in ("config", "method", "learnable", "steps", *(["rank"] * (key != "rank")))]
    kept += [cell.drawing]
    kept += [cell.ratio] if key != "ratio" else []
    kept += [cell.record.get("patients")] if key != "patients" else []
    return (*kept, *(adapter.get("scope") or ()), None if cell.part("synthesis") else cell.arm.partition("-")[0])


def _series_name(cell: Cell, key: str) -> str:
    adapter, synthesis = cell.part("adapter"), cell.part("synthesis")
    if not synthesis:
        return cell.arm.partition("-")[0]
    words = [str(adapter.get("config") or "no adapter"), f"{synthesis['masks']} masks"]
    words += [f"rank {adapter['rank']}"] if key != "rank" and adapter.get("method") == "lora" else []
    words += [f"1:{cell.ratio:g}"] if key != "ratio" else []
    words += [f"{cell.record['patients']} patients"] if key != "patients" and "patients" in cell.record else []
    words += ["learnable MaskR²"] if adapter.get("learnable") else []
    words += [f"guidance {synthesis['guidance']:g}"] if synthesis.get("guidance") else []
    return ", ".join(words)


def fidelity_rows(cell: Cell) -> list[Mapping[str, Any]]:
    """Of features and pairs; texture has a row per structure and statistic."""
    return [row for row in cell.part("fidelity").get("rows", ()) if row["group"] != "texture"]


def _feature_names(cells: Sequence[Cell]) -> dict[str, str]:
    """Names of groups of features by what they are called in the cells.

    Where each seed has its own extractor of a kind, which all its arms share, the arms' means over seeds compare, and
    the group is of that kind.
    """
    seeds: dict[str, dict[int, set[str]]] = defaultdict(lambda: defaultdict(set))
    for cell in cells:
        for row in fidelity_rows(cell):
            seeds[row["group"].partition(" ")[0]][cell.seed].add(row["group"])
    names = {}
    for kind, by_seed in seeds.items():
        groups = set.union(*by_seed.values())
        own = len(groups) > 1 and all(len(found) == 1 for found in by_seed.values())
        names.update({group: f"{kind} (one of each seed)" if own else group for group in groups})
    return names


def mask_fidelity(cell: Cell, side: str = "synthetic") -> dict[str, float]:
    """What a segmenter of other patients finds, Dice in percent: over all structures, and of the endpoint's.

    Args:
        cell: the arm.
        side: ``synthetic`` frames, or the ``real`` ones beside them.
    """
    structures = cell.part("mask_fidelity").get(side, {}).get("summary", {}).get("structures", {})
    dice = {name: scores["dice"] for name, scores in structures.items() if scores.get("dice") is not None}
    groups: dict[str, Sequence[str]] = {"all structures": tuple(dice)} if dice else {}
    wanted = endpoint(str(cell.record["study"]))
    if set(wanted) <= set(dice):
        groups[" and ".join(wanted)] = wanted
    return {name: 100 * float(np.mean([dice[s] for s in group])) for name, group in groups.items()}


def _mask_fidelity_at(name: str) -> Callable[[Cell], float | None]:
    return lambda cell: mask_fidelity(cell).get(name)


def _trained(cell: Cell) -> float | None:
    return cell.part("adapter").get("trained")
