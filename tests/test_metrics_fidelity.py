"""Fidelity and texture metrics: they agree with other computations, and say where they are not estimable."""

import cv2
import numpy as np
import pytest
import scipy.linalg
import torch
from torchmetrics.image.kid import KernelInceptionDistance

from tte_tee.metrics.fidelity import NotEstimableError, frechet_distance, kernel_distance, manifold_overlap
from tte_tee.metrics.texture import (
    ASSUMED_RANGE,
    between_histograms,
    between_values,
    contrast,
    histogram,
    texture,
    width_at_half,
)


def cloud(seed: int, count: int = 40, width: int = 6, shift: float = 0.0) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal((count, width)) + shift).astype(np.float32)


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_equal_sets_are_at_no_distance() -> None:
    one = cloud(0)
    assert frechet_distance(one, one) == pytest.approx(0, abs=1e-9)
    assert manifold_overlap(one, one) == pytest.approx(
        {"precision": 1, "recall": 1, "density": 1, "coverage": 1}, rel=0.3
    )
    assert {manifold_overlap(one, one)[name] for name in ("precision", "recall", "coverage")} == {1.0}
    distance = kernel_distance(one, one, 20, 50, rng())
    assert abs(distance.mean) < 0.1 * kernel_distance(cloud(0, shift=1.0), one, 20, 50, rng()).mean


@pytest.mark.filterwarnings("ignore:Metric `Kernel Inception Distance` will save")
def test_kernel_distance_is_torchmetrics_of_the_whole_set() -> None:
    one, other = cloud(1), cloud(2, shift=0.5)

    class Network(torch.nn.Module):
        num_features = 6

        def forward(self, features: torch.Tensor) -> torch.Tensor:
            return features

    metric = KernelInceptionDistance(Network(), subsets=1, subset_size=40, normalize=True)
    metric.update(torch.from_numpy(other), real=True)
    metric.update(torch.from_numpy(one), real=False)
    ours = kernel_distance(one, other, 40, 3, rng())
    assert ours.mean == pytest.approx(metric.compute()[0].item(), rel=1e-4)
    assert ours.deviation == pytest.approx(0, abs=1e-9)  # every subset is the whole set


def test_kernel_distance_is_the_papers_formula_and_has_a_spread() -> None:
    one, other = cloud(1).astype(float), cloud(2, shift=0.5).astype(float)

    def kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return (a @ b.T / 6 + 1) ** 3

    within = sum((kernel(x, x).sum() - np.trace(kernel(x, x))) / (40 * 39) for x in (one, other))
    assert kernel_distance(one, other, 40, 1, rng()).mean == pytest.approx(within - 2 * kernel(one, other).mean())
    spread = kernel_distance(one, other, 20, 50, rng())
    assert spread.deviation > 0
    assert spread == kernel_distance(one, other, 20, 50, rng())


def test_frechet_distance_is_scipys_and_a_known_one() -> None:
    one, other = cloud(3, 200), 2 * cloud(4, 300, shift=0.3)
    a, b = np.cov(one, rowvar=False), np.cov(other, rowvar=False)
    root = scipy.linalg.sqrtm(a @ b).real
    expected = np.square(one.mean(0) - other.mean(0)).sum() + np.trace(a + b - 2 * root)
    assert frechet_distance(one, other) == pytest.approx(expected, rel=1e-5)
    assert frechet_distance(one + 3, one) == pytest.approx(9 * 6, rel=1e-4)


def test_overlap_is_that_of_a_loop() -> None:
    sample, reference = cloud(5, 25, 3, 0.4).astype(float), cloud(6, 25, 3).astype(float)

    def radius(points: np.ndarray, k: int) -> np.ndarray:
        return np.array([np.sort(np.linalg.norm(points - p, axis=1))[k] for p in points])

    between = np.array([[np.linalg.norm(s - r) for r in reference] for s in sample])
    three, five, own = radius(reference, 3), radius(reference, 5), radius(sample, 3)
    expected = {
        "precision": np.mean([(row <= three).any() for row in between]),
        "recall": np.mean([(column <= own).any() for column in between.T]),
        "density": np.mean([(row <= five).sum() / 5 for row in between]),
        "coverage": np.mean([(between[:, n] <= five[n]).any() for n in range(25)]),
    }
    assert manifold_overlap(sample, reference) == pytest.approx(expected)


def test_far_sets_share_nothing() -> None:
    assert set(manifold_overlap(cloud(0, shift=50), cloud(1)).values()) == {0.0}


def test_too_few_frames_are_not_estimable() -> None:
    with pytest.raises(NotEstimableError, match="6 frames for 6 features; 7 or more"):
        frechet_distance(cloud(0, 6), cloud(1))
    with pytest.raises(NotEstimableError, match="40 frames, a subset takes 41"):
        kernel_distance(cloud(0), cloud(1), 41, 2, rng())
    with pytest.raises(NotEstimableError, match="5 frames; the 5th neighbour"):
        manifold_overlap(cloud(0), cloud(1, 5))
    with pytest.raises(NotEstimableError, match="3 frames have a value"):
        between_values(np.arange(20.0), np.array([1.0, 2, 3, np.nan]))


def rayleigh(size: int = 128) -> np.ndarray:
    """Fully developed speckle, uncorrelated, compressed to grey levels."""
    real, imaginary = np.random.default_rng(0).standard_normal((2, size, size))
    decibel = 20 * np.log10(np.hypot(real, imaginary))
    return (128 + decibel * 255 / ASSUMED_RANGE).clip(0, 255).astype(np.uint8)


def test_speckle_of_known_statistics() -> None:
    inside = np.ones((128, 128), bool)
    mean, deviation, ratio, down, across = texture(rayleigh(), inside)
    assert ratio == pytest.approx(1.91, abs=0.15)
    assert mean == pytest.approx(rayleigh()[1:-1, 1:-1].mean(), abs=0.5)
    assert deviation == pytest.approx(5.57 * 255 / ASSUMED_RANGE, rel=0.1)
    wide = cv2.GaussianBlur(rayleigh(), (0, 0), sigmaX=1.5, sigmaY=0.01)
    assert texture(wide, inside)[4] > 2 * across and texture(wide, inside)[3] == pytest.approx(down, rel=0.3)
    assert texture(wide, inside)[2] > 1.5 * ratio


def test_too_small_or_black_structures_have_no_speckle() -> None:
    small = np.zeros((32, 32), bool)
    small[:4, :4] = True
    assert np.isnan(texture(rayleigh(32), small)).all()
    black = texture(np.zeros((32, 32), np.uint8), np.ones((32, 32), bool))
    assert black[:2].tolist() == [0, 0] and np.isnan(black[2:]).all()


def test_width_at_half() -> None:
    assert width_at_half(np.array([1, 0.75, 0.25, 0])) == pytest.approx(3)
    assert width_at_half(np.array([1, 0.9, 0.8])) == 4  # at least


def test_contrast_of_blood_and_tissue() -> None:
    blood = np.zeros((64, 64), bool)
    blood[20:40, 20:40] = True
    image = np.where(blood, 20, 80).astype(np.uint8)
    assert contrast(image, blood, np.ones((64, 64), np.uint8)) == 60
    assert np.isnan(contrast(image, np.zeros((64, 64), bool), np.ones((64, 64), np.uint8)))
    image[:, 40:] = 200  # outside of the sector: does not count
    sector = np.ones((64, 64), np.uint8)
    sector[:, 40:] = 0
    assert contrast(image, blood, sector) == 60


def test_distances_of_distributions_are_in_grey_levels() -> None:
    frames = np.random.default_rng(0).integers(50, 150, (12, 16, 16)).astype(np.uint8)
    whole = np.ones((16, 16), bool)
    histograms = [np.stack([histogram(f, whole) for f in part]) for part in (frames, frames + 7)]
    assert between_histograms(*histograms) == pytest.approx(7)
    values = np.append(np.arange(12.0), np.nan)
    assert between_values(values + 3, values) == pytest.approx(3)
