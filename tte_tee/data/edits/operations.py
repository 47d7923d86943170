"""The edits themselves: a mask with its sector in, another one out; nothing is drawn at random.

Sizes are in percent of what is edited, so that they mean the same at every resolution: 20 percent of a
structure's equivalent radius (that of the disc of its area) are 20 percent of it at 64 pixels and at 224.
Where the spacing is known, distances and angles are those of the body; else pixels are taken for square by
:func:`dilate` and :func:`shrink`, and for what the sector's own shape makes of them by the others.
"""

from dataclasses import dataclass, replace
from functools import lru_cache

import cv2
import numpy as np
from scipy import ndimage

from tte_tee.data.sector import SectorShape, fit_sector

_SHAPES = 256  # fitted sectors that are remembered; many frames have the same one


@dataclass(frozen=True)
class MaskFrame:
    """What an edit changes of a frame.

    Attributes:
        mask: ids uint8 ``[H, W]``, 0 background.
        sector: uint8 ``[H, W]``, 1 inside.
        view: as in the store.
        spacing: (rows, columns) in mm per pixel, or None.
        sector_confidence: as in the store.
    """

    mask: np.ndarray
    sector: np.ndarray
    view: str
    spacing: tuple[float, float] | None = None
    sector_confidence: float = 1.0


def dilate(frame: MaskFrame, label: int, percent: float, yielding: tuple[int, ...] = ()) -> MaskFrame:
    """Grows a structure outwards by ``percent`` of its equivalent radius, within the sector.

    Background yields, and of the neighbours those named by ``yielding`` alone; the others stay as they are,
    nothing is pushed. Walls that are background in a label space are eaten, but for the last pixel: structures
    that did not touch do not come to touch. What is grown hangs together with the structure, so it does not
    jump over a neighbour.
    """
    region = frame.mask == label
    if not region.any():
        return frame
    free = (frame.sector > 0) & np.isin(frame.mask, (0, *yielding))
    for other in set(np.unique(frame.mask).tolist()) - {0, label, *yielding}:
        beside = cv2.dilate((frame.mask == other).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
        if not (beside & region).any():
            free &= ~beside
    near = _to_edge(region, frame) <= percent / 100 * _equivalent_radius(region, frame)
    grown = ndimage.binary_propagation(region, mask=region | (free & near))
    return replace(frame, mask=np.where(grown, label, frame.mask).astype(np.uint8))


def shrink(frame: MaskFrame, label: int, percent: float) -> MaskFrame:
    """Takes a rim of ``percent`` of its equivalent radius off a structure; what is freed is background.

    An edge that the sector or the frame cuts is no edge of the structure, and stays.
    """
    region = frame.mask == label
    around = (frame.sector > 0) & ~region
    if not region.any() or not around.any():
        return frame
    rim = region & (_to_edge(around, frame) < percent / 100 * _equivalent_radius(region, frame))
    return replace(frame, mask=np.where(rim, 0, frame.mask).astype(np.uint8))


def rotate(frame: MaskFrame, degrees: float) -> MaskFrame:
    """Turns the heart in the picture about the sector's apex; what lay straight down goes right where positive.

    The sector stays, and labels that leave it are cut. What it had cut off before stays unknown: background
    comes in from there.
    """
    shape, turn = _shape(frame), np.deg2rad(degrees)
    stretch = _stretch(frame, shape)
    rows, columns = _centres(frame.mask)
    down, right = rows - shape.apex[0], (columns - shape.apex[1]) / stretch
    source = (down * np.cos(turn) + right * np.sin(turn), right * np.cos(turn) - down * np.sin(turn))
    mask = _read(frame.mask, shape.apex[0] + source[0], shape.apex[1] + source[1] * stretch)
    return replace(frame, mask=mask * frame.sector)


def open_sector(frame: MaskFrame, degrees: float) -> MaskFrame:
    """Gives the sector another opening angle about the same middle; labels outside are cut.

    A wider one shows background beside what the old one showed: nothing is known of it.
    """
    shape = _shape(frame)
    stretch = _stretch(frame, shape)
    left, right = _edges(frame)
    half = np.deg2rad(degrees) / 2
    edges = ((left + right) / 2 - half, (left + right) / 2 + half)
    drawn = replace(
        shape, left=_in_picture(edges[0], stretch), right=_in_picture(edges[1], stretch), stretch=stretch
    ).draw(frame.sector.shape)
    sector = frame.sector & drawn if 2 * half < right - left else frame.sector | drawn
    return replace(frame, mask=frame.mask * sector, sector=sector)


def opening(frame: MaskFrame) -> float:
    """The opening angle of the sector in the body, degrees."""
    left, right = _edges(frame)
    return float(np.rad2deg(right - left))


def set_depth(frame: MaskFrame, percent: float) -> MaskFrame:
    """Turns the depth knob: the far arc stays in its place in the picture and lies at ``percent`` of its depth.

    The heart is magnified about the apex by 100 / percent, and the spacing follows. A deeper sector shows
    background below what the old one showed: nothing is known of it.
    """
    apex, scale = _shape(frame).apex, 100 / percent
    rows, columns = _centres(frame.mask)
    source = (apex[0] + (rows - apex[0]) / scale, apex[1] + (columns - apex[1]) / scale)
    magnified = _read(frame.sector, *source)
    # Straight edges run through the apex and stay; of the two arcs, the near one moves with the heart.
    sector = frame.sector & magnified if scale > 1 else frame.sector | magnified
    spacing = frame.spacing and (frame.spacing[0] / scale, frame.spacing[1] / scale)
    return replace(frame, mask=_read(frame.mask, *source) * sector, sector=sector, spacing=spacing)


def take_sector(frame: MaskFrame, sector: np.ndarray, confidence: float) -> MaskFrame:
    """Shows the heart, where it is, through another frame's sector ``[H, W]``; labels outside are cut."""
    return replace(frame, mask=frame.mask * sector, sector=sector, sector_confidence=confidence)


def tell_view(frame: MaskFrame, view: str) -> MaskFrame:
    """The same mask, told to the generator as another view."""
    return replace(frame, view=view)


def _to_edge(region: np.ndarray, frame: MaskFrame) -> np.ndarray:
    """Distance ``[H, W]`` of places outside a region from its edge, which lies half a pixel beside its last pixels."""
    spacing = frame.spacing or (1.0, 1.0)
    away: np.ndarray = ndimage.distance_transform_edt(~region, sampling=spacing)
    return away - 0.5 * np.sqrt(spacing[0] * spacing[1])


def _equivalent_radius(region: np.ndarray, frame: MaskFrame) -> float:
    """Radius of the disc of a region's area, in mm, or in pixels where the spacing is unknown."""
    spacing = frame.spacing or (1.0, 1.0)
    return float(np.sqrt(region.sum() * spacing[0] * spacing[1] / np.pi))


def _shape(frame: MaskFrame) -> SectorShape:
    return _fitted(np.ascontiguousarray(frame.sector).tobytes(), frame.sector.shape)


@lru_cache(_SHAPES)
def _fitted(pixels: bytes, shape: tuple[int, int]) -> SectorShape:
    return fit_sector(np.frombuffer(pixels, np.uint8).reshape(shape))


def _stretch(frame: MaskFrame, shape: SectorShape) -> float:
    """Columns per row of an equal distance in the body."""
    return frame.spacing[0] / frame.spacing[1] if frame.spacing else shape.stretch


def _edges(frame: MaskFrame) -> tuple[float, float]:
    """Angles of the two edges in the body, radians from straight down."""
    shape = _shape(frame)
    stretch = _stretch(frame, shape)
    return float(np.arctan(np.tan(shape.left) / stretch)), float(np.arctan(np.tan(shape.right) / stretch))


def _in_picture(angle: float, stretch: float) -> float:
    """An angle from straight down in the body, as it is in the picture."""
    return float(np.arctan(np.tan(angle) * stretch))


def _centres(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the pixels' centres; the frame's corner is (0, 0), as in :class:`SectorShape`."""
    rows, columns = np.indices(mask.shape) + 0.5
    return rows, columns


def _read(labels: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Labels at places between pixels: the one with the most weight of the four about it; 0 beyond the frame."""
    names = np.unique(np.append(labels, 0))
    at = (rows - 0.5, columns - 0.5)
    weights = [
        ndimage.map_coordinates((labels == name).astype(np.float32), at, order=1, mode="grid-constant", cval=name == 0)
        for name in names
    ]
    return names[np.argmax(weights, axis=0)].astype(np.uint8)
