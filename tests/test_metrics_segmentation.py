"""Segmentation scores: the rule for empty masks, units, and means within and over patients."""

import json
import time

import hypothesis.strategies as st
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
import torch
from hypothesis import given, settings
from hypothesis.extra.numpy import arrays
from monai.metrics import compute_dice

from tte_tee.anatomy import TEE
from tte_tee.errors import UserError
from tte_tee.metrics.cases import BOTH_EMPTY, FOUND, INVENTED, MISSED, Pair, score_frame
from tte_tee.metrics.segmentation import MM, PERCENT, SegmentationResult, evaluate

LV, LA, RV, RA = (TEE.ids[s] for s in ("LV", "LA", "RV", "RA"))
masks = arrays(np.uint8, (12, 9), elements=st.integers(0, 4))


def boxes(*places: tuple[int, int, int], size: int = 4, shape: tuple[int, int] = (24, 32)) -> np.ndarray:
    """A mask with a square per (label, top, left)."""
    mask = np.zeros(shape, np.uint8)
    for label, top, left in places:
        mask[top : top + size, left : left + size] = label
    return mask


def pair(key: str, found: np.ndarray, truth: np.ndarray, patient: str = "a", spacing=(1.0, 1.0)) -> Pair:
    return Pair(key, patient, found, truth, spacing, view="ME4C", phase="ED")


@pytest.fixture(scope="module")
def result() -> SegmentationResult:
    """Patient a: LV half right, then right; LA missed, then neither. Patient b: RV invented, LV right."""
    lv, shifted = boxes((LV, 4, 4)), boxes((LV, 4, 6))
    with_la = boxes((LV, 4, 4), (LA, 12, 4))
    frames = [
        pair("1", shifted, with_la),
        pair("2", lv, lv),
        pair("3", boxes((LV, 4, 4), (RV, 4, 20)), lv, patient="b"),
    ]
    return evaluate(frames, TEE)


def case_of(result: SegmentationResult, key: str, structure: str):
    return next(c for c in result.cases if (c.key, c.structure) == (key, structure))


def test_every_frame_and_structure_has_a_case(result):
    assert [(c.key, c.structure) for c in result.cases] == [(k, s) for k in "123" for s in TEE.structures]
    assert {s: case_of(result, "1", s).case for s in TEE.structures} == {
        "LV": FOUND,
        "LA": MISSED,
        "RV": BOTH_EMPTY,
        "RA": BOTH_EMPTY,
    }
    assert case_of(result, "3", "RV").case == INVENTED
    assert (case_of(result, "3", "RV").view, case_of(result, "3", "RV").phase) == ("ME4C", "ED")


@pytest.mark.parametrize(("key", "structure"), [("1", "LA"), ("3", "RV")])
def test_one_empty_scores_the_worst(result, key, structure):
    case = case_of(result, key, structure)
    assert (case.dice, case.surface_dice) == (0, 0)
    assert case.hd95 == case.hd == case.assd == case.diagonal == 40  # 24 x 32 mm


def test_both_empty_is_excluded_and_counted(result):
    case = case_of(result, "2", "RA")
    assert np.isnan([case.dice, case.surface_dice, case.hd95, case.hd, case.assd]).all()
    ra, la = (result.summary()["structures"][s] for s in ("RA", "LA"))
    assert ra == {
        **dict.fromkeys(("dice", "surface_dice", "hd95", "hd", "assd")),
        "patients": 0,
        "cases": {FOUND: 0, MISSED: 0, INVENTED: 0, BOTH_EMPTY: 3},
    }
    assert la["cases"] == {FOUND: 0, MISSED: 1, INVENTED: 0, BOTH_EMPTY: 2}
    assert (la["dice"], la["patients"]) == (0, 1), "the frame without an LA does not dilute the miss"


def test_frames_average_within_the_patient_first(result):
    assert result.patient_values("dice", "LV") == {"a": pytest.approx((0.5 + 1) / 2), "b": 1}
    assert result.summary()["structures"]["LV"]["dice"] == pytest.approx((0.75 + 1) / 2)
    assert result.patient_values("dice", "RV") == {"b": 0}


def test_global_dice_pools_pixels_within_the_patient(result):
    # a: common 8 + 16 of (16 + 16) found and (32 + 16) true; b: 16 of 32 found and 16 true.
    expected = {"a": 2 * 24 / (32 + 48), "b": 2 * 16 / (32 + 16)}
    assert result.patient_values("global_dice") == pytest.approx(expected)
    assert result.summary()["global_dice"] == pytest.approx(np.mean(list(expected.values())))


def test_class_weighted_dice_weights_by_the_pixels_of_the_truth(result):
    # a: LV .75 with 32 pixels, LA 0 with 16; b: the invented RV has none.
    assert result.patient_values("class_weighted_dice") == pytest.approx({"a": 0.75 * 32 / 48, "b": 1})


def test_mean_dice_is_the_plain_mean_over_structures(result):
    assert result.summary()["mean_dice"] == pytest.approx((0.875 + 0 + 0) / 3)


def test_a_patient_with_nothing_to_score_leaves_the_means_alone():
    empty = np.zeros((24, 32), np.uint8)
    lv = boxes((LV, 4, 4))
    result = evaluate([pair("1", lv, lv), pair("2", empty, empty, "b"), pair("3", lv, empty, "c")], TEE)
    assert result.patient_values("global_dice") == {"a": 1, "c": 0}
    assert result.patient_values("class_weighted_dice") == {"a": 1}
    assert result.to_json()["patients"]["b"] == {"global_dice": None, "class_weighted_dice": None, "structures": {}}


def test_without_spacing_every_length_is_in_percent_of_the_diagonal_and_flagged():
    found, truth = boxes((LV, 4, 4)), boxes((LV, 4, 6))
    known, unknown = pair("1", found, truth, spacing=(0.5, 0.5)), pair("2", found, truth, spacing=None)
    in_mm, in_percent = evaluate([known], TEE), evaluate([known, unknown], TEE)
    assert (in_mm.unit, in_mm.frames_without_spacing) == (MM, 0)
    assert (in_percent.unit, in_percent.frames_without_spacing) == (PERCENT, 1)
    assert case_of(in_mm, "1", "LV").hd == pytest.approx(1.0)
    for key in "12":
        case = case_of(in_percent, key, "LV")
        assert case.hd == pytest.approx(100 * 2 / 40)
        assert case.diagonal == pytest.approx(100)
    assert case_of(in_percent, "1", "LV").tolerance == pytest.approx(100 * 2 / 20), "2 mm where mm are known"
    assert case_of(in_percent, "2", "LV").tolerance == pytest.approx(100 * 1.5 / 40)
    assert case_of(in_mm, "1", "LV").surface_dice == 1
    missed = evaluate([pair("3", np.zeros_like(truth), truth, spacing=None)], TEE)
    assert case_of(missed, "3", "LV").hd95 == pytest.approx(100)


def test_json_is_plain_and_says_how(result):
    document = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert document["implementation"] == "tte_tee.metrics.segmentation"
    assert document["unit"] == MM
    assert document["rules"]["id"] == "empty-1"
    assert "2 mm, 1.5 pixels" in document["tolerance"]
    assert document["version"]
    assert document["summary"]["frames"] == 3
    assert document["summary"]["patients"] == 2
    assert document["patients"]["a"]["structures"]["LV"]["dice"] == pytest.approx(0.75)
    assert "RV" not in document["patients"]["a"]["structures"]
    assert document["cases"][3]["dice"] is None


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ([], "no frame"),
        ([pair("1", boxes(), boxes()), pair("1", boxes(), boxes())], "twice"),
        ([pair("1", boxes(shape=(4, 4)), boxes())], "shape"),
        ([pair("1", boxes()[None], boxes()[None])], "shape"),
        ([pair("1", boxes((5, 4, 4)), boxes())], "ends at 4"),
        ([pair("1", boxes().astype(np.float32), boxes())], "integers"),
        ([pair("1", boxes(), boxes(), spacing=(0.0, 1.0))], "spacing"),
    ],
)
def test_what_cannot_be_scored_is_refused(bad, says):
    with pytest.raises(UserError, match=says):
        evaluate(bad, TEE)


@pytest.mark.parametrize(("metric", "structure"), [("dice", None), ("global_dice", "LV"), ("dice", "AML")])
def test_scores_that_are_not_there_are_refused(result, metric, structure):
    with pytest.raises(UserError, match=metric):
        result.patient_values(metric, structure)


@given(masks, masks)
@settings(max_examples=40, deadline=None)
def test_dice_agrees_with_monai_and_simpleitk_is_symmetric_and_bounded(found, truth):
    cases = list(score_frame(pair("1", found, truth), TEE))
    mirrored = list(score_frame(pair("1", truth, found), TEE))
    for label, case, other in zip(TEE.ids.values(), cases, mirrored, strict=True):
        if case.case != FOUND:
            continue
        assert case.dice == other.dice
        assert 0 <= case.dice <= 1
        a, b = (torch.as_tensor(m == label)[None, None] for m in (found, truth))
        assert case.dice == pytest.approx(compute_dice(a, b).item(), abs=1e-6)
        overlap = sitk.LabelOverlapMeasuresImageFilter()
        overlap.Execute(sitk.GetImageFromArray(found), sitk.GetImageFromArray(truth))
        assert case.dice == pytest.approx(overlap.GetDiceCoefficient(label))


def test_a_thousand_frames_take_seconds():
    truth = boxes((LV, 8, 8), (LA, 8, 36), (RV, 36, 8), (RA, 36, 36), size=20, shape=(64, 64))
    frames = [pair(str(i), np.roll(truth, (i % 5, i % 3), (0, 1)), truth, patient=str(i // 10)) for i in range(1000)]
    start = time.process_time()
    evaluate(frames, TEE).to_json()
    assert time.process_time() - start < 10
