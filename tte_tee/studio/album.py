"""The store of frames that were saved: an echo store, written anew and whole with each of them."""

import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tte_tee.anatomy import LabelSpace
from tte_tee.data.curate.card import card_path, write_card
from tte_tee.data.curate.copying import join_licences
from tte_tee.data.store import EchoStore, FrameInfo, StoreWriter, check_target
from tte_tee.errors import UserError
from tte_tee.provenance import provenance
from tte_tee.seen import BASE_SEEN, MASK_SEEN, learnt_from, seen_in
from tte_tee.studio.draw import NOISE, THREADS, DrawnFrame
from tte_tee.studio.heart import provenance_of
from tte_tee.studio.uploads import check_kind
from tte_tee.synthesis.record import drawn_by, generated_info, known_to

MADE_BY = "studio"
_Row = tuple[np.ndarray, np.ndarray, np.ndarray, FrameInfo]


@dataclass
class Album:
    """Frames that were saved, in one file.

    Attributes:
        path: of the store.
        label_space: of its masks.
        image_size: (H, W) of its frames.
        command: to be recorded.

    Raises:
        UserError: something else has the name, or a store of another kind.
    """

    path: Path
    label_space: LabelSpace
    image_size: tuple[int, int]
    command: str = ""
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def __post_init__(self) -> None:
        check_target(self.path)
        card_path(self.path)
        self._saved()

    def add(self, drawings: Sequence[DrawnFrame]) -> int:
        """Adds frames to those that are there, and their datasheet beside; returns how many the store then holds.

        A frame that is there already is not added again.

        Raises:
            UserError: there is no frame, a mask is empty, a patient would stand in two splits, or the store cannot
                be written; the store is then as it was. Or the datasheet cannot; the frames are then saved.
        """
        if not drawings:
            raise UserError("there is no frame to save; draw one first")
        if not all(drawing.heart.mask.any() for drawing in drawings):
            raise UserError("the mask is empty; paint a structure before the frame is saved")
        with self._lock:
            store = self._saved()
            rows: list[_Row] = [(*store.frame(i), store.info(i)) for i in range(len(store))] if store else []
            records: list[dict[str, Any]] = list(store.provenance["drawings"]) if store else []
            for drawing in drawings:
                info = self._info(drawing, rows)
                if any(row[-1].parent == info.parent and np.array_equal(row[0], drawing.image) for row in rows):
                    continue
                rows.append((drawing.image, drawing.heart.mask, drawing.heart.sector, info))
                records.append(_record(drawing, info.key))
            licences = [store.licence] if store else []
            licence = join_licences([*licences, *(f"synthetic; masks: {d.heart.licence}" for d in drawings)])
            whole = {**provenance(), "made_by": MADE_BY, **_known(store, drawings), "drawings": records}
            with StoreWriter(
                self.path, self.label_space, licence=licence, command=self.command, provenance=json.dumps(whole)
            ) as writer:
                for row in rows:
                    writer.append(*row)
            write_card(self.path)
            return len(rows)

    def _saved(self) -> EchoStore | None:
        """What is there already."""
        if not self.path.exists():
            return None
        store = EchoStore(self.path)
        if store.provenance.get("made_by") != MADE_BY:
            raise UserError(f"{self.path}: is a store that the studio did not write; name another with --out")
        check_kind(store, self.image_size, self.label_space)
        return store

    @staticmethod
    def _info(drawing: DrawnFrame, rows: Sequence[_Row]) -> FrameInfo:
        """As ``synthesize`` says it; frames of one mask and seed are numbered."""
        seed, parent = drawing.sampling.seed, drawing.heart.info.key
        number = sum((info.parent, info.seed) == (parent, seed) for *_, info in rows)
        return generated_info(drawing.heart.info, seed, number)


def _record(drawing: DrawnFrame, key: str) -> dict[str, Any]:
    """Who drew a frame, for what, and how to draw it again."""
    return {
        **drawn_by(drawing.adapter, drawing.sampling),
        "frame": key,
        "masks": provenance_of(drawing.heart),
        "drawn": {"noise": NOISE, "batch_size": 1, "threads": THREADS, "device": "cpu"},
    }


def _known(store: EchoStore | None, drawings: Sequence[DrawnFrame]) -> dict[str, list[str]]:
    """Everybody whom adapters, bases and masks know, of the frames saved before and of these."""
    before = store.provenance if store else {}
    learnt, shown, base = learnt_from(before), seen_in(before, MASK_SEEN), seen_in(before, BASE_SEEN)
    for drawing in drawings:
        learnt |= seen_in(drawing.adapter.record) | drawing.heart.seen
        base |= seen_in(drawing.adapter.record, BASE_SEEN)
        shown |= {drawing.heart.patient} - {""}
    return {**known_to(learnt, shown), BASE_SEEN: sorted(base)}
