"""What is to be known of a drawn frame: whether it shows its mask, and which training frame it is like."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from tte_tee.data.leakage import refuse_seen
from tte_tee.data.store import EchoStore
from tte_tee.errors import UserError
from tte_tee.evaluation.copies import (
    COPY,
    Frames,
    Thresholds,
    coincidence_within,
    read_frames,
    score_copies,
    to_frames,
    with_verdicts,
)
from tte_tee.evaluation.finding import find_masks
from tte_tee.metrics.cases import BOTH_EMPTY, INVENTED, MISSED, Case, Pair, score_frame
from tte_tee.metrics.coincidence import ALLOWED, Calibration
from tte_tee.models.folders import Adapter
from tte_tee.models.segmenter import LoadedSegmenter
from tte_tee.seen import learnt_beyond_base, seen_in
from tte_tee.studio.draw import DrawnFrame
from tte_tee.synthesis.record import generated_info


@dataclass(frozen=True)
class Training:
    """Frames that an adapter learnt from, ready to be compared with."""

    store: EchoStore
    frames: Frames
    thresholds: Thresholds


@dataclass(frozen=True)
class Neighbour:
    """The training frame that a drawn one is likest to.

    Attributes:
        image: uint8 ``[H, W]``, mirrored where the likeness is that of its mirror image.
        line: which it is, how alike, and what that means.
        copy: whether it is more alike than coincidence explains.
    """

    image: np.ndarray
    line: str
    copy: bool


def read_training(store: EchoStore) -> Training:
    """The split ``train`` of a store, with thresholds from its own patients.

    Raises:
        UserError: nobody is in it, or a frame has no picture.
    """
    indices = store.indices(split="train")
    if not len(indices) or (store.table["origin"].iloc[indices] == "mask").any():
        raise UserError(f"{store.path}: has no frames to learn from in split 'train'; give the adapter's own store")
    frames = read_frames(store, indices)
    return Training(store, frames, coincidence_within(frames, ALLOWED))


def learnt_elsewhere(adapter: Adapter, store: EchoStore | None) -> str:
    """Why the adapter's training frames are not those of a store; empty where they are, as far as records go."""
    data = adapter.record.get("data") or {}
    if adapter.record["method"] == "none":
        return "it has learnt from no TEE frame"
    if store is None:
        return "give its training store with --trained-on"
    if data.get("hash", store.content_hash) == store.content_hash:
        return ""
    return f"it learnt from another store ({data.get('store', 'unnamed')}) than {store.path.name}"


def check_segmenter(segmenter: LoadedSegmenter, adapter: Adapter, name: str) -> None:
    """Refuses a segmenter that cannot judge an adapter's frames.

    Raises:
        UserError: it finds other structures, or knows a patient whom the adapter learnt from.
    """
    if segmenter.label_space.structures != adapter.target.structures:
        raise UserError(
            f"--segmenter finds {', '.join(segmenter.label_space.structures)}, {name} draws "
            f"{', '.join(adapter.target.structures)}; give one of that label space"
        )
    refuse_seen(learnt_beyond_base(adapter.record), seen_in(segmenter.record), f"adapter {name}", "the segmenter")


def mask_fidelity(segmenter: LoadedSegmenter, drawing: DrawnFrame) -> list[Case]:
    """What the segmenter finds in a frame against its mask, a case per structure that either has.

    Raises:
        UserError: the segmenter knows the patient whose heart the mask shows.
    """
    heart = drawing.heart
    if heart.patient:
        refuse_seen([heart.patient], seen_in(segmenter.record), "not judged", "the segmenter")
    found = find_masks(segmenter, drawing.image[None], heart.sector[None])[0]
    pair = Pair(heart.info.key, heart.info.patient, found, heart.mask, heart.info.spacing, heart.info.view)
    return [case for case in score_frame(pair, segmenter.label_space) if case.case != BOTH_EMPTY]


def fidelity_line(cases: list[Case]) -> str:
    """Dice of every structure in percent, in one line."""
    if not cases:
        return "Found back: no structure, and the mask has none."
    words = {MISSED: "missed", INVENTED: "invented"}
    parts = [f"{case.structure} **{words.get(case.case) or f'{100 * case.dice:.0f}'}**" for case in cases]
    return f"Found back (Dice, %): {', '.join(parts)}."


def neighbour(drawing: DrawnFrame, training: Training) -> Neighbour:
    """The likest training frame: by texture among the mask's own patient's, else by correlation among all."""
    info = generated_info(drawing.heart.info, drawing.sampling.seed, 0)
    table = pd.DataFrame([info.row()])
    drawn = to_frames(table, drawing.image[None], drawing.heart.mask[None], drawing.heart.sector[None])
    row = with_verdicts(score_copies(drawn, training.frames), training.thresholds).iloc[0]
    measure = row["found_by"].split("+")[0] or ("texture" if row["own"] else "correlation")
    column, flag = ("own", "own_flipped") if measure == "texture" else ("nearest", "flipped")
    index = int(np.flatnonzero(training.store.table["key"] == row[column])[0])
    image, _, sector = training.store.frame(index)
    image, mirrored = image * sector, bool(row[flag])
    threshold = training.thresholds[measure]
    limit = (
        f"copies begin at {threshold.threshold:.2f}"
        if isinstance(threshold, Calibration)
        else f"no threshold: {threshold}"
    )
    line = f"`{row[column]}`{', mirrored' if mirrored else ''}: {measure} {row[measure]:.2f} ({limit})"
    picture = np.ascontiguousarray(image[:, ::-1]) if mirrored else image
    return Neighbour(picture, line, bool(row["verdict"] == COPY))
