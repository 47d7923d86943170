"""Running a copy audit and writing what it found: JSON, one row per frame, the worst pairs as a picture."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tte_tee.data.pictures import captioned, contact_sheet, enlarge, grey, write_png
from tte_tee.data.store import EchoStore
from tte_tee.evaluation.copies.scores import (
    Thresholds,
    coincidence,
    copy_rates,
    read_frames,
    score_copies,
    with_verdicts,
)
from tte_tee.evaluation.copies.stores import AuditedStores
from tte_tee.files import write_json, write_whole
from tte_tee.metrics.coincidence import ALLOWED, Calibration
from tte_tee.models.extractors import Extractor
from tte_tee.provenance import provenance
from tte_tee.seen import SEEN, seen_in

_SIDE, _SHOWN = 192, 8


def audit(
    stores: AuditedStores, extractor: Extractor | None, folder: Path, *, allowed: float = ALLOWED, command: str = ""
) -> dict[str, Any]:
    """Judges every synthetic frame and writes ``copies.json``, which it returns, ``copies.csv`` and ``worst.png``.

    Args:
        stores: to be audited.
        extractor: for the measure ``embedding``, or None to leave it out.
        folder: to write into.
        allowed: share of calibrating frames that may be called copies, by each measure.
        command: to be recorded.

    Raises:
        UserError: the stores do not belong together, or the folder cannot be written.
    """
    stores.check()
    train = stores.training.indices(split="train")
    synthetic = read_frames(stores.synthetic, stores.synthetic.indices(), extractor)
    training = read_frames(stores.training, train, extractor)
    held_out = None if stores.held_out is None else read_frames(stores.held_out, stores.held_out.indices(), extractor)
    control = read_frames(stores.control, stores.control.indices()) if stores.control else None
    thresholds = coincidence(held_out, training, control, allowed)
    judged = with_verdicts(score_copies(synthetic, training), thresholds)
    values = {
        **provenance(),
        "command": command,
        "synthetic": _named(stores.synthetic, stores.synthetic.indices()),
        "trained_on": {**_named(stores.training, train), "recorded_by_synthetic": stores.verified()},
        "held_out": _named(stores.held_out, stores.held_out.indices()) if stores.held_out is not None else None,
        "control": _named(stores.control, stores.control.indices()) if stores.control else None,
        "extractor": _extractor_record(extractor, stores) if extractor else None,
        "allowed": allowed,
        "thresholds": {measure: _threshold(measure, c, control is not None) for measure, c in thresholds.items()},
        "rates": copy_rates(judged, thresholds),
        SEEN: sorted(stores.learnt_from() | seen_in(stores.synthetic.provenance) | _patients(stores.held_out)),
    }
    write_whole(folder / "copies.csv", judged.to_csv(index=False).encode())
    write_png(folder / "worst.png", worst_pairs(stores, judged, thresholds))
    write_json(folder / "copies.json", values)
    return values


def _patients(store: EchoStore | None) -> set[str]:
    return set() if store is None else set(store.table["patient"])


def _named(store: EchoStore, indices: np.ndarray) -> dict[str, Any]:
    patients = store.table["patient"].iloc[indices].nunique()
    return {**store.to_json(), "frames": len(indices), "patients": patients}


def _threshold(measure: str, calibration: Calibration | str, control: bool) -> dict[str, Any]:
    source = "control" if control and measure == "texture" else "held_out"
    values = {"not_estimable": calibration} if isinstance(calibration, str) else calibration.to_json()
    return {"from": source, **values}


def _extractor_record(extractor: Extractor, stores: AuditedStores) -> dict[str, Any]:
    """Kind and version, and how many patients of either side it learnt from: features of its own patients are apart."""
    known = seen_in(extractor.record)
    train = stores.training.table["patient"][stores.training.table["split"] == "train"]
    return {
        "name": extractor.name,
        "version": extractor.version,
        "knows_of_training": len(known & set(train)),
        "knows_of_held_out": len(known & _patients(stores.held_out)),
    }


def worst_pairs(stores: AuditedStores, judged: pd.DataFrame, thresholds: Thresholds) -> np.ndarray:
    """The likest pairs, each measure's scores seen from its threshold (0) to identity (1); uint8 RGB picture."""
    margins = pd.DataFrame({m: _margin(judged[m], c) for m, c in thresholds.items()})
    order = margins.max(axis=1).sort_values(ascending=False, kind="stable", na_position="last").index[:_SHOWN]
    rows = []
    for index in order:
        row = judged.iloc[index]
        measure = str(margins.iloc[index].fillna(-np.inf).idxmax())
        column, flipped = _PARTNER[measure]
        rows.append(_pair(stores, row, measure, str(row[column]), bool(row[flipped])))
    return contact_sheet(rows, ("synthetic", "nearest training frame", "difference"), scale=1)


_PARTNER = {
    "correlation": ("nearest", "flipped"),
    "texture": ("own", "own_flipped"),
    "embedding": ("nearest_embedding", "embedding_flipped"),
}


def _margin(scores: pd.Series, calibration: Calibration | str) -> pd.Series:
    threshold = calibration.threshold if isinstance(calibration, Calibration) else 0.0
    return (scores - threshold) / max(1 - threshold, 1e-6)


def _pair(stores: AuditedStores, row: Mapping[str, Any], measure: str, partner: str, flipped: bool) -> list[np.ndarray]:
    """Synthetic frame, its partner as it was matched, and their difference at the best gain and offset."""
    image, _, sector = _by_key(stores.synthetic, row["key"])
    other, _, inside = _by_key(stores.training, partner)
    if flipped:
        other, inside = other[:, ::-1], inside[:, ::-1]
    both = (sector & inside) > 0
    difference = np.where(both, np.abs(image - _fitted(other, image, both)), 0).clip(0, 255).astype(np.uint8)
    captions = (
        [str(row["key"]), f"{row['masks']}: {row['verdict']}"],
        [partner + (", mirrored" if flipped else ""), f"{measure} {row[measure]:.3f}"],
        ["at the best gain and offset", ""],
    )
    return [
        captioned(enlarge(grey(np.ascontiguousarray(picture)), _SIDE), lines)
        for picture, lines in zip((image, other, difference), captions, strict=True)
    ]


def _by_key(store: EchoStore, key: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return store.frame(int(np.flatnonzero(store.table["key"] == key)[0]))


def _fitted(other: np.ndarray, image: np.ndarray, where: np.ndarray) -> np.ndarray:
    """``other`` at the gain and offset that bring it nearest to ``image`` there."""
    x, y = other[where].astype(float), image[where].astype(float)
    gain = np.mean((x - x.mean()) * (y - y.mean())) / max(x.var(), 1e-6)
    return y.mean() + gain * (other - x.mean())
