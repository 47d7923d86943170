"""Stores as folders of PNGs, with a recipe by which ``data pack`` makes a store of them again."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd
import yaml

from tte_tee.anatomy import VIEWS
from tte_tee.anatomy.views import PHASES
from tte_tee.data.exporters.record import RECORD, TABLE, write_record
from tte_tee.data.pictures import write_values
from tte_tee.data.recipe import is_spacing
from tte_tee.data.store import EchoStore
from tte_tee.data.workers import with_bar
from tte_tee.errors import UserError
from tte_tee.files import check_new, new_folder, write_whole
from tte_tee.seen import seen_in

RECIPE = "recipe.yaml"
_LONGEST = 200  # bytes of a folder's name; file systems take 255


def export_png(path: Path, out: Path, *, progress: bool = False) -> str:
    """Writes the frames of a store as ``images/PATIENT/VIEW_PHASE_NUMBER.png``, and ``masks`` and ``sectors`` alike.

    Pixels are those of the store: grey levels, label ids, and 255 within the sector. ``frames.csv`` has a row per
    frame; ``recipe.yaml`` packs them again: pixels, labels, sectors, patients, views, phases, splits, and cohort
    and spacing where they are the same throughout.

    Args:
        path: of the store.
        out: folder to write.
        progress: shows a bar on stderr, if that is a terminal.

    Returns:
        Why there is no recipe; empty if there is one.

    Raises:
        UserError: a patient's name cannot be that of a folder, or ``out`` is there.
    """
    store = EchoStore(path)
    check_new(out)
    files = _files(store)
    masked = (store.table["mask_source"] != "none").to_numpy()
    sectorless = ""
    with new_folder(out) as temporary:
        for index, file in enumerate(with_bar(files, f"writing {out.name}", progress)):
            image, mask, sector = store.frame(index)
            write_values(temporary / "images" / file, image)
            if masked[index]:
                write_values(temporary / "masks" / file, mask)
            write_values(temporary / "sectors" / file, 255 * sector)
            if not sector.any():
                sectorless = f"the sector of {file} is empty, which cannot be packed"
        reason = next(_obstacles(store), sectorless)
        if not reason:
            recipe = _recipe(store, out.name)
            write_whole(temporary / RECIPE, yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True).encode())
        table = pd.concat([pd.Series(files, name="file"), store.table], axis=1)
        write_record(temporary, [store], table, _words(store, out.name, reason))
    return reason


def _files(store: EchoStore) -> list[str]:
    """A relative path for every frame.

    Raises:
        UserError: a patient's name cannot be that of a folder.
    """
    for patient in store.table["patient"].unique():
        parts = PurePosixPath(patient).parts
        plain = str(PurePosixPath(patient)) == patient and not patient.startswith("/") and ".." not in parts
        if not (plain and parts) or not patient.isprintable() or max(len(part.encode()) for part in parts) > _LONGEST:
            raise UserError(f"{store.path}: patient {patient!a:.60} has no name for a folder; give patients others")
    width = len(str(len(store)))
    columns = (store.table[name] for name in ("patient", "view", "phase"))
    return [
        f"{patient}/{view}_{phase}_{number:0{width}d}.png"
        for number, (patient, view, phase) in enumerate(zip(*columns, strict=True))
    ]


def _obstacles(store: EchoStore) -> Iterator[str]:
    """What a packed store would get wrong: packing calls frames acquired and masks annotated, and knows no past."""
    table, (height, width) = store.table, store.image_size
    if (table["origin"] == "generated").any():
        yield "packed again, generated frames would pass for acquired ones"
    if (table["origin"] == "mask").any():
        yield "there are masks without pictures, which cannot be packed"
    if seen_in(store.provenance):
        yield "packed again, the store would forget whom its provenance knows"
    if table["mask_source"].nunique() > 1:
        yield "masks come from several sources, which packing would take for one"
    elif not table["mask_source"].isin(("annotated", "phantom", "none")).all():
        yield f"packed again, masks of source {table['mask_source'].iloc[0]} would pass for annotated ones"
    if (table.groupby("split")["cohort"].nunique() > 1).any():
        yield "a split has patients of several cohorts, which a recipe cannot tell apart"
    if height != width:
        yield f"frames are {height}x{width}, and packing makes squares"


def _recipe(store: EchoStore, name: str) -> dict[str, Any]:
    """The recipe; see ``data/README.md`` for its keys."""
    table, space = store.table, store.label_space
    labelled = bool((table["mask_source"] != "none").any())
    file = "{patient}/{view}_{phase}_{number}.png"
    views, phases = ("|".join(map(re.escape, names)) for names in (VIEWS, PHASES))
    recipe: dict[str, Any] = {
        "name": name,
        "licence": store.licence.strip() or "unknown",
        "images": rf"images/(?P<patient>.+)/(?P<view>{views})_(?P<phase>{phases})_(?P<number>\d+)\.png",
        "masks": f"masks/{file}" if labelled else "none",
        "views": {view: view for view in sorted(table["view"].unique())},
        "phases": {phase: phase for phase in sorted(table["phase"].unique())},
        "label_space": space.to_json(),
    }
    if labelled:
        recipe["labels"] = {0: "background", **{label: structure for structure, label in space.ids.items()}}
    return {
        **recipe,
        "size": store.image_size[0],
        "sector": {"file": f"sectors/{file}"},
        "split": {"csv": TABLE},
        "cohorts": dict(table.groupby("split")["cohort"].first()),
        "spacing": _spacing(table),
    }


def _spacing(table: pd.DataFrame) -> list[float] | str:
    """The one spacing of all frames; a recipe knows no more than one."""
    pairs = table[["spacing_y", "spacing_x"]].drop_duplicates()
    spacing = [float(length) for length in pairs.iloc[0]]
    return spacing if len(pairs) == 1 and all(map(is_spacing, spacing)) else "unknown"


def _words(store: EchoStore, name: str, reason: str) -> list[str]:
    """The card."""
    labels: Mapping[str, int] = {"background": 0, **store.label_space.ids}
    ids = ", ".join(f"{label} {structure}" for structure, label in labels.items())
    lost = ["keys, studies, parents, seeds and provenance", "that frames or masks are a phantom's"]
    if (store.table["sector_confidence"] < 1).any():
        lost.append("how sure estimated sectors were, which pass for known")
    if _spacing(store.table) == "unknown" and store.table["spacing_y"].notna().any():
        lost.append("spacing, which differs")
    again = (
        f"There is no recipe for `tte_tee data pack`: {reason}."
        if reason
        else f"`python -m tte_tee data pack {RECIPE} --root . --out STORE.h5` makes a store of it again. Pixels, "
        "labels, sectors, patients, views, phases, splits and cohorts come back; what does not, is in "
        f"`{TABLE}` and `{RECORD}` alone: {'; '.join(lost)}."
    )
    return [
        f"# {name}",
        f"{len(store):,} frames of the echo store `{store.path.name}`, content hash `{store.content_hash}`.",
        f"`images` hold grey levels, `masks` label ids ({ids}; nearly black to the eye), `sectors` 255 where the probe "
        f"sees. A frame that nobody labelled has no file in `masks`. `{TABLE}` says of each file whose it is, and all "
        "else that the store does.",
        f"Licence: {store.licence}",
        again,
    ]
