"""From the files' pixels to the store's: square, resized, with masks and images on the same grid."""

import cv2
import numpy as np


def pad_to_square(array: np.ndarray) -> np.ndarray:
    """``[H, W]`` with zeros on both sides of the shorter axis, ``[max(H, W), max(H, W)]``.

    An odd remainder goes below or to the right.
    """
    side = max(array.shape)
    before = [(side - length) // 2 for length in array.shape]
    return np.pad(array, [(b, side - length - b) for b, length in zip(before, array.shape, strict=True)])


def resize_image(image: np.ndarray, size: int) -> np.ndarray:
    """Grey values ``[H, W]`` padded to square and averaged over areas to ``[size, size]``."""
    square = pad_to_square(image)
    return cv2.resize(square, (size, size), interpolation=cv2.INTER_AREA if size < len(square) else cv2.INTER_LINEAR)


def resize_labels(labels: np.ndarray, size: int) -> np.ndarray:
    """Labels ``[H, W]`` padded to square and read at pixel centres, ``[size, size]``.

    The centre of pixel i lies at (i + 1/2) side / size, as it does for :func:`resize_image`;
    cv2.INTER_NEAREST would read at the corner i side / size, and shift masks against images.
    """
    square = pad_to_square(labels)
    at = ((np.arange(size) + 0.5) * len(square) / size).astype(int)
    return np.ascontiguousarray(square[np.ix_(at, at)])


def resized_spacing(spacing: tuple[float, float], shape: tuple[int, ...], size: int) -> tuple[float, float]:
    """Spacing (rows, columns) once ``[H, W]`` is ``[size, size]``: padding keeps it, resizing scales both alike."""
    scale = max(shape) / size
    return spacing[0] * scale, spacing[1] * scale
