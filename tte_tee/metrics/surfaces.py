"""Distances between the outlines of two regions, computed once and shared by every metric of them.

The outline of a region is the set of its pixels with a pixel outside of the region among their four
neighbours; beyond the frame is outside. Distances run between pixel centres. This is what MONAI does
without ``use_subvoxels``.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from tte_tee.errors import UserError

TOLERANCE_MM, TOLERANCE_PIXELS = 2.0, 1.5
_ROUNDING = 1e-6
"""A store keeps spacing as float32: five pixels of 0.4 mm then are 2.00000003 mm, and yet within 2 mm."""

Spacing = tuple[float, float]


@dataclass(frozen=True)
class Grid:
    """How far apart the pixels of a frame lie: in mm where the spacing is known, else in pixels, assumed square.

    Attributes:
        step: (rows, columns) between neighbouring pixel centres.
        diagonal: of the whole frame, edge to edge: no distance within the frame is as long.
        tolerance: of the surface Dice: 2 mm, but no less than 1.5 pixels of the coarser side, so that a
            shift by one pixel, even diagonally, is forgiven; 1.5 pixels where spacing is unknown.
        known: whether the unit is mm.
    """

    step: Spacing
    diagonal: float
    tolerance: float
    known: bool

    @classmethod
    def of(cls, shape: tuple[int, ...], spacing: Spacing | None) -> "Grid":
        """The grid of a frame ``(H, W)``; ``spacing`` is (rows, columns) in mm, or None where it is unknown.

        Raises:
            UserError: the spacing is not two positive numbers.
        """
        if spacing is not None and not all(np.isfinite(s) and s > 0 for s in spacing):
            raise UserError(f"spacing {spacing} is not two positive numbers of mm; say None where it is unknown")
        rows, columns = (float(s) for s in spacing or (1.0, 1.0))
        diagonal = float(np.hypot(shape[0] * rows, shape[1] * columns))
        pixels = TOLERANCE_PIXELS * max(rows, columns)
        known = spacing is not None
        return cls((rows, columns), diagonal, max(TOLERANCE_MM, pixels) if known else pixels, known)


class SurfaceScores(NamedTuple):
    """How far two outlines lie apart, in the unit of the grid; the surface Dice is a share."""

    hd95: float
    hd: float
    assd: float
    surface_dice: float


def outline(region: np.ndarray) -> np.ndarray:
    """Bool ``[H, W]`` -> bool ``[H, W]``: the pixels of the region that touch its outside."""
    return region & ~ndimage.binary_erosion(region)


def outline_distances(found: np.ndarray, truth: np.ndarray, step: Spacing) -> tuple[np.ndarray, np.ndarray]:
    """From every outline pixel of one region to the nearest outline pixel of the other, both ways.

    Args:
        found: bool ``[H, W]``, not empty.
        truth: bool ``[H, W]``, not empty.
        step: (rows, columns) between pixel centres.

    Returns:
        ``[outline pixels of found]`` and ``[outline pixels of truth]``.
    """
    # Only what lies within the box around both can be nearest; the rest of the frame is time lost.
    both = found | truth
    rows, columns = np.flatnonzero(both.any(axis=1)), np.flatnonzero(both.any(axis=0))
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    ours, theirs = outline(found[box]), outline(truth[box])
    to_theirs = ndimage.distance_transform_edt(~theirs, sampling=step)
    to_ours = ndimage.distance_transform_edt(~ours, sampling=step)
    return to_theirs[ours], to_ours[theirs]


def surface_scores(found: np.ndarray, truth: np.ndarray, grid: Grid) -> SurfaceScores:
    """Every metric of the outlines of two regions that are not empty.

    * HD: the larger of the two directed maxima (Hausdorff).
    * HD95: the larger of the two directed 95th percentiles, linearly interpolated, as MONAI and DeepMind's
      surface-distance have it; not the percentile of both sets pooled, which some papers report.
    * ASSD: the mean over the outline pixels of both regions together (Heimann et al., IEEE TMI 28(8), 2009).
    * Surface Dice: the share of the outline pixels of both regions that lie within the tolerance of the other
      outline (Nikolov et al., arXiv 1809.04430; JMIR 23(7), 2021). They weight an outline element by its
      length; here, as in MONAI's default, each pixel counts once.

    Args:
        found: bool ``[H, W]``.
        truth: bool ``[H, W]``.
        grid: of the frame.
    """
    there, back = outline_distances(found, truth, grid.step)
    every = np.concatenate([there, back])
    return SurfaceScores(
        hd95=float(max(np.percentile(there, 95), np.percentile(back, 95))),
        hd=float(every.max()),
        assd=float(every.mean()),
        surface_dice=float((every <= grid.tolerance * (1 + _ROUNDING)).mean()),
    )
