"""What ``evaluate segmenter`` left of two segmenters, or of two arms of several seeds each, side by side."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import ascii_lowercase
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.table import Table

from tte_tee.errors import UserError
from tte_tee.files import read_json
from tte_tee.metrics.crossed import MINIMUM_PATIENTS, MINIMUM_SEEDS
from tte_tee.metrics.statistics import paired_differences, patient_intervals
from tte_tee.report.compare import Comparison, Values, compare, one_sided, scores_of
from tte_tee.report.shape import misfit_of_scores

FILE = "metrics.json"
_ARM, _BASELINE = "arm", "baseline"
Json = dict[str, Any]


@dataclass(frozen=True)
class Judged:
    """One segmenter's scores.

    Attributes:
        folder: that ``evaluate segmenter`` wrote.
        record: its ``metrics.json``.
    """

    folder: Path
    record: Json

    @property
    def structures(self) -> tuple[str, ...]:
        """Those scored, in order."""
        return tuple(self.record["summary"]["structures"])

    @property
    def seed(self) -> int | None:
        """Of its training, as far as that is recorded."""
        seed = (self.record["segmenter"].get("config") or {}).get("seed_everything")
        return seed if isinstance(seed, int) and not isinstance(seed, bool) else None

    @property
    def frames(self) -> tuple[str, frozenset[str]]:
        """What it was scored on: hash of the store, and keys."""
        return self.record["store"]["hash"], frozenset(case["key"] for case in self.record["cases"])


@dataclass(frozen=True)
class Contrast:
    """Arm and baseline by one measure.

    Attributes:
        baseline, arm: mean percent over seeds and patients that have a value; NaN where none has.
        comparison: of the two.
    """

    baseline: float
    arm: float
    comparison: Comparison

    def to_json(self) -> Json:
        """Plain data."""
        means = {"baseline": self.baseline, "arm": self.arm}
        return {k: None if np.isnan(v) else v for k, v in means.items()} | self.comparison.to_json()


def read_judged(folder: Path) -> Judged:
    """Reads what ``evaluate segmenter`` left.

    Raises:
        UserError: there is nothing, or it is no record of scores.
    """
    record = read_json(folder / FILE, "evaluation")
    if trouble := misfit_of_scores(record):
        raise UserError(f"{folder / FILE}: {trouble}; give a folder that 'evaluate segmenter' wrote (--out)")
    return Judged(folder, record)


def contrast(baseline: Sequence[Judged], arm: Sequence[Judged], *, level: float = 0.95) -> dict[str, Contrast]:
    """The arm against the baseline, patient by patient, for every measure of the report.

    From 3 seeds on the intervals are those of the report, over seeds and patients; below, they are over patients
    alone and say nothing of another training.

    Args:
        baseline: a segmenter per seed.
        arm: likewise, of the same seeds; where the records do not say of which, in the same order.
        level: of all intervals together.

    Raises:
        UserError: they were not scored on the same frames by the same rules, one is given twice, or the seeds of
            the sides differ.
    """
    _check(baseline, arm)
    baseline, arm = _by_seed(baseline, arm)
    structures = baseline[0].structures
    by_side = {
        side: [scores_of(judged.record["patients"], structures) for judged in of_side]
        for side, of_side in ((_BASELINE, baseline), (_ARM, arm))
    }
    measures = tuple(by_side[_ARM][0])
    runs = {
        side: {name: {seed: scores[name] for seed, scores in enumerate(of_side)} for name in measures}
        for side, of_side in by_side.items()
    }
    if len(arm) >= MINIMUM_SEEDS:
        found = {name: comparison for (_, name), comparison in compare(runs, _BASELINE, level=level).items()}
    else:
        found = _over_patients(runs, level)
    means = {name: _means(list(runs[_ARM][name].values()), list(runs[_BASELINE][name].values())) for name in measures}
    return {name: Contrast(means[name][1], means[name][0], found[name]) for name in measures}


def _check(baseline: Sequence[Judged], arm: Sequence[Judged]) -> None:
    first = baseline[0]
    hashes: dict[str, Path] = {}
    for judged in (*baseline, *arm):
        if judged.record["rules"] != first.record["rules"]:
            raise UserError(f"{judged.folder}: was scored by other rules than {first.folder}; evaluate both anew")
        if judged.frames != first.frames or judged.structures != first.structures:
            raise UserError(
                f"{judged.folder}: was scored on other frames than {first.folder}; "
                "evaluate both on the same store, split and cohort"
            )
        segmenter = judged.record["segmenter"]["hash"]
        if segmenter in hashes:
            raise UserError(f"{judged.folder}: is of the same segmenter as {hashes[segmenter]}; give each once")
        hashes[segmenter] = judged.folder
    if len(arm) != len(baseline):
        raise UserError(
            f"--baseline has {len(baseline)} and --arm {len(arm)}; give as many of each, seeds in the same order"
        )


def _by_seed(baseline: Sequence[Judged], arm: Sequence[Judged]) -> tuple[Sequence[Judged], Sequence[Judged]]:
    """Both sides in the order of their seeds, if all of them are recorded."""
    seeds = [[judged.seed for judged in side] for side in (baseline, arm)]
    if len(arm) < MINIMUM_SEEDS or None in (*seeds[0], *seeds[1]):
        return baseline, arm
    if sorted(map(str, seeds[0])) != sorted(map(str, seeds[1])):
        raise UserError(
            f"--baseline has seeds {', '.join(map(str, seeds[0]))} and --arm {', '.join(map(str, seeds[1]))}; a "
            "difference is of two trainings with the same seed"
        )
    return sorted(baseline, key=lambda judged: judged.seed or 0), sorted(arm, key=lambda judged: judged.seed or 0)


def _over_patients(runs: Mapping[str, Mapping[str, Mapping[int, Values]]], level: float) -> dict[str, Comparison]:
    sides = {name: [list(runs[side][name].values()) for side in (_ARM, _BASELINE)] for name in runs[_ARM]}
    differences = {name: paired_differences(*pair)[0] for name, pair in sides.items() if not one_sided(*pair)}
    intervals = patient_intervals(differences, level=level)
    found = {}
    for name, (ours, theirs) in sides.items():
        both = {patient for of_seed in zip(ours, theirs, strict=True) for patient in of_seed[0].keys() & of_seed[1]}
        few = f"{len(both)} patients have values, {MINIMUM_PATIENTS} are needed"
        reason = None if name in intervals else one_sided(ours, theirs) or few
        found[name] = Comparison(tuple(range(len(ours))), intervals.get(name), reason)
    return found


def _means(arm: Sequence[Values], baseline: Sequence[Values]) -> tuple[float, float]:
    """Of arm and baseline, each over all that it has."""
    if len(arm) >= MINIMUM_SEEDS:
        sides = [[value for of_seed in side for value in of_seed.values()] for side in (arm, baseline)]
    else:  # as the interval does
        sides = [
            [
                float(np.mean([of_seed[patient] for of_seed in side if patient in of_seed]))
                for patient in sorted(set[str]().union(*side))
            ]
            for side in (arm, baseline)
        ]
    ours, theirs = (float(np.mean(values)) if values else float("nan") for values in sides)
    return ours, theirs


def contrast_table(found: Mapping[str, Contrast], *, seeds: int, level: float) -> Table:
    """Dice of both sides by measure, with the difference and what may be said of it."""
    what = (
        "over seeds and patients"
        if seeds >= MINIMUM_SEEDS
        else "over the patients alone: another training may well give another sign; "
        f"{MINIMUM_SEEDS} seeds of both say more"
    )
    reasons = list(dict.fromkeys(row.comparison.reason for row in found.values() if row.comparison.reason))
    letters = dict(zip(reasons, ascii_lowercase, strict=False))
    notes = [
        f"n patients; intervals of {100 * level:g} % that hold all at once, {what}; a gain or loss only where one "
        "excludes zero; global and class-weighted Dice within each patient",
        *(f"({letter}) {reason}" for reason, letter in letters.items()),
    ]
    table = Table(title="Dice, in percent", caption="; ".join(notes), box=SIMPLE_HEAD)
    table.add_column("", no_wrap=True)
    for heading in ("baseline", "arm", "difference", "n"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for name, row in found.items():
        interval = row.comparison.interval
        table.add_row(
            name,
            *("-" if np.isnan(value) else f"{value:.1f}" for value in (row.baseline, row.arm)),
            f"{interval.estimate:+.1f} [{interval.low:+.1f}, {interval.high:+.1f}]" if interval else "-",
            str(interval.n_patients) if interval else "",
            _verdict(row.comparison, letters),
        )
    return table


def _verdict(comparison: Comparison, letters: Mapping[str, str]) -> str:
    if comparison.interval is None:
        return f"not estimable ({letters.get(comparison.reason or '', '-')})"
    return comparison.verdict if comparison.verdict in ("gain", "loss") else ""
