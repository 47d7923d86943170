"""The report of a folder of cells: a page, and the same numbers as Markdown, CSV and JSON."""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import tte_tee
from tte_tee.errors import UserError
from tte_tee.files import check_suffix, write_whole
from tte_tee.metrics.statistics import RESAMPLES
from tte_tee.report import answers, provenance
from tte_tee.report.analysis import Analysis
from tte_tee.report.cells import by_test_set, read_cells
from tte_tee.report.compare import RIGHT_HEART
from tte_tee.report.document import Section, to_html, to_markdown
from tte_tee.report.page import TITLE, sections
from tte_tee.seen import published
from tte_tee.tables import Table

_COLUMNS = (
    "study", "tested_on", "development", "store", "arm", "label", "measure", "seeds", "dice", "dice_sd", "baseline",
    "compared_seeds", "difference", "low", "high", "level", "verdict", "not_estimable",
)  # fmt: skip


def write_report(folder: Path, out: Path, *, resamples: int = RESAMPLES) -> list[str]:
    """Writes ``out``, and ``.md``, ``.csv`` and ``.json`` of the same name beside it.

    Args:
        folder: of cells, searched with all its folders.
        out: the page.
        resamples: of each bootstrap.

    Returns:
        what a reader must know: files that were left out, and warnings.

    Raises:
        UserError: there is no cell, two are of one arm and seed, a name is taken, or the page cannot be written.
    """
    check_suffix(out, ".html")
    _check_beside(out)
    cells, notes = read_cells(folder)
    analyses = sorted((Analysis(test_set, resamples) for test_set in by_test_set(cells)), key=_order)
    whole = sections(analyses, notes)
    record = to_json(analyses, notes, whole)
    contents = {
        ".html": to_html(TITLE, whole),
        ".md": to_markdown(TITLE, whole),
        ".csv": _csv(analyses),
        ".json": json.dumps(record, indent=1, allow_nan=False) + "\n",
    }
    for suffix, content in contents.items():
        write_whole(out.with_suffix(suffix), content.encode())
    return list(record["notes"])


def _check_beside(out: Path) -> None:
    """What stands beside a page that is not there yet is no report's, and stays."""
    taken = [out.with_suffix(suffix) for suffix in (".md", ".csv", ".json") if out.with_suffix(suffix).exists()]
    if taken and not out.exists():
        raise UserError(f"{taken[0]}: is there and would be replaced; give the page another name than {out.name}")


def _order(analysis: Analysis) -> tuple[bool, bool]:
    """Results before development, and where the primary endpoint can be before the rest."""
    return analysis.test_set.development, analysis.target != RIGHT_HEART


def to_json(analyses: Sequence[Analysis], notes: Sequence[str], whole: Sequence[Section]) -> dict[str, Any]:
    """Everything computed, unrounded, and the tables as they are shown."""
    return {
        "tte_tee": tte_tee.__version__,
        "notes": [*notes, *provenance.warnings([analysis.test_set for analysis in analyses])],
        "cohorts": [_test_set(analysis) for analysis in analyses],
        "first": [_answer(answer) for answer in answers.first(analyses)],
        "next": [_answer(answer) for answer in answers.later(analyses)],
        "tables": [
            {"section": section.title, **asdict(block)}
            for section in whole
            for block in section.blocks
            if isinstance(block, Table)
        ],
    }


def _test_set(analysis: Analysis) -> dict[str, Any]:
    test_set, headline = analysis.test_set, analysis.headline
    return {
        "study": test_set.study,
        "tested_on": test_set.tested_on,
        "development": test_set.development,
        "store": test_set.store,
        "baseline": asdict(analysis.choice),
        "headline": {
            "arm": headline.arm,
            "baseline": headline.baseline,
            "caveats": list(headline.caveats),
            **headline.comparison.to_json(),
        },
        "dice": [{"arm": arm, "measure": measure, **asdict(mean)} for (arm, measure), mean in analysis.means.items()],
        "differences": [
            {"arm": arm, "measure": measure, **comparison.to_json()}
            for (arm, measure), comparison in analysis.comparisons.items()
        ],
        "relations": [relation.to_json() for relation in analysis.relations],
        "cells": [
            {"arm": c.arm, "seed": c.seed, "cell": f"{c.name}.json", "provenance": published(c.part("provenance"))}
            for c in test_set.cells
        ],
    }


def _answer(answer: answers.Answer) -> dict[str, str]:
    return {"question": answer.question, "status": answer.status, "text": answer.text}


def _csv(analyses: Sequence[Analysis]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for analysis in analyses:
        writer.writerows(_lines(analysis))
    return buffer.getvalue()


def _lines(analysis: Analysis) -> Iterator[tuple[Any, ...]]:
    """One line per arm and measure."""
    test_set = analysis.test_set
    for (arm, measure), mean in analysis.means.items():
        about = (
            test_set.study,
            test_set.tested_on,
            test_set.development,
            test_set.store,
            arm,
            test_set.label(arm),
            measure,
        )
        dice = (" ".join(map(str, mean.by_seed)), mean.mean, mean.deviation)
        compared: tuple[Any, ...] = (None,) * 8
        if found := analysis.comparisons.get((arm, measure)):
            interval = found.interval
            numbers = (interval.estimate, interval.low, interval.high, interval.level) if interval else (None,) * 4
            compared = (analysis.choice.arm, " ".join(map(str, found.seeds)), *numbers, found.verdict, found.reason)
        yield (*about, *dice, *compared)
