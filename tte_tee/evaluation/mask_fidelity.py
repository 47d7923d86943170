"""Mask fidelity: whether drawn frames show the masks that they were drawn for.

A segmenter of other patients looks for the masks. What it scores against the masks asked for means
something only beside what it scores on real frames, where the masks are true: that is as good as
perfectly obedient frames could be expected to do.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tte_tee.data.alike import refuse_other_origin
from tte_tee.data.leakage import patients_of_masks, refuse_seen
from tte_tee.data.store import EchoStore
from tte_tee.data.usable import usable_frames
from tte_tee.evaluation.finding import Found, check_labels, find_in_store
from tte_tee.evaluation.segmenter import frames_to_score, score, write_cases
from tte_tee.files import write_json
from tte_tee.metrics.segmentation import SegmentationResult
from tte_tee.models.segmenter import LoadedSegmenter
from tte_tee.provenance import provenance
from tte_tee.seen import learnt_beyond_base, seen_in


@dataclass(frozen=True)
class MaskFidelity:
    """What a segmenter finds in drawn frames against the masks asked for, and in real frames against the true ones."""

    found: Found
    drawn: SegmentationResult
    real: SegmentationResult


def mask_fidelity(
    loaded: LoadedSegmenter,
    synthetic: EchoStore,
    real: EchoStore,
    *,
    split: str,
    cohort: str | None = None,
    device: str = "cpu",
) -> MaskFidelity:
    """Scores a segmenter on drawn and on real frames.

    Args:
        loaded: a segmenter that knows neither the patients of the masks nor those of the adapter.
        synthetic: drawn frames with their masks.
        real: frames of patients whom the segmenter does not know either.
        split: of the real frames.
        cohort: of the real frames.
        device: where to compute.

    Raises:
        UserError: the stores do not fit the segmenter, there is nothing to score, or the segmenter knows a patient.
    """
    indices = drawn_frames(synthetic)
    check_labels(loaded, synthetic)
    refuse_seen(behind(synthetic, indices), seen_in(loaded.record), str(synthetic.path), "the segmenter")
    real_indices = frames_to_score(loaded, real, split, cohort)
    found = find_in_store(loaded, synthetic, indices, device)
    on_real = score(real, find_in_store(loaded, real, real_indices, device))
    return MaskFidelity(found, score(synthetic, found), on_real)


def drawn_frames(store: EchoStore) -> np.ndarray:
    """Indices of all frames of a synthetic store.

    Raises:
        UserError: a frame was not generated, or was drawn for no mask.
    """
    refuse_other_origin(store, store.indices(), ("generated",), "give a store that 'synthesize' wrote")
    return usable_frames(store, None, plane=False)


def behind(store: EchoStore, indices: np.ndarray) -> set[str]:
    """Patients behind drawn frames: of their masks, and of all that the adapter learnt from but its base."""
    return learnt_beyond_base(store.provenance) | patients_of_masks(store, indices)


def write_mask_fidelity(
    folder: Path, synthetic: EchoStore, real: EchoStore, result: MaskFidelity, record: Mapping[str, Any]
) -> dict[str, Any]:
    """Writes ``mask_fidelity.json``, which it returns, and the worst and median cases of each structure as pictures.

    Args:
        folder: where.
        synthetic: drawn frames.
        real: real frames.
        result: the scores.
        record: where the segmenter comes from.
    """
    values = {
        **provenance(),
        **record,
        "synthetic": {**synthetic.to_json(), **result.drawn.to_json()},
        "real": {**real.to_json(), **result.real.to_json()},
    }
    write_json(folder / "mask_fidelity.json", values)
    write_cases(folder, synthetic, result.found, result.drawn)
    return values
