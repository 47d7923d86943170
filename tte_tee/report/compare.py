"""Arms against a baseline, patient by patient, with intervals; which baseline; the primary endpoint.

The rules were written down before the numbers: ``experiments/ENDPOINTS.md``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tte_tee.metrics.statistics import (
    RESAMPLES,
    Interval,
    paired_differences,
    paired_interval,
    refusal,
    simultaneous_intervals,
)
from tte_tee.report.cells import Cell, Json, TestSet

RIGHT_HEART = "RV and RA"
_ENDPOINTS = {"camus20": ("LA",)}
"""Structures of the primary endpoint of studies that decided on others than the right heart."""

OVERALL = {"global": "global_dice", "class-weighted": "class_weighted_dice"}
CANDIDATES = ("seg_real", "seg_real_strong_aug", "seg_pretrained_tte")
"""Baselines that know the arm's real patients and no synthetic frame."""

PRIMARY = "lora_mlp-ssm-1to1"
_PRIMARY_PATIENTS, _PRIMARY_RANK = 20, 4

Values = dict[str, float]
"""Percent by patient; a patient without a value is absent."""

Runs = Mapping[str, Mapping[str, Mapping[int, Values]]]
"""Arm -> measure -> seed -> values."""


@dataclass(frozen=True)
class Comparison:
    """An arm minus the baseline.

    Attributes:
        seeds: that both have.
        interval: of the mean difference, or None.
        reason: why there is none.
    """

    seeds: tuple[int, ...]
    interval: Interval | None = None
    reason: str | None = None

    @property
    def verdict(self) -> str:
        """What may be said of it: a gain or a loss only where the interval excludes zero."""
        if self.interval is None:
            return "not estimable"
        if self.interval.low > 0:
            return "gain"
        return "loss" if self.interval.high < 0 else "no difference shown"

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        found = {"not_estimable": self.reason} if self.interval is None else self.interval.to_json()
        return {"seeds": list(self.seeds), "verdict": self.verdict, **found}


@dataclass(frozen=True)
class Choice:
    """The real-only baseline that is best on validation patients.

    Attributes:
        arm: the best of those present; None without any.
        by: on what it was chosen.
        scores: validation Dice in percent by candidate, over their common seeds.
        seeds: those.
        doubt: why the choice is not that of the endpoint, or None.
    """

    arm: str | None
    by: str
    scores: Mapping[str, float]
    seeds: tuple[int, ...]
    doubt: str | None


def endpoint(study: str) -> tuple[str, ...]:
    """Structures whose mean Dice is the primary endpoint of a study."""
    return _ENDPOINTS.get(study, ("RV", "RA"))


def measures_of(structures: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Each structure by itself, and the right heart where both its chambers are scored."""
    measures: dict[str, tuple[str, ...]] = {name: (name,) for name in structures}
    return measures | ({RIGHT_HEART: ("RV", "RA")} if {"RV", "RA"} <= set(structures) else {})


def patient_dice(patients: Json, structures: Sequence[str]) -> Values:
    """Percent by patient: mean over the structures; absent where one of them is.

    Args:
        patients: ``patients`` of ``metrics.json``.
        structures: to be averaged.
    """
    values = {}
    for patient, scores in patients.items():
        own = [scores["structures"][name]["dice"] for name in structures if name in scores["structures"]]
        if len(own) == len(structures):
            values[patient] = 100 * float(np.mean(own))
    return values


def scores_of(patients: Json, structures: Sequence[str]) -> dict[str, Values]:
    """Measure -> percent by patient: structures, the right heart, and Dice over structures.

    Args:
        patients: ``patients`` of ``metrics.json``.
        structures: that were scored.
    """
    found = {name: patient_dice(patients, group) for name, group in measures_of(structures).items()}
    for name, key in OVERALL.items():
        found[name] = {p: 100 * s[key] for p, s in patients.items() if s.get(key) is not None}
    return found


def runs_of(test_set: TestSet) -> Runs:
    """All scores of a cohort; seeds that have no value of a measure are absent."""
    measures = (*measures_of(test_set.structures), *OVERALL)
    scores = {
        arm: {seed: scores_of(cell.scored, test_set.structures) for seed, cell in seeds.items()}
        for arm, seeds in test_set.arms.items()
    }
    return {
        arm: {m: {seed: own[m] for seed, own in seeds.items() if own[m]} for m in measures}
        for arm, seeds in scores.items()
    }


def compare(
    runs: Runs, baseline: str, *, level: float = 0.95, resamples: int = RESAMPLES
) -> dict[tuple[str, str], Comparison]:
    """Every arm and measure against the baseline on the seeds that both have, intervals simultaneous over all of them.

    Args:
        runs: of one test set.
        baseline: one of its arms.
        level: of all intervals together.
        resamples: of the bootstrap.

    Returns:
        (arm, measure) -> comparison; the baseline itself is absent.
    """
    patients = sorted(
        {p for arm in runs.values() for seeds in arm.values() for values in seeds.values() for p in values}
    )
    seeds = sorted({seed for by_seed in runs[baseline].values() for seed in by_seed})
    found: dict[tuple[str, str], Comparison] = {}
    family: dict[str, tuple[tuple[str, str], np.ndarray]] = {}
    for arm in runs:
        for measure, by_seed in runs[arm].items() if arm != baseline else ():
            theirs = runs[baseline].get(measure, {})
            common = tuple(seed for seed in seeds if seed in by_seed and seed in theirs)
            differences = _placed(by_seed, theirs, common, seeds, patients)
            reason = one_sided([by_seed[s] for s in common], [theirs[s] for s in common]) or refusal(differences)
            found[arm, measure] = Comparison(common, reason=reason)
            if reason is None:
                family[f"{arm}: {measure}"] = (arm, measure), differences
    if family:
        wholes = {name: differences for name, (_, differences) in family.items()}
        intervals = simultaneous_intervals(wholes, level=level, resamples=resamples)
        for name, (key, _) in family.items():
            found[key] = Comparison(found[key].seeds, intervals[name])
    return found


def one_sided(arm: Sequence[Values], baseline: Sequence[Values]) -> str | None:
    """Why a difference would mislead, or None: values that one side alone has.

    A structure that a patient does not have gives no value to who finds nothing, and Dice 0 to who invents it
    (:data:`tte_tee.metrics.cases.RULES`): leaving such pairs out would reward the inventor.

    Args:
        arm: one mapping per seed.
        baseline: likewise, of the same seeds in the same order.
    """
    cells = sum(len(ours.keys() ^ theirs.keys()) for ours, theirs in zip(arm, baseline, strict=True))
    return f"{cells} scores are of one side alone, which found a structure that is not there" if cells else None


def _placed(
    ours: Mapping[int, Values],
    theirs: Mapping[int, Values],
    common: Sequence[int],
    seeds: Sequence[int],
    patients: Sequence[str],
) -> np.ndarray:
    """Differences ``[seeds, patients]`` of all seeds and patients of a family, NaN where there is none."""
    full = np.full((len(seeds), len(patients)), np.nan)
    if common:
        rows, columns = paired_differences([ours[s] for s in common], [theirs[s] for s in common])
        full[np.ix_([seeds.index(s) for s in common], [patients.index(p) for p in columns])] = rows
    return full


def choose_baseline(test_set: TestSet) -> Choice:
    """The candidate with the highest Dice on validation patients, over the seeds that all candidates have.

    Scored by the structures of the endpoint where every cell has them, otherwise by what the segmenters were chosen
    by, the mean over structures, and then it says so.
    """
    wanted = endpoint(test_set.study)
    name = " and ".join(wanted)
    present = {arm: test_set.arms[arm] for arm in CANDIDATES if arm in test_set.arms}
    missing = [arm for arm in CANDIDATES if arm not in test_set.arms]
    doubts = [f"no cells of {' and '.join(missing)}"] if missing else []
    if not present:
        return Choice(None, "", {}, (), f"no real-only baseline ({', '.join(CANDIDATES)}) among the cells")
    scores, by = _validation(present, wanted), f"{of_mean(name)} on validation patients"
    if scores is None:
        scores, by = _validation(present, ()), "mean Dice over structures on validation patients"
        doubts.append(f"the cells do not hold validation Dice of {name} by themselves")
    seeds = sorted(set.intersection(*map(set, scores.values()))) if scores else []
    if not scores or not seeds:
        only = next(iter(present)) if len(present) == 1 else None
        why = "validation Dice is not in all cells" if not scores else "the baselines have no seed in common"
        return Choice(only, "being the only one" if only else "", {}, (), "; ".join([*doubts[: bool(missing)], why]))
    means = {arm: float(np.mean([own[seed] for seed in seeds])) for arm, own in scores.items()}
    return Choice(max(means, key=lambda arm: means[arm]), by, means, tuple(seeds), "; ".join(doubts) or None)


def of_mean(measure: str) -> str:
    """``mean of RV and RA``, but ``LA``."""
    return f"mean of {measure}" if " and " in measure else measure


def _validation(
    arms: Mapping[str, Mapping[int, Cell]], structures: Sequence[str]
) -> dict[str, dict[int, float]] | None:
    """Validation Dice in percent by arm and seed, of all structures unless some are named; None if a cell lacks it."""
    found: dict[str, dict[int, float]] = {}
    for arm, seeds in arms.items():
        for seed, cell in seeds.items():
            own = cell.part("validation")
            by_structure = own.get("structures") or {}
            values = [by_structure.get(name) for name in structures] or [own.get("dice")]
            numbers = [value for value in values if isinstance(value, int | float)]
            if len(numbers) < len(values):
                return None
            found.setdefault(arm, {})[seed] = 100 * float(np.mean(numbers))
    return found


@dataclass(frozen=True)
class Headline:
    """The primary endpoint in one cohort.

    Attributes:
        arm, baseline: that are compared, or None.
        comparison: with its paired interval, of this difference alone.
        caveats: in what the numbers depart from the endpoint as written down.
    """

    arm: str | None
    baseline: str | None
    comparison: Comparison
    caveats: tuple[str, ...]


def headline(test_set: TestSet, choice: Choice, runs: Runs, *, resamples: int = RESAMPLES) -> Headline:
    """The primary endpoint, as far as the cells allow it."""
    measure = " and ".join(endpoint(test_set.study))
    if measure not in measures_of(test_set.structures):
        both = "both " if " and " in measure else ""
        return Headline(None, None, Comparison((), reason=f"{measure} are not {both}scored here"), ())
    caveats = (
        [f"development: patients of '{test_set.tested_on}' served to choose options"] if test_set.development else []
    )
    caveats += [f"choice of the baseline: {choice.doubt}"] if choice.doubt and choice.arm else []
    arm, reason = _primary_arm(test_set)
    missing = [name for name in CANDIDATES if name not in test_set.arms]
    if reason is None and (choice.arm is None or missing):
        reason = choice.doubt or f"no cells of {' and '.join(missing)}"
    if reason or arm is None or choice.arm is None:
        return Headline(arm, choice.arm, Comparison((), reason=reason), tuple(caveats))
    ours, theirs = runs[arm][measure], runs[choice.arm][measure]
    common = tuple(sorted(set(ours) & set(theirs)))
    if uncommon := sorted(set(ours) ^ set(theirs)):
        caveats.append(f"seeds {', '.join(map(str, uncommon))} are of one side alone and left out")
    pairs = [ours[s] for s in common], [theirs[s] for s in common]
    if lopsided := one_sided(*pairs):
        return Headline(arm, choice.arm, Comparison(common, reason=lopsided), tuple(caveats))
    differences, _ = paired_differences(*pairs)
    reason = refusal(differences)
    interval = None if reason else paired_interval(differences, resamples=resamples)
    return Headline(arm, choice.arm, Comparison(common, interval, reason), tuple(caveats))


def _primary_arm(test_set: TestSet) -> tuple[str | None, str | None]:
    """The arm that the endpoint means, known by its settings, or why there is none."""
    found = [arm for arm in test_set.arms if _is_primary(test_set.first(arm))]
    if len(found) == 1 or PRIMARY in found:
        return (PRIMARY if PRIMARY in found else found[0]), None
    asked = f"lora_mlp of rank {_PRIMARY_RANK}, masks of the shape model, 1:1, {_PRIMARY_PATIENTS} patients"
    if found:
        return None, f"arms {', '.join(found)} are all {asked}; the endpoint's is called {PRIMARY}"
    return None, f"no arm is {asked}"


def _is_primary(cell: Cell) -> bool:
    adapter, synthesis = cell.part("adapter"), cell.part("synthesis")
    return (
        (adapter.get("config"), adapter.get("method"), adapter.get("rank")) == ("lora_mlp", "lora", _PRIMARY_RANK)
        and (synthesis.get("masks"), cell.ratio) == ("ssm", 1.0)
        and not cell.before
        and cell.record.get("patients") == _PRIMARY_PATIENTS
    )
