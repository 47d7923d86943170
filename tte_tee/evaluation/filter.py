"""Leaving out synthetic frames that do not show their masks, or that copy a training frame.

Whoever judges may know the adaptation patients and nobody else: a segmenter that learnt from them, and
thresholds read off their own frames. A filter that knew more patients than the adapter would bring them
into the synthetic set by the back door.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tte_tee.data.curate.card import card_path, write_card
from tte_tee.data.curate.copying import Selection, copy_frames
from tte_tee.data.leakage import seen_by_learning_from
from tte_tee.data.store import EchoStore
from tte_tee.errors import UserError
from tte_tee.evaluation.copies.scores import COPY, coincidence_within, read_frames, score_copies, with_verdicts
from tte_tee.evaluation.copies.stores import refuse_other_training
from tte_tee.evaluation.finding import check_labels, find_in_store
from tte_tee.evaluation.mask_fidelity import drawn_frames
from tte_tee.evaluation.segmenter import score, true_frames
from tte_tee.metrics.cases import BOTH_EMPTY
from tte_tee.metrics.coincidence import ALLOWED, Calibration
from tte_tee.metrics.segmentation import SegmentationResult
from tte_tee.models.segmenter import LoadedSegmenter
from tte_tee.provenance import provenance
from tte_tee.seen import BASE_SEEN, SEEN, seen_in

KEPT, DISOBEDIENT, COPIES = "kept", "does not show its mask", "copies a training frame"


@dataclass(frozen=True)
class Rules:
    """When a frame is left out.

    Attributes:
        quantile: its Dice is below what this share of the real validation frames score at most.
        allowed: it is likelier to a training frame than all but this share of the training frames are to
            those of other patients.

    Raises:
        UserError: a share is none.
    """

    quantile: float = 0.1
    allowed: float = ALLOWED

    def __post_init__(self) -> None:
        for name, share in (("quantile", self.quantile), ("allowed", self.allowed)):
            if not 0 < share < 1:
                raise UserError(f"--{name} {share}: a share between 0 and 1, both excluded")


@dataclass(frozen=True)
class Filtered:
    """What becomes of each frame, and what decided it.

    Attributes:
        verdicts: one of ``KEPT``, ``DISOBEDIENT``, ``COPIES`` for each frame, in order.
        dice: the least Dice that stays.
        copies: measure -> the threshold of likeness, or why there is none and the measure decides nothing.
        seen: patients from whom the segmenter or a threshold learnt.
    """

    verdicts: np.ndarray
    dice: float
    copies: Mapping[str, Calibration | str]
    seen: frozenset[str]

    @property
    def kept(self) -> np.ndarray:
        """Indices of the frames that stay."""
        return np.flatnonzero(self.verdicts == KEPT)

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        names, counts = np.unique(self.verdicts, return_counts=True)
        copies = {m: c if isinstance(c, str) else c.to_json() for m, c in self.copies.items()}
        return {"frames": dict(zip(names.tolist(), counts.tolist(), strict=True)), "dice": self.dice, "copies": copies}


def choose(
    loaded: LoadedSegmenter, synthetic: EchoStore, adaptation: EchoStore, rules: Rules, device: str = "cpu"
) -> Filtered:
    """Chooses the frames that show their masks as well as real frames do, and that copy nothing.

    Args:
        loaded: a segmenter that learnt from the adaptation patients.
        synthetic: drawn frames.
        adaptation: the frames that the adapter learnt from: ``train`` may be copied, ``val`` sets the Dice.
        rules: how strict.
        device: where to compute.

    Raises:
        UserError: stores and segmenter do not fit, the adapter learnt from another store, the segmenter knows
            other patients, there is nothing to read a threshold off, or no frame would stay.
    """
    check_labels(loaded, synthetic)
    check_labels(loaded, adaptation)
    indices = drawn_frames(synthetic)
    refuse_other_training(synthetic, adaptation)
    _check_judge(loaded, synthetic, adaptation)
    real = _frame_dice(adaptation, true_frames(adaptation, "val"), loaded, device)
    if real.empty:
        raise UserError(
            f"{adaptation.path}: no structure in the masks of split 'val', nor found there: no Dice to expect"
        )
    threshold = float(np.quantile(real.to_numpy(), rules.quantile))
    drawn = synthetic.table["key"].map(_frame_dice(synthetic, indices, loaded, device))
    training = read_frames(adaptation, true_frames(adaptation, "train"))
    thresholds = coincidence_within(training, rules.allowed)
    copies = with_verdicts(score_copies(read_frames(synthetic, indices), training), thresholds)["verdict"] == COPY
    verdicts = np.select([drawn < threshold, copies], [DISOBEDIENT, COPIES], KEPT)  # no structure: nothing to disobey
    if not (verdicts == KEPT).any():
        raise UserError(
            f"{synthetic.path}: no frame would stay: {(verdicts == DISOBEDIENT).sum()} of {len(indices)} are below "
            f"Dice {100 * threshold:.1f}, {(verdicts == COPIES).sum()} copy; adapt longer, or draw with more guidance"
        )
    return Filtered(
        verdicts, threshold, thresholds, frozenset(seen_in(loaded.record) | seen_by_learning_from(adaptation))
    )


def write_filtered(
    out: Path, synthetic: EchoStore, filtered: Filtered, loaded: LoadedSegmenter, rules: Rules, command: str
) -> None:
    """Writes the frames that stay, how they were chosen and who knew whom, and a datasheet beside the store."""
    rule = {
        **provenance(),
        "filter": {
            "segmenter": loaded.hash,
            "quantile": rules.quantile,
            "allowed": rules.allowed,
            **filtered.to_json(),
        },
        SEEN: sorted(filtered.seen),
        BASE_SEEN: sorted(seen_in(synthetic.provenance, BASE_SEEN)),
    }
    card_path(out)
    copy_frames(out, [Selection(synthetic, filtered.kept)], command=command, rule=rule)
    write_card(out)


def what_stays(synthetic: EchoStore, filtered: Filtered) -> pd.DataFrame:
    """By structure: frames that show it and its mean area in percent of the sector, before and after."""
    rows = []
    for index in range(len(synthetic)):
        _, mask, sector = synthetic.frame(index)
        pixels = np.bincount(mask.ravel(), minlength=len(synthetic.label_space.structures) + 1)
        rows.append(100 * pixels[1:] / max(1, sector.sum()))
    areas = pd.DataFrame(rows, columns=synthetic.label_space.structures).where(lambda values: values > 0)
    after = areas.iloc[filtered.kept]
    return pd.DataFrame(
        {"frames": areas.count(), "area": areas.mean(), "frames kept": after.count(), "area kept": after.mean()}
    )


def _check_judge(loaded: LoadedSegmenter, synthetic: EchoStore, adaptation: EchoStore) -> None:
    table = adaptation.table
    allowed = set(table["patient"][table["split"] != "test"]) | seen_in(synthetic.provenance, BASE_SEEN)
    if others := sorted(seen_in(loaded.record) - allowed):
        raise UserError(
            f"the segmenter learnt from patient {', '.join(others[:3])}{' and more' if len(others) > 3 else ''}, "
            f"whom {adaptation.path} does not hold in train or val; a filter may know the adaptation patients alone"
        )


def _frame_dice(store: EchoStore, indices: np.ndarray, loaded: LoadedSegmenter, device: str) -> pd.Series:
    """Mean Dice over the structures that either mask has, by key of the frame; absent without any."""
    result: SegmentationResult = score(store, find_in_store(loaded, store, indices, device))
    scored = result.table[result.table["case"] != BOTH_EMPTY]
    return scored.groupby("key")["dice"].mean()
