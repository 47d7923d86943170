"""What MkDocs is taught: the repository's own pages, and mathematics without a script.

Pages link to files of the repository as readers of the repository do (``../data/README.md``). On the site those files
stand under ``repository/``, with whatever they link to themselves; links between them stay as they are.
"""

import posixpath
import re
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
PLACE = "repository"
ENTRY = ("README.md", "CONTRIBUTING.md")
_LINK = re.compile(r"(\]\()([^)\s#]+)")
_FORMULA = re.compile(r'<(span|div) class="arithmatex">\\([(\[])(.*?)\\[)\]]</\1>', re.DOTALL)


def targets(page: Path) -> list[str]:
    """Files of the repository that a page links to, as paths from the root."""
    found = (posixpath.normpath(posixpath.join(page.parent.as_posix(), m[2])) for m in _LINK.finditer(text_of(page)))
    return [path for path in found if (ROOT / path).is_file()]


def text_of(page: Path) -> str:
    """A page of the repository; files of other kinds link to nothing."""
    return (ROOT / page).read_text() if page.suffix == ".md" else ""


def on_files(files: Files, config: Any) -> Files:
    """Adds every file of the repository that can be reached from a page."""
    pages = [path.relative_to(ROOT) for path in (ROOT / "docs").rglob("*.md")]
    waiting = [*ENTRY, *(path for page in pages for path in targets(page))]
    known: set[str] = set()
    while waiting:
        path = waiting.pop()
        if path not in known and not path.startswith("docs/"):
            known.add(path)
            waiting += targets(Path(path))
            files.append(File.generated(config, f"{PLACE}/{path}", abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Leads links out of ``docs/`` to where those files stand on the site, and links into it back."""
    here = page.file.src_uri
    source = here.removeprefix(f"{PLACE}/") if here.startswith(f"{PLACE}/") else f"docs/{here}"

    def led(match: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), match[2]))
        if not (ROOT / path).is_file():
            return match[0]
        place = path.removeprefix("docs/") if path.startswith("docs/") else f"{PLACE}/{path}"
        return match[1] + posixpath.relpath(place, posixpath.dirname(here) or ".")

    return _LINK.sub(led, markdown)


def on_page_content(html: str, page: Any, config: Any, files: Files) -> str:
    """Formulas become MathML, which browsers draw by themselves."""

    def drawn(match: re.Match[str]) -> str:
        formula = match[3].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
        return convert(formula, display="block" if match[2] == "[" else "inline")

    return _FORMULA.sub(drawn, html)
