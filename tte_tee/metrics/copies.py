"""How alike frames are to the frames that a generator learnt from: arrays in, arrays out.

Three measures, 1 for a copy: *correlation* of smoothed frames inside the sector, *texture*, the same after
each structure's mean grey level is taken off, and *embedding*, the cosine of features. A diffusion model
adapted to few medical images repeats some of them, flipped and changed in contrast too (Carlini et al.,
"Extracting training data from diffusion models", USENIX Security 2023; Somepalli et al., "Diffusion art or
digital forgery?", CVPR 2023; Dar et al., "Investigating data memorization in 3D latent diffusion models",
MICCAI workshops 2023, who correlate features of a copy detector). All three look past that.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

SIDE = 64
"""Pixels of the longer side at which frames are compared; larger ones are brought down to it."""

SMOOTHING = 1.5
"""Standard deviation of the Gaussian that takes speckle away, pixels at :data:`SIDE`."""

_OVERLAP = 0.5  # of the smaller sector: fewer pixels than that correlate by chance
_ROUNDING = 1e-3  # grey levels; less is no pattern
_SHIFTS = sorted(((y, x) for y in (-1, 0, 1) for x in (-1, 0, 1)), key=lambda shift: sum(map(abs, shift)))


@dataclass(frozen=True)
class Patterns:
    """What of frames is correlated, and where.

    Attributes:
        values: float32 ``[N, h, w]`` of mean zero, 0 where ``weights`` is.
        weights: float32 ``[N, h, w]``, 1 inside the sector.
    """

    values: np.ndarray
    weights: np.ndarray

    def __len__(self) -> int:
        return len(self.values)


@dataclass(frozen=True)
class Likeness:
    """How alike each of N frames is to each of M others.

    Attributes:
        scores: float32 ``[N, M]``, -1 to 1.
        flipped: bool ``[N, M]``: the score is that of a mirror image.
    """

    scores: np.ndarray
    flipped: np.ndarray


@dataclass(frozen=True)
class Nearest:
    """The likest of the others for each of N frames.

    Attributes:
        index: int ``[N]`` into the others, -1 where none was allowed.
        scores: float32 ``[N]``, NaN where none was allowed.
        flipped: bool ``[N]``.
    """

    index: np.ndarray
    scores: np.ndarray
    flipped: np.ndarray


def frame_pattern(image: np.ndarray, sector: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Values and weights of one frame, smoothed inside its sector.

    Args:
        image: uint8 ``[H, W]``.
        sector: 0 or 1 ``[H, W]``.

    Returns:
        two float32 ``[h, w]``, as in :class:`Patterns`.
    """
    return _smoothed(_reduced(image.astype(np.float32)), _reduced_labels(sector))


def texture_pattern(image: np.ndarray, sector: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """As :func:`frame_pattern`, of what is left when each structure's mean grey level is taken off.

    What two frames of one mask share because the mask says so, dark chambers between bright walls, is gone;
    what is left is where within a structure it is bright or dark.

    Args:
        image: uint8 ``[H, W]``.
        sector: 0 or 1 ``[H, W]``.
        mask: ids ``[H, W]``; what has no label is a structure too.
    """
    grey, inside, labels = _reduced(image.astype(np.float32)), _reduced_labels(sector), _reduced_labels(mask)
    rest = np.zeros_like(grey)
    for label in np.unique(labels):
        here = (labels == label) & (inside > 0)
        rest[here] = grey[here] - grey[here].mean() if here.any() else 0
    return _smoothed(rest, inside)


def stacked(pairs: Iterator[tuple[np.ndarray, np.ndarray]]) -> Patterns:
    """The patterns of several frames of one size."""
    return Patterns(*map(np.stack, zip(*pairs, strict=True)))


def _reduced(picture: np.ndarray) -> np.ndarray:
    return cv2.resize(picture, _size(picture), interpolation=cv2.INTER_AREA)


def _reduced_labels(picture: np.ndarray) -> np.ndarray:
    return cv2.resize(picture, _size(picture), interpolation=cv2.INTER_NEAREST_EXACT)


def _size(picture: np.ndarray) -> list[int]:
    scale = min(1.0, SIDE / max(picture.shape))
    return [max(1, round(length * scale)) for length in picture.shape[::-1]]


def _smoothed(grey: np.ndarray, inside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Blurs within the sector alone, so that its edge is no pattern, and takes the mean off."""
    weights = inside.astype(np.float32)
    blurred, mass = (
        cv2.GaussianBlur(picture, (0, 0), SMOOTHING, borderType=cv2.BORDER_CONSTANT)
        for picture in (grey * weights, weights)
    )
    values = np.divide(blurred, mass, out=np.zeros_like(blurred), where=weights > 0)
    mean = (values * weights).sum() / max(float(weights.sum()), 1.0)
    values = (values - mean) * weights
    return np.where(np.abs(values) > _ROUNDING, values, 0), weights


def correlate(frames: Patterns, others: Patterns) -> Likeness:
    """Normalised cross-correlation where two sectors overlap, the largest over flips and shifts of a pixel.

    Gain and offset of either side cancel. Sectors that overlap in less than half of the smaller one score -1,
    and a frame of one grey level scores 0.

    Args:
        frames: N of one size.
        others: M of the same size.
    """
    ours, weights = _flat(frames.values), _flat(frames.weights)
    squares, area = ours.square(), weights.sum(1, keepdim=True)
    best = torch.full((len(frames), len(others)), -1.0)
    flipped = torch.zeros(best.shape, dtype=torch.bool)
    for flip in (False, True):
        for shift in _SHIFTS:
            theirs, inside = (_flat(_moved(array, flip, shift)) for array in (others.values, others.weights))
            energy = (squares @ inside.T) * (weights @ theirs.square().T)
            scores = ours @ theirs.T / energy.clamp(min=1e-6).sqrt()
            enough = weights @ inside.T >= _OVERLAP * torch.minimum(area, inside.sum(1)[None])
            better = enough & (scores > best)
            best, flipped = torch.where(better, scores, best), torch.where(better, torch.tensor(flip), flipped)
    return Likeness(best.clamp(-1, 1).numpy(), flipped.numpy())


def _flat(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).flatten(1)


def _moved(array: np.ndarray, flip: bool, shift: tuple[int, int]) -> np.ndarray:
    """Frames mirrored and shifted, with nothing where nothing comes in."""
    (y, x), (height, width) = shift, array.shape[1:]
    source = array[:, :, ::-1] if flip else array
    moved = np.zeros_like(array)
    moved[:, max(y, 0) : height + min(y, 0), max(x, 0) : width + min(x, 0)] = source[
        :, max(-y, 0) : height + min(-y, 0), max(-x, 0) : width + min(-x, 0)
    ]
    return moved


def cosine(features: np.ndarray, mirrored: np.ndarray, others: np.ndarray) -> Likeness:
    """Cosine of features, the mean of ``others`` taken off, since features of any two echo frames agree in most.

    Args:
        features: float32 ``[N, D]`` of the frames.
        mirrored: float32 ``[N, D]`` of their mirror images.
        others: float32 ``[M, D]``.
    """
    mean = others.mean(0)

    def unit(rows: np.ndarray) -> np.ndarray:
        centred = (rows - mean).astype(np.float64)
        return centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-12)

    direct, flipped = (unit(rows) @ unit(others).T for rows in (features, mirrored))
    return Likeness(np.maximum(direct, flipped).clip(-1, 1).astype(np.float32), flipped > direct)


def nearest(likeness: Likeness, allowed: np.ndarray) -> Nearest:
    """The likest other of each frame among those that are allowed, bool ``[N, M]``; the first of equals."""
    scores = np.where(allowed, likeness.scores, -np.inf)
    index, rows = scores.argmax(1), np.arange(len(scores))
    some = allowed.any(1)
    return Nearest(
        np.where(some, index, -1),
        np.where(some, likeness.scores[rows, index], np.nan).astype(np.float32),
        likeness.flipped[rows, index] & some,
    )
