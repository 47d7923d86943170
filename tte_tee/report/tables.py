"""Tables of the report: Dice by arm, differences, fidelity, copies."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from tte_tee.metrics.statistics import Interval
from tte_tee.report.analysis import Analysis, fidelity_rows, mask_fidelity
from tte_tee.report.cells import Cell
from tte_tee.report.compare import CANDIDATES, Comparison
from tte_tee.report.copies import share_words
from tte_tee.tables import Table

NOTHING, NOT_ESTIMABLE = "-", "not estimable"
Row = tuple[str, ...]


def interval_words(interval: Interval) -> str:
    """``+1.2 [-0.3, +2.7]``."""
    return f"{interval.estimate:+.1f} [{interval.low:+.1f}, {interval.high:+.1f}]"


def baseline_table(analysis: Analysis) -> Table:
    """The candidates and what they score on validation patients."""
    choice = analysis.choice
    rows = [
        (arm, analysis.test_set.label(arm), f"{choice.scores[arm]:.1f}" if arm in choice.scores else NOTHING,
         "chosen" if arm == choice.arm else "")
        for arm in CANDIDATES
        if arm in analysis.test_set.arms
    ]  # fmt: skip
    seeds = f", seeds {number_words(choice.seeds)}" if choice.seeds else ""
    return Table(f"Real-only baselines: {choice.by or 'no choice'}{seeds}", ("arm", "", "%", ""), rows)


def dice_table(analysis: Analysis) -> Table:
    """Mean Dice of each arm (standard deviation over seeds)."""
    rows = []
    for arm in analysis.test_set.arms:
        cell = analysis.test_set.first(arm)
        rows.append(
            (
                arm,
                analysis.test_set.label(arm),
                *setting_words(cell),
                number_words(analysis.test_set.arms[arm]),
                *(mean_words(analysis, arm, measure) for measure in analysis.measures),
            )
        )
    header = ("arm", "", "rank", "masks", "ratio", "patients", "seeds", *analysis.measures)
    return Table("Dice in percent: mean over seeds (standard deviation over seeds)", header, rows)


def difference_table(analysis: Analysis) -> Table:
    """Each arm against the baseline, every measure, with simultaneous intervals."""
    rows = []
    for arm in analysis.test_set.arms:
        if arm != analysis.choice.arm:
            found = [analysis.comparisons.get((arm, measure)) for measure in analysis.measures]
            shared = {s for c in found if c for s in c.seeds}
            rows.append((arm, number_words(shared), *map(comparison_words, found), claims(analysis, arm)))
    return Table(
        f"Points over {analysis.choice.arm}, 95 % intervals that hold all at once, on the seeds that both have",
        ("arm", "seeds", *analysis.measures, "what may be claimed"),
        rows,
    )


def claims(analysis: Analysis, arm: str) -> str:
    """What the intervals of an arm let one say: ``gain of RV; loss of LA``."""
    found = {m: c for m in analysis.measures if (c := analysis.comparisons.get((arm, m)))}
    if all(comparison.interval is None for comparison in found.values()):
        return NOT_ESTIMABLE
    words = []
    for verdict in ("gain", "loss"):
        if measures := [measure for measure, comparison in found.items() if comparison.verdict == verdict]:
            words.append(f"{verdict} of {', '.join(measures)}")
    return "; ".join(words) or "no difference shown"


def comparison_words(comparison: Comparison | None) -> str:
    """The interval, or that there is none."""
    if comparison is None:
        return NOTHING
    return NOT_ESTIMABLE if comparison.interval is None else interval_words(comparison.interval)


def reasons(analysis: Analysis) -> list[str]:
    """Why comparisons are not estimable, each reason once, with its arms."""
    found: dict[str, dict[str, None]] = {}
    for (arm, _), comparison in analysis.comparisons.items():
        if comparison.reason:
            found.setdefault(comparison.reason, {})[arm] = None
    return [f"Not estimable for {', '.join(arms)}: {reason}." for reason, arms in found.items()]


def parameter_words(cell: Cell) -> str:
    """``91,904 (1.60 %)``."""
    adapter = cell.part("adapter")
    return f"{adapter['trained']:,.0f} ({100 * adapter['share']:.2f} %)" if adapter else NOTHING


def fidelity_tables(analysis: Analysis) -> list[Table]:
    """Fidelity of each arm's frames in each extractor's features, mean over seeds, under floor and ceiling."""
    groups = dict.fromkeys(
        analysis.features[row["group"]] for cell in analysis.test_set.cells for row in fidelity_rows(cell)
    )
    return [_fidelity_table(analysis, group) for group in groups]


def _fidelity_table(analysis: Analysis, group: str) -> Table:
    def rows_of(cell: Cell) -> list[Mapping[str, Any]]:
        return [row for row in fidelity_rows(cell) if analysis.features[row["group"]] == group]

    own = [row for cell in analysis.test_set.cells for row in rows_of(cell)]
    measures = dict.fromkeys((row["measure"], row.get("better") or "lower") for row in own)
    rows: list[Row] = [
        (f"{role} (all arms)", NOTHING, *(_role([r for r in own if r["measure"] == m], role) for m, _ in measures))
        for role in ("floor", "ceiling")
    ]
    for arm, seeds in analysis.test_set.arms.items():
        if found := {seed: measured for seed, cell in seeds.items() if (measured := rows_of(cell))}:
            every = [row for measured in found.values() for row in measured]
            means = (_role([r for r in every if r["measure"] == m], "synthetic") for m, _ in measures)
            rows.append((arm, number_words(found), *means))
    header = ("arm", "seeds", *(f"{measure} ({better} is better)" for measure, better in measures))
    return Table(f"Fidelity in {group}: mean over seeds", header, rows)


def fidelity_reasons(analysis: Analysis) -> list[str]:
    """Why measures of fidelity are not estimable, each reason once, with its measures."""
    found: dict[str, dict[str, None]] = {}
    for cell in analysis.test_set.cells:
        for row in fidelity_rows(cell):
            if reason := (row.get("synthetic") or {}).get("not_estimable"):
                found.setdefault(str(reason), {})[row["measure"]] = None
    return [f"Not estimable in some cells: {', '.join(names)}: {reason}." for reason, names in found.items()]


def mask_table(analysis: Analysis, arms: Sequence[str] | None = None) -> Table | None:
    """What a segmenter of other patients finds in each arm's frames, beside real frames.

    Args:
        analysis: of a test set.
        arms: that are asked for; default all.
    """
    found = {}
    for arm in arms or analysis.test_set.arms:
        cells = analysis.test_set.arms[arm].values()
        if any(mask_fidelity(cell) for cell in cells):
            found[arm] = [[mask_fidelity(cell, side) for cell in cells] for side in ("synthetic", "real")]
    names = list(dict.fromkeys(name for sides in found.values() for own in sides[0] for name in own))
    rows = []
    for arm, sides in found.items():
        means = [_mean([own[name] for own in side if name in own]) for name in names for side in sides]
        words = (NOTHING if mean is None else f"{mean:.1f}" for mean in means)
        rows.append(
            (arm, number_words(s for s, cell in analysis.test_set.arms[arm].items() if mask_fidelity(cell)), *words)
        )
    header = ("arm", "seeds", *(f"{name}, {frames}" for name in names for frames in ("drawn frames", "real frames")))
    return Table("Mask fidelity: Dice in percent, mean over seeds", header, rows) if rows else None


def relation_table(analysis: Analysis) -> Table:
    """Rank correlations of better frames, or more parameters, with higher Dice."""
    rows = []
    for relation in analysis.relations:
        found = relation.found
        words = (
            f"{NOT_ESTIMABLE}: {found}"
            if isinstance(found, str)
            else f"{found.estimate:+.2f} [{found.low:+.2f}, {found.high:+.2f}]"
        )
        rows.append((relation.kind, relation.measure, str(len(relation.points)), number_words(relation.seeds), words))
    title = f"Rank correlation with Dice of {analysis.target} over arms (positive: better goes with better), 95 %"
    return Table(title, ("", "measure", "arms", "seeds", "correlation"), rows)


def copy_table(analysis: Analysis) -> Table | None:
    """Copy rates of every cell, beside what coincidence alone gives."""
    rows = [row for cell in analysis.test_set.cells for row in _copy_rows(cell)]
    header = ("arm", "seed", "masks", "frames", "any", "by measure (of real or control frames of unseen patients)")
    return Table("Copies in percent [95 % interval]", header, rows) if rows else None


def _copy_rows(cell: Cell) -> Iterator[Row]:
    copies = cell.part("copies")
    thresholds: Mapping[str, Any] = copies.get("thresholds") or {}
    for masks, rates in (copies.get("rates") or {}).items():
        measures = []
        for measure, threshold in thresholds.items():
            if measure in rates:
                alarms = _share(threshold.get("false_alarms"))
                measures.append(f"{measure} {_share(rates[measure])} ({alarms})")
        own = (cell.arm, str(cell.seed), masks, str(rates.get("frames", NOTHING)))
        yield (*own, _share(rates.get("any")), "; ".join(measures) or NOTHING)


def _share(rate: Mapping[str, Any] | None) -> str:
    if not rate or "share" not in rate:
        return f"{NOT_ESTIMABLE}: {rate['not_estimable']}" if rate and "not_estimable" in rate else NOTHING
    return share_words(rate)


def setting_words(cell: Cell) -> Row:
    """Rank, masks, ratio and patients of an arm."""
    ratio = cell.ratio
    shown = NOTHING if ratio is None else "synthetic alone" if math.isinf(ratio) else f"1:{ratio:g}"
    rank = cell.part("adapter").get("rank") if cell.part("adapter").get("method") == "lora" else None
    patients = cell.record.get("patients")
    return (
        NOTHING if rank is None else str(rank),
        str(cell.part("synthesis").get("masks", NOTHING)),
        shown,
        NOTHING if patients is None else str(patients),
    )


def mean_words(analysis: Analysis, arm: str, measure: str) -> str:
    """``58.6 (2.6)``."""
    mean = analysis.means.get((arm, measure))
    if mean is None:
        return NOTHING
    return f"{mean.mean:.1f}" + (f" ({mean.deviation:.1f})" if mean.deviation is not None else "")


def _role(rows: list[Mapping[str, Any]], role: str) -> str:
    mean = _mean([row[role]["mean"] for row in rows if (row.get(role) or {}).get("mean") is not None])
    return NOT_ESTIMABLE if mean is None else f"{mean:.3g}"


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def number_words(numbers: Iterable[int]) -> str:
    """``0-2, 4``."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    words = (f"{run[0]}-{run[-1]}" if len(run) > 2 else ", ".join(map(str, run)) for run in runs)
    return ", ".join(words) or "none"
