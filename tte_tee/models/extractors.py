"""Feature extractors: what fidelity and copies are measured in.

An extractor is a network that somebody else trained, with its name and the hash of its weights, since a
distance between features means nothing without both.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from tte_tee.errors import UserError
from tte_tee.models.segmenter import as_input, load_segmenter

_BATCH = 64


@dataclass(frozen=True)
class Extractor:
    """A network that makes features of frames.

    Attributes:
        name: kind of network; numbers of two kinds are not to be compared.
        version: hash of the weights.
        record: where it comes from, patients included.
        compute: uint8 frames ``[B, H, W]`` of any one size -> features float32 ``[B, D]``.
    """

    name: str
    version: str
    record: dict[str, Any]
    compute: Callable[[np.ndarray], Tensor]

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        """Features float32 ``[N, D]`` of uint8 frames ``[N, H, W]``, a batch at a time."""
        with torch.no_grad():
            parts = [self.compute(frames[start : start + _BATCH]) for start in range(0, len(frames), _BATCH)]
        return torch.cat(parts).float().cpu().numpy()


def load_extractor(word: str, device: str = "cpu") -> Extractor:
    """The extractor that ``KIND=PATH`` names.

    Args:
        word: ``segmenter=DIR``, a folder that ``fit`` left.
        device: where to compute.

    Raises:
        UserError: there is no such kind, or its weights cannot be read.
    """
    kind, _, path = word.partition("=")
    if kind not in _KINDS or not path:
        raise UserError(f"extractor '{word}': give KIND=PATH, where KIND is {', '.join(_KINDS)}")
    return _KINDS[kind](Path(path), device)


def _segmenter(folder: Path, device: str) -> Extractor:
    loaded = load_segmenter(folder)
    network = loaded.segmenter.to(device)
    rows, columns = loaded.image_size

    def compute(frames: np.ndarray) -> Tensor:
        sized = [cv2.resize(frame, (columns, rows), interpolation=cv2.INTER_AREA) for frame in frames]
        return network.features(as_input(np.stack(sized)).to(device))

    return Extractor("segmenter", loaded.hash, loaded.record, compute)


_KINDS: dict[str, Callable[[Path, str], Extractor]] = {"segmenter": _segmenter}
