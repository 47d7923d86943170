"""Scores of synthetic frames, the thresholds that coincidence sets, verdicts and rates."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from tte_tee.data.leakage import OF_A_PATIENT
from tte_tee.data.store import EchoStore
from tte_tee.errors import UserError
from tte_tee.metrics.coincidence import Calibration, calibrate, share_of
from tte_tee.metrics.copies import (
    Nearest,
    Patterns,
    correlate,
    cosine,
    frame_pattern,
    nearest,
    stacked,
    texture_pattern,
)
from tte_tee.models.extractors import Extractor

COPY, NOVEL, NOT_ESTIMABLE = "copy", "novel", "not estimable"
Thresholds = Mapping[str, Calibration | str]
"""Measure -> its calibration, or why there is none."""


@dataclass(frozen=True)
class Frames:
    """Frames of a store as they are compared.

    Attributes:
        table: a row per frame, as in the store.
        whole, texture: patterns of the frames and of what their masks leave unexplained.
        features, mirrored: float32 ``[N, D]`` of the frames and of their mirror images, or None.
    """

    table: pd.DataFrame
    whole: Patterns
    texture: Patterns
    features: np.ndarray | None = None
    mirrored: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.table)


def read_frames(store: EchoStore, indices: np.ndarray, extractor: Extractor | None = None) -> Frames:
    """Some frames of a store, ready to be compared."""
    table = store.table.iloc[indices].reset_index(drop=True)
    images, masks, sectors = map(np.stack, zip(*(store.frame(int(index)) for index in indices), strict=True))
    return to_frames(table, images, masks, sectors, extractor)


def to_frames(
    table: pd.DataFrame, images: np.ndarray, masks: np.ndarray, sectors: np.ndarray, extractor: Extractor | None = None
) -> Frames:
    """Pixels uint8 ``[N, H, W]`` and the rows of a store's table that go with them, ready to be compared."""
    images = images * sectors
    whole, texture = (
        stacked(map(frame_pattern, images, sectors)),
        stacked(map(texture_pattern, images, sectors, masks)),
    )
    if extractor is None:
        return Frames(table, whole, texture)
    mirrored = np.ascontiguousarray(images[:, :, ::-1])
    return Frames(table, whole, texture, extractor(images), extractor(mirrored))


def source_patients(frames: pd.DataFrame, real: pd.DataFrame) -> np.ndarray:
    """Whom of ``real`` each frame's mask is of, ``[N]``: by its parent's key, else by its patient; empty for nobody."""
    by_key, patients = dict(zip(real["key"], real["patient"], strict=True)), set(real["patient"])
    return np.array(
        [
            by_key.get(parent, patient if patient in patients else "")
            for parent, patient in zip(frames["parent"], frames["patient"], strict=True)
        ],
        dtype=object,
    )


def score_copies(frames: Frames, real: Frames) -> pd.DataFrame:
    """How near each frame is to real ones; what a filter of synthetic frames needs.

    Args:
        frames: to be judged.
        real: that they may be copies of.

    Returns:
        a row per frame. ``nearest``, ``correlation``, ``flipped``: the likest frame of another patient than the
        mask's. ``nearest_embedding``, ``embedding``, ``embedding_flipped``: the same by features; empty without.
        ``own``, ``texture``, ``own_flipped``, ``own_correlation``: the likest frame of the mask's own patient by
        texture, and how the two correlate as a whole; empty where that patient is not among ``real``.
    """
    source = source_patients(frames.table, real.table)
    own = source[:, None] == real.table["patient"].to_numpy()[None]
    whole = correlate(frames.whole, real.whole)
    of_others, of_own = nearest(whole, ~own), nearest(correlate(frames.texture, real.texture), own)
    embedded = Nearest(np.full(len(frames), -1), np.full(len(frames), np.nan), np.zeros(len(frames), bool))
    if frames.features is not None and frames.mirrored is not None and real.features is not None:
        embedded = nearest(cosine(frames.features, frames.mirrored, real.features), ~own)
    keys = np.append(real.table["key"].to_numpy(), "")  # -1 is nobody
    own_whole = np.where(of_own.index < 0, np.nan, whole.scores[np.arange(len(frames)), of_own.index])
    scores = {
        "nearest": keys[of_others.index],
        "correlation": _rounded(of_others.scores),
        "flipped": of_others.flipped,
        "nearest_embedding": keys[embedded.index],
        "embedding": _rounded(embedded.scores),
        "embedding_flipped": embedded.flipped,
        "own": keys[of_own.index],
        "texture": _rounded(of_own.scores),
        "own_flipped": of_own.flipped,
        "own_correlation": _rounded(own_whole),
    }
    columns = frames.table[["key", "patient", "view", "mask_source", "parent"]]
    return pd.concat([columns, pd.DataFrame({"masks": _groups(frames.table, source), **scores})], axis=1)


def _rounded(scores: np.ndarray) -> np.ndarray:
    """Digits that do not depend on the machine."""
    return np.round(scores.astype(np.float64), 6)


def _groups(table: pd.DataFrame, source: np.ndarray) -> list[str]:
    """Whose masks they are, in words."""
    return [
        f"{made}, training patients" if own else f"{made}, other patients" if made in OF_A_PATIENT else made
        for made, own in zip(table["mask_source"], source, strict=True)
    ]


def coincidence(
    held_out: Frames | None, training: Frames, control: Frames | None, allowed: float
) -> dict[str, Calibration | str]:
    """Thresholds of all measures.

    Args:
        held_out: real frames of patients whom the adapter has not seen, or None.
        training: real frames it learnt from.
        control: frames it drew for masks of ``held_out``, or None.
        allowed: share of calibrating frames that may lie above each threshold.
    """
    if held_out is None:
        measures = ("correlation", "texture", *(["embedding"] if training.features is not None else []))
        return dict.fromkeys(measures, "there is no frame of a patient whom the adapter has not seen")
    scores, patients = score_copies(held_out, training), held_out.table["patient"]
    samples = {"correlation": (scores["correlation"], patients)}
    if control is None:
        everybody = np.ones((len(held_out), len(training)), bool)
        texture = nearest(correlate(held_out.texture, training.texture), everybody).scores
        samples["texture"] = (_rounded(texture), patients)
    else:
        own = score_copies(control, held_out)
        samples["texture"] = (own["texture"], own["patient"])
    if held_out.features is not None:
        samples["embedding"] = (scores["embedding"], patients)
    return {measure: _calibrated(np.asarray(s), np.asarray(p), allowed) for measure, (s, p) in samples.items()}


def coincidence_within(training: Frames, allowed: float) -> dict[str, Calibration | str]:
    """Thresholds from the training frames alone: how alike those of one patient are to those of the others.

    For a filter, which may know nobody else. There is one patient fewer to be like than in the audit.
    """
    patients = training.table["patient"].to_numpy()
    others = patients[:, None] != patients[None]
    samples = {"correlation": correlate(training.whole, training.whole)}
    samples["texture"] = correlate(training.texture, training.texture)
    if len(np.unique(patients)) < 2:
        return dict.fromkeys(samples, "1 patient; there is nobody to be like by coincidence")
    return {m: _calibrated(_rounded(nearest(pairs, others).scores), patients, allowed) for m, pairs in samples.items()}


def _calibrated(scores: np.ndarray, patients: np.ndarray, allowed: float) -> Calibration | str:
    try:
        return calibrate(scores, patients, allowed)
    except UserError as error:
        return str(error)


def with_verdicts(scores: pd.DataFrame, thresholds: Thresholds) -> pd.DataFrame:
    """Adds ``found_by`` (measures whose threshold is passed) and ``verdict`` (copy, novel or not estimable)."""
    applies = scores[list(thresholds)].notna()
    over = {m: scores[m] > c.threshold for m, c in thresholds.items() if isinstance(c, Calibration)}
    found_by = ["+".join(m for m in over if over[m].iloc[row]) for row in range(len(scores))]
    unknown = applies[[m for m, c in thresholds.items() if isinstance(c, str)]].any(axis=1) | ~applies.any(axis=1)
    verdict = [COPY if found else NOT_ESTIMABLE if u else NOVEL for found, u in zip(found_by, unknown, strict=True)]
    return scores.assign(found_by=found_by, verdict=verdict)


def copy_rates(judged: pd.DataFrame, thresholds: Thresholds) -> dict[str, dict[str, Any]]:
    """Shares of copies among the frames of each kind of mask, by measure and by any of them.

    Returns:
        whose masks -> ``frames``, ``patients``, and for each measure that applies, and ``any``, a share with its
        interval (over patients of the masks) or ``not_estimable`` and why; by measure also the shares at both
        ends of the threshold's interval.
    """
    return {str(masks): _rates(part, thresholds) for masks, part in judged.groupby("masks")}


def _rates(part: pd.DataFrame, thresholds: Thresholds) -> dict[str, Any]:
    rates: dict[str, Any] = {"frames": len(part), "patients": part["patient"].nunique()}
    for measure, calibration in thresholds.items():
        scored = part[part[measure].notna()]
        if not len(scored):
            continue
        if isinstance(calibration, str):
            rates[measure] = {"not_estimable": calibration}
            continue
        ends = [float((scored[measure] > end).mean()) for end in (calibration.high, calibration.low)]
        hits = (scored[measure] > calibration.threshold).to_numpy()
        rates[measure] = {**_share(hits, scored["patient"].to_numpy()), "over_threshold_interval": ends}
    unknown = int((part["verdict"] == NOT_ESTIMABLE).sum())
    rates["any"] = (
        {"not_estimable": f"{unknown} of {len(part)} frames have no verdict"}
        if unknown
        else _share((part["verdict"] == COPY).to_numpy(), part["patient"].to_numpy())
    )
    return rates


def _share(hits: np.ndarray, patients: np.ndarray) -> dict[str, Any]:
    try:
        return share_of(hits, patients).to_json()
    except UserError as error:
        return {"not_estimable": str(error)}
