"""A report as sections of text, tables and pictures: one content, as a page and as Markdown."""

import base64
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

import cv2
import numpy as np

from tte_tee.tables import Table, markdown

_KINDS = {b"RIFF": "image/webp", b"<?xm": "image/svg+xml"}
_NUMBER = re.compile(r"[+-]?\.?\d[\d.,:]*~?(?: [(\[].*| M .*)?|not estimable|-")
_LONG = 24  # characters: more are a sentence


@dataclass(frozen=True)
class Picture:
    """A plot or a gallery.

    Attributes:
        caption: what it shows.
        content: of a WebP or SVG file.
        wide: it takes the whole width; others stand side by side.
    """

    caption: str
    content: bytes
    wide: bool = False


@dataclass(frozen=True)
class Note:
    """Words that must not be overlooked."""

    text: str


Block = str | Table | Picture | Note


@dataclass(frozen=True)
class Section:
    """A heading and what stands under it; ``level`` 2 has an entry in the contents, 3 has none."""

    title: str
    blocks: Sequence[Block]
    level: int = 2


def is_picture(content: bytes) -> bool:
    """Whether that is a WebP file that can be read."""
    if not content.startswith(b"RIFF"):
        return False
    return cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR) is not None


def to_markdown(title: str, sections: Iterable[Section]) -> str:
    """Everything but the pictures, whose captions remain."""
    parts = [f"# {title}"]
    for section in sections:
        parts.append(f"{'#' * section.level} {section.title}")
        for block in section.blocks:
            if isinstance(block, Table):
                parts.append(markdown(block))
            elif isinstance(block, Picture):
                parts.append(f"*Picture on the page: {block.caption}*")
            else:
                parts.append(f"> {block.text}" if isinstance(block, Note) else block)
    return "\n\n".join(parts) + "\n"


def to_html(title: str, sections: Sequence[Section]) -> str:
    """One page that needs nothing beside it: style inline, pictures as data URIs, no script."""
    body, contents, open_figures = [], [], False
    for number, section in enumerate(sections):
        if section.level == 2:
            contents.append(f'<a href="#s{number}">{escape(section.title)}</a>')
        body.append(f'<h{section.level} id="s{number}">{escape(section.title)}</h{section.level}>')
        for block in section.blocks:
            if isinstance(block, Picture) != open_figures:  # neighbours stand side by side where there is room
                body.append("</div>" if open_figures else '<div class="figures">')
                open_figures = not open_figures
            body.append(_html(block))
        if open_figures:
            body.append("</div>")
            open_figures = False
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{_STYLE}</style>\n</head>\n<body>\n"
        f"<h1>{escape(title)}</h1>\n<nav>{' '.join(contents)}</nav>\n<main>\n" + "\n".join(body) + "\n</main>\n"
        "</body>\n</html>\n"
    )


def _html(block: Block) -> str:
    if isinstance(block, Table):
        return _table(block)
    if isinstance(block, Note):
        return f'<p class="note">{escape(block.text)}</p>'
    if isinstance(block, str):
        return f"<p>{escape(block)}</p>"
    kind = _KINDS[block.content[:4]]
    data = base64.b64encode(block.content).decode()
    caption = escape(block.caption)
    shape = "plot" if kind.endswith("xml") else "sheet" if block.wide else "gallery"
    return (
        f'<figure class="{shape}"><div class="wide">'
        f'<img src="data:{kind};base64,{data}" alt="{caption}"></div><figcaption>{caption}</figcaption></figure>'
    )


def _table(table: Table) -> str:
    head = "".join(f'<th scope="col">{escape(word)}</th>' for word in table.header)
    rows = "\n".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in table.rows)
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="{escape(table.title)}"><table>\n'
        f"<caption><span>{escape(table.title)}</span></caption>\n"
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody></table></div>"
    )


def _cell(words: str) -> str:
    """Numbers to the right, an interval on one line; sentences get room."""
    if _NUMBER.fullmatch(words):
        return f'<td class="n">{escape(words)}</td>'
    return f'<td class="t">{escape(words)}</td>' if len(words) > _LONG else f"<td>{escape(words)}</td>"


_STYLE = """\
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff; margin: 0 auto; max-width: 76rem;
  padding: 1rem clamp(.75rem, 3vw, 2rem) 4rem; overflow-wrap: break-word; }
h1 { line-height: 1.2; }
h2 { margin-top: 2.5rem; border-bottom: 2px solid #0072b2; line-height: 1.3; }
h3 { margin-top: 1.75rem; }
main > p { max-width: 48rem; }
nav { display: flex; flex-wrap: wrap; gap: .25rem 1rem; }
nav a { color: #00527f; padding: .2rem 0; }
.note { border-left: 4px solid #d55e00; background: #fdf3ec; padding: .5rem .75rem; }
.wide { overflow-x: auto; margin: .75rem 0; max-width: 100%; }
table { border-collapse: separate; border-spacing: 0; font-size: .875rem; line-height: 1.35; }
caption { text-align: left; font-weight: 600; padding-bottom: .35rem; }
caption span { position: sticky; left: 0; display: inline-block; max-width: min(72rem, calc(100vw - 2rem)); }
th, td { text-align: left; vertical-align: top; padding: .3rem .6rem; border-bottom: 1px solid #d0d0d0; }
th { border-bottom: 2px solid #555; vertical-align: bottom; }
td { min-width: 3.5rem; }
td.t { min-width: 13rem; }
td.n { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
tr { background: #fff; }
tbody tr:nth-child(even) { background: #f6f8fa; }
th:first-child, td:first-child { position: sticky; left: 0; background: inherit; }
td:first-child { white-space: nowrap; }
.figures { display: flex; flex-wrap: wrap; gap: 1.5rem; align-items: flex-start; }
figure { margin: .5rem 0; flex: 1 1 30rem; min-width: 0; max-width: 100%; }
figure.plot { max-width: 40rem; }
figure.gallery { flex: 0 1 22rem; }
figure.sheet { flex-basis: 100%; }
figure img { display: block; max-width: 100%; height: auto; }
figure.plot img { width: 100%; min-width: 26rem; max-width: none; }
figcaption { font-size: .875rem; color: #444; }
@media (max-width: 40rem) {
  body { font-size: 15px; }
  table { font-size: .8rem; }
  th, td { padding: .25rem .4rem; }
  td:first-child { white-space: normal; overflow-wrap: break-word; max-width: 9rem; }
  td.t { min-width: 9rem; }
  td.t:first-child { min-width: 7rem; }
  figure.plot, figure.gallery { flex-basis: 100%; }
  figure.sheet img { max-width: 40rem; }
}
@page { size: A4 landscape; margin: 12mm; }
@media print {
  body { font-size: 9pt; max-width: none; padding: 0; }
  nav { display: none; }
  h2, h3, caption { break-after: avoid; }
  tr, figure { break-inside: avoid; }
  thead { display: table-header-group; }
  .wide { overflow: visible; }
  table { font-size: 7.5pt; }
  th, td { padding: .2rem .3rem; }
  td, td.n, td.t { white-space: normal; min-width: 0; }
  td.t { overflow-wrap: anywhere; }
  figcaption { font-size: 8pt; }
  th:first-child, td:first-child { position: static; }
  caption span { position: static; max-width: none; }
  figure.plot img, figure.sheet img { min-width: 0; width: auto; max-width: 100%; }
  figure.plot img, figure.gallery img { max-height: 165mm; width: auto; }
  .figures { display: block; }
  figure { display: inline-block; vertical-align: top; }
  figure.gallery { width: 30%; margin-right: 2%; }
  figure.plot { width: 48%; margin-right: 1%; }
  .note, tbody tr:nth-child(even) { print-color-adjust: exact; }
}
"""
