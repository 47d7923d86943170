"""The datasheet of a store, in Markdown: Gebru et al., Datasheets for Datasets, CACM 64(12), 2021."""

import json
from collections.abc import Iterator
from pathlib import Path

from tte_tee.anatomy import STRUCTURES, WITHOUT_PLANE
from tte_tee.data.curate.numbers import (
    StoreNumbers,
    count_store,
    geometry_table,
    source_table,
    split_table,
    structure_table,
    view_table,
)
from tte_tee.data.sector import DOUBTFUL
from tte_tee.data.store import HELD_OUT, SCHEMA_VERSION, EchoStore
from tte_tee.errors import UserError
from tte_tee.files import without_folders, write_whole
from tte_tee.seen import BASE_SEEN, SEEN, published, seen_in
from tte_tee.tables import Table, markdown

_MARK = "Echo store, schema"
_FEW = 10  # patients; fewer say little about hearts at large
_ADAPTER = {"adapter": "hash", "method": "method", "base": "base_hash"}  # words of the card -> of the provenance


def write_card(store: Path) -> Path:
    """Writes the datasheet of a store beside it, as NAME.md, and gives its path.

    Raises:
        UserError: something else has that name.
    """
    path = card_path(store)
    write_whole(path, card(count_store(EchoStore(store))).encode())
    return path


def card_path(store: Path) -> Path:
    """Where the datasheet of a store stands: NAME.md beside it, which nothing but its datasheet may be.

    Raises:
        UserError: something else has that name.
    """
    path = store.with_suffix(".md")
    if path == store:
        raise UserError(f"{store}: has the name of its own datasheet; give one such as {store.stem}.h5")
    if path.exists() and not (path.is_file() and _is_datasheet(path.read_bytes(), store.name)):
        raise UserError(
            f"{path}: is there and is no datasheet of {store.name}; move it, or give the store another name"
        )
    return path


def _is_datasheet(text: bytes, store: str) -> bool:
    return text.startswith(f"# {store}\n".encode()) and _MARK.encode() in text


def card(numbers: StoreNumbers) -> str:
    """A datasheet that depends on the store alone.

    No date, of absolute paths the last name only, and of those whom it knows by provenance their number.
    """
    table, store = numbers.store.table, numbers.store
    parts = [
        f"# {store.path.name}",
        _motivation(numbers),
        "## Composition",
        *map(markdown, (view_table(table), source_table(table), structure_table(numbers), geometry_table(numbers))),
        "Areas are means over the frames that show the structure. " + _legend(numbers),
        "## Splits and cohorts",
        "No patient stands in two splits or in two cohorts.",
        markdown(split_table(table)),
        _held_out(numbers),
        "## Collection and preprocessing",
        *_making(numbers),
        *_generation(numbers),
        "## Known limits",
        "\n".join(f"- {limit}" for limit in limits(numbers)) or "None that the data show.",
        "## Uses",
        _uses(numbers),
        "## Distribution",
        f"Licence: {_plain(store.licence) or 'not stated; do not pass it on'}.",
        "## Maintenance",
        f"{_MARK} {SCHEMA_VERSION}. Content hash (SHA-256 over label space, columns and pixels):",
        f"`{store.content_hash}`",
        "`python -m tte_tee data verify` recomputes it and checks every invariant.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def limits(numbers: StoreNumbers) -> Iterator[str]:
    """What to state wherever a number from this store is printed, as far as the data show it."""
    frames, patients = numbers.frames, numbers.patients
    if patients == 1:
        yield "One patient only: every number from it is a single-patient demonstration."
    elif patients < _FEW:
        yield f"Only {patients} patients: numbers from it say little about patients at large."
    if made := numbers.count("origin", "phantom", "generated"):
        kinds = [f"{n:,} {kind}" for kind in ("phantom", "generated") if (n := numbers.count("origin", kind))]
        yield f"Synthetic pictures: {_share(made, frames)} were not acquired from a patient ({', '.join(kinds)})."
    if bare := numbers.count("origin", "mask"):
        yield f"Masks without a picture: {_share(bare, frames)} are black."
    if unlabelled := frames - numbers.labelled:
        yield f"Unlabelled: {_share(unlabelled, frames)} have no mask."
    if computed := numbers.labelled - numbers.count("mask_source", "annotated"):
        yield f"Masks that no person drew: {_share(computed, frames)}."
    if unknown := frames - len(numbers.spaced):
        yield f"Unknown spacing: in {_share(unknown, frames)} distances and areas are in pixels."
    if numbers.estimated:
        yield (
            f"Estimated sectors: in {_share(numbers.estimated, frames)} the edge of the sector is a guess, "
            f"{numbers.doubtful:,} of them with a confidence below {DOUBTFUL:g}."
        )
    if phaseless := numbers.count("phase", "unknown"):
        yield f"Unknown phase: {_share(phaseless, frames)}."
    if other := numbers.count("view", *WITHOUT_PLANE):
        yield f"Other views: the generator knows no plane for {_share(other, frames)}."
    if nobody := numbers.count("cohort", "none"):
        yield f"No cohort: nobody said which stage may see {_share(nobody, frames)}."
    if missing := [s.name for s in numbers.structures if numbers.sampled and not s.frames]:
        yield f"Structures of the label space that no frame read here shows: {', '.join(missing)}."


def _motivation(numbers: StoreNumbers) -> str:
    store = numbers.store
    return (
        f"{numbers.frames:,} echocardiographic frames of {numbers.patients:,} patients, "
        f"{'x'.join(map(str, store.image_size))} pixels, {numbers.labelled:,} of them with a mask in label space "
        f"'{store.label_space.name}'. Made to train and to test diffusion models and segmenters of transthoracic (TTE) "
        "and transoesophageal (TEE) echo; for research, not for any clinical decision."
    )


def _legend(numbers: StoreNumbers) -> str:
    return "; ".join(f"{s}: {STRUCTURES[s].description}" for s in numbers.store.label_space.structures) + "."


def _held_out(numbers: StoreNumbers) -> str:
    table = numbers.store.table
    held = table[table["cohort"].isin(HELD_OUT)]
    if not len(held):
        return ""
    return (
        f"{held['patient'].nunique():,} patients ({len(held):,} frames) are held out: they belong in no base, "
        "adapter, shape model, filter or tuning."
    )


def _making(numbers: StoreNumbers) -> Iterator[str]:
    store = numbers.store
    yield "Made by:" if store.command else "The command that made it is not recorded."
    if store.command:
        yield f"```\n{without_folders(store.command)}\n```"
    if store.provenance:
        yield "Provenance:"
        yield f"```json\n{json.dumps(published(store.provenance, named=False), indent=2, ensure_ascii=False)}\n```"


def _generation(numbers: StoreNumbers) -> Iterator[str]:
    """How generated frames were drawn, if that is what the store holds."""
    record, table = numbers.store.provenance, numbers.store.table
    drawn = table[table["origin"] == "generated"]
    if "sampling" not in record or not len(drawn):
        return
    adapter, masks = record.get("adapter", {}), record.get("masks", {})
    per_mask = drawn.groupby("parent").size()
    sources = ", ".join(f"{source} ({n:,} frames)" for source, n in drawn["mask_source"].value_counts().items())
    known, of_base = (len(seen_in(record, key)) for key in (SEEN, BASE_SEEN))
    rows = [
        *((name, str(adapter[key])) for name, key in _ADAPTER.items() if key in adapter),
        *((f"sampling: {name}", str(value)) for name, value in record["sampling"].items()),
        *((name, str(record[name])) for name in ("gain",) if name in record),
        *((f"masks: {name}", str(value)) for name, value in masks.items()),
        ("masks made by", sources),
        ("frames per mask", _span(int(per_mask.min()), int(per_mask.max()))),
        ("patients known to adapter, base or masks", f"{known:,}, {of_base:,} of them by way of the base"),
    ]
    yield "## Generation"
    yield markdown(Table("How frames were drawn", ("what", "value"), rows))
    yield (
        "Frames may repeat some that the adapter was trained on: look for copies before they are passed on. "
        "A segmenter trained on them is not tested on a patient who is known to them; the store's provenance says who."
    )


def _span(low: int, high: int) -> str:
    return f"{low:,}" if low == high else f"{low:,}-{high:,}"


def _uses(numbers: StoreNumbers) -> str:
    table = numbers.store.table
    uses = [
        f"{split} ({int(n):,} frames)" for split in ("train", "val", "test") if (n := (table["split"] == split).sum())
    ]
    once = " Choose and tune on train and val alone; read a result off test once." * (
        numbers.count("split", "test") > 0
    )
    return f"What is there to use: {', '.join(uses)}.{once} State the limits above beside any result."


def _share(some: int, total: int) -> str:
    return f"{some:,} of {total:,} frames"


def _plain(text: str) -> str:
    return " ".join(text.split()).rstrip(".")
