"""Checking a store, pixels included: every invariant, and everything that is worth a second look."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress

from tte_tee.anatomy import VIEWS, LabelSpace
from tte_tee.data.store import ARRAYS, COLUMNS, EchoStore, content_hash, table_faults
from tte_tee.errors import UserError
from tte_tee.files import first_line

_NAMED = 3  # keys that a finding names


@dataclass(frozen=True)
class Finding:
    """Something that is wrong, or worth a look.

    Attributes:
        error: an invariant is broken; else a warning.
        text: what was found.
        frames: in how many frames, or 0 where it is about the whole store.
        keys: of the first few.
    """

    error: bool
    text: str
    frames: int = 0
    keys: tuple[str, ...] = ()

    def __str__(self) -> str:
        if not self.frames:
            return self.text
        more = ", ..." if self.frames > len(self.keys) else ""
        return f"{self.text}: {self.frames:,} frame{'s' * (self.frames > 1)}: {', '.join(self.keys)}{more}"


class Facts:
    """What the pixels say of each frame, gathered block by block.

    Attributes:
        black: the image is 0 everywhere, bool ``[N]``.
        shown: the mask holds label k, bool ``[N, K + 1]``; 0 stands for labels outside of the label space.
        labelled, outside: labelled pixels, and those of them outside of the sector, ``[N]``.
        sector: highest value of the sector, ``[N]``.
    """

    def __init__(self, frames: int, labels: int) -> None:
        self.black = np.zeros(frames, bool)
        self.shown = np.zeros((frames, labels + 1), bool)
        self.labelled = np.zeros(frames, np.int64)
        self.outside = np.zeros(frames, np.int64)
        self.sector = np.zeros(frames, np.uint8)

    def add(self, name: str, start: int, block: np.ndarray, masks: h5py.Dataset) -> None:
        """Takes in frames ``[n, H, W]`` of one array; ``masks`` is all masks of the store."""
        rows, axes = slice(start, start + len(block)), (1, 2)
        if name == "images":
            self.black[rows] = ~block.any(axis=axes)
        elif name == "masks":
            labels = self.shown.shape[1]
            self.shown[rows, 0] = block.max(axis=axes, initial=0) >= labels
            for label in range(1, labels):
                self.shown[rows, label] = (block == label).any(axis=axes)
            self.labelled[rows] = np.count_nonzero(block, axis=axes)
        else:
            self.sector[rows] = block.max(axis=axes, initial=0)
            self.outside[rows] = np.count_nonzero((masks[rows] > 0) & (block == 0), axis=axes)


def verify_store(path: Path, *, progress: bool = False) -> list[Finding]:
    """Everything that is wrong with a store or worth a look; errors first.

    Args:
        path: of the store; it is read a few megabytes at a time.
        progress: shows a bar on stderr, if that is a terminal.
    """
    try:
        store = EchoStore(path, check=False)
        facts = Facts(len(store), len(store.label_space.structures))
        with h5py.File(path, "r", locking=False) as file, _bar(progress) as bar:
            task = bar.add_task(f"reading {escape(path.name)}", total=len(ARRAYS) * len(store))

            def visit(name: str, start: int, block: np.ndarray) -> None:
                facts.add(name, start, block, file["masks"])
                bar.advance(task, len(block))

            findings = [*_layout(file), *(Finding(True, fault) for fault in table_faults(store.table))]
            findings += _attributes(store, content_hash(file, visit))
    except UserError as error:
        return [Finding(True, str(error).removeprefix(f"{path}: "))]
    except (OSError, LookupError, ValueError, TypeError, RuntimeError) as error:
        return [Finding(True, f"cannot be read to its end ({first_line(error)}); copy or make it again")]
    table = store.table
    findings += _find(True, table, _broken_rows(table))
    findings += _find(True, table, _broken_pixels(table, facts))
    findings += _find(False, table, _doubtful_pixels(table, facts, store.label_space))
    return sorted(findings, key=lambda finding: not finding.error)


def _bar(progress: bool) -> Progress:
    console = Console(stderr=True)
    return Progress(console=console, disable=not (progress and console.is_terminal), transient=True)


def _layout(file: h5py.File) -> Iterator[Finding]:
    """Links and data that lead elsewhere, columns of another type, and what does not belong here."""
    known = {*ARRAYS, *(f"frames/{name}" for name in COLUMNS)}
    for name, link in _links(file):
        if not isinstance(link, h5py.HardLink):
            yield Finding(True, f"'{name}' is a link to another place; a store holds all its data itself")
        elif isinstance(item := file[name], h5py.Dataset):
            if item.is_virtual or item.external:
                yield Finding(True, f"'{name}' keeps its data in another file; a store holds all its data itself")
            if name not in known:
                yield Finding(False, f"'{name}' is no part of a store, and no stage reads it")
    for name, dtype in COLUMNS.items():
        found = file[f"frames/{name}"].dtype
        expected = np.dtype(dtype)
        if found != expected or h5py.check_string_dtype(found) != h5py.check_string_dtype(expected):
            wanted = "text" if h5py.check_string_dtype(expected) else expected
            yield Finding(True, f"column '{name}' is {found}, and should be {wanted}")


def _links(group: h5py.Group, above: str = "", seen: frozenset[int] = frozenset()) -> Iterator[tuple[str, object]]:
    """Name and link of everything below ``group``; follows no link, and no group into itself."""
    seen |= {h5py.h5o.get_info(group.id).addr}
    for name in group:
        link = group.get(name, getlink=True)
        yield above + name, link
        below = group[name] if isinstance(link, h5py.HardLink) else None
        if isinstance(below, h5py.Group) and h5py.h5o.get_info(below.id).addr not in seen:
            yield from _links(below, f"{above}{name}/", seen)


def _attributes(store: EchoStore, found: str) -> Iterator[Finding]:
    provenance: object = store.provenance
    if store.content_hash != found:
        yield Finding(
            True,
            f"the content hash is {str(store.content_hash)[:12]}..., the content gives {found[:12]}...: "
            "it was changed after it was written",
        )
    if not str(store.licence).strip():
        yield Finding(True, "the licence is empty; nobody knows who may use it")
    if not isinstance(provenance, dict):
        yield Finding(True, "the provenance is no mapping")
    if not str(store.command).strip():
        yield Finding(False, "the command that made it is not recorded")


_Rules = Iterator[tuple[str, np.ndarray | pd.Series]]
"""(what is wrong, in which frames: bool ``[N]``)"""


def _find(error: bool, table: pd.DataFrame, rules: _Rules) -> Iterator[Finding]:
    for text, where in rules:
        rows = np.flatnonzero(where)
        if len(rows):
            yield Finding(error, text, len(rows), tuple(table["key"].iloc[rows[:_NAMED]]))


def _broken_rows(table: pd.DataFrame) -> _Rules:
    spacing = table[["spacing_y", "spacing_x"]]
    yield "only one of the two spacings is known", spacing.isna().sum(axis=1) == 1
    yield "a spacing is not a positive number", ((spacing <= 0) | np.isinf(spacing)).any(axis=1)
    yield "the confidence of the sector is not within 0 and 1", ~table["sector_confidence"].between(0, 1)
    yield "the key is empty", table["key"] == ""
    yield "a generated frame names no parent", (table["origin"] == "generated") & (table["parent"] == "")
    yield "the frame is its own parent", table["parent"].astype(bool) & (table["parent"] == table["key"])
    yield "the seed is below -1", table["seed"] < -1


def _broken_pixels(table: pd.DataFrame, facts: Facts) -> _Rules:
    nobody, pictured = (table["mask_source"] == "none").to_numpy(), (table["origin"] != "mask").to_numpy()
    yield "the mask holds a label outside of the label space", facts.shown[:, 0]
    yield "the sector holds values other than 0 and 1", facts.sector > 1
    yield "the sector is empty", facts.sector == 0
    yield "mask_source is none, yet there is a mask", nobody & (facts.labelled > 0)
    yield "origin is mask, yet there is a picture", ~pictured & ~facts.black
    yield "the picture is black, yet origin is not mask", pictured & facts.black


def _doubtful_pixels(table: pd.DataFrame, facts: Facts, space: LabelSpace) -> _Rules:
    yield "the mask is empty, yet mask_source is not none", (table["mask_source"] != "none") & (facts.labelled == 0)
    over = facts.outside > 0
    if over.any():
        share = facts.outside[over].sum() / facts.labelled.sum()
        yield f"the mask runs past the sector, in all by {share:.2%} of the labelled pixels", over
    for name, view in VIEWS.items():
        for structure, label in space.ids.items():
            if structure not in view.shows:
                here = (table["view"] == name).to_numpy()
                yield f"{name} shows {structure}, which that view does not cut", here & facts.shown[:, label]
