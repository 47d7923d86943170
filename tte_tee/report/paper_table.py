"""The published table beside ours."""

from collections.abc import Mapping

from tte_tee.report import paper
from tte_tee.report.analysis import Analysis, fidelity_rows
from tte_tee.report.cells import Cell
from tte_tee.report.compare import OVERALL, Comparison
from tte_tee.report.tables import NOTHING, Row, comparison_words, parameter_words
from tte_tee.tables import Table

ABOUT = (
    "The paper's rows are of other data (real TEE, its size unknown) and of another network: their level does not "
    "compare with ours, the changes only with care. A tilde marks a digit that was read with doubt. The paper's "
    f"changes are over real frames alone; ours are over the same, {paper.REAL_ONLY}, and then over the baseline that "
    "is best on validation patients, where that is another. Intervals are of 95 % and hold all at once within the arms "
    "compared with one baseline. FID is InceptionV3's distance alone; LPIPS and SSIM need frames drawn for real masks."
)
_HEADER = ("", "trained layers", "parameters", "masks", "FID", "LPIPS / SSIM", "global Dice", "class-weighted",
           "change over", *paper.STRUCTURES)  # fmt: skip


def paper_table(analysis: Analysis) -> Table:
    """The published rows, each followed by our arms of the same scope and masks, mixed 1:1."""
    rows: list[Row] = []
    for row in paper.ROWS:
        rows.append(_published(row, "real frames only"))
        for arm in analysis.beside(row):
            rows += _ours(analysis, arm)
    rows.append(_published(paper.BASELINE, "its own: absolute"))
    for own in dict.fromkeys((paper.REAL_ONLY, analysis.choice.arm)):
        if own and own in analysis.test_set.arms:
            absolute = (_percent(analysis, own, name) for name in paper.STRUCTURES)
            rows.append((*_about(analysis, own), "its own: absolute", *absolute))
    return Table("Dice in percent; LA, LV, RV, RA: change in points", _HEADER, rows)


def _published(row: paper.PaperRow, over: str) -> Row:
    return ("paper", row.layers, row.parameters, row.masks, row.fid, row.pairs, *row.overall, over, *row.changes)


def _ours(analysis: Analysis, arm: str) -> list[Row]:
    """An arm over real frames alone, and over the best baseline where that is another."""
    against = {paper.REAL_ONLY: analysis.paper_changes} if analysis.paper_changes else {}
    if analysis.choice.arm:
        against.setdefault(analysis.choice.arm, analysis.comparisons)
    rows = [
        (*_about(analysis, arm), baseline, *_changes(found, arm)) for baseline, found in against.items()
    ]  # fmt: skip
    return rows or [(*_about(analysis, arm), NOTHING, *_changes({}, arm))]


def _changes(found: Mapping[tuple[str, str], Comparison], arm: str) -> Row:
    return tuple(comparison_words(found.get((arm, name))) for name in paper.STRUCTURES)


def _about(analysis: Analysis, arm: str) -> Row:
    cell = analysis.test_set.first(arm)
    return (
        "ours",
        f"{arm}: {analysis.test_set.label(arm)}",
        parameter_words(cell),
        str(cell.part("synthesis").get("masks", NOTHING)),
        _measured(cell, "FID", 1),
        " / ".join(_measured(cell, name, 2) for name in ("LPIPS", "SSIM")).replace("- / -", NOTHING),
        *(_percent(analysis, arm, name) for name in OVERALL),
    )


def _measured(cell: Cell, measure: str, digits: int) -> str:
    """Of the lowest seed; LPIPS is named with its extractor."""
    values = [
        row["synthetic"]["mean"]
        for row in fidelity_rows(cell)
        if row["measure"].partition(" ")[0] == measure and (row.get("synthetic") or {}).get("mean") is not None
    ]
    return f"{values[0]:.{digits}f}" if values else NOTHING


def _percent(analysis: Analysis, arm: str, measure: str) -> str:
    mean = analysis.means.get((arm, measure))
    return NOTHING if mean is None else f"{mean.mean:.2f}"
