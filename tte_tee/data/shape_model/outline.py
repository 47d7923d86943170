"""Sectors as places on their outline, which can be averaged, and back.

The values of a :class:`SectorShape` make up for each other (a higher apex for a longer radius), so
small errors of each, on their own, move the sector a lot; places on the outline do not.
"""

import numpy as np

from tte_tee.data.sector import SectorShape

_PLACES = 5  # on each of the two edges and on the far arc
LENGTH = 3 * _PLACES * 2
_FLATTEST, _STEEPEST = 1e-3, 25.0  # of 1 / stretch²


def to_outline(shape: SectorShape, unit: float) -> np.ndarray:
    """Places on the left edge, on the right edge and on the far arc, as shares of ``unit`` pixels, ``[LENGTH]``."""
    places = shape.outline(_PLACES)
    return np.concatenate([places[name].ravel() for name in ("left", "right", "arc")]) / unit


def from_outline(values: np.ndarray, unit: float) -> SectorShape:
    """The sector whose edges and arc run through places ``[LENGTH]``, by least squares."""
    left, right, arc = values.reshape(3, _PLACES, 2) * unit
    (a, b), (c, d) = (np.polyfit(side[:, 0], side[:, 1], 1) for side in (left, right))  # column = slope * row + offset
    row = (b - d) / (c - a) if c - a > 1e-3 else 0.0
    apex = (float(row), float(((a + c) * row + b + d) / 2))
    down, across = (arc - apex).T
    # On the arc down² + across² / stretch² = far², which is linear in far² and 1 / stretch².
    slope, square = np.polyfit(across**2, down**2, 1)
    inverse = float(np.clip(-slope, _FLATTEST, _STEEPEST))
    far = float(np.sqrt(max(square if -slope == inverse else float((down**2 + inverse * across**2).mean()), 1.0)))
    reach = [np.sqrt((side[:, 0] - apex[0]) ** 2 + inverse * (side[:, 1] - apex[1]) ** 2) for side in (left, right)]
    # Places stand at the middles of equal parts between near and far.
    first, last = (float(np.mean([radius[i] for radius in reach])) for i in (0, -1))
    near = float(np.clip(first - (last - first) / (2 * (_PLACES - 1)), 0.0, 0.9 * far))
    return SectorShape(apex, float(np.arctan(a)), float(np.arctan(c)), near, far, inverse**-0.5)
