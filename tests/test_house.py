"""The rooms of the package: an import points down, never up."""

import ast
from pathlib import Path

import pytest

import tte_tee

ROOMS = ("cli", "report", "studio", "tasks", "synthesis", "metrics", "models", "data", "anatomy")
PACKAGE = Path(tte_tee.__file__).parent


def imported_rooms(path: Path) -> set[str]:
    """Rooms that a file imports from, at its top or inside a function."""
    modules = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            modules.add(node.module)
        elif isinstance(node, ast.Import):
            modules.update(name.name for name in node.names)
    return {m.split(".")[1] for m in modules if m.startswith("tte_tee.")} & set(ROOMS)


@pytest.mark.parametrize(
    "room", sorted(p.name for p in PACKAGE.iterdir() if p.is_dir() and (p / "__init__.py").exists())
)
def test_imports_point_down(room: str) -> None:
    above = set(ROOMS[: ROOMS.index(room)])
    upward = {path.name: up for path in (PACKAGE / room).rglob("*.py") if (up := imported_rooms(path) & above)}
    assert not upward
