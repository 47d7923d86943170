"""Masks as fields that can be averaged, and back.

Each structure and the background has its signed distance map: how far a pixel is from the
structure's edge, negative inside. Sums of such maps are maps again, near enough, so a population
of masks has a mean and modes (Leventon et al., CVPR 2000; several structures at once: Tsai et al.,
IPMI 2003). A pixel belongs to whichever map is lowest there; so structures never overlap, and no
gap opens between neighbours (Pohl et al., Med Image Anal 11(5), 2007, decide in the same way
between their LogOdds maps).
"""

import cv2
import numpy as np
from scipy.ndimage import distance_transform_edt

GRID = 96  # pixels of the longer side; distances are smooth, so a coarser map than the mask holds them
_SMOOTH = 1.0  # pixels of the grid; modes of few masks would carry the steps of their pixels into every outline
_CAP = 0.25  # share of the longer side; farther away says nothing of a structure's shape


def grid_of(image_size: tuple[int, int]) -> tuple[int, int]:
    """Rows and columns of the fields of frames ``(H, W)``."""
    scale = min(1.0, GRID / max(image_size))
    return max(1, round(image_size[0] * scale)), max(1, round(image_size[1] * scale))


def to_fields(mask: np.ndarray, labels: list[int]) -> np.ndarray:
    """Signed distances of the background and of each label, as shares of the frame's longer side.

    Args:
        mask: ids ``[H, W]``.
        labels: ids, in the order of the fields.

    Returns:
        float32 ``[1 + len(labels), h, w]`` on :func:`grid_of`; a label that is absent is far away everywhere.
    """
    grid, unit = grid_of(mask.shape), max(mask.shape)
    fields = [_signed_distance(mask == label) / unit for label in (0, *labels)]
    capped = (np.clip(field, -_CAP, _CAP).astype(np.float32) for field in fields)
    coarse = (cv2.resize(field, grid[::-1], interpolation=cv2.INTER_AREA) for field in capped)
    return np.stack([cv2.GaussianBlur(field, (0, 0), _SMOOTH, borderType=cv2.BORDER_REPLICATE) for field in coarse])


def to_mask(fields: np.ndarray, labels: list[int], image_size: tuple[int, int]) -> np.ndarray:
    """The ids ``[H, W]``, uint8, of the lowest field at each pixel."""
    full = [cv2.resize(field, image_size[::-1], interpolation=cv2.INTER_LINEAR) for field in fields]
    return np.array([0, *labels], np.uint8)[np.argmin(full, axis=0)]


def _signed_distance(inside: np.ndarray) -> np.ndarray:
    """Distance of pixel centres to the edge in pixels, negative inside, ``[H, W]``; the edge runs between pixels."""
    if not inside.any():
        return np.full(inside.shape, np.inf)
    if inside.all():
        return np.full(inside.shape, -np.inf)
    return np.where(inside, 0.5 - distance_transform_edt(inside), distance_transform_edt(~inside) - 0.5)
