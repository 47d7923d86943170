"""Tables of fidelity, from ``fidelity.json``."""

from collections.abc import Mapping
from string import ascii_lowercase
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import RenderableType
from rich.table import Table

_ROLES = ("synthetic", "floor", "ceiling")


def fidelity_tables(record: Mapping[str, Any]) -> list[RenderableType]:
    """A table of features and pairs, one of texture, why a number is missing, and what else a reader must know."""
    reasons: dict[str, str] = {}
    tables: list[RenderableType] = [_distances(record, reasons), _textures(record, reasons)]
    notes = [f"({letter}) not estimable: {reason}" for reason, letter in reasons.items()]
    return [*tables, "\n".join([*notes, *(f"note: {note}" for note in record["notes"])])]


def _distances(record: Mapping[str, Any], reasons: dict[str, str]) -> Table:
    stores, options = record["stores"], record["options"]
    lone = record["patients"] == 1
    of = "draws of one real patient" if lone else f"splits of {record['patients']} real patients"
    over = "draws" if lone else "splits, for pairs over patients"
    table = Table(
        title=f"{stores['synthetic']['name']} against {stores['real']['name']}: N = {record['frames']} of each, "
        f"{options['draws']} {of} (mean ± SD over {over}; [SD over subsets])",
        box=SIMPLE_HEAD,
        padding=(0, 0, 0, 1),
    )
    table.add_column("in", overflow="fold", min_width=13)
    table.add_column("measure", overflow="fold")
    for heading in (*_ROLES, "position"):
        table.add_column(heading, justify="right")
    previous = ""
    for row in record["rows"]:
        if row["group"] != "texture":
            group = row["group"] if row["group"] != previous else ""
            previous = row["group"]
            table.add_row(group, _name(row), *_cells(row, reasons))
    return table


def _textures(record: Mapping[str, Any], reasons: dict[str, str]) -> Table:
    table = Table(
        title="inside structures: medians, and Wasserstein-1 distances of distributions (grey levels; speckle down "
        "and across in pixels)",
        box=SIMPLE_HEAD,
        padding=(0, 0, 0, 1),
    )
    for heading in ("of", "statistic"):
        table.add_column(heading)
    for heading in ("real", "drawn", *_ROLES, "position"):
        table.add_column(heading, justify="right")
    previous = ""
    for row in record["rows"]:
        if row["group"] == "texture":
            structure = row["structure"] if row["structure"] != previous else ""
            previous = row["structure"]
            medians = [_median(row["quantiles"][name]) for name in ("real", "synthetic")]
            table.add_row(structure, row["measure"], *medians, *_cells(row, reasons))
    return table


def _name(row: Mapping[str, Any]) -> str:
    """A measure with what it was computed with."""
    said = [f"k = {row['k']}"] if "k" in row else []
    said += [f"{row['subsets']} subsets of {row['subset']}"] if "subset" in row else []
    said += [f"D = {row['features']}"] if "features" in row else []
    said += [f"{row['synthetic']['n']} pairs"] if row["group"] == "pairs" and "n" in row["synthetic"] else []
    return f"{row['measure']}{', ' if said else ''}{', '.join(said)}"


def _cells(row: Mapping[str, Any], reasons: dict[str, str]) -> list[str]:
    cells = []
    for role in (*_ROLES, "position"):
        estimate = row[role]
        if role == "position" and any("not_estimable" in row[other] for other in _ROLES):
            cells.append("-")
        elif reason := estimate.get("not_estimable"):
            cells.append(f"({reasons.setdefault(reason, _letter(len(reasons)))})")
        elif role == "position":
            cells.append(f"{estimate['share']:.2f}")
        else:
            cells.append(_spread(estimate))
    return cells


def _spread(estimate: Mapping[str, Any]) -> str:
    deviation = f" ± {_rounded(estimate['sd'], 1)}" if "sd" in estimate else ""
    subsets = f" [{_rounded(estimate['subset_sd'], 1)}]" if "subset_sd" in estimate else ""
    return f"{_rounded(estimate['mean'], 3)}{deviation}{subsets}"


def _rounded(value: float, digits: int) -> str:
    """So many digits that count, and 10 instead of 1e+01."""
    return f"{float(f'{value:.{digits}g}'):g}"


def _letter(number: int) -> str:
    return ascii_lowercase[number] if number < len(ascii_lowercase) else str(number)


def _median(quantiles: list[float]) -> str:
    return f"{quantiles[len(quantiles) // 2]:.3g}" if quantiles else "-"
