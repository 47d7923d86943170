"""The one shape that every feature extractor has, and what the kinds share."""

import pickle
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from torch import Tensor
from torch.nn.functional import interpolate

from tte_tee.errors import UserError
from tte_tee.files import first_line

_BATCH = 32
_MEAN, _STD = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])  # of ImageNet
IMAGENET = "grey in three channels, whole frame to 224x224 (bilinear, antialiased), ImageNet mean and deviation"


@dataclass(frozen=True)
class Extractor:
    """A network that makes features of frames.

    A distance between features means nothing without the network's name and the hash of its weights.

    Attributes:
        name: kind of network; numbers of two kinds are not to be compared.
        version: hash of the weights.
        record: where it comes from, patients included.
        compute: uint8 frames ``[B, H, W]`` of any one size -> features float32 ``[B, D]``.
        prepared: how frames become its input.
        distance: of frames ``[B, H, W]`` to others, pair by pair, ``[B]``, where the network is made for that.
    """

    name: str
    version: str
    record: dict[str, Any]
    compute: Callable[[np.ndarray], Tensor]
    prepared: str = ""
    distance: Callable[[np.ndarray, np.ndarray], Tensor] | None = None

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        """Features float32 ``[N, D]`` of uint8 frames ``[N, H, W]``, a batch at a time.

        Raises:
            UserError: a feature is not finite.
        """
        return self._batched(self.compute, frames)

    def between(self, frames: np.ndarray, others: np.ndarray) -> np.ndarray:
        """Distance float32 ``[N]`` between uint8 frames ``[N, H, W]`` and others, pair by pair.

        Raises:
            UserError: this kind has no distance, or it is not finite.
        """
        if self.distance is None:
            raise UserError(f"extractor {self.name}: has features, but no distance between two frames")
        return self._batched(self.distance, frames, others)

    def _batched(self, function: Callable[..., Tensor], *frames: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            starts = range(0, len(frames[0]), _BATCH)
            parts = [function(*(np.ascontiguousarray(f[at : at + _BATCH]) for f in frames)) for at in starts]
        values = torch.cat(parts).float().cpu()
        if not torch.isfinite(values).all():
            raise UserError(f"extractor {self.name} ({self.version[:8]}): gives numbers that are not finite")
        return values.numpy()


def colour(frames: np.ndarray, size: int | None = None) -> Tensor:
    """uint8 ``[B, H, W]`` -> ``[B, 3, size, size]`` in 0 to 1, three equal channels; None keeps the size."""
    grey = torch.from_numpy(frames).float().div(255)[:, None]
    if size is not None and grey.shape[-2:] != (size, size):
        grey = interpolate(grey, (size, size), mode="bilinear", antialias=True)
    return grey.expand(-1, 3, -1, -1)


def as_imagenet(frames: np.ndarray) -> Tensor:
    """uint8 ``[B, H, W]`` -> ``[B, 3, 224, 224]`` as networks of ImageNet want it, see :data:`IMAGENET`."""
    return (colour(frames, 224) - _MEAN[:, None, None]) / _STD[:, None, None]


@contextmanager
def reading(word: str, path: Path, wanted: str) -> Iterator[None]:
    """Turns whatever goes wrong while weights are read into one line.

    Args:
        word: kind of extractor.
        path: of the weights.
        wanted: what should be there.

    Raises:
        UserError: it went wrong.
    """
    try:
        if not path.exists():
            raise FileNotFoundError("no such file or folder")
        yield
    except (
        OSError,
        LookupError,
        TypeError,
        ValueError,
        AttributeError,
        RuntimeError,
        EOFError,
        pickle.UnpicklingError,
        zipfile.BadZipFile,
        SafetensorError,
    ) as error:
        raise UserError(f"extractor {word}={path}: {first_line(error).rstrip(':')}; give {wanted}") from error
