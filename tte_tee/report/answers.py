"""What was to be checked first and next, each answered by cells or "not yet computed"."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tte_tee.data.curate.numbers import Table
from tte_tee.report.analysis import Analysis
from tte_tee.report.cells import Cell
from tte_tee.report.compare import RIGHT_HEART
from tte_tee.report.tables import (
    UNKNOWN,
    comparison_words,
    interval_words,
    mask_table,
    parameter_words,
    relation_table,
    setting_words,
)

NOT_COMPUTED, ANSWERED = "not yet computed", "answered"
_ABOUT_1E5 = 10**4.5, 10**5.5
_LEFT_HEART = ("LV", "LV_epi", "LA")
Analyses = Sequence[Analysis]


@dataclass(frozen=True)
class Answer:
    """A question and what the cells say to it.

    Attributes:
        question: in words.
        status: ``answered``, ``not estimable`` or ``not yet computed``.
        text: the answer, or what is missing.
        evidence: tables it rests on.
    """

    question: str
    status: str
    text: str
    evidence: Sequence[Table] = field(default=())


def first(analyses: Analyses) -> list[Answer]:
    """To be checked before anything else is believed."""
    return [_size(analyses), _held_out_format(analyses), _fidelity(analyses)]


def later(analyses: Analyses) -> list[Answer]:
    """What the paper left open."""
    return [_synthetic_alone(analyses), _modalities(analyses), _left_heart(analyses), _larger(analyses)]


def _size(analyses: Analyses) -> Answer:
    question = "Are adapters of about 10^5 parameters, below 1 % of the network, enough?"
    cells = {
        (a.cohort.title, arm): cell
        for a in analyses
        for arm in a.cohort.arms
        if (cell := a.cohort.first(arm)).part("adapter").get("method") == "lora"
    }
    if not cells:
        return Answer(question, NOT_COMPUTED, "No cell has a LoRA adapter.")
    small = {
        key: cell for key, cell in cells.items() if _ABOUT_1E5[0] <= cell.part("adapter")["trained"] < _ABOUT_1E5[1]
    }
    low, high = (f(c.part("adapter")["trained"] for c in cells.values()) for f in (min, max))
    below = sum(cell.part("adapter")["share"] < 0.01 for cell in cells.values())
    rows = []
    for analysis in analyses:
        for arm in analysis.cohort.arms:
            if (analysis.cohort.title, arm) in small:
                found = analysis.comparisons.get((arm, analysis.target))
                words = (parameter_words(analysis.cohort.first(arm)), comparison_words(found))
                rows.append((analysis.cohort.title, arm, *words, found.verdict if found else UNKNOWN))
    text = (
        f"{len(cells)} arms with LoRA train {low:,.0f} to {high:,.0f} parameters; {below} of them below 1 % of the "
        f"network; {len(small)} are of the order of 10^5 (30,000 to 320,000)"
    )
    counts = Counter(row[-1] for row in rows)
    text += f": {', '.join(f'{n} {verdict}' for verdict, n in counts.items())}." if counts else "."
    known = len(rows) > counts[UNKNOWN]
    table = Table("Adapters of the order of 10^5, points over the baseline", _HEADER, rows)
    return Answer(question, ANSWERED if known else UNKNOWN, text, [table] if rows else [])


_HEADER = ("cohort", "arm", "parameters", "difference", "what may be claimed")


def _held_out_format(analyses: Analyses) -> Answer:
    question = "Does MaskR² hold on a mask format that it was not made for?"
    formats: dict[tuple[str, ...], Analysis] = {}
    for analysis in analyses:
        for cell in analysis.cohort.cells:
            if cell.part("adapter") and cell.part("mask_fidelity"):
                formats.setdefault(cell.structures, analysis)
    named = "; ".join(", ".join(names) for names in formats)
    if len(formats) < 2:
        seen = f"Mask fidelity of adapters is known for one format only ({named})." if formats else ""
        return Answer(question, NOT_COMPUTED, seen or "No cell has an adapter and mask fidelity.")
    tables = [
        table
        for analysis in {a.cohort.title: a for a in formats.values()}.values()
        if (table := _titled(analysis, mask_table(analysis)))
    ]
    text = f"Formats drawn for and read back by a segmenter of other patients: {named}."
    return Answer(question, ANSWERED, text, tables)


def _fidelity(analyses: Analyses) -> Answer:
    question = "Does fidelity, before any segmenter is trained, say which frames will be useful?"
    relations = [r for a in analyses for r in a.relations if r.kind != "parameters"]
    if not relations:
        return Answer(question, NOT_COMPUTED, "No cell with synthetic frames has fidelity or mask fidelity.")
    known = [r for r in relations if not isinstance(r.found, str)]
    sure = [r for r in known if not isinstance(r.found, str) and r.found.low > 0]
    tables = [t for a in analyses if a.relations and (t := _titled(a, relation_table(a)))]
    if not known:
        return Answer(question, UNKNOWN, f"No rank correlation is estimable: {relations[0].found}.", tables)
    text = (
        f"{len(sure)} of {len(known)} estimable rank correlations exclude zero on the side of 'better frames, higher "
        f"Dice'{': ' if sure else ''}{', '.join(r.measure for r in sure)}. They are not corrected for their number, "
        "and arms that share seeds and patients are not independent."
    )
    return Answer(question, ANSWERED, text, tables)


def _synthetic_alone(analyses: Analyses) -> Answer:
    question = "Is training on synthetic frames alone enough?"
    found = _differences(analyses, lambda cell: cell.ratio is not None and math.isinf(cell.ratio))
    return _from_differences(question, found, "No cell was trained on synthetic frames alone.")


def _modalities(analyses: Analyses) -> Answer:
    question = "Does it carry over to other mask formats and modalities?"
    studies = {
        a.cohort.study: ", ".join(a.cohort.structures)
        for a in analyses
        if any(cell.part("adapter") for cell in a.cohort.cells)
    }
    if len(studies) < 2:
        only = f" but {next(iter(studies))}" if studies else ""
        return Answer(question, NOT_COMPUTED, f"No study{only} has cells with an adapter.")
    tables = [t for a in analyses if a.cohort.study in studies and (t := _titled(a, mask_table(a)))]
    rows = list(studies.items())
    text = "Studies with adapters; each is compared within itself alone."
    return Answer(question, ANSWERED, text, [Table("Studies with adapters", ("study", "structures"), rows), *tables])


def _left_heart(analyses: Analyses) -> Answer:
    question = "What do synthetic frames do for left-heart structures?"
    found = _differences(analyses, lambda cell: bool(cell.part("synthesis")), _LEFT_HEART)
    return _from_differences(question, found, "No cell has synthetic frames.")


def _larger(analyses: Analyses) -> Answer:
    question = "Do larger and shifted data change the answer?"
    parts = []
    for analysis in analyses:
        for name, arms in analysis.sweep("patients").items():
            values = [f"{n:g} patients {m.mean:.1f}" for n, arm in arms.items()
                      if (m := analysis.means.get((arm, analysis.target)))]  # fmt: skip
            parts.append(f"{analysis.cohort.title}, {name}, Dice of {analysis.target}: {', '.join(values)}.")
    tested: dict[str, list[str]] = {}
    for analysis in analyses:
        if not analysis.cohort.development:
            tested.setdefault(analysis.cohort.study, []).append(analysis.cohort.tested_on)
    several = [
        f"{study} was tested on {' and '.join(cohorts)}, see there."
        for study, cohorts in tested.items()
        if len(cohorts) > 1
    ]
    if not parts and not several:
        return Answer(question, NOT_COMPUTED, "No arm has several numbers of patients, and no study a second cohort.")
    return Answer(question, ANSWERED, " ".join([*parts, *several]))


def _differences(
    analyses: Analyses, chosen: Callable[[Cell], bool], structures: Sequence[str] | None = None
) -> list[tuple[Analysis, list[str], list[str]]]:
    """Cohorts with arms that are chosen, and the measures to be shown."""
    found = []
    for analysis in analyses:
        arms = [arm for arm in analysis.cohort.arms if chosen(analysis.cohort.first(arm))]
        wanted = structures or (*analysis.cohort.structures, RIGHT_HEART)
        measures = [measure for measure in analysis.measures if measure in wanted]
        if arms and measures:
            found.append((analysis, arms, measures))
    return found


def _from_differences(question: str, found: list[tuple[Analysis, list[str], list[str]]], missing: str) -> Answer:
    if not found:
        return Answer(question, NOT_COMPUTED, missing)
    tables, words, estimable = [], [], False
    for analysis, arms, measures in found:
        rows = []
        for arm in arms:
            own = {m: analysis.comparisons.get((arm, m)) for m in measures}
            rows.append((arm, setting_words(analysis.cohort.first(arm))[2], *map(comparison_words, own.values())))
            for measure, comparison in own.items():
                if comparison and comparison.interval:
                    estimable = True
                    if comparison.verdict in ("gain", "loss"):
                        words.append(f"{arm}: {comparison.verdict} of {measure} {interval_words(comparison.interval)}")
        title = f"{analysis.cohort.title}: points over {analysis.choice.arm or 'a baseline that is missing'}"
        tables.append(Table(title, ("arm", "ratio", *measures), rows))
    text = "; ".join(words) or ("No interval excludes zero" if estimable else "No difference is estimable")
    return Answer(question, ANSWERED if estimable else UNKNOWN, f"{text}.", tables)


def _titled(analysis: Analysis, table: Table | None) -> Table | None:
    return Table(f"{analysis.cohort.title}: {table.title}", table.header, table.rows) if table else None
