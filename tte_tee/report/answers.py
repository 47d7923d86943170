"""What was to be checked first and next, each answered by cells or "not yet computed"."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tte_tee.report.analysis import Analysis, mask_fidelity
from tte_tee.report.cells import Cell
from tte_tee.report.compare import endpoint
from tte_tee.report.tables import (
    NOT_ESTIMABLE,
    comparison_words,
    interval_words,
    mask_table,
    parameter_words,
    relation_table,
    setting_words,
)
from tte_tee.tables import Table

NOT_COMPUTED, ANSWERED = "not yet computed", "answered"
_ABOUT_1E5 = 10**4.5, 10**5.5
_NAMED = 6  # claims; more are counted
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
    found = [
        (cell.part("adapter")["trained"], a, arm)
        for a in analyses
        for arm in a.comparable
        if (cell := a.test_set.first(arm)).part("adapter").get("method") == "lora"
    ]
    if not found:
        return Answer(question, NOT_COMPUTED, "No cell has a LoRA adapter.")
    found.sort(key=lambda one: one[0])
    rows, counts, below = [], Counter[str](), 0
    for trained, analysis, arm in found:
        cell, comparison = analysis.test_set.first(arm), analysis.comparisons.get((arm, analysis.target))
        verdict = comparison.verdict if comparison else NOT_ESTIMABLE
        small = _ABOUT_1E5[0] <= trained < _ABOUT_1E5[1]
        counts.update([verdict] if small else [])
        below += cell.part("adapter")["share"] < 0.01
        words = (parameter_words(cell), "yes" if small else "no", analysis.target, comparison_words(comparison))
        rows.append((arm, analysis.test_set.title, *words, verdict))
    text = (
        f"{len(rows)} arms with LoRA, of the commonest ratio and number of patients, train {found[0][0]:,.0f} to "
        f"{found[-1][0]:,.0f} parameters; {below} of them below 1 % of the network; {counts.total()} are of the order "
        f"of 10^5 (30,000 to 320,000){': ' * bool(counts)}{_counted(counts)}."
    )
    table = Table("LoRA adapters by size, points over the baseline", _HEADER, rows)
    return Answer(question, ANSWERED if counts.total() > counts[NOT_ESTIMABLE] else NOT_ESTIMABLE, text, [table])


_HEADER = ("arm", "cohort", "parameters", "about 10^5", "Dice of", "difference", "what may be claimed")


def _counted(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {words}" for words, count in counts.items())


def _held_out_format(analyses: Analyses) -> Answer:
    question = "Does MaskR² hold on a mask format that it was not made for?"
    formats: dict[tuple[str, ...], tuple[Analysis, list[str]]] = {}
    for analysis in analyses:
        for arm, seeds in analysis.test_set.arms.items():
            if any(cell.part("adapter") and mask_fidelity(cell) for cell in seeds.values()):
                formats.setdefault(analysis.test_set.first(arm).structures, (analysis, []))[1].append(arm)
    if len(formats) < 2:
        named = "; ".join(", ".join(names) for names in formats)
        seen = f"Mask fidelity of adapters is known for one format only ({named})." if formats else ""
        return Answer(question, NOT_COMPUTED, seen or "No cell has an adapter and mask fidelity.")
    words, tables = [], []
    for names, (analysis, arms) in formats.items():
        arm = analysis.headline.arm if analysis.headline.arm in arms else arms[0]
        untrained = [a for a in arms if not analysis.test_set.first(a).part("adapter")["trained"]]
        drawn, real = (_all_structures(analysis, arm, side) for side in ("synthetic", "real"))
        words.append(f"{', '.join(names)} ({analysis.test_set.title}): {arm} {drawn}, real frames {real}")
        if table := mask_table(analysis, list(dict.fromkeys([arm, *untrained]))):
            tables.append(_titled(analysis, table))
    text = (
        "What a segmenter of other patients finds back, Dice in percent over all structures, mean over seeds and "
        f"without an interval: {'; '.join(words)}. Each format holds as far as drawn frames come near real ones."
    )
    return Answer(question, ANSWERED, text, tables)


def _all_structures(analysis: Analysis, arm: str, side: str) -> str:
    found = [mask_fidelity(cell, side) for cell in analysis.test_set.arms[arm].values()]
    values = [own["all structures"] for own in found if own]
    return f"{sum(values) / len(values):.1f}" if values else NOT_ESTIMABLE


def _fidelity(analyses: Analyses) -> Answer:
    question = "Does fidelity, before any segmenter is trained, say which frames will be useful?"
    relations = [r for a in analyses for r in a.relations if r.kind != "parameters"]
    if not relations:
        return Answer(question, NOT_COMPUTED, "No cell with synthetic frames has fidelity or mask fidelity.")
    known = [r for r in relations if not isinstance(r.found, str)]
    sure = [r for r in known if not isinstance(r.found, str) and r.found.low > 0]
    against = sum(not isinstance(r.found, str) and r.found.high < 0 for r in known)
    tables = [_titled(a, relation_table(a)) for a in analyses if a.relations]
    if not known:
        return Answer(question, NOT_ESTIMABLE, f"No rank correlation is estimable: {relations[0].found}.", tables)
    text = (
        f"{len(sure)} of {len(known)} estimable rank correlations exclude zero on the side of 'better frames, higher "
        f"Dice'{': ' if sure else ''}{', '.join(f'{r.kind} ({r.measure})' for r in sure)}; {against} on the other. "
        "They are not corrected for their number, and arms that share seeds and patients are not independent."
    )
    return Answer(question, ANSWERED, text, tables)


def _synthetic_alone(analyses: Analyses) -> Answer:
    question = "Is training on synthetic frames alone enough?"
    found = _differences(analyses, lambda cell: cell.ratio is not None and math.isinf(cell.ratio))
    return _from_differences(question, found, "No cell was trained on synthetic frames alone.")


def _modalities(analyses: Analyses) -> Answer:
    question = "Does it carry over to other mask formats and modalities?"
    rows = []
    for analysis in analyses:
        test_set = analysis.test_set
        arms = [arm for arm in test_set.arms if test_set.first(arm).part("adapter")]
        if arms:
            arm = analysis.headline.arm or (analysis.comparable or arms)[0]
            comparison = analysis.comparisons.get((arm, analysis.target))
            words = (analysis.choice.arm or "none", analysis.target, comparison_words(comparison))
            verdict = comparison.verdict if comparison else NOT_ESTIMABLE
            rows.append((test_set.study, test_set.tested_on, ", ".join(test_set.structures), arm, *words, verdict))
    studies = {row[0] for row in rows}
    if len(studies) < 2:
        only = f" but {next(iter(studies))}" if studies else ""
        return Answer(question, NOT_COMPUTED, f"No study{only} has cells with an adapter.")
    header = ("study", "tested on", "structures", "arm", "over", "Dice of", "difference", "what may be claimed")
    text = f"{'; '.join(f'{row[0]}, {row[1]}: {row[-1]}' for row in rows)}. Each is compared within itself alone."
    known = any(row[-1] != NOT_ESTIMABLE for row in rows)
    return Answer(question, ANSWERED if known else NOT_ESTIMABLE, text, [Table("Studies with adapters", header, rows)])


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
            parts.append(f"{analysis.test_set.title}, {name}, Dice of {analysis.target}: {', '.join(values)}.")
    tested: dict[str, list[str]] = {}
    for analysis in analyses:
        if not analysis.test_set.development:
            tested.setdefault(analysis.test_set.study, []).append(analysis.test_set.tested_on)
    several = [
        f"{study} was tested on {' and '.join(test_sets)}, see there."
        for study, test_sets in tested.items()
        if len(test_sets) > 1
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
        arms = [arm for arm in analysis.test_set.arms if chosen(analysis.test_set.first(arm))]
        wanted = structures or (*analysis.test_set.structures, " and ".join(endpoint(analysis.test_set.study)))
        measures = [measure for measure in analysis.measures if measure in wanted]
        if arms and measures:
            found.append((analysis, arms, measures))
    return found


def _from_differences(question: str, found: list[tuple[Analysis, list[str], list[str]]], missing: str) -> Answer:
    if not found:
        return Answer(question, NOT_COMPUTED, missing)
    tables, words, counts = [], [], Counter[str]()
    for analysis, arms, measures in found:
        rows = []
        for arm in arms:
            own = {m: analysis.comparisons.get((arm, m)) for m in measures}
            rows.append((arm, setting_words(analysis.test_set.first(arm))[2], *map(comparison_words, own.values())))
            for measure, comparison in own.items():
                if comparison and comparison.interval:
                    counts[f"{comparison.verdict} ({measure})"] += 1
                    if comparison.verdict in ("gain", "loss"):
                        words.append(f"{arm}: {comparison.verdict} of {measure} {interval_words(comparison.interval)}")
        title = f"{analysis.test_set.title}: points over {analysis.choice.arm or 'a baseline that is missing'}"
        tables.append(Table(title, ("arm", "ratio", *measures), rows))
    text = "; ".join(words) or ("No interval excludes zero" if counts else "No difference is estimable")
    if len(words) > _NAMED:
        text = f"Arms and what may be claimed of them: {_counted(counts)}"
    return Answer(question, ANSWERED if counts else NOT_ESTIMABLE, f"{text}.", tables)


def _titled(analysis: Analysis, table: Table) -> Table:
    return Table(f"{analysis.test_set.title}: {table.title}", table.header, table.rows)
