"""What the documentation shows: links, anchors, commands, make targets and YAML, each with where it stands."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "docs/examples"
PAGES = sorted(
    [*(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "data/README.md")),
     *(ROOT / "docs").rglob("*.md"), *(ROOT / "experiments").rglob("README.md")]
)  # fmt: skip
HELP = sorted((ROOT / "tte_tee/cli").rglob("*.py"))
"""Modules whose help shows commands."""

_FENCE = re.compile(r"^(?P<indent> *)```(?P<kind>\w*)[^\n]*\n(?P<text>.*?)^(?P=indent)```", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ +(.+)$", re.MULTILINE)
_HELP = re.compile(r"^ *(?:srun [^\n]*)?(python -m tte_tee (?:[^\n\"]*\\\\\n)*[^\n\"]*)", re.MULTILINE)
_LOOP = re.compile(r"for (\w+) in (\S+)")
_END = re.compile(r" #|;|&&|\|| > |\$\(")
PYTHON = "python -m tte_tee"


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, and the heading that it stands under."""

    kind: str
    text: str
    heading: str


def blocks(page: Path) -> list[Block]:
    """Fenced blocks in their order."""
    text = page.read_text()
    prose = _FENCE.sub(lambda found: " " * len(found[0]), text)  # a comment in a block is no heading

    def above(place: int) -> str:
        return ([found[1] for found in _HEADING.finditer(prose, 0, place)] or [""])[-1]

    return [Block(found["kind"], found["text"], above(found.start())) for found in _FENCE.finditer(text)]


def anchors(page: Path) -> set[str]:
    """What the headings of a page are called in links."""
    headings = _HEADING.findall(_FENCE.sub("", page.read_text()))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links(page: Path) -> list[tuple[Path, str]]:
    """File and anchor of every relative link."""
    text = _INLINE.sub("", _FENCE.sub("", page.read_text()))
    found = [link.partition("#") for link in _LINK.findall(text) if "://" not in link]
    return [((page.parent / path).resolve() if path else page, anchor) for path, _, anchor in found]


def code(page: Path) -> list[str]:
    """Everything shown as code: blocks, and what stands in backticks; of a module, the commands in its help."""
    if page.suffix == ".py":
        return [text for text in _HELP.findall(page.read_text()) if "{" not in text]
    rest = _FENCE.sub("", page.read_text())
    return [*(block.text for block in blocks(page)), *_INLINE.findall(rest)]


def commands(text: str) -> list[list[str]]:
    """Words of every command of the package in some code, from the subcommand on.

    What is cut short by a ``...`` of its own is left out; behind an option it stands for a value.
    """
    text = re.sub(r"\\+\n\s*", " ", text)
    for name, value in _LOOP.findall(text):
        text = re.sub(rf"\${name}\b", value, text)
    lines = [line for line in text.splitlines() if PYTHON in line]
    shown = [shlex.split(_END.split(part)[0]) for line in lines for part in line.split(PYTHON)[1:]]
    return [words for words in shown if words and not _is_short(words)]


def _is_short(words: list[str]) -> bool:
    pairs = zip(["", *words], words, strict=False)
    alone = any(word in ("…", "...") and not before.startswith("--") for before, word in pairs)
    return alone or any(word.isupper() for word in words[:2])


def targets(text: str) -> list[str]:
    """Targets of every ``make`` in some code."""
    found = re.findall(r"(?:^|[;&]|\d: )\s*make((?: +[a-z][a-z-]*\b(?!=))+)", text, re.MULTILINE)
    return [target for words in found for target in words.split()]
