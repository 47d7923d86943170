"""Edited masks of a store into another one, with what was edited and who is behind them."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from tte_tee.anatomy import LabelSpace
from tte_tee.data.curate.copying import check_out, join_licences, record_of
from tte_tee.data.edits.operations import MaskFrame
from tte_tee.data.edits.parse import Edit
from tte_tee.data.leakage import patients_of_masks
from tte_tee.data.shape_model.rules import pieces
from tte_tee.data.store import EchoStore, FrameInfo, StoreWriter
from tte_tee.data.usable import usable_frames
from tte_tee.data.workers import with_bar
from tte_tee.errors import UserError
from tte_tee.seen import SEEN, seen_in


@dataclass
class EditTally:
    """What became of the masks.

    Attributes:
        written: how many stand in the new store.
        unchanged: by edit, masks left out because it changes nothing in them: they lack the structure, it has
            no room, the change is less than half a pixel, or the plane is told already.
        emptied: masks left out because nothing is left in them.
        before, after: of those written, how many show each structure.
        broken: how many show it in more pieces than before.
        change: area after over area before, one number per mask that showed the structure.
    """

    written: int = 0
    unchanged: Counter[str] = field(default_factory=Counter)
    emptied: int = 0
    before: Counter[str] = field(default_factory=Counter)
    after: Counter[str] = field(default_factory=Counter)
    broken: Counter[str] = field(default_factory=Counter)
    change: dict[str, list[float]] = field(default_factory=dict)


def edit_masks(
    store: EchoStore,
    out: str | Path,
    edits: Sequence[Edit],
    *,
    split: str | None = "train",
    command: str = "",
    record: Mapping[str, Any] | None = None,
    progress: bool = False,
) -> EditTally:
    """Writes the edited masks of a store as an echo store of black images.

    Each is the mask of the same patient, split, cohort and ``mask_source`` as its parent: an edited heart of a
    patient is that patient's heart still. The provenance records the edits, the store they were made from with
    its own provenance, and under ``seen`` whose hearts the masks show.

    Args:
        store: of the masks.
        out: store to write, or to replace.
        edits: applied in turn.
        split: masks of one split alone, or of all; whoever learns from a part of the new store has then seen
            everybody in it.
        command: to be recorded.
        record: provenance to be recorded beside.
        progress: shows a bar on stderr, if that is a terminal.

    Raises:
        UserError: there is no edit, a frame has no mask, the store cannot be written, no mask is left, or a
            structure that an edit names is left in none.
    """
    if not edits:
        raise UserError("no edit is asked for; 'masks edit --help' lists them")
    indices = usable_frames(store, split, image=False, plane=False)
    check_out(Path(out), store, *(edit.reads for edit in edits if edit.reads))
    seen = patients_of_masks(store, indices) | seen_in(store.provenance) | seen_in([dict(e.record) for e in edits])
    provenance = {
        **(record or {}),
        "made_by": "edit",
        "edits": [dict(edit.record) for edit in edits],
        SEEN: sorted(seen),
        "from": [record_of(store)],
    }
    tally, licence, text = EditTally(), _licence(store, edits), json.dumps(provenance)
    with StoreWriter(out, store.label_space, licence=licence, command=command, provenance=text) as writer:
        for index in with_bar([int(i) for i in indices], "editing masks", progress):
            info, (_, mask, sector) = store.info(index), store.frame(index)
            frame = MaskFrame(mask, sector, info.view, info.spacing, info.sector_confidence)
            edited = _edited(frame, edits, tally)
            if edited is not None:
                _count(tally, mask, edited.mask, store.label_space)
                writer.append(np.zeros_like(mask), edited.mask, edited.sector, _info(info, edited, edits))
        _check(tally, edits, store)
    return tally


def _licence(store: EchoStore, edits: Sequence[Edit]) -> str:
    """Of the masks, and of what else an edit reads."""
    read = [edit.reads.licence for edit in edits if edit.reads]
    return join_licences([f"edited masks; masks: {store.licence}", *(f"sector: {licence}" for licence in read)])


def _edited(frame: MaskFrame, edits: Sequence[Edit], tally: EditTally) -> MaskFrame | None:
    """The frame after all edits, or None where one of them does nothing or leaves nothing."""
    for edit in edits:
        before, frame = frame, edit.apply(frame)
        if not frame.mask.any():
            tally.emptied += 1
            return None
        if _same(before, frame):
            tally.unchanged[edit.name] += 1
            return None
    return frame


def _same(first: MaskFrame, second: MaskFrame) -> bool:
    told = (first.view, first.spacing) == (second.view, second.spacing)
    return told and np.array_equal(first.mask, second.mask) and np.array_equal(first.sector, second.sector)


def _count(tally: EditTally, before: np.ndarray, after: np.ndarray, space: LabelSpace) -> None:
    tally.written += 1
    for name, label in space.ids.items():
        old, new = (np.asarray(mask == label, np.uint8) for mask in (before, after))
        if not old.any():
            continue
        tally.before[name] += 1
        tally.after[name] += bool(new.any())
        tally.broken[name] += pieces(new, 8) > pieces(old, 8)
        tally.change.setdefault(name, []).append(float(new.sum() / old.sum()))


def _info(info: FrameInfo, edited: MaskFrame, edits: Sequence[Edit]) -> FrameInfo:
    return replace(
        info,
        key="~".join([info.key, *(edit.name for edit in edits)]),
        view=edited.view,
        spacing=edited.spacing,
        sector_confidence=edited.sector_confidence,
        origin="mask",
        parent=info.key,
        seed=-1,
    )


def _check(tally: EditTally, edits: Sequence[Edit], store: EchoStore) -> None:
    if not tally.written:
        why = [f"{name} changes nothing in {count}" for name, count in tally.unchanged.items()]
        why += [f"nothing is left of {tally.emptied}"] * bool(tally.emptied)
        raise UserError(f"{store.path}: no mask is left to write ({', '.join(why)}); edit less, or other masks")
    for edit in edits:
        if tally.before[edit.structure] and not tally.after[edit.structure]:
            raise UserError(
                f"{edit.name}: {edit.structure} is left in none of {tally.before[edit.structure]} masks; edit less"
            )
