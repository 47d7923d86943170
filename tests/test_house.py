"""The rooms of the package: an import points down, never up, and no room knows what it is not to know."""

import ast
from pathlib import Path

import pytest

import tte_tee

ROOMS = ("cli", "report", "studio", "tasks", "evaluation", "synthesis", "metrics", "models", "data", "anatomy")
PACKAGE = Path(tte_tee.__file__).parent
UNKNOWN_TO = {
    "report": ("torch",),
    "evaluation": ("lightning", "tte_tee.tasks"),
    "synthesis": ("lightning", "tte_tee.tasks"),
    "metrics": ("lightning", "tte_tee.models", "tte_tee.data"),
    "models": ("lightning", "tte_tee.data"),
    "data": ("tte_tee.models",),
    "anatomy": ("torch", "h5py"),
}


def imported(path: Path) -> set[str]:
    """Modules that a file imports, at its top or inside a function."""
    modules = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            modules.add(node.module)
        elif isinstance(node, ast.Import):
            modules.update(name.name for name in node.names)
    return modules


def imported_rooms(path: Path) -> set[str]:
    """Rooms that a file imports from."""
    return {m.split(".")[1] for m in imported(path) if m.startswith("tte_tee.")} & set(ROOMS)


@pytest.mark.parametrize(
    "room", sorted(p.name for p in PACKAGE.iterdir() if p.is_dir() and (p / "__init__.py").exists())
)
def test_imports_point_down(room: str) -> None:
    above = set(ROOMS[: ROOMS.index(room)])
    upward = {path.name: up for path in (PACKAGE / room).rglob("*.py") if (up := imported_rooms(path) & above)}
    assert not upward


@pytest.mark.parametrize("room", UNKNOWN_TO)
def test_a_room_does_not_know_what_is_none_of_its_business(room: str) -> None:
    for path in (PACKAGE / room).rglob("*.py"):
        outside = tuple(f"{name}." for name in UNKNOWN_TO[room])
        known = [name for name in imported(path) if f"{name}.".startswith(outside)]
        assert not known, path.name
