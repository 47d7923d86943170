"""Scoring found masks against the true ones of a store: scores, clinical measures, pictures, one JSON."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tte_tee.data.alike import refuse_other_origin
from tte_tee.data.leakage import refuse_seen
from tte_tee.data.pictures import captioned, contact_sheet, legend, overlay, write_png
from tte_tee.data.store import REAL_ORIGINS, EchoStore
from tte_tee.errors import UserError
from tte_tee.evaluation.finding import Found, check_labels
from tte_tee.files import write_json
from tte_tee.metrics.agreement import bland_altman
from tte_tee.metrics.cases import BOTH_EMPTY, Pair
from tte_tee.metrics.clinical import ClinicalMeasures, measure
from tte_tee.metrics.segmentation import SegmentationResult, evaluate
from tte_tee.models.segmenter import LoadedSegmenter
from tte_tee.provenance import provenance
from tte_tee.seen import seen_in

_TRUE = ("annotated", "phantom")  # sources of masks that may be scored against
_SIDE, _SHOWN = 192, 3


def frames_to_score(loaded: LoadedSegmenter, store: EchoStore, split: str, cohort: str | None) -> np.ndarray:
    """Indices of the frames of a split and cohort, none of a patient whom the segmenter has seen.

    Raises:
        UserError: as :func:`true_frames` raises, the label spaces differ, or a patient was seen.
    """
    check_labels(loaded, store)
    chosen = true_frames(store, split, cohort)
    refuse_seen(store.table["patient"].iloc[chosen], seen_in(loaded.record), str(store.path), "the segmenter")
    return chosen


def true_frames(store: EchoStore, split: str, cohort: str | None = None) -> np.ndarray:
    """Indices of the frames of a split and cohort, all of them real and with a true mask.

    Raises:
        UserError: there is no such frame, or one has no true mask or no image of a patient.
    """
    table = store.table
    chosen = np.flatnonzero((table["split"] == split) & (True if cohort is None else table["cohort"] == cohort))
    if not len(chosen):
        raise UserError(f"{store.path}: no frame in split '{split}'{f' and cohort {cohort!r}' if cohort else ''}")
    frames = table.iloc[chosen]
    advice = "scores are against real frames with a person's masks, or the phantom's"
    refuse_other_origin(store, chosen, REAL_ORIGINS, advice)
    untrue = frames["key"][~frames["mask_source"].isin(_TRUE)]
    if len(untrue):
        raise UserError(f"{store.path}: {len(untrue)} frames have no true mask (first: {untrue.iloc[0]}); {advice}")
    return chosen


def score(store: EchoStore, found: Found) -> SegmentationResult:
    """Scores found masks against the store's own."""
    return evaluate(_pairs(store, found), store.label_space)


def _pairs(store: EchoStore, found: Found) -> Iterator[Pair]:
    for index in sorted(found):
        info = store.info(index)
        yield Pair(info.key, info.patient, found[index], store.frame(index)[1], info.spacing, info.view, info.phase)


def write_evaluation(
    folder: Path, store: EchoStore, found: Found, result: SegmentationResult, record: Mapping[str, Any]
) -> dict[str, Any]:
    """Writes ``metrics.json``, which it returns, and, for each structure, its worst and median cases as a picture.

    Args:
        folder: where.
        store: frames and true masks.
        found: masks that were scored.
        result: the scores.
        record: where the segmenter comes from.
    """
    rows, agreement = clinical_reading(store, found)
    values = {
        **provenance(),
        **record,
        "store": store.to_json(),
        **result.to_json(),
        "clinical": {"agreement": agreement, "frames": rows},
    }
    write_json(folder / "metrics.json", values)
    write_cases(folder, store, found, result)
    return values


def clinical_reading(store: EchoStore, found: Found) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Clinical measures of every frame, found and true, and their agreement over patients.

    A patient counts once for each measure and phase, with the mean over its frames (planes) of that phase.

    Returns:
        one row per frame, in the units that its spacing allows; name of a measure -> its one unit over all frames
        and the numbers of Bland and Altman, or why there are none.
    """
    rows = []
    values: dict[str, dict[str, list[tuple[float, float]]]] = defaultdict(lambda: defaultdict(list))
    units: dict[str, str] = {}
    known = all(store.info(index).spacing for index in found)
    for index in sorted(found):
        info, (_, truth, sector) = store.info(index), store.frame(index)
        read = partial(measure, label_space=store.label_space, view=info.view, sector=sector)
        both = [read(mask, spacing=info.spacing) for mask in (found[index], truth)]
        rows.append({"key": info.key, "patient": info.patient, "found": both[0].to_json(), "truth": both[1].to_json()})
        if info.spacing and not known:  # millimetres and percent have no mean; a volume is in ml or is not there
            shares = [read(mask, spacing=None) for mask in (found[index], truth)]
            both = [replace(s, lv_volume_ml=own.lv_volume_ml) for s, own in zip(shares, both, strict=True)]
        ours, theirs = (_named(of_frame, store.label_space.structures) for of_frame in both)
        when = "" if info.phase == "unknown" else f" at {info.phase}"  # a mean over a beat is no measure
        for name, (value, unit) in ours.items():
            units[name + when] = unit
            values[name + when][info.patient].append((value, theirs[name][0]))
    return rows, {name: {"unit": units[name], **_agreement(of_patient)} for name, of_patient in values.items()}


def _named(measures: ClinicalMeasures, structures: tuple[str, ...]) -> dict[str, tuple[float, str]]:
    """Name of a measure -> (value or NaN, unit)."""
    named = {f"area of {s}": (measures.areas.get(s, np.nan), measures.area_unit) for s in structures}
    named["RV/LV area ratio"] = (_number(measures.rv_lv_ratio), "ratio")
    named["LV length"] = (_number(measures.lv_length), measures.length_unit)
    named["LV volume"] = (_number(measures.lv_volume_ml), "ml")
    return named


def _number(value: float | None) -> float:
    return float("nan") if value is None else value


def _agreement(of_patient: Mapping[str, list[tuple[float, float]]]) -> dict[str, Any]:
    means = np.array([_pair_mean(pairs) for pairs in of_patient.values()])
    try:
        return bland_altman(means[:, 0], means[:, 1]).to_json()
    except UserError as error:
        return {"not_estimable": str(error)}


def _pair_mean(pairs: list[tuple[float, float]]) -> np.ndarray:
    """Mean over a patient's frames in which both sides have a value, ``[2]``; NaN without any."""
    values = np.array(pairs, float)
    whole = values[np.isfinite(values).all(1)]
    return whole.mean(0) if len(whole) else np.full(2, np.nan)


def write_cases(folder: Path, store: EchoStore, found: Found, result: SegmentationResult) -> None:
    """``cases_<structure>.png``: the worst frames and those about the median, truth beside what was found."""
    place = {key: index for index, key in enumerate(store.table["key"])}
    for structure in result.structures:
        cases = result.table[(result.table["structure"] == structure) & (result.table["case"] != BOTH_EMPTY)]
        of = store.label_space.ids[structure]
        if not len(cases):
            continue
        # Of frames that are equally wrong, those where most is wrong; of a patient, one.
        wrong = [int(((found[place[key]] == of) != (store.frame(place[key])[1] == of)).sum()) for key in cases["key"]]
        ordered = cases.assign(wrong=-np.array(wrong)).sort_values(["dice", "wrong", "key"])
        middle = max(0, len(ordered) // 2 - _SHOWN // 2)
        worst = ordered.drop_duplicates("patient").iloc[:_SHOWN]
        chosen = [("worst", worst), ("median", ordered.iloc[middle : middle + _SHOWN])]
        rows = [
            _case_row(store, place[row.key], found, f"{name}: Dice {100 * row.dice:.1f}, {row.case}")
            for name, part in chosen
            for row in part.itertuples()
        ]
        sheet = contact_sheet(rows, ("frame", "truth", "found"), scale=1)
        write_png(
            folder / f"cases_{structure}.png", np.vstack([sheet, legend(store.label_space, structure, sheet.shape[1])])
        )


def _case_row(store: EchoStore, index: int, found: Found, caption: str) -> list[np.ndarray]:
    image, truth, sector = store.frame(index)
    masks, lines = (np.zeros_like(truth), truth, found[index]), ("", str(store.table["key"][index]), caption)
    return [
        captioned(overlay(image, mask, sector, store.label_space, _SIDE), [line])
        for mask, line in zip(masks, lines, strict=True)
    ]
