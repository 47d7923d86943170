"""Likeness of frames, and thresholds and intervals of coincidence: numbers in, numbers out."""

import cv2
import numpy as np
import pytest
from conftest import sector_of
from scipy import stats

from tte_tee.errors import UserError
from tte_tee.metrics.coincidence import calibrate, share_of
from tte_tee.metrics.copies import (
    Likeness,
    Patterns,
    correlate,
    cosine,
    frame_pattern,
    nearest,
    stacked,
    texture_pattern,
)

SIZE = 48
SECTOR = sector_of(SIZE)


def smooth_noise(seed: int, count: int = 1) -> np.ndarray:
    """Frames of blobs a few pixels wide, 60 to 180, uint8 ``[count, SIZE, SIZE]``."""
    rng = np.random.default_rng(seed)
    frames = [cv2.GaussianBlur(rng.standard_normal((SIZE, SIZE)), (0, 0), 2.5) for _ in range(count)]
    return np.stack([120 + 20 * np.clip(f / f.std(), -3, 3) for f in frames]).astype(np.uint8) * SECTOR


def whole(frames: np.ndarray, sector: np.ndarray = SECTOR) -> Patterns:
    return stacked(frame_pattern(frame, sector) for frame in frames)


def test_a_frame_correlates_with_itself_and_not_with_another() -> None:
    frames = smooth_noise(0, 4)
    scores = correlate(whole(frames), whole(frames)).scores
    np.testing.assert_allclose(np.diag(scores), 1, atol=1e-5)
    assert scores[~np.eye(4, dtype=bool)].max() < 0.6


def test_gain_and_offset_cancel() -> None:
    frames = smooth_noise(1, 2)
    changed = (frames * 0.5 + 40).astype(np.uint8)  # outside the sector too
    found = correlate(whole(changed), whole(frames))
    assert np.diag(found.scores).min() > 0.999


def test_what_lies_outside_of_the_sector_is_not_seen() -> None:
    frames = smooth_noise(2, 2)
    written = np.where(SECTOR > 0, frames, np.random.default_rng(0).integers(0, 255, frames.shape)).astype(np.uint8)
    for pattern, again in zip(whole(frames).values, whole(written).values, strict=True):
        np.testing.assert_allclose(pattern, again, atol=1e-4)


def test_mirror_images_and_shifts_are_found() -> None:
    frames = smooth_noise(3, 3)
    mirrored = correlate(whole(frames[:, :, ::-1], SECTOR[:, ::-1]), whole(frames))
    assert np.diag(mirrored.scores).min() > 0.999
    assert np.diag(mirrored.flipped).all()
    shifted = np.roll(frames, (1, -1), (1, 2))
    found = correlate(whole(shifted, np.roll(SECTOR, (1, -1), (0, 1))), whole(frames))
    assert np.diag(found.scores).min() > 0.99
    assert not np.diag(found.flipped).any()


def test_speckle_drawn_anew_does_not_hide_a_copy() -> None:
    frames = smooth_noise(4, 3)
    speckle = np.random.default_rng(0).rayleigh(0.8, frames.shape)
    again = np.clip(frames * speckle, 0, 255).astype(np.uint8)
    rough = [np.corrcoef(a[SECTOR > 0], b[SECTOR > 0])[0, 1] for a, b in zip(again, frames, strict=True)]
    assert max(rough) < 0.5 < 0.7 < np.diag(correlate(whole(again), whole(frames)).scores).min()


def test_sectors_that_hardly_overlap_are_not_compared() -> None:
    left, right = np.zeros((2, SIZE, SIZE), np.uint8)
    left[:, :20], right[:, 28:] = 1, 1
    frames = smooth_noise(5)
    assert correlate(whole(frames, left), whole(np.roll(frames, 9, 2), right)).scores[0, 0] < 0.9  # mirrored overlap
    right[:, :] = 0
    right[:4] = 1
    assert correlate(whole(frames, left), whole(frames, right)).scores[0, 0] == -1


def test_a_frame_of_one_grey_level_is_like_nothing() -> None:
    blank = np.full((1, SIZE, SIZE), 100, np.uint8)
    assert correlate(whole(blank), whole(smooth_noise(6))).scores[0, 0] == pytest.approx(0, abs=1e-3)


def test_large_frames_are_compared_at_a_common_size() -> None:
    large = cv2.resize(smooth_noise(7)[0], (200, 160))
    values, weights = frame_pattern(large, np.ones_like(large))
    assert values.shape == weights.shape == (51, 64)


def test_texture_forgets_what_the_mask_says() -> None:
    mask = np.zeros((SIZE, SIZE), np.uint8)
    mask[20:40, 14:34] = 1
    first, second = (np.where(mask > 0, frame // 4, frame) for frame in smooth_noise(8, 2))
    as_wholes = correlate(whole(first[None]), whole(second[None])).scores[0, 0]
    texture = [stacked(iter([texture_pattern(frame, SECTOR, mask)])) for frame in (first, second)]
    assert as_wholes > 0.8
    assert correlate(*texture).scores[0, 0] < 0.5
    assert correlate(texture[0], texture[0]).scores[0, 0] == pytest.approx(1, abs=1e-5)


def test_cosine_is_about_the_mean_and_over_mirror_images() -> None:
    others = np.array([[11.0, 0], [9, 0], [10, 1], [10, -1]], np.float32)
    found = cosine(others[:1], others[2:3], others)
    np.testing.assert_allclose(found.scores, [[1, 0, 1, 0]], atol=1e-6)
    assert found.flipped.tolist() == [[False, True, True, False]]


def test_nearest_among_those_allowed() -> None:
    likeness = Likeness(
        np.array([[0.9, 0.4, 0.4], [0.1, 0.2, 0.3]], np.float32), np.array([[0, 1, 0], [0, 0, 1]], bool)
    )
    found = nearest(likeness, np.array([[False, True, True], [False, False, False]]))
    assert found.index.tolist() == [1, -1]
    assert found.scores[0] == np.float32(0.4) and np.isnan(found.scores[1])
    assert found.flipped.tolist() == [True, False]


def test_the_threshold_is_the_smallest_that_few_enough_pass() -> None:
    scores = np.random.default_rng(0).permutation(np.arange(200.0))
    patients = [str(n % 20) for n in range(200)]
    for allowed, above in ((0.01, 2), (0.005, 1), (0.05, 10), (0.5, 100)):
        found = calibrate(scores, patients, allowed)
        assert found.threshold == 199 - above
        assert (scores > found.threshold).sum() == above
        assert found.low <= found.threshold <= found.high
    assert (found.frames, found.patients) == (200, 20)


def test_patients_who_are_alike_make_the_threshold_less_sure() -> None:
    rng = np.random.default_rng(1)
    patients = np.repeat(np.arange(20), 10)
    alone, together = rng.normal(size=200), rng.normal(size=20)[patients] + 0.01 * rng.normal(size=200)
    free, tied = (calibrate(scores / scores.std(), patients.astype(str), 0.05) for scores in (alone, together))
    assert tied.high - tied.low > free.high - free.low
    assert tied.false_alarms.high > free.false_alarms.high


def test_false_alarms_are_of_patients_left_out() -> None:
    """One patient holds the highest scores: the others' threshold calls all of that one's frames copies."""
    scores = np.concatenate([np.linspace(0, 0.5, 190), np.linspace(0.9, 1, 10)])
    patients = np.repeat(np.arange(20), 10).astype(str)
    found = calibrate(scores, patients, 0.01)
    assert (scores > found.threshold).sum() == 2
    assert found.false_alarms.count == 10


@pytest.mark.parametrize(
    ("frames", "patients", "allowed", "says"),
    [(200, 1, 0.01, "1 patients"), (200, 7, 0.01, "7 patients"), (99, 9, 0.01, "99 frames; .* takes 100")],
)
def test_too_little_is_not_estimable(frames: int, patients: int, allowed: float, says: str) -> None:
    with pytest.raises(UserError, match=says):
        calibrate(np.linspace(0, 1, frames), [str(n % patients) for n in range(frames)], allowed)


def test_a_missing_score_and_a_share_of_nothing_are_refused() -> None:
    with pytest.raises(UserError, match="no score"):
        calibrate(np.array([np.nan] * 200), [str(n) for n in range(200)], 0.01)
    with pytest.raises(UserError, match="between 0 and 1"):
        calibrate(np.zeros(200), [str(n) for n in range(200)], 1.0)


def test_a_share_of_frames_that_are_all_apart_is_clopper_pearson() -> None:
    hits = np.arange(50) < 5
    found = share_of(hits, np.arange(50))
    exact = stats.binomtest(5, 50).proportion_ci(0.95)
    assert (found.count, found.frames, found.clusters, found.share) == (5, 50, 50, 0.1)
    # Korn and Graubard's variance has one degree of freedom less.
    assert (found.low, found.high) == pytest.approx((exact.low, exact.high), abs=0.003)


def test_frames_of_a_patient_that_agree_count_as_one() -> None:
    hits = np.repeat(np.arange(20) < 5, 10)
    together, apart = share_of(hits, np.repeat(np.arange(20), 10)), share_of(hits, np.arange(200))
    assert together.share == apart.share == 0.25
    assert together.low < apart.low and together.high > apart.high
    exact = stats.binomtest(5, 20).proportion_ci(0.95)
    assert (together.low, together.high) == pytest.approx((exact.low, exact.high), abs=0.04)


def test_none_at_all_is_not_sure_to_be_none() -> None:
    found = share_of(np.zeros(100, bool), np.repeat(np.arange(10), 10))
    assert found.low == 0
    assert found.high == pytest.approx(1 - 0.025 ** (1 / 10))
    assert share_of(np.ones(100, bool), np.repeat(np.arange(10), 10)).high == 1


def test_one_patient_has_no_interval() -> None:
    with pytest.raises(UserError, match="1 patient"):
        share_of(np.zeros(10, bool), ["a"] * 10)
