"""A painted heart of three discs to be edited; shared by the tests of edits."""

import numpy as np

from tte_tee.data.edits import MaskFrame
from tte_tee.data.sector import SectorShape

SIDE = 128
SHAPE = SectorShape((0.0, 64.0), -0.6, 0.6, 4.0, 126.0)
LV, LA, RV, RA = 1, 2, 3, 4


def disc(row: float, column: float, radius: float) -> np.ndarray:
    """Pixels whose centres lie within a circle."""
    y, x = np.indices((SIDE, SIDE)) + 0.5
    return np.hypot(y - row, x - column) <= radius


def heart() -> MaskFrame:
    """LV straight below the probe's tip, the LA above it, an RV on the left."""
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[disc(90, 64, 20)] = LV
    mask[disc(50, 64, 12)] = LA
    mask[disc(90, 28, 10)] = RV
    return MaskFrame(mask, SHAPE.draw((SIDE, SIDE)), "ME4C")
