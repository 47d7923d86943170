"""The sector: the part of the frame that the probe drew, as a shape and as found in an image.

The shape is a wedge between two rings round the apex, from which a phased array (apex on the skin)
and a curved one (apex behind it) both send their beams. Frames are often stored with pixels that are
not square, or were resized without regard to their aspect: then the rings are ellipses, and
:attr:`SectorShape.stretch` says how wide they are for their height.
"""

from dataclasses import dataclass, replace

import cv2
import numpy as np
from scipy.optimize import minimize

from tte_tee.errors import UserError

_DARK = 3  # grey levels; what an empty screen may still show
_GRID = 48  # pixels of the longer side on which a shape is fitted
_EVALUATIONS = 250  # of a shape's cost in one fit
_REACH = 0.02  # share of the longer side within which an edge is looked for
_SMALLEST = 0.02  # share of the frame; what is smaller is a mark or a line of text
_BOX = (0.85, 0.95)  # share of its bounding box that a hull fills: from a sector to the box of a linear array or text
_TRUSTED = 0.3  # confidence from which on the drawn shape is better than the hull of what is bright
_HALF_ANGLE = (np.deg2rad(12), np.deg2rad(65))  # narrower ones pass for the rectangle of a linear array
_MISSED, _DARK_INSIDE = 3.0, 0.3  # cost of a bright pixel outside and of a dark one inside, of an image
_TILT = 5.0  # cost per squared radian of a sector that hangs askew: probes rarely steer
_SURE = 0.95  # confidence that a sector askew must reach; else what hangs askew is an upright one in shadow
_STRETCH = 0.05  # cost per squared e-fold of pixels that are not square

Points = np.ndarray


@dataclass(frozen=True)
class SectorShape:
    """A sector in pixels; the frame's top left corner is (0, 0) and its first pixel's centre (0.5, 0.5).

    Attributes:
        apex: row and column where the edges meet; may lie above the frame.
        left, right: angles of the edges in the picture, radians from straight down, right is positive.
        near, far: radii at which the picture begins and ends, measured straight down, in rows.
        stretch: columns per row of an equal distance in the body; 1 where pixels are square.
    """

    apex: tuple[float, float]
    left: float
    right: float
    near: float
    far: float
    stretch: float = 1.0

    def draw(self, shape: tuple[int, int]) -> np.ndarray:
        """The pixels of a frame ``(H, W)`` whose centres lie in the sector, uint8 ``[H, W]``, 0 or 1."""
        rows, columns = np.ogrid[: shape[0], : shape[1]]
        return (self.depth_inside(rows + 0.5, columns + 0.5) >= 0).astype(np.uint8)

    def depth_inside(self, rows: Points, columns: Points) -> np.ndarray:
        """How far places lie inside of the nearest edge, in pixels; negative outside, exact near edges alone."""
        down, right = rows - self.apex[0], columns - self.apex[1]
        radius = np.hypot(down, right / self.stretch)
        return np.minimum.reduce(
            [
                right * np.cos(self.left) - down * np.sin(self.left),
                down * np.sin(self.right) - right * np.cos(self.right),
                radius - self.near,
                self.far - radius,
            ]
        )

    def outline(self, count: int) -> dict[str, np.ndarray]:
        """Places on the two straight edges and on the far arc, ``count`` each: ``{name: [count, 2]}`` (row, column)."""
        along = (np.arange(count) + 0.5) / count
        angles = self.left + along * (self.right - self.left)
        reach: dict[str, tuple[np.ndarray, np.ndarray]] = {"arc": (angles, np.full(count, self.far))}
        for name, angle in (("left", self.left), ("right", self.right)):
            reach[name] = (np.full(count, angle), self.near + along * (self.far - self.near))
        places = {}
        for name, (turn, radius) in reach.items():
            length = radius / np.hypot(np.cos(turn), np.sin(turn) / self.stretch)
            places[name] = np.stack([self.apex[0] + length * np.cos(turn), self.apex[1] + length * np.sin(turn)], 1)
        return places


DOUBTFUL = 0.5
"""A sector of less confidence deserves a look."""


@dataclass(frozen=True)
class SectorEstimate:
    """A sector found in an image.

    Attributes:
        mask: uint8 ``[H, W]``, 1 inside: the drawn shape where it is trusted, else the convex hull of
            what is bright.
        confidence: 0 to 1, see :func:`estimate_sector`.
    """

    mask: np.ndarray
    confidence: float


def fit_sector(mask: np.ndarray) -> SectorShape:
    """The sector that agrees best with a binary mask ``[H, W]``.

    Raises:
        UserError: the mask is empty.
    """
    if not mask.any():
        raise UserError("an empty sector has no shape; give each frame a sector, or estimate it from its image")
    inside = (mask > 0).astype(np.uint8)
    return _fit(inside, _first_guesses(inside))


def upright_sector(mask: np.ndarray) -> SectorShape:
    """The upright shape with square pixels that both sides of a binary mask ``[H, W]`` draw.

    Close enough to say which way the beams run, and some hundred times quicker than :func:`fit_sector`.
    """
    return _first_guesses(mask)[0]


def estimate_sector(image: np.ndarray) -> SectorEstimate:
    """Where the probe drew, from what it drew.

    The largest bright region gives a first shape; regions that lie within its wedge (the tip of a
    sector with a dark middle) join it, marks and text beside it do not; then the shape is fitted that
    holds what is bright with the least dark in it, and that hangs straight where the picture leaves it open.

    The confidence is the share of the shape's outline (left edge, right edge and far arc, a third
    each) that the picture confirms by a step from bright to dark, times the share of what is bright
    that lies within the shape; it falls to 0 where the bright region fills its bounding box. It is
    about 1 where every edge shows, and a shadow over an edge lowers it; noise, a full-frame
    photograph, text and the box of a linear array give 0 or little, a disc about a half. From 0.3 on
    the mask is the drawn shape, which is then closer to the truth than the hull; it may hold dark
    pixels, and bright ones may lie outside of it. Depth that fades to black cannot be known: such a
    sector is taken for a shallower one, and the confidence does not see it.

    Measured as intersection over union with the true sector (mean of the mask; of the hull alone in
    brackets): confidence above 0.9, 0.97 (0.95); 0.7 to 0.9, 0.93 (0.88); 0.5 to 0.7, 0.88 (0.76), on
    the phantom, one TEE cine, and CAMUS with and without shadows laid over it.

    Args:
        image: uint8 ``[H, W]``, one frame or the brightest value of several. A black image gives an
            empty mask and confidence 0.
    """
    bright = (cv2.medianBlur(image, 5) > _DARK).astype(np.uint8)
    side = max(3, min(image.shape) // 30 * 2 + 1)
    closed = cv2.morphologyEx(bright, cv2.MORPH_CLOSE, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)))
    count, regions, stats, _ = cv2.connectedComponentsWithStats(closed, connectivity=8)
    if count < 2:
        return SectorEstimate(np.zeros_like(image), 0.0)
    areas = stats[1:, cv2.CC_STAT_AREA]
    largest = (regions == 1 + int(areas.argmax())).astype(np.uint8)
    hull = _hull(largest)
    if hull.sum() < _SMALLEST * hull.size:
        return SectorEstimate(hull, 0.0)
    shape = _fit(largest, _first_guesses(hull), tilt=_TILT)
    joined = _join(regions, areas, largest, shape)
    if joined.sum() > largest.sum():
        shape = _begin_at(_fit(joined, [shape], tilt=_TILT), joined)
    confidence = _confidence(shape, closed, joined, hull)
    if _TRUSTED <= confidence < 0.9 * _SURE:
        askew = _fit(joined, [shape], tilt=0.0)
        if (other := _confidence(askew, closed, joined, hull)) > _SURE:
            shape, confidence = askew, other
    return SectorEstimate(shape.draw(image.shape) if confidence >= _TRUSTED else hull, confidence)


def _hull(region: np.ndarray) -> np.ndarray:
    """Convex hull of a binary region, uint8 ``[H, W]``."""
    hull = np.zeros_like(region)
    cv2.fillConvexPoly(hull, cv2.convexHull(np.argwhere(region)[:, ::-1].astype(np.int32)), 1)
    return hull


def _join(regions: np.ndarray, areas: np.ndarray, largest: np.ndarray, shape: SectorShape) -> np.ndarray:
    """The largest region and the others of which nine tenths lie between the edges, down to the far arc."""
    rows, columns = np.ogrid[: largest.shape[0], : largest.shape[1]]
    depth = replace(shape, near=0.0).depth_inside(rows + 0.5, columns + 0.5)
    wedge = depth >= -_REACH * max(largest.shape)
    within = np.bincount(regions.ravel(), weights=wedge.ravel(), minlength=len(areas) + 1)[1:]
    kept = np.concatenate([[False], within >= 0.9 * areas])
    return (kept[regions] | (largest > 0)).astype(np.uint8)


def _begin_at(shape: SectorShape, region: np.ndarray) -> SectorShape:
    """The shape with its near edge drawn up to the first of the region that lies between its edges."""
    wedge = replace(shape, near=0.0)
    rows, columns = np.nonzero(region & wedge.draw(region.shape))
    if not len(rows):
        return shape
    first = np.hypot(rows + 0.5 - shape.apex[0], (columns + 0.5 - shape.apex[1]) / shape.stretch).min()
    return replace(shape, near=min(shape.near, float(first)))


def _first_guesses(region: np.ndarray) -> list[SectorShape]:
    """Upright shapes to begin with: one that takes both of the region's sides for edges, and one for each side.

    A side is followed from the region's top to where it reaches out farthest. A side in shadow
    does not widen; then the other one, mirrored, is the better guess.
    """
    rows = np.flatnonzero(region.any(1))
    left = region.argmax(1)[rows].astype(float)
    right = (region.shape[1] - region[:, ::-1].argmax(1)[rows]).astype(float)
    top, bottom = float(rows[0]), float(rows[-1] + 1)
    centre = float((left + right).mean() / 2)
    guesses = []
    for out, mirrored in (((right - left) / 2, None), (-left, -1.0), (right, 1.0)):
        used = slice(0, int(out.argmax()) + 1)
        slope, offset = np.polyfit(rows[used], out[used], 1) if out.argmax() > 3 else (0.0, 0.0)
        angle = float(np.clip(np.arctan(slope), *_HALF_ANGLE))
        apex = min(float(-offset / slope), top) if mirrored is None and slope > 0 else top
        column = centre if mirrored is None else mirrored * (slope * top + offset)
        if mirrored is None or slope > np.tan(_HALF_ANGLE[0]):
            guesses.append(SectorShape((apex, column), -angle, angle, top - apex, max(bottom - apex, 2.0)))
    return guesses


def _fit(region: np.ndarray, guesses: list[SectorShape], *, tilt: float | None = None) -> SectorShape:
    """The shape with the least cost on a coarse grid, by Nelder-Mead from the best guess.

    The cost is 1 less the intersection over union. With ``tilt`` the region is what shows of a
    sector that may be dark in places: what is bright outside costs more than what is dark
    inside, and what the region leaves open is settled by what is usual.

    Args:
        region: binary ``[H, W]``.
        guesses: where it may begin.
        tilt: cost per squared radian of hanging askew; None for a region without dark places.
    """
    scale = max(region.shape) / _GRID
    size = tuple(max(1, round(side / scale)) for side in region.shape)
    rows = ((np.arange(size[0]) + 0.5) * region.shape[0] / size[0])[:, None]
    columns = ((np.arange(size[1]) + 0.5) * region.shape[1] / size[1])[None]
    holes = tilt is not None
    if holes:  # at centres: a shape that must hold every cell that is partly bright would grow by half a cell
        there = region[rows.astype(int), columns.astype(int)].astype(np.float32)
    else:
        there = cv2.resize(region.astype(np.float32), size[::-1], interpolation=cv2.INTER_AREA)
    missed, extra, soft = (_MISSED, _DARK_INSIDE, 1.0) if holes else (1.0, 1.0, 0.5)
    total, unit = float(there.sum()), float(max(region.shape))

    def cost(values: np.ndarray) -> float:
        drawn = np.clip(_shape_of(values, unit).depth_inside(rows, columns) / scale + soft, 0, 1)
        both = float((drawn * there).sum())
        rest = missed * (total - both) + extra * (float(drawn.sum()) - both)
        unusual = tilt * float(values[2]) ** 2 + _STRETCH * float(np.log(values[6])) ** 2 if tilt is not None else 0.0
        return 1 - both / (both + rest + 1e-9) + unusual

    bounds = [(-2, 1), (-0.5, 1.5), (-0.35, 0.35), _HALF_ANGLE, (0, 0.6), (0.05, 4), (0.5, 2)]
    lower, upper = np.array(bounds).T
    starts = [np.clip(_values_of(guess, unit), lower + 1e-6, upper - 1e-6) for guess in guesses]
    start = min(starts, key=cost)
    simplex = np.vstack([start, start + np.diag([0.03, 0.02, 0.05, 0.06, 0.03, 0.03, 0.08])])
    options = {
        "initial_simplex": np.clip(simplex, lower, upper),
        "maxfev": _EVALUATIONS,
        "xatol": 5e-4,
        "fatol": 1e-4,
    }
    return _shape_of(minimize(cost, start, method="Nelder-Mead", bounds=bounds, options=options).x, unit)


def _values_of(shape: SectorShape, unit: float) -> np.ndarray:
    """Apex, tilt, half angle, near radius as a share of the far one, far radius, stretch."""
    middle, half = (shape.left + shape.right) / 2, (shape.right - shape.left) / 2
    apex = (shape.apex[0] / unit, shape.apex[1] / unit)
    return np.array([*apex, middle, half, shape.near / shape.far, shape.far / unit, shape.stretch])


def _shape_of(values: np.ndarray, unit: float) -> SectorShape:
    row, column, middle, half, near, far, stretch = map(float, values)
    apex = (row * unit, column * unit)
    return SectorShape(apex, middle - half, middle + half, near * far * unit, far * unit, stretch)


def _confidence(shape: SectorShape, bright: np.ndarray, region: np.ndarray, hull: np.ndarray) -> float:
    """See :func:`estimate_sector`; ``bright`` is all that is, ``region`` what the shape was fitted to."""
    drawn = shape.draw(region.shape)
    held = float((drawn & region).sum() / region.sum())
    rows, columns = np.flatnonzero(hull.any(1)), np.flatnonzero(hull.any(0))
    filled = float(hull.sum()) / ((rows[-1] - rows[0] + 1) * (columns[-1] - columns[0] + 1))
    box = float(np.clip((_BOX[1] - filled) / (_BOX[1] - _BOX[0]), 0, 1))
    return box * held * float(np.mean([_confirmed(places, shape, bright) for places in shape.outline(90).values()]))


def _confirmed(places: np.ndarray, shape: SectorShape, bright: np.ndarray) -> float:
    """Share of the places on an edge with something bright just inside and nothing just outside of it.

    Where the frame ends no step can be seen: such places do not count, unless most are of that kind.
    """
    size = np.array(bright.shape)
    across = _normals(places, shape) * max(1.5, _REACH * float(size.max()))
    inner, outer = places - across, places + across
    seen = ((inner >= 0) & (inner < size) & (outer >= 0) & (outer < size)).all(1)
    if seen.mean() < 0.25:
        return 0.0
    (inside, beyond) = (bright[tuple(at[seen].astype(int).T)] > 0 for at in (inner, outer))
    return float((inside & ~beyond).mean())


def _normals(places: np.ndarray, shape: SectorShape) -> np.ndarray:
    """Unit vectors (row, column) out of the sector at places of its outline, by differences of the depth."""

    def depth(row: float, column: float) -> np.ndarray:
        return shape.depth_inside(places[:, 0] + row, places[:, 1] + column)

    slope = np.stack([depth(-0.5, 0) - depth(0.5, 0), depth(0, -0.5) - depth(0, 0.5)], 1)
    return slope / np.maximum(np.linalg.norm(slope, axis=1, keepdims=True), 1e-9)
