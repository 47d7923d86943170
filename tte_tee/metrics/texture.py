"""Speckle and intensity inside a structure, frame by frame: arrays in, numbers out.

The picture is log-compressed and its dynamic range is not on record, so grey levels are turned into decibels by an
assumed range (:data:`ASSUMED_RANGE`), the same for every frame that is compared. Fully developed speckle has an
envelope whose mean is 1.91 times its standard deviation (Wagner et al., IEEE Trans Sonics Ultrason 30(3), 1983).
Speckle is asked of the grey levels less their local mean, so that shading and attenuation are left out.
"""

import cv2
import numpy as np
from scipy.stats import wasserstein_distance

from tte_tee.metrics.fidelity import NotEstimableError

ASSUMED_RANGE = 50.0
"""dB from black to white; the phantom's own is 36 to 60."""
BLACK = 3
"""Grey levels within so many of black or white are clipped or nearly so: they are left out of the speckle."""
STATISTICS = {
    "mean": "grey levels",
    "deviation": "grey levels",
    "speckle SNR": "ratio",
    "speckle down": "px",
    "speckle across": "px",
}
"""What :func:`texture` gives, and its unit."""

_LEAST = 30  # pixels of a structure, its rim left out
_LAGS = 10
_LOCAL, _LOCAL_LEAST = 6 / 224, 2.0  # deviation of the window of the local mean: share of a side, and pixels
_RING = 1 / 16  # share of a side: how far around the blood tissue is looked for
_FRAMES = 10  # with a value, below which two distributions are not compared


def texture(image: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """The :data:`STATISTICS` of one structure in one frame, NaN where it has too few pixels.

    Speckle SNR is the mean of the linear envelope over its standard deviation; speckle widths are the full width at
    half maximum of the autocorrelation, along columns (down) and rows (across) of the picture.

    Args:
        image: uint8 ``[H, W]``.
        inside: bool ``[H, W]``.

    Returns:
        float64 ``[5]``.
    """
    core = cv2.erode(inside.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    if core.sum() < _LEAST:
        return np.full(len(STATISTICS), np.nan)
    levels = image[core].astype(np.float64)
    lit = core & (image > BLACK) & (image < 255 - BLACK)
    speckle = _speckle(image, lit) if lit.sum() >= _LEAST else (np.nan,) * 3
    return np.array([levels.mean(), levels.std(), *speckle])


def _speckle(image: np.ndarray, lit: np.ndarray) -> tuple[float, float, float]:
    grey, weight = image.astype(np.float32), lit.astype(np.float32)
    window = max(_LOCAL_LEAST, _LOCAL * max(image.shape))
    near, local = (cv2.GaussianBlur(x, (0, 0), window) for x in (weight, grey * weight))
    rest = np.where(lit, grey - local / np.maximum(near, 1e-6), 0)
    envelope = np.power(10, rest[lit] * ASSUMED_RANGE / 255 / 20)
    spread = float(envelope.std())
    ratio = float(envelope.mean()) / spread if spread > 0 else np.nan
    down, across = (_correlation(rest, lit, axis) for axis in (0, 1))
    return ratio, width_at_half(down), width_at_half(across)


def _correlation(rest: np.ndarray, lit: np.ndarray, axis: int) -> np.ndarray:
    """Autocorrelation over lags 0, 1, ... between pixels that are both lit."""
    rest, lit = np.moveaxis(rest, axis, 0), np.moveaxis(lit, axis, 0)
    values = np.ones(_LAGS)
    for lag in range(1, min(_LAGS, len(rest))):
        both = lit[:-lag] & lit[lag:]
        a, b = rest[:-lag][both], rest[lag:][both]
        values[lag] = float(a @ b) / max(float(a @ a + b @ b) / 2, 1e-9)
    return values


def width_at_half(correlation: np.ndarray) -> float:
    """Full width at half maximum of an autocorrelation given over lags 0, 1, ..., in pixels.

    Where it stays above half, the width is that of all the lags: it is at least so wide.
    """
    below = int(np.argmax(correlation < 0.5))
    if not below:
        return 2.0 * (len(correlation) - 1)
    high, low = correlation[below - 1], correlation[below]
    return 2 * (below - 1 + float((high - 0.5) / max(high - low, 1e-6)))


def contrast(image: np.ndarray, blood: np.ndarray, sector: np.ndarray) -> float:
    """Mean grey level of the tissue around the blood less that of the blood, NaN where either has too few pixels.

    Tissue is what lies in the sector within a sixteenth of a side of any blood, but for the rim next to it: so
    defined, it is the same in label spaces with and without walls.

    Args:
        image: uint8 ``[H, W]``.
        blood: bool ``[H, W]``.
        sector: 0 or 1 ``[H, W]``.
    """
    filled, reach = blood.astype(np.uint8), 2 * max(2, round(_RING * max(image.shape))) + 1
    near, rim = (
        cv2.dilate(filled, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))) > 0 for side in (reach, 3)
    )
    tissue, pool = near & ~rim & (sector > 0), cv2.erode(filled, np.ones((3, 3), np.uint8)) > 0
    if min(tissue.sum(), pool.sum()) < _LEAST:
        return float("nan")
    return float(image[tissue].mean() - image[pool].mean())


def histogram(image: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """How many pixels of a structure have each grey level, ``[256]``."""
    return np.bincount(image[inside], minlength=256)


def between_values(sample: np.ndarray, reference: np.ndarray) -> float:
    """Wasserstein-1 distance between the values of two sets of frames, in their unit; NaN are left out.

    Args:
        sample: ``[N]``.
        reference: ``[N]``.

    Raises:
        NotEstimableError: too few frames have a value.
    """
    ours, theirs = (values[np.isfinite(values)] for values in (sample, reference))
    if (few := min(len(ours), len(theirs))) < _FRAMES:
        raise NotEstimableError(f"{few} frames have a value; {_FRAMES} or more are compared")
    return float(wasserstein_distance(ours, theirs))


def between_histograms(sample: np.ndarray, reference: np.ndarray) -> float:
    """Wasserstein-1 distance between the grey levels of all pixels of two sets of frames.

    Args:
        sample: ``[N, 256]``.
        reference: ``[N, 256]``.

    Raises:
        NotEstimableError: too few frames have a pixel.
    """
    if (few := min(int(h.any(1).sum()) for h in (sample, reference))) < _FRAMES:
        raise NotEstimableError(f"{few} frames have a value; {_FRAMES} or more are compared")
    levels = np.arange(256)
    return float(wasserstein_distance(levels, levels, sample.sum(0), reference.sum(0)))
