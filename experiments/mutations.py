"""Breaks one line of the package at a time and says which test notices: a line that nobody misses is not tested.

    python experiments/mutations.py [WORD ...]

``mutations.yaml`` lists them. Each is broken in a copy of the tree, in which the tests named beside it run until the
first failure; before that they must all pass there. With words, only mutations whose name holds them. Exits with 1 if
one survives.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parents[1]
NO_COPY = shutil.ignore_patterns(".venv", ".git", ".*_cache", ".hypothesis", "__pycache__", "runs", "build", "*.h5")


@dataclass(frozen=True)
class Mutation:
    """What is broken.

    Attributes:
        name: what would go wrong.
        file: of the package.
        line: text that stands in it once.
        broken: what is put in its place.
        tests: the file of tests that has to notice.
    """

    name: str
    file: str
    line: str
    broken: str
    tests: str


def mutations() -> list[Mutation]:
    """All of them, in the order of the list."""
    listed = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text())
    return [Mutation(**values) for values in listed]


@contextmanager
def broken(tree: Path, mutation: Mutation) -> Iterator[None]:
    """Has the mutation in a copy of the tree for a while."""
    path = tree / "tte_tee" / mutation.file
    whole = path.read_text()
    path.write_text(whole.replace(mutation.line, mutation.broken))
    try:
        yield
    finally:
        path.write_text(whole)


def failure(tree: Path, tests: Sequence[str]) -> str | None:
    """The first of some files' fast tests that fails in a copy of the tree, None where all pass.

    Raises:
        RuntimeError: pytest could not run them.
    """
    command = [sys.executable, "-m", "pytest", "-x", "-m", "not slow", *(f"tests/{name}" for name in tests)]
    # Within a second a file may change twice and keep its length: compiled files would be taken for those of the other.
    environment = {**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
    ran = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True)
    found = re.search(r"^(?:FAILED|ERROR) tests/(\S+)", ran.stdout, re.MULTILINE)
    if ran.returncode != (1 if found else 0):  # pytest itself may end with 1, too
        raise RuntimeError(f"{' '.join(command)}: exit {ran.returncode}\n{ran.stdout[-2000:]}{ran.stderr[-2000:]}")
    return found[1] if found else None


def main(words: Sequence[str]) -> int:
    """Breaks line after line, and prints a table."""
    chosen = [mutation for mutation in mutations() if all(word in mutation.name for word in words)]
    console, table, survived = Console(), Table("mutation", "killed by"), 0
    with TemporaryDirectory() as folder:
        tree = Path(shutil.copytree(ROOT, Path(folder) / "tree", ignore=NO_COPY))
        with console.status("the tests as they are"):
            before = failure(tree, sorted({mutation.tests for mutation in chosen}))
        if before:
            console.print(f"fails before anything is broken: {before}")
            return 1
        for mutation in chosen:
            with console.status(mutation.name), broken(tree, mutation):
                killer = failure(tree, [mutation.tests])
            survived += killer is None
            table.add_row(mutation.name, killer or "[bold red]nobody[/bold red]")
    console.print(table)
    return int(survived > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
