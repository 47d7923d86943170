"""Tables of the report: Dice by arm, the published table beside ours, copies, fidelity, time."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from tte_tee.data.curate.numbers import Table
from tte_tee.metrics.statistics import Interval
from tte_tee.report import paper
from tte_tee.report.analysis import Analysis, mask_fidelity
from tte_tee.report.cells import Cell
from tte_tee.report.compare import CANDIDATES, OVERALL, Comparison
from tte_tee.report.copies import share_words

NOTHING, UNKNOWN = "-", "not estimable"
Row = tuple[str, ...]


def interval_words(interval: Interval) -> str:
    """``+1.2 [-0.3, +2.7]``."""
    return f"{interval.estimate:+.1f} [{interval.low:+.1f}, {interval.high:+.1f}]"


def baseline_table(analysis: Analysis) -> Table:
    """The candidates and what they score on validation patients."""
    choice = analysis.choice
    rows = [
        (arm, analysis.cohort.label(arm), f"{choice.scores[arm]:.1f}" if arm in choice.scores else NOTHING,
         "chosen" if arm == choice.arm else "")
        for arm in CANDIDATES
        if arm in analysis.cohort.arms
    ]  # fmt: skip
    seeds = f", seeds {_seeds(choice.seeds)}" if choice.seeds else ""
    return Table(f"Real-only baselines: {choice.by or 'no choice'}{seeds}", ("arm", "", "%", ""), rows)


def dice_table(analysis: Analysis) -> Table:
    """Mean Dice of each arm (standard deviation over seeds)."""
    rows = []
    for arm in analysis.cohort.arms:
        cell = analysis.cohort.first(arm)
        rows.append(
            (
                arm,
                analysis.cohort.label(arm),
                *setting_words(cell),
                _seeds(analysis.cohort.arms[arm]),
                *(mean_words(analysis, arm, measure) for measure in analysis.measures),
            )
        )
    header = ("arm", "", "rank", "masks", "ratio", "patients", "seeds", *analysis.measures)
    return Table("Dice in percent: mean over seeds (standard deviation over seeds)", header, rows)


def difference_table(analysis: Analysis) -> Table:
    """Each arm against the baseline, every measure, with simultaneous intervals."""
    rows = []
    for arm in analysis.cohort.arms:
        if arm != analysis.choice.arm:
            found = [analysis.comparisons.get((arm, measure)) for measure in analysis.measures]
            shared = {s for c in found if c for s in c.seeds}
            rows.append((arm, _seeds(shared), *map(comparison_words, found), claims(analysis, arm)))
    return Table(
        f"Points over {analysis.choice.arm}, 95 % intervals that hold all at once, on the seeds that both have",
        ("arm", "seeds", *analysis.measures, "what may be claimed"),
        rows,
    )


def claims(analysis: Analysis, arm: str) -> str:
    """What the intervals of an arm let one say: ``gain of RV; loss of LA``."""
    found = {m: c for m in analysis.measures if (c := analysis.comparisons.get((arm, m)))}
    if all(comparison.interval is None for comparison in found.values()):
        return UNKNOWN
    words = []
    for verdict in ("gain", "loss"):
        if measures := [measure for measure, comparison in found.items() if comparison.verdict == verdict]:
            words.append(f"{verdict} of {', '.join(measures)}")
    return "; ".join(words) or "no difference shown"


def comparison_words(comparison: Comparison | None) -> str:
    """The interval, or that there is none."""
    if comparison is None:
        return NOTHING
    return UNKNOWN if comparison.interval is None else interval_words(comparison.interval)


def reasons(analysis: Analysis) -> list[str]:
    """Why comparisons are not estimable, each reason once, with its arms."""
    found: dict[str, dict[str, None]] = {}
    for (arm, _), comparison in analysis.comparisons.items():
        if comparison.reason:
            found.setdefault(comparison.reason, {})[arm] = None
    return [f"Not estimable for {', '.join(arms)}: {reason}." for reason, arms in found.items()]


def paper_table(analysis: Analysis) -> Table:
    """The published rows, each followed by our arms of the same scope and masks, mixed 1:1.

    Ours know as many patients as the baseline does.
    """
    known = analysis.cohort.first(analysis.choice.arm).record.get("patients") if analysis.choice.arm else None
    ours = {arm: cell for arm in analysis.cohort.arms if (cell := analysis.cohort.first(arm)).part("synthesis")}
    rows: list[Row] = []
    for row in paper.ROWS:
        rows.append(_published(row))
        rows += [
            _ours(analysis, arm)
            for arm, cell in ours.items()
            if row.matches(cell) and known in (None, cell.record.get("patients"))
        ]
    rows.append(_published(paper.BASELINE))
    if arm := analysis.choice.arm:
        overall = (_percent(analysis, arm, name) for name in OVERALL)
        absolute = (_percent(analysis, arm, name) for name in paper.STRUCTURES)
        rows.append(("ours", f"{arm}: {analysis.cohort.label(arm)}", NOTHING, NOTHING, NOTHING, *overall, *absolute))
    header = ("", "trained layers", "parameters", "masks", "FID", "global Dice", "class-weighted", *paper.STRUCTURES)
    return Table(
        "Dice in percent; LA, LV, RV, RA: change against the real-only baseline (its own: absolute)", header, rows
    )


def _published(row: paper.PaperRow) -> Row:
    return ("paper", row.layers, row.parameters, row.masks, row.fid, *row.overall, *row.changes)


def _ours(analysis: Analysis, arm: str) -> Row:
    cell = analysis.cohort.first(arm)
    fid = [r["synthetic"]["mean"] for r in cell.part("fidelity").get("rows", ())
           if r.get("measure") == "FID" and "mean" in r.get("synthetic", {})]  # fmt: skip
    return (
        "ours",
        f"{arm}: {analysis.cohort.label(arm)}",
        parameter_words(cell),
        str(cell.part("synthesis").get("masks", NOTHING)),
        f"{fid[0]:.1f}" if fid else NOTHING,
        *(_percent(analysis, arm, name) for name in OVERALL),
        *(comparison_words(analysis.comparisons.get((arm, name))) for name in paper.STRUCTURES),
    )


def adapter_table(analysis: Analysis) -> Table:
    """What was trained, how large it is, and how long an arm took: means over seeds."""
    rows = []
    for arm, seeds in analysis.cohort.arms.items():
        cell = analysis.cohort.first(arm)
        adapter = cell.part("adapter")
        if adapter or cell.part("synthesis"):
            rows.append(
                (
                    arm,
                    str(adapter.get("config", NOTHING)),
                    parameter_words(cell),
                    str(adapter.get("steps", NOTHING)),
                    *(_average(seeds, part, "seconds", 0) for part in ("adapter", "synthesis")),
                    _average(seeds, "synthesis", "frames", 0),
                    _average(seeds, "adapter", "val_loss", 4),
                )
            )
    header = ("arm", "config", "parameters", "steps", "adapting, s", "drawing, s", "frames drawn", "val. loss")
    return Table("Adapters: size, and wall time where it was recorded", header, rows)


def parameter_words(cell: Cell) -> str:
    """``91,904 (1.60 %)``."""
    adapter = cell.part("adapter")
    return f"{adapter['trained']:,.0f} ({100 * adapter['share']:.2f} %)" if adapter else NOTHING


def fidelity_tables(analysis: Analysis) -> list[Table]:
    """Fidelity of each arm's frames in each extractor's features, mean over seeds, under floor and ceiling."""
    cells = list(analysis.cohort.cells)
    groups = dict.fromkeys(row["group"] for cell in cells for row in _measured(cell))
    return [_fidelity_table(analysis, cells, group) for group in groups]


def _fidelity_table(analysis: Analysis, cells: list[Cell], group: str) -> Table:
    own = [row for cell in cells for row in _measured(cell) if row["group"] == group]
    measures = dict.fromkeys((row["measure"], row.get("better", "lower")) for row in own)
    rows = [
        (f"{role} (all arms)", NOTHING, *(_role([r for r in own if r["measure"] == m], role) for m, _ in measures))
        for role in ("floor", "ceiling")
    ]
    for arm, seeds in analysis.cohort.arms.items():
        found = [row for cell in seeds.values() for row in _measured(cell) if row["group"] == group]
        if found:
            numbers = (_role([r for r in found if r["measure"] == m], "synthetic") for m, _ in measures)
            rows.append((arm, _seeds(seed for seed, cell in seeds.items() if _measured(cell)), *numbers))
    header = ("arm", "seeds", *(f"{measure} ({better} is better)" for measure, better in measures))
    return Table(f"Fidelity in {group}: floor is real against other real patients", header, rows)


def mask_table(analysis: Analysis) -> Table | None:
    """What a segmenter of other patients finds in each arm's frames, beside real frames."""
    rows = []
    for arm, seeds in analysis.cohort.arms.items():
        sides = [[mask_fidelity(cell, side) for cell in seeds.values()] for side in ("synthetic", "real")]
        for name in dict.fromkeys(name for own in sides[0] for name in own):
            values = [[own[name] for own in side if name in own] for side in sides]
            rows.append((arm, name, *(f"{sum(v) / len(v):.1f}" if v else NOTHING for v in values), str(len(values[0]))))
    header = ("arm", "Dice of", "in drawn frames", "in real frames", "seeds")
    return Table("Mask fidelity in percent, mean over seeds", header, rows) if rows else None


def relation_table(analysis: Analysis) -> Table:
    """Rank correlations of better frames, or more parameters, with higher Dice."""
    rows = []
    for relation in analysis.relations:
        found = relation.found
        words = (
            f"{UNKNOWN}: {found}"
            if isinstance(found, str)
            else f"{found.estimate:+.2f} [{found.low:+.2f}, {found.high:+.2f}]"
        )
        rows.append((relation.kind, relation.measure, str(len(relation.points)), _seeds(relation.seeds), words))
    title = f"Rank correlation with Dice of {analysis.target} over arms (positive: better goes with better), 95 %"
    return Table(title, ("", "measure", "arms", "seeds", "correlation"), rows)


def copy_table(analysis: Analysis) -> Table | None:
    """Copy rates of every cell, beside what coincidence alone gives."""
    rows = [row for cell in analysis.cohort.cells for row in _copy_rows(cell)]
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
        return f"{UNKNOWN}: {rate['not_estimable']}" if rate and "not_estimable" in rate else NOTHING
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


def _percent(analysis: Analysis, arm: str, measure: str) -> str:
    mean = analysis.means.get((arm, measure))
    return NOTHING if mean is None else f"{mean.mean:.2f}"


def _measured(cell: Cell) -> list[Mapping[str, Any]]:
    return [row for row in cell.part("fidelity").get("rows", ()) if row.get("group") != "texture"]


def _role(rows: list[Mapping[str, Any]], role: str) -> str:
    values = [row[role]["mean"] for row in rows if "mean" in row.get(role, {})]
    return f"{sum(values) / len(values):.3g}" if values else UNKNOWN


def _average(seeds: Mapping[int, Cell], part: str, name: str, digits: int) -> str:
    values = [value for cell in seeds.values() if (value := cell.part(part).get(name)) is not None]
    return f"{sum(values) / len(values):,.{digits}f}" if values else NOTHING


def _seeds(seeds: Any) -> str:
    return ", ".join(map(str, sorted(seeds))) or "none"
