"""What a synthetic store says of its frames, and the writing of it: what drew them, for which masks, who is known."""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from tte_tee.data.leakage import patients_of_masks
from tte_tee.data.store import EchoStore, FrameInfo, StoreWriter
from tte_tee.models.folders import Adapter
from tte_tee.provenance import provenance
from tte_tee.seen import BASE_SEEN, MASK_SEEN, SEEN, seen_in
from tte_tee.synthesis.frames import Sampling


def drawn_by(loaded: Adapter, sampling: Sampling) -> dict[str, Any]:
    """Provenance of frames: what drew them, and how."""
    return {
        **provenance(),
        "sampling": asdict(sampling),
        "adapter": {"hash": loaded.hash, "base_hash": loaded.record["base_hash"], "method": loaded.record["method"]},
        "trained_on": loaded.record.get("data"),
    }


def known_to(learnt: Collection[str], shown: Collection[str]) -> dict[str, list[str]]:
    """Provenance of frames: from whom something was learnt, and who lent a mask beside."""
    return {SEEN: sorted({*learnt, *shown}), MASK_SEEN: sorted({*shown} - {*learnt})}


def seen_by_drawing(
    store: EchoStore, indices: Sequence[int] | np.ndarray, known: Collection[str]
) -> dict[str, list[str]]:
    """Everybody who went into adapter and base (``known``) and masks, and those whose masks are all that did."""
    return known_to({*known, *seen_in(store.provenance)}, patients_of_masks(store, indices))


def generated_info(mask: FrameInfo, seed: int, sample: int) -> FrameInfo:
    """What a store says of a synthetic frame: patient, view and split are those of its mask."""
    return FrameInfo(
        key=f"{mask.key}#{seed}.{sample}",
        patient=mask.patient,
        study=mask.study,
        view=mask.view,
        phase=mask.phase,
        spacing=mask.spacing,
        origin="generated",
        split=mask.split,
        cohort=mask.cohort,
        mask_source=mask.mask_source,
        sector_confidence=mask.sector_confidence,
        parent=mask.key,
        seed=seed,
    )


def write_frames(
    out: Path,
    store: EchoStore,
    drawn: Iterable[tuple[tuple[int, int], np.ndarray]],
    sampling: Sampling,
    command: str,
    record: dict[str, Any],
) -> None:
    """Writes frames, each by index of its mask in ``store`` and number of the sample, with those masks."""
    licence, provenance = f"synthetic; masks: {store.licence}", json.dumps(record)
    with StoreWriter(out, store.label_space, licence=licence, command=command, provenance=provenance) as writer:
        for (index, sample), frame in drawn:
            _, mask, sector = store.frame(index)
            writer.append(frame, mask, sector, generated_info(store.info(index), sampling.seed, sample))


def write_predictions(
    path: Path,
    store: EchoStore,
    frames: Mapping[int, np.ndarray],
    sampling: Sampling,
    drew: Mapping[str, Any],
    known: Mapping[str, Collection[str]],
) -> None:
    """Writes frames that ``predict`` drew, by index of the mask's frame in ``store``.

    Args:
        path: store to write.
        store: of the masks.
        frames: uint8 ``[H, W]``.
        sampling: how they were drawn.
        drew: provenance of what drew them.
        known: patients who went into the denoiser, under ``seen`` and ``base_seen``.
    """
    record = {
        **provenance(),
        "sampling": asdict(sampling),
        **drew,
        "masks": store.as_source(),
        **seen_by_drawing(store, list(frames), known[SEEN]),
        BASE_SEEN: sorted(known[BASE_SEEN]),
    }
    drawn = (((index, 0), frames[index]) for index in sorted(frames))
    write_frames(path, store, drawn, sampling, "python -m tte_tee predict", record)
