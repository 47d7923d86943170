"""Looking at a store: tables for the terminal, and a sheet of its frames."""

import math
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table as RichTable

from tte_tee.data.curate.choose import spread
from tte_tee.data.curate.numbers import StoreNumbers, all_tables
from tte_tee.data.pictures import captioned, colour_mask, contact_sheet, enlarge, grey, legend, overlay, write_png
from tte_tee.data.store import SCHEMA_VERSION, EchoStore
from tte_tee.tables import Table

_SIDE = 192  # pixels of a picture on the sheet


def show_store(numbers: StoreNumbers, console: Console) -> None:
    """Prints what a store is and what it holds."""
    facts = RichTable(title=str(numbers.store.path), show_header=False, title_justify="left")
    facts.add_column(style="bold")
    facts.add_column(overflow="fold")
    for name, value in store_facts(numbers):
        facts.add_row(name, value)
    console.print(facts)
    for table in all_tables(numbers):
        console.print(rich_table(table))


def store_facts(numbers: StoreNumbers) -> list[tuple[str, str]]:
    """What the store says of itself, line by line."""
    store = numbers.store
    return [
        ("frames", f"{numbers.frames:,} of {numbers.patients:,} patients"),
        ("size", f"{' x '.join(map(str, store.image_size))} pixels; {numbers.bytes:,} bytes"),
        ("label space", f"{store.label_space.name}: {', '.join(store.label_space.structures)}"),
        ("licence", store.licence),
        ("command", store.command),
        ("schema", str(SCHEMA_VERSION)),
        ("content hash", store.content_hash),
    ]


def rich_table(table: Table) -> RichTable:
    """A table for the terminal; columns of numbers stand to the right."""
    shown = RichTable(title=table.title, title_justify="left")
    for place, name in enumerate(table.header):
        numeric = all(row[place][:1].isdigit() or row[place] == "-" for row in table.rows)
        shown.add_column(name, justify="right" if numeric else "left")
    for row in table.rows:
        shown.add_row(*row)
    return shown


def write_sheet(numbers: StoreNumbers, path: Path, frames: int) -> None:
    """Writes a PNG of ``frames`` frames, each as it is, and with its mask.

    First come those that their sector cuts, half of the sheet at most, then others, spread over patients and views.

    Raises:
        UserError: the file cannot be written.
    """
    store, cut = numbers.store, numbers.cut[: frames // 2]
    others = [int(index) for index in spread(store.table, frames, seed=0) if index not in cut]
    chosen = [*cut, *others[: frames - len(cut)]]
    cells = [_cell(store, index, cut="cut by its sector" if index in numbers.cut else "") for index in chosen]
    columns = min(4, max(1, round(math.sqrt(0.75 * len(cells)))))
    blank = np.full_like(cells[0], 255)
    cells += [blank] * (-len(cells) % columns)
    rows = [cells[start : start + columns] for start in range(0, len(cells), columns)]
    sheet = contact_sheet(rows, ["frame, and with its mask"] * columns, scale=1)
    patients = store.table["patient"]
    title = (
        f"{store.path.name}: {len(chosen):,} of {len(store):,} frames, "
        f"{patients.iloc[chosen].nunique():,} of {patients.nunique():,} patients"
    )
    write_png(path, np.vstack([legend(store.label_space, title, sheet.shape[1]), sheet]))


def _cell(store: EchoStore, index: int, cut: str) -> np.ndarray:
    """A frame beside itself with its mask, over its key; a frame without picture is a mask in full colour."""
    image, mask, sector = store.frame(index)
    info = store.info(index)
    left = enlarge(grey(image), _SIDE)
    if info.origin == "mask":
        right = enlarge(colour_mask(mask, sector, store.label_space), _SIDE, labels=True)
    else:
        right = overlay(image, mask, sector, store.label_space, _SIDE)
    gap = np.full((len(left), 2, 3), 255, np.uint8)
    missing = ["no picture"] * (info.origin == "mask") + ["no mask"] * (info.mask_source == "none") + [cut] * bool(cut)
    said = [word for word in (info.view, info.phase, info.split, info.cohort) if word not in ("unknown", "none")]
    return captioned(np.hstack([left, gap, right]), [info.key, " ".join(said + missing)])
