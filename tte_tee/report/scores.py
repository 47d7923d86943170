"""Tables of segmentation scores, from metrics JSON."""

import math
from collections.abc import Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table


def score_table(metrics: Mapping[str, Any]) -> Table:
    """Scores per structure, averaged over patients, of one ``metrics.json``."""
    summary, unit = metrics["summary"], metrics["unit"]
    table = Table(
        title=f"{summary['patients']} patients, {summary['frames']} frames; distances in {unit}",
        caption=f"mean over structures {_percent(summary['mean_dice'])}; over pixels: global Dice "
        f"{_percent(summary['global_dice'])}, class-weighted {_percent(summary['class_weighted_dice'])}; a frame in "
        "which a structure is missed or invented counts as Dice 0 and the diagonal, one in neither mask not at all",
        box=SIMPLE_HEAD,
    )
    table.add_column("", no_wrap=True)
    for heading in ("Dice", "HD95", "ASSD", "surface\nDice", "patients", "frames:\nfound", "missed", "invented"):
        table.add_column(heading, justify="right", no_wrap=True)
    for structure, scores in summary["structures"].items():
        cases = scores["cases"]
        table.add_row(
            structure,
            _percent(scores["dice"]),
            _number(scores["hd95"]),
            _number(scores["assd"]),
            _percent(scores["surface_dice"]),
            *(str(n) for n in (scores["patients"], *(cases[case] for case in ("found", "missed", "invented")))),
        )
    return table


def mask_fidelity_table(values: Mapping[str, Any]) -> Table:
    """Dice per structure in drawn and in real frames, of one ``mask_fidelity.json``."""
    drawn, real = values["synthetic"]["summary"], values["real"]["summary"]
    table = Table(
        title=f"what the segmenter finds in {drawn['frames']} drawn frames, and in {real['frames']} real frames of "
        f"{real['patients']} patients (Dice)"
    )
    table.add_column("structure")
    for heading in ("drawn", "real", "difference", "drawn: missed", "invented", "of frames"):
        table.add_column(heading, justify="right")
    for structure, scores in drawn["structures"].items():
        beside, cases = real["structures"][structure]["dice"], scores["cases"]
        both = None not in (scores["dice"], beside)
        table.add_row(
            structure,
            _percent(scores["dice"]),
            _percent(beside),
            f"{100 * (scores['dice'] - beside):+.1f}" if both else "-",
            *(str(cases[case]) for case in ("missed", "invented")),
            str(sum(cases.values()) - cases["both empty"]),
        )
    return table


def filter_table(filtered: Mapping[str, Any], stays: Mapping[str, Mapping[str, float]]) -> Table:
    """What a filter left out and why, and the frames and mean areas of each structure before and after.

    Args:
        filtered: ``Filtered.to_json``.
        stays: by structure, ``frames``, ``area``, ``frames kept``, ``area kept``; areas NaN where no frame shows it.
    """
    verdicts = ", ".join(f"{count} {verdict}" for verdict, count in filtered["frames"].items())
    unused = [f"{measure} not estimable: {why}" for measure, why in filtered["copies"].items() if isinstance(why, str)]
    title = f"{verdicts}; least Dice {_percent(filtered['dice'])}"
    table = Table(title=title, caption="; ".join(unused) or None)
    table.add_column("structure")
    for heading in ("frames", "kept", "area, % of sector", "of those kept"):
        table.add_column(heading, justify="right")
    for structure, row in stays.items():
        counts = (f"{int(row['frames'])}", f"{int(row['frames kept'])}")
        table.add_row(structure, *counts, *(_number(row[name]) for name in ("area", "area kept")))
    return table


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f}"


def _number(value: float | None) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:.2f}"
