"""The report's sections, from the cells' analyses."""

from collections.abc import Iterator, Sequence

from tte_tee.report import answers, figures, provenance, tables
from tte_tee.report.analysis import SWEEPS, Analysis
from tte_tee.report.compare import PRIMARY, endpoint, of_mean
from tte_tee.report.cost import cost_table
from tte_tee.report.document import Block, Note, Picture, Section
from tte_tee.report.galleries import KINDS, WHOLE_PAGE, pictures, side_by_side
from tte_tee.report.paper_table import ABOUT, paper_table

TITLE = "Synthetic TEE: what it is worth"
_MISSING = "Not yet computed: no cell here has"


def sections(analyses: Sequence[Analysis], notes: Sequence[str]) -> list[Section]:
    """All of the report; cohorts stand one after another and are never compared with one another."""
    cells = [cell for analysis in analyses for cell in analysis.test_set.cells]
    warned = [*notes, *provenance.warnings([analysis.test_set for analysis in analyses])]
    found = [
        Section("Headline", [_introduction(analyses), *map(Note, warned)]),
        *(Section(a.test_set.title, headline_words(a), 3) for a in analyses),
        Section("To be checked first", ()),
        *_answered(answers.first(analyses)),
        Section("Next", ()),
        *_answered(answers.later(analyses)),
    ]
    for analysis in analyses:
        found += list(_test_set(analysis, WHOLE_PAGE // len(analyses)))
    numbers = provenance.numbered_commands(cells)
    shared = (provenance.version_table(cells), provenance.store_table(cells))
    own = (provenance.cell_table(analysis.test_set, numbers) for analysis in analyses)
    found.append(
        Section(
            "Provenance",
            [
                "Every number above follows from the cells below; the commands make them again, lower numbers first. "
                "WORK is any empty folder.",
                *(table for table in (*shared, *own, provenance.command_table(numbers)) if table.rows),
            ],
        )
    )
    return found


def _introduction(analyses: Sequence[Analysis]) -> str:
    cells = sum(1 for analysis in analyses for _ in analysis.test_set.cells)
    arms = sum(len(analysis.test_set.arms) for analysis in analyses)
    test_sets = f"{len(analyses)} cohort{'s' if analyses[1:] else ''}"
    return (
        f"{cells} cells, {arms} arms, {test_sets}. Dice in percent: frames are averaged within the "
        "patient, patients within the structure. A gain is claimed only where the interval excludes zero. Cells "
        "tested on different cohorts are never compared with one another."
    )


def headline_words(analysis: Analysis) -> list[Block]:
    """The primary endpoint in one cohort, in words, with the baselines that it was chosen among."""
    found = analysis.headline
    interval, measure = found.comparison.interval, " and ".join(endpoint(analysis.test_set.study))
    if interval is None:
        words = (
            f"Primary endpoint (Dice, {of_mean(measure)}; {PRIMARY}): not estimable: {found.comparison.reason}."
        )  # fmt: skip
    else:
        arms, seeds = (found.arm, found.baseline), found.comparison.seeds
        means = [f"{name} {analysis.means[name, measure].over(seeds):.1f} %" for name in arms if name]
        words = (
            f"Primary endpoint: {found.arm} against {found.baseline}, Dice, {of_mean(measure)}: "
            f"{interval.estimate:+.2f} points, {100 * interval.level:g} % interval [{interval.low:+.2f}, "
            f"{interval.high:+.2f}]: {found.comparison.verdict} ({' against '.join(means)}; {interval.n_seeds} seeds, "
            f"{interval.n_patients} patients; {interval.method})."
        )
    blocks: list[Block] = [words, *(Note(f"{caveat}.") for caveat in found.caveats)]
    if analysis.choice.arm:
        blocks.append(tables.baseline_table(analysis))
    return blocks


def _answered(found: Sequence[answers.Answer]) -> Iterator[Section]:
    for answer in found:
        status = f"{answer.status[0].upper()}{answer.status[1:]}"
        yield Section(answer.question, [f"{status}. {answer.text}", *answer.evidence], 3)


def _test_set(analysis: Analysis, budget: int) -> Iterator[Section]:
    title = analysis.test_set.title
    yield Section(title, [_about(analysis), tables.dice_table(analysis), *_compared(analysis)])
    if {"LA", "LV", "RV", "RA"} <= set(analysis.test_set.structures):
        yield Section(f"The paper's table beside ours: {title}", [ABOUT, paper_table(analysis)], 3)
    yield Section(f"By rank, ratio and number of patients: {title}", list(_sweeps(analysis)), 3)
    yield Section(f"Fidelity, masks and parameters against Dice: {title}", list(_use(analysis)), 3)
    yield Section(f"Parameters, time and memory: {title}", [cost_table(analysis)], 3)
    yield from _seen(analysis, budget)


def _about(analysis: Analysis) -> str:
    test_set = analysis.test_set
    patients = len({patient for cell in test_set.cells for patient in cell.scored})
    return f"Tested on {patients} patients of store {test_set.store}, split or cohort '{test_set.tested_on}'."


def _compared(analysis: Analysis) -> Iterator[Block]:
    target = analysis.target
    yield Picture(f"Dice of {target} by arm", figures.dice_by_arm(analysis, target))
    if not analysis.choice.arm:
        yield Note(f"No differences: {analysis.choice.doubt}.")
        return
    if plot := figures.differences(analysis, target):
        yield Picture(f"Difference of {target} from the baseline, by arm", plot)
    if len(analysis.test_set.arms) > 1:
        yield tables.difference_table(analysis)
    yield from tables.reasons(analysis)


def _sweeps(analysis: Analysis) -> Iterator[Block]:
    for key, words in SWEEPS.items():
        if plot := figures.sweep(analysis, key, analysis.target):
            caption = f"Dice of {analysis.target} against {words}: arms of a line differ in it alone"
            yield Picture(f"{caption}; means over each arm's own seeds", plot)
        else:
            yield f"{words[0].upper()}{words[1:]}: not yet computed, as no two arms here differ in it alone."


def _use(analysis: Analysis) -> Iterator[Block]:
    """What the frames are like, and whether that says what they are worth."""
    if analysis.relations:
        yield (
            "Arms of the commonest ratio and number of patients, so that they differ by their frames; means over the "
            "seeds that all of them have. Texture has too many rows to be tried one by one."
        )
        yield tables.relation_table(analysis)
    else:
        yield f"{_MISSING} synthetic frames with fidelity, mask fidelity or an adapter."
    for relation in analysis.relations:
        if _shown(relation.kind, relation.measure) and (plot := figures.relation(analysis, relation)):
            yield Picture(f"{relation.kind}: {relation.measure} against Dice of {analysis.target}", plot)
    masks = tables.mask_table(analysis)
    fidelity = tables.fidelity_tables(analysis)
    if fidelity:
        yield (
            "Floor: real frames against those of other real patients. Ceiling: TTE or the unadapted base against the "
            "same real frames."
        )
    yield from fidelity
    yield from tables.fidelity_reasons(analysis)
    yield from [masks] if masks else []


def _shown(kind: str, measure: str) -> bool:
    """Of the features' measures one is drawn; the table has all."""
    return kind != "fidelity" or measure.endswith("KID")


def _seen(analysis: Analysis, budget: int) -> Iterator[Section]:
    """Galleries, copies and worst cases; the budget of bytes is shared out among kinds of pictures but galleries."""
    title = analysis.test_set.title

    def shown(**names: str) -> list[Block]:
        return pictures(analysis, {f"{name}.webp": words for name, words in names.items()}, budget // KINDS)

    yield Section(f"Galleries at fixed masks: {title}", side_by_side(analysis) or [f"{_MISSING} a gallery."], 3)
    shapes = [
        *shown(drawn="masks that frames were drawn for, and those frames"),
        *shown(ssm="mean and modes of the shape model"),
    ]
    missing = f"{_MISSING} a picture of its shape model or of its drawn frames."
    yield Section(f"Shape-model masks and their frames: {title}", shapes or [missing], 3)
    plane = shown(features="frames in the plane of their features")
    yield Section(f"Frames in feature space: {title}", plane or [f"{_MISSING} such a picture."], 3)
    table = tables.copy_table(analysis)
    pairs = shown(worst="the pairs that are likest to a training frame")
    audited = [*([table] if table else []), *pairs]
    yield Section(f"Copies: {title}", audited or [f"{_MISSING} been looked through for copies."], 3)
    worst = shown(**{f"cases_{name}": f"worst and median cases, {name}" for name in analysis.test_set.structures})
    yield Section(f"Worst cases: {title}", worst or [f"{_MISSING} a picture of its worst cases."], 3)
