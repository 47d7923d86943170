"""What a clinician reads off a mask: chamber areas, RV/LV ratio, LV length and single-plane volume.

Lengths in mm, areas in cm² and volumes in mL stand only where the spacing is known; elsewhere a length is
in percent of the frame's diagonal, an area in percent of the sector (of the frame where no sector is given),
and there is no volume. Each measure says its unit.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy import ndimage
from scipy.spatial.distance import pdist, squareform

from tte_tee.anatomy import VIEWS, LabelSpace
from tte_tee.errors import UserError
from tte_tee.metrics.surfaces import Grid, Spacing

DISCS = 20
_LINES = 5
"""Lines through each disc, over which its width is averaged."""

ANNULUS = "mitral annulus"
TOWARDS_ATRIUM = "principal axis, end nearer the LA"
WIDER_END = "principal axis, wider end"


@dataclass(frozen=True)
class LongAxis:
    """The long axis of the LV, in the unit of the grid: mm, or pixels where spacing is unknown.

    Attributes:
        base, apex: (down, right) from the centre of the first pixel.
        base_from: :data:`ANNULUS`, :data:`TOWARDS_ATRIUM` or :data:`WIDER_END`.
    """

    base: tuple[float, float]
    apex: tuple[float, float]
    base_from: str

    @property
    def length(self) -> float:
        """From base to apex."""
        return float(np.hypot(self.apex[0] - self.base[0], self.apex[1] - self.base[1]))


@dataclass(frozen=True)
class ClinicalMeasures:
    """Measures of one frame; None where there is nothing to measure.

    Attributes:
        areas: by structure, of those in the mask.
        area_unit: ``cm2``, ``% of sector`` or ``% of frame``.
        rv_lv_ratio: area of the RV over that of the LV, four-chamber planes only.
        lv_length, length_unit: ``mm`` or ``% of diagonal``.
        base_from: how the base of the LV was found, as in :class:`LongAxis`.
        lv_volume_ml: by the method of discs.
        lv_volume_area_length_ml: by area and length.
    """

    areas: Mapping[str, float]
    area_unit: str
    rv_lv_ratio: float | None
    lv_length: float | None
    length_unit: str
    base_from: str | None
    lv_volume_ml: float | None
    lv_volume_area_length_ml: float | None

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {**asdict(self), "areas": dict(self.areas)}


def measure(
    mask: np.ndarray,
    label_space: LabelSpace,
    spacing: Spacing | None,
    *,
    view: str = "other",
    sector: np.ndarray | None = None,
) -> ClinicalMeasures:
    """Measures one mask.

    A single plane through the LV gives a volume only as far as the ventricle is round about that plane's
    long axis; a foreshortened plane, as mid-oesophageal ones often are, gives less.

    Args:
        mask: ids ``[H, W]``.
        label_space: of the mask.
        spacing: (rows, columns) in mm, or None where it is unknown.
        view: as in a store; the RV/LV ratio needs a four-chamber plane.
        sector: 0 or 1 ``[H, W]``, what areas are a share of where spacing is unknown.

    Raises:
        UserError: the view is unknown, or the spacing is no spacing.
    """
    if view not in VIEWS:
        raise UserError(f"view '{view}' is not one of {', '.join(VIEWS)}")
    grid = Grid.of(mask.shape, spacing)
    areas, area_unit = _areas(mask, label_space, grid, sector)
    four_chamber = VIEWS[view].plane == "four_chamber" and "RV" in areas and "LV" in areas
    lv = np.zeros(mask.shape, bool) if "LV" not in label_space.ids else mask == label_space.ids["LV"]
    la = mask == label_space.ids["LA"] if "LA" in label_space.ids else np.zeros(mask.shape, bool)
    axis = long_axis(lv, la, grid) if lv.any() else None
    volumes = (None, None) if axis is None or not grid.known else _volumes_ml(lv, axis, grid)
    return ClinicalMeasures(
        areas=areas,
        area_unit=area_unit,
        rv_lv_ratio=areas["RV"] / areas["LV"] if four_chamber else None,
        lv_length=None if axis is None else axis.length * (1.0 if grid.known else 100 / grid.diagonal),
        length_unit="mm" if grid.known else "% of diagonal",
        base_from=None if axis is None else axis.base_from,
        lv_volume_ml=volumes[0],
        lv_volume_area_length_ml=volumes[1],
    )


def long_axis(lv: np.ndarray, la: np.ndarray, grid: Grid) -> LongAxis:
    """From the middle of the mitral annulus to the apex, the farthest point of the LV's outline.

    The annulus runs between the two ends (the hinge points) of the border that LV and LA share. Where they
    share none, the base is an end of the LV's principal axis: the end nearer the LA, or without an LA the
    wider end. Only the largest connected part of the LV counts: an island would be the farthest point.

    Args:
        lv: bool ``[H, W]``, not empty.
        la: bool ``[H, W]``, may be empty.
        grid: of the frame.
    """
    lv = largest_part(lv)
    edge = _edges(lv, ~lv, beyond=True) * grid.step
    border = _edges(lv, la) * grid.step
    if len(border) > 1:
        gaps = squareform(pdist(border))
        base, base_from = border[list(np.unravel_index(gaps.argmax(), gaps.shape))].mean(axis=0), ANNULUS
    else:
        base, base_from = _principal_base(lv, la, grid)
    apex = edge[np.hypot(*(edge - base).T).argmax()]
    return LongAxis((float(base[0]), float(base[1])), (float(apex[0]), float(apex[1])), base_from)


def disc_volume(lv: np.ndarray, axis: LongAxis, grid: Grid) -> float:
    """Volume by the method of discs from one plane, in the grid's unit cubed.

    The long axis is cut into 20 discs of equal height; each has the width of the LV across the axis for a
    diameter: V = sum of pi / 4 d² L / 20 (modified Simpson's rule from one plane; Folland et al., Circulation
    60(4), 1979; Lang et al., JASE 28(1), 2015). Widths run to where the
    mask, interpolated linearly, falls to a half: on small frames a disc is no higher than a pixel or two.

    Args:
        lv: bool ``[H, W]``.
        axis: of the LV.
        grid: of the frame.
    """
    base, along = np.array(axis.base), np.subtract(axis.apex, axis.base)
    across = np.array([-along[1], along[0]]) / axis.length
    heights = (np.arange(DISCS * _LINES) + 0.5) / (DISCS * _LINES)
    ray = min(grid.step) / 4
    reach = int(np.ceil(axis.length / ray))  # no point of the LV is farther from the base than the apex
    offsets = (np.arange(-reach, reach) + 0.5) * ray
    points = base + heights[:, None, None] * along + offsets[None, :, None] * across
    inside = ndimage.map_coordinates(
        largest_part(lv).astype(float), np.moveaxis(points / grid.step, -1, 0), order=1, mode="constant"
    )
    widths = ((inside >= 0.5).sum(axis=1) * ray).reshape(DISCS, _LINES).mean(axis=1)
    return float(np.pi / 4 * np.square(widths).sum() * axis.length / DISCS)


def area_length_volume(area: float, length: float) -> float:
    """V = 8 A² / (3 pi L): exact for half an ellipsoid of revolution (Lang et al., JASE 28(1), 2015)."""
    return 8 * area**2 / (3 * np.pi * length)


def largest_part(region: np.ndarray) -> np.ndarray:
    """The largest 4-connected part of a region, bool ``[H, W]``; the first of several that are as large."""
    parts, count = ndimage.label(region)
    return region if count < 2 else parts == np.bincount(parts.ravel())[1:].argmax() + 1


def _areas(
    mask: np.ndarray, label_space: LabelSpace, grid: Grid, sector: np.ndarray | None
) -> tuple[dict[str, float], str]:
    pixels = {name: int(np.count_nonzero(mask == label)) for name, label in label_space.ids.items()}
    if grid.known:
        share, unit = grid.step[0] * grid.step[1] / 100, "cm2"
    elif sector is not None:
        share, unit = 100 / max(int(np.count_nonzero(sector)), 1), "% of sector"
    else:
        share, unit = 100 / mask.size, "% of frame"
    return {name: count * share for name, count in pixels.items() if count}, unit


def _volumes_ml(lv: np.ndarray, axis: LongAxis, grid: Grid) -> tuple[float, float]:
    area = np.count_nonzero(largest_part(lv)) * grid.step[0] * grid.step[1]
    return disc_volume(lv, axis, grid) / 1000, area_length_volume(float(area), axis.length) / 1000


def _edges(region: np.ndarray, other: np.ndarray, *, beyond: bool = False) -> np.ndarray:
    """Middles of the pixel edges between two regions ``[H, W]``, as ``[N, 2]`` in pixels.

    Args:
        region: bool ``[H, W]``.
        other: bool ``[H, W]``.
        beyond: whether what lies beyond the frame belongs to ``other``.
    """
    region, other = np.pad(region, 1), np.pad(other, 1, constant_values=beyond)
    found = []
    for axis, side in ((0, 1), (0, -1), (1, 1), (1, -1)):
        places = np.argwhere(region & np.roll(other, -side, axis)) - 1.0
        places[:, axis] += side / 2
        found.append(places)
    return np.concatenate(found)


def _principal_base(lv: np.ndarray, la: np.ndarray, grid: Grid) -> tuple[np.ndarray, str]:
    """The basal end of the LV's principal axis, and how it was told from the apex."""
    points = np.argwhere(lv) * grid.step
    centre = points.mean(axis=0)
    direction = np.linalg.svd(points - centre, full_matrices=False)[2][0]
    along = (_edges(lv, ~lv, beyond=True) * grid.step - centre) @ direction
    ends = [centre + extreme * direction for extreme in (along.min(), along.max())]
    if la.any():
        atrium = (np.argwhere(la) * grid.step).mean(axis=0)
        nearer = int(np.argmin([np.hypot(*(end - atrium)) for end in ends]))
        return ends[nearer], TOWARDS_ATRIUM
    # A quarter of the axis at either end: the base is cut off flat, the apex comes to a point.
    inside = (points - centre) @ direction
    quarter = (along.max() - along.min()) / 4
    sizes = [np.count_nonzero(inside < along.min() + quarter), np.count_nonzero(inside > along.max() - quarter)]
    return ends[int(np.argmax(sizes))], WIDER_END
