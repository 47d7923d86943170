"""Reads ``grid.yaml``, and says in one line what it lacks or has too much of."""

from pathlib import Path
from typing import Any

import yaml

Json = dict[str, Any]
RULES = ("store", "pretrain", "adapt", "masks", "synthesise", "audit_masks", "audit_fidelity", "audit_copies",
         "segment", "evaluate")  # fmt: skip
"""In the order of the pipeline; rule ``cell`` comes after them."""
FILE = ("versions", "labels", "studies", "grids")
STUDY = ("stores", "base", "train_patients", "patients_per_seed", "angles", "size", "test_store")
GRID = ("study", "seeds", "device", "control", "synthesis", "overrides", "arms", "seconds")
PARTS = {
    "synthesis": ("guidance", "steps"),
    "overrides": ("base", "adapter", "segmenter"),
    "seconds": (*RULES, "cell"),
}
MAY = {"study": ("given",), "grid": ("processes",)}
"""Keys that may be left out."""


class GridError(SystemExit):
    """What is wrong with a grid, in one line."""


def read_grid_file(file: Path, name: str) -> Json:
    """The content of ``grid.yaml``, with all that grid ``name`` and its study need.

    Raises:
        GridError: it cannot be read, has no such grid, or something is missing or unknown there.
    """
    try:
        values = yaml.safe_load(file.read_text())
    except (OSError, UnicodeError, yaml.YAMLError) as error:
        raise GridError(f"{file}: cannot be read: {' '.join(str(error).split())}") from None
    _check(str(file), values, FILE)
    if name not in values["grids"]:
        raise GridError(f"{file}: no grid '{name}'; there are {', '.join(values['grids'])}")
    grid = values["grids"][name]
    _check(f"{file}: grid {name}", grid, GRID, MAY["grid"])
    for part, needed in PARTS.items():
        _check(f"{file}: {part} of grid {name}", grid[part], needed, None)
    if not isinstance(grid["arms"], list) or not all(isinstance(arm, dict) for arm in grid["arms"]):
        raise GridError(f"{file}: arms of grid {name} are a list, each with keys and values")
    if grid["study"] not in values["studies"]:
        raise GridError(f"{file}: grid {name} is of study '{grid['study']}'; there are {', '.join(values['studies'])}")
    _check(f"{file}: study {grid['study']}", values["studies"][grid["study"]], STUDY, MAY["study"])
    return dict(values)


def _check(where: str, values: Any, needed: tuple[str, ...], may: tuple[str, ...] | None = ()) -> None:
    """Raises unless ``values`` has what is needed and, unless ``may`` is None, nothing that is unknown."""
    if not isinstance(values, dict):
        raise GridError(f"{where}: has no keys; it needs {', '.join(needed)}")
    if missing := [key for key in needed if key not in values]:
        raise GridError(f"{where}: lacks '{missing[0]}'; it needs {', '.join(needed)}")
    if may is not None and (unknown := [key for key in values if key not in (*needed, *may)]):
        raise GridError(f"{where}: '{unknown[0]}' is unknown; use {', '.join((*needed, *may))}")
