"""Tables of words and numbers, ready to be shown."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """Words and numbers in rows."""

    title: str
    header: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


def markdown(table: Table) -> str:
    """A table in Markdown under its title."""
    lines = [table.header, tuple("---" for _ in table.header), *table.rows]
    return "\n".join([f"**{table.title}**", "", *(f"| {' | '.join(map(_cell, line))} |" for line in lines)])


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
