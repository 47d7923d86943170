"""What a picture's texture is made of, structure by structure: grey levels, envelope, correlation lengths.

The picture is log-compressed and its dynamic range is not on record, so levels are turned into
decibels by an assumed range (:data:`ASSUMED_RANGE`). Under fully developed speckle the
log-compressed envelope has a standard deviation of 5.57 dB, the envelope a ratio of mean to
standard deviation of 1.91, and the logarithm a skewness of -1.14, which needs no range (Wagner
et al., IEEE Trans Sonics Ultrason 30(3), 1983). All of it is asked of the grey levels less their
local mean within the structure, so that shading and attenuation are left out. Judging frames
(:mod:`tte_tee.metrics.texture`) asks the like, with a local mean of lit pixels alone.
"""

from dataclasses import dataclass, field

import cv2
import numpy as np
from scipy.special import polygamma

from tte_tee.metrics.texture import ASSUMED_RANGE, BLACK, width_at_half

Array = np.ndarray
LOCAL = 6.0
"""Standard deviation of the window of the local mean, pixels of a 224-pixel frame."""
LAGS = 24


@dataclass
class Texture:
    """Sums over the frames of one structure.

    Attributes:
        means: mean grey level of each frame.
        histogram: of grey levels, ``[256]``.
        residual: of grey less local mean, bins of one grey level from -128 to 127, ``[256]``.
        ratios: of mean to standard deviation of the linear envelope, one per frame.
        products, energies: of residuals ``lag`` rows (0) or columns (1) apart, ``[2, LAGS]``.
        spacing: mm per pixel (rows, columns) of each frame, where known.
    """

    means: list[float] = field(default_factory=list)
    histogram: Array = field(default_factory=lambda: np.zeros(256))
    residual: Array = field(default_factory=lambda: np.zeros(256))
    ratios: list[float] = field(default_factory=list)
    products: Array = field(default_factory=lambda: np.zeros((2, LAGS)))
    energies: Array = field(default_factory=lambda: np.zeros((2, LAGS)))
    spacing: list[tuple[float, float]] = field(default_factory=list)

    def add(self, image: Array, inside: Array, spacing: tuple[float, float] | None = None, least: int = 150) -> None:
        """Adds one frame: ``image`` uint8 ``[H, W]``, ``inside`` bool; it needs ``least`` pixels or more."""
        core = cv2.erode(inside.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
        if core.sum() < least:
            return
        grey, weight = image.astype(np.float32), core.astype(np.float32)
        near = cv2.GaussianBlur(weight, (0, 0), LOCAL)
        mean = cv2.GaussianBlur(grey * weight, (0, 0), LOCAL) / np.maximum(near, 1e-6)
        lit = core & (image > BLACK) & (image < 255 - BLACK)
        self.means.append(float(grey[core].mean()))
        self.histogram += np.bincount(image[core], minlength=256)
        rest = np.where(lit, grey - mean, 0)
        self.residual += np.histogram(rest[lit], np.arange(-128, 129) - 0.5)[0]
        envelope = np.power(10, rest[lit] * ASSUMED_RANGE / 255 / 20)
        if lit.sum() >= least:
            self.ratios.append(float(envelope.mean() / envelope.std()))
        if spacing:
            self.spacing.append(spacing)
        for axis in (0, 1):
            for lag in range(LAGS):
                first, second = (slice(None, -lag or None), slice(lag, None))
                here, there = (first, second) if axis == 0 else ((slice(None), first), (slice(None), second))
                both = lit[here] & lit[there]
                a, b = rest[here][both], rest[there][both]
                self.products[axis, lag] += float(a @ b)
                self.energies[axis, lag] += float(a @ a + b @ b) / 2

    def correlation(self) -> Array:
        """Autocorrelation of the residual over lags, ``[2, LAGS]``: along rows' axis (depth), along columns'."""
        return self.products / np.maximum(self.energies, 1e-9)

    def summary(self) -> dict:
        """The numbers of one structure; ``{}`` where no frame had enough of it."""
        if not self.means:
            return {}
        levels, bins = np.arange(256), np.arange(-128, 128)
        share = np.cumsum(self.histogram) / self.histogram.sum()
        p = self.residual / self.residual.sum()
        centre = float(p @ bins)
        spread = float(np.sqrt(p @ (bins - centre) ** 2))
        decibel = spread * ASSUMED_RANGE / 255
        axial, lateral = (width_at_half(row) for row in self.correlation())
        row = {
            "frames": len(self.means),
            "grey_mean": round(float(self.histogram @ levels / self.histogram.sum()), 1),
            "grey_sd_between_frames": round(float(np.std(self.means)), 1),
            "grey_quantiles_5_25_50_75_95": [int(np.searchsorted(share, q)) for q in (0.05, 0.25, 0.5, 0.75, 0.95)],
            "black_percent": round(100 * float(share[BLACK]), 1),
            "log_sd_db": round(decibel, 2),
            "log_skewness": round(float(p @ ((bins - centre) / spread) ** 3), 2),
            "envelope_snr": round(float(np.median(self.ratios)), 2) if self.ratios else None,
            "nakagami_m": round(nakagami(decibel), 2),
            "axial_px": round(axial, 1),
            "lateral_px": round(lateral, 1),
        }
        if self.spacing:
            rows, columns = np.mean(self.spacing, axis=0)
            row |= {"axial_mm": round(axial * float(rows), 2), "lateral_mm": round(lateral * float(columns), 2)}
        return row


def nakagami(decibel: float) -> float:
    """Nakagami's m of an envelope whose logarithm spreads by ``decibel``: the trigamma of m is its variance in nepers.

    1 is fully developed speckle, less is heavier-tailed, more is smoother.
    """
    variance = (decibel * np.log(10) / 10) ** 2
    grid = np.logspace(-1, 1.5, 2000)
    return float(grid[np.argmin(np.abs(polygamma(1, grid) - variance))])
