"""Where the probe drew: the sector of a picture, estimated from the picture."""

from dataclasses import dataclass

import cv2
import numpy as np

_DARK = 3  # grey levels; what an empty screen may still show


@dataclass(frozen=True)
class SectorShape:
    """A sector in pixels: where the apex is, the angles of its edges (radians from straight down), its radii."""

    apex_row: float
    apex_column: float
    left: float
    right: float
    near: float
    far: float

    def draw(self, shape: tuple[int, int]) -> np.ndarray:
        """uint8 ``[H, W]``, 1 inside."""
        row, column = np.mgrid[: shape[0], : shape[1]] + 0.5
        down, right = row - self.apex_row, column - self.apex_column
        radius, angle = np.hypot(right, down), np.arctan2(right, down)
        inside = (radius >= self.near) & (radius <= self.far) & (angle >= self.left) & (angle <= self.right)
        return inside.astype(np.uint8)


@dataclass(frozen=True)
class SectorEstimate:
    """A sector and how sure it is: ``mask`` uint8 ``[H, W]``, ``confidence`` in 0-1."""

    mask: np.ndarray
    shape: "SectorShape | None"
    confidence: float


def estimate_sector(image: np.ndarray) -> SectorEstimate:
    """The convex hull of the largest region that is not black."""
    bright = (cv2.medianBlur(image, 5) > _DARK).astype(np.uint8)
    side = max(3, min(image.shape) // 30 * 2 + 1)
    bridge = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    closed = cv2.morphologyEx(bright, cv2.MORPH_CLOSE, bridge)
    contours, _ = cv2.findContours(closed, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    sector = np.zeros_like(image)
    if contours:
        cv2.fillConvexPoly(sector, cv2.convexHull(max(contours, key=cv2.contourArea)), 1)
    return SectorEstimate(sector, None, float(sector.any()))
