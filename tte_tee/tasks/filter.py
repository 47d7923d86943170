"""Leaving out synthetic frames that do not show their masks.

The judge of a filter is a segmenter that learnt from the adaptation patients and nobody else, and the
threshold is what it scores on their own validation frames: a filter that knew more patients than the
adapter would bring them into the synthetic set by the back door.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tte_tee.data.curate.copying import Part, check_out, copy_frames
from tte_tee.data.leakage import BASE_SEEN, SEEN, seen_in
from tte_tee.data.store import EchoStore
from tte_tee.errors import UserError
from tte_tee.metrics.cases import BOTH_EMPTY
from tte_tee.metrics.segmentation import SegmentationResult
from tte_tee.models.segmenter import LoadedSegmenter
from tte_tee.synthesis.provenance import provenance
from tte_tee.tasks.judge import check_labels, find_in_store, score, true_frames
from tte_tee.tasks.mask_fidelity import drawn_frames


@dataclass(frozen=True)
class Filtered:
    """Which frames stay.

    Attributes:
        scores: a frame's Dice, the mean over the structures that either mask has, by index; absent without any.
        threshold: the least Dice that stays.
        calibrated_on: frames that it was read off.
        kept: indices, ascending.
    """

    scores: pd.Series
    threshold: float
    calibrated_on: int
    kept: np.ndarray


def obedient(
    loaded: LoadedSegmenter, synthetic: EchoStore, adaptation: EchoStore, *, quantile: float, device: str = "cpu"
) -> Filtered:
    """Chooses the frames whose masks a segmenter finds as well as it finds those of real frames.

    Args:
        loaded: a segmenter that learnt from the adaptation patients.
        synthetic: drawn frames.
        adaptation: the frames that the adapter learnt from; split ``val`` calibrates.
        quantile: share of the real validation frames that score below the threshold.
        device: where to compute.

    Raises:
        UserError: the quantile is none, stores and segmenter do not fit, the segmenter knows other patients, there
            is nothing to calibrate on, or no frame would stay.
    """
    if not 0 < quantile < 1:
        raise UserError(f"--quantile {quantile}: a share between 0 and 1, both excluded")
    for store in (synthetic, adaptation):
        check_labels(loaded, store)
    indices = drawn_frames(synthetic)
    _check_judge(loaded, synthetic, adaptation)
    real = _frame_dice(score(adaptation, find_in_store(loaded, adaptation, true_frames(adaptation, "val"), device)))
    threshold = float(np.quantile(real, quantile))
    drawn = _frame_dice(score(synthetic, find_in_store(loaded, synthetic, indices, device)))
    scores = synthetic.table["key"].map(drawn).dropna()
    kept = indices[~np.isin(indices, scores.index[scores < threshold])]
    if not len(kept):
        raise UserError(
            f"{synthetic.path}: none of {len(indices)} frames reaches Dice {100 * threshold:.1f}, which "
            f"{100 * (1 - quantile):.0f} % of the real validation frames do; the adapter does not follow its masks"
        )
    return Filtered(scores, threshold, len(real), kept)


def write_filtered(
    out: Path, synthetic: EchoStore, filtered: Filtered, loaded: LoadedSegmenter, quantile: float, command: str
) -> None:
    """Writes the frames that stay into a store whose provenance says how they were chosen, and by whom."""
    check_out(out, synthetic)
    rule: Mapping[str, Any] = {
        **provenance(),
        "filter": {
            "segmenter": loaded.hash,
            "quantile": quantile,
            "threshold": filtered.threshold,
            "calibrated_on": filtered.calibrated_on,
            "frames": len(synthetic),
            "kept": len(filtered.kept),
        },
        SEEN: sorted(seen_in(loaded.record)),
        BASE_SEEN: sorted(seen_in(synthetic.provenance, BASE_SEEN)),
    }
    copy_frames(out, [Part(synthetic, filtered.kept)], command=command, rule=rule)


def _check_judge(loaded: LoadedSegmenter, synthetic: EchoStore, adaptation: EchoStore) -> None:
    table = adaptation.table
    allowed = set(table["patient"][table["split"] != "test"]) | seen_in(synthetic.provenance, BASE_SEEN)
    if others := sorted(seen_in(loaded.record) - allowed):
        raise UserError(
            f"the segmenter learnt from patient {', '.join(others[:3])}{' and others' if len(others) > 3 else ''}, "
            f"whom {adaptation.path} does not hold in train or val; a filter may know the adaptation patients alone"
        )


def _frame_dice(result: SegmentationResult) -> pd.Series:
    """Mean Dice over structures by key of the frame."""
    scored = result.table[result.table["case"] != BOTH_EMPTY]
    return scored.groupby("key")["dice"].mean()
