"""The report's sections, from the cells' analyses."""

from collections.abc import Iterator, Sequence

from tte_tee.data.curate.numbers import Table
from tte_tee.report import answers, figures, provenance, tables
from tte_tee.report.analysis import SWEEPS, Analysis
from tte_tee.report.compare import PRIMARY, RIGHT_HEART
from tte_tee.report.document import Block, Note, Picture, Section, is_picture

TITLE = "Synthetic TEE: what it is worth"
_GALLERIES = {"gallery.webp": "drawn frames at fixed masks", "ssm.webp": "masks of the shape model",
              "features.webp": "frames in the plane of their features"}  # fmt: skip
_AUDIT = {"worst.webp": "the pairs that are likest to a training frame"}


def sections(analyses: Sequence[Analysis], notes: Sequence[str]) -> list[Section]:
    """All of the report; cohorts stand one after another and are never compared with one another."""
    cells = [cell for analysis in analyses for cell in analysis.cohort.cells]
    warned = [*notes, *provenance.warnings([analysis.cohort for analysis in analyses])]
    found = [
        Section("Headline", [_introduction(analyses), *map(Note, warned)]),
        *(Section(a.cohort.title, headline_words(a), 3) for a in analyses),
        Section("To be checked first", ()),
        *_answered(answers.first(analyses)),
        Section("Next", ()),
        *_answered(answers.later(analyses)),
    ]
    for analysis in analyses:
        found += list(_cohort(analysis))
    made = [provenance.version_table(cells), provenance.store_table(cells)]
    made += [of(a.cohort) for a in analyses for of in (provenance.cell_table, provenance.command_table)]
    found.append(
        Section(
            "Provenance",
            [
                "Every number above follows from the cells below; the commands make them again.",
                *(table for table in made if table.rows),
            ],
        )
    )
    return found


def _introduction(analyses: Sequence[Analysis]) -> str:
    cells = sum(1 for analysis in analyses for _ in analysis.cohort.cells)
    arms = sum(len(analysis.cohort.arms) for analysis in analyses)
    return (
        f"{cells} cells, {arms} arms, {len(analyses)} cohorts. Dice in percent: frames are averaged within the "
        "patient, patients within the structure. A gain is claimed only where the interval excludes zero. Cells "
        "tested on different cohorts are never compared with one another."
    )


def headline_words(analysis: Analysis) -> list[Block]:
    """The primary endpoint in one cohort, in words, with the baselines that it was chosen among."""
    found = analysis.headline
    interval = found.comparison.interval
    if interval is None:
        words = f"Primary endpoint (mean of RV and RA Dice, {PRIMARY}): not estimable: {found.comparison.reason}."
    else:
        means = [
            f"{name} {analysis.means[name, RIGHT_HEART].mean:.1f} %" for name in (found.arm, found.baseline) if name
        ]
        words = (
            f"Primary endpoint: {found.arm} against {found.baseline}, mean of RV and RA Dice: "
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


def _cohort(analysis: Analysis) -> Iterator[Section]:
    title = analysis.cohort.title
    yield Section(title, [_about(analysis), tables.dice_table(analysis), *_compared(analysis)])
    if {"LA", "LV", "RV", "RA"} <= set(analysis.cohort.structures):
        said = (
            "The paper's rows are of other data (real TEE, its size unknown) and of another network: "
            "their level does not compare with ours, the changes only with care. A tilde marks a digit that was read "
            "with doubt. FID is InceptionV3's distance alone."
        )
        yield Section(f"The paper's table beside ours: {title}", [said, tables.paper_table(analysis)], 3)
    yield from _sweeps(analysis)
    yield from _use(analysis)
    yield from _seen(analysis)


def _about(analysis: Analysis) -> str:
    cohort = analysis.cohort
    patients = len({patient for cell in cohort.cells for patient in cell.scored})
    return f"Tested on {patients} patients of store {cohort.store}, split or cohort '{cohort.tested_on}'."


def _compared(analysis: Analysis) -> Iterator[Block]:
    target = analysis.target
    yield Picture(f"Dice of {target} by arm", figures.dice_by_arm(analysis, target))
    if not analysis.choice.arm:
        yield Note(f"No differences: {analysis.choice.doubt}.")
        return
    if plot := figures.differences(analysis, target):
        yield Picture(f"Difference of {target} from the baseline, by arm", plot)
    if len(analysis.cohort.arms) > 1:
        yield tables.difference_table(analysis)
    yield from tables.reasons(analysis)


def _sweeps(analysis: Analysis) -> Iterator[Section]:
    blocks: list[Block] = []
    for key, words in SWEEPS.items():
        if plot := figures.sweep(analysis, key, analysis.target):
            caption = f"Dice of {analysis.target} against {words}: arms of a line differ in it alone"
            blocks.append(Picture(f"{caption}; means over each arm's own seeds", plot))
    if blocks:
        yield Section(f"By rank, ratio and number of patients: {analysis.cohort.title}", blocks, 3)


def _use(analysis: Analysis) -> Iterator[Section]:
    """What the frames are like, and whether that says what they are worth."""
    masks = tables.mask_table(analysis)
    found = [*tables.fidelity_tables(analysis), *([masks] if masks else [])]
    blocks: list[Block] = []
    if analysis.relations:
        blocks.append(
            "Arms of the commonest ratio and number of patients, so that they differ by their frames; means over the "
            "seeds that all of them have. Texture has too many rows to be tried one by one."
        )
        blocks.append(tables.relation_table(analysis))
        for relation in analysis.relations:
            if _shown(relation.kind, relation.measure) and (plot := figures.relation(analysis, relation)):
                blocks.append(Picture(f"{relation.kind}: {relation.measure} against Dice of {analysis.target}", plot))
    title = analysis.cohort.title
    if blocks or found:
        yield Section(f"Fidelity, masks and parameters against Dice: {title}", [*blocks, *found], 3)
    sizes = tables.adapter_table(analysis)
    if sizes.rows:
        yield Section(f"Size and time: {title}", [sizes], 3)


def _shown(kind: str, measure: str) -> bool:
    """Of the features' measures one is drawn; the table has all."""
    return kind != "fidelity" or measure.endswith("KID")


def _seen(analysis: Analysis) -> Iterator[Section]:
    """Copies, worst cases and galleries."""
    title = analysis.cohort.title
    table: Table | None = tables.copy_table(analysis)
    pairs = list(_pictures(analysis, _AUDIT))
    if table or pairs:
        yield Section(f"Copies: {title}", [*([table] if table else []), *pairs], 3)
    if shown := list(_pictures(analysis, _GALLERIES)):
        yield Section(f"Galleries: {title}", shown, 3)
    cases = {f"cases_{name}.webp": f"worst and median cases, {name}" for name in analysis.cohort.structures}
    if shown := list(_pictures(analysis, cases)):
        yield Section(f"Worst cases: {title}", shown, 3)


def _pictures(analysis: Analysis, names: dict[str, str]) -> Iterator[Block]:
    """Pictures beside the cells, of the lowest seed that all arms have: that is, of the same masks."""
    common = set.intersection(*map(set, analysis.cohort.arms.values()))
    for name, words in names.items():
        for arm in analysis.cohort.arms:
            seeds = analysis.cohort.arms[arm]
            cell = seeds[min(common or seeds)]
            path = cell.pictures / name
            if path.is_file():
                content = path.read_bytes()
                caption = f"{arm}, seed {cell.seed}: {words}"
                yield Picture(caption, content) if is_picture(content) else Note(f"{caption}: the file is no picture.")
