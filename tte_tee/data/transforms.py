"""What ultrasound does to a frame, as albumentations transforms.

Each takes ``image``, ``mask`` and ``sector`` (uint8 ``[H, W]``; in ``Compose`` the sector is an
additional target of type ``mask``) of a frame with the probe at the top, so they come before any
rotation. Ranges are drawn from uniformly unless said otherwise. Each value is bounded so that a
chamber remains a chamber; none of the ranges was tuned on results.

Sources: attenuation with depth, Østvik et al., IEEE TMI 40(5), 2021; shadows, Smistad et al.,
J. Med. Imaging 5(4), 2018; shadows and speckle, Singla et al., MIDL 2022.
"""

from functools import lru_cache
from typing import Any

import albumentations as A
import cv2
import numpy as np

from tte_tee.data.sector import upright_sector

Range = tuple[float, float]
Values = dict[str, Any]
_GRID = 5  # points along each side of the grid that bends the anatomy
_STILL = 0.1  # share of the longer side, from the sector's edge inwards, over which it is held


class DepthAttenuation(A.ImageOnlyTransform):
    """Multiplies grey levels by a gain that is 1 at the probe and falls or rises exponentially with depth.

    Args:
        far_gain: gain at the far end, drawn evenly on a logarithmic scale. Above 1: time gain
            compensation that does too much.
        p: probability.
    """

    def __init__(self, far_gain: Range = (0.5, 1.2), p: float = 0.5) -> None:
        super().__init__(p=p)
        self.far_gain = far_gain

    @property
    def targets_as_params(self) -> list[str]:
        """The sector says where the probe is."""
        return ["sector"]

    def get_params_dependent_on_data(self, params: Values, data: Values) -> Values:
        """``gain`` float32 ``[H, W]``."""
        depth, _ = beams(data["sector"])
        return {"gain": np.exp(depth * np.float32(self.py_random.uniform(*np.log(self.far_gain))))}

    def apply(self, img: np.ndarray, gain: np.ndarray, **params: Any) -> np.ndarray:
        """The image times the gain."""
        return _times(img, gain)


class BeamShadow(A.ImageOnlyTransform):
    """Darkens a bundle of beams from some depth on, as air, calcium or a prosthesis does.

    Args:
        width: standard deviation across the beams, as a share of the opening.
        start: depth at which the shadow begins, as a share of the sector's.
        strength: share of the grey level that is lost in its middle.
        p: probability.
    """

    def __init__(
        self, width: Range = (0.03, 0.1), start: Range = (0.0, 0.6), strength: Range = (0.3, 0.8), p: float = 0.5
    ) -> None:
        super().__init__(p=p)
        self.width, self.start, self.strength = width, start, strength

    @property
    def targets_as_params(self) -> list[str]:
        """The sector says which way the beams run."""
        return ["sector"]

    def get_params_dependent_on_data(self, params: Values, data: Values) -> Values:
        """``gain`` float32 ``[H, W]``."""
        depth, beam = beams(data["sector"])
        middle, draw = self.py_random.random(), self.py_random.uniform
        width, start, strength = draw(*self.width), draw(*self.start), draw(*self.strength)
        across = np.exp(-0.5 * np.square((beam - np.float32(middle)) / np.float32(width)))
        behind = np.clip((depth - np.float32(start)) * np.float32(10), 0, 1)  # full after a tenth of the depth
        return {"gain": 1 - np.float32(strength) * across * behind}

    def apply(self, img: np.ndarray, gain: np.ndarray, **params: Any) -> np.ndarray:
        """The image times the gain."""
        return _times(img, gain)


class Speckle(A.ImageOnlyTransform):
    """Multiplies grey levels by speckle: the magnitude of complex Gaussian noise, a Rayleigh variable of mean 1.

    Args:
        strength: how much of the noise is mixed in; 1 would be the speckle of an image that is
            not compressed, beside which that of log-compressed grey levels is weak.
        grain: standard deviation in pixels of the blur that correlates neighbours.
        p: probability.
    """

    def __init__(self, strength: Range = (0.1, 0.4), grain: float = 0.8, p: float = 0.5) -> None:
        super().__init__(p=p)
        self.strength, self.grain = strength, grain

    def get_params_dependent_on_data(self, params: Values, data: Values) -> Values:
        """``gain`` float32 ``[H, W]``."""
        noise = self.random_generator.standard_normal((*params["shape"][:2], 2), dtype=np.float32)
        real, imaginary = cv2.split(cv2.GaussianBlur(noise, (0, 0), self.grain))
        magnitude = cv2.magnitude(real, imaginary)
        return {"gain": 1 + np.float32(self.py_random.uniform(*self.strength)) * (magnitude / magnitude.mean() - 1)}

    def apply(self, img: np.ndarray, gain: np.ndarray, **params: Any) -> np.ndarray:
        """The image times the gain."""
        return _times(img, gain)


class SectorElastic(A.ElasticTransform):
    """Bends the anatomy and leaves the sector as it is: displacements fade out towards its edge.

    They are a cubic surface over a grid of random values, and stay below the distance to the
    edge, so nothing is fetched from outside and the field does not fold.

    Args:
        shift: greatest displacement at a point of the grid, along rows and along columns, as a
            share of the frame's longer side.
        p: probability.
    """

    def __init__(self, shift: Range = (0.01, 0.04), p: float = 0.5) -> None:
        super().__init__(p=p)
        self.shift = shift

    @property
    def targets_as_params(self) -> list[str]:
        """The sector says where to hold still."""
        return ["sector"]

    def get_params_dependent_on_data(self, params: Values, data: Values) -> Values:
        """``map_x`` and ``map_y`` float32 ``[H, W]``: where each pixel comes from."""
        height, width = params["shape"][:2]
        side = max(height, width)
        grid = self.random_generator.uniform(-1, 1, (_GRID, _GRID, 2)).astype(np.float32)
        field = cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)
        field *= np.float32(self.py_random.uniform(*self.shift) * side)
        framed = cv2.copyMakeBorder(data["sector"], 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
        distance = cv2.distanceTransform(framed, cv2.DIST_L2, 3)[1:-1, 1:-1]
        field *= np.clip((distance - 1) / np.float32(_STILL * side), 0, 1)[..., None]
        rows, columns = np.ogrid[:height, :width]
        return {
            "map_x": (columns + field[..., 0]).astype(np.float32),
            "map_y": (rows + field[..., 1]).astype(np.float32),
        }


class NarrowSector(A.DualTransform):
    """Keeps a part of the opening, as a probe set to a narrower sector would; what lies beside it goes black.

    Args:
        kept: share of the opening that stays; where it lies is random.
        p: probability.
    """

    def __init__(self, kept: Range = (0.75, 1.0), p: float = 0.5) -> None:
        super().__init__(p=p)
        self.kept = kept

    @property
    def targets_as_params(self) -> list[str]:
        """The sector says which way the beams run."""
        return ["sector"]

    def get_params_dependent_on_data(self, params: Values, data: Values) -> Values:
        """``keep`` uint8 ``[H, W]``, 0 or 1."""
        _, beam = beams(data["sector"])
        kept = self.py_random.uniform(*self.kept)
        first = self.py_random.uniform(0, 1 - kept)
        return {"keep": ((beam >= first) & (beam <= first + kept)).astype(np.uint8)}

    def apply(self, img: np.ndarray, keep: np.ndarray, **params: Any) -> np.ndarray:
        """The image, black beside the kept part."""
        return img * keep

    def apply_to_mask(self, mask: np.ndarray, keep: np.ndarray, **params: Any) -> np.ndarray:
        """The mask or the sector, 0 beside the kept part."""
        return mask * keep


def beams(sector: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where each pixel lies in a sector with the probe at the top.

    Args:
        sector: uint8 ``[H, W]``, 0 or 1, not empty.

    Returns:
        Depth, from 0 at the probe to 1 at the far end, and beam, from 0 at the left edge of the
        opening to 1 at the right one; float32 ``[H, W]``, both read-only.
    """
    return _beams(sector.tobytes(), sector.shape)


@lru_cache(maxsize=64)  # one frame asks for them up to three times, and the frames of a clip share a sector
def _beams(content: bytes, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    inside = np.frombuffer(content, np.uint8).reshape(size) > 0
    shape = upright_sector(inside)
    rows, columns = np.ogrid[: size[0], : size[1]]
    down = (rows + 0.5 - shape.apex[0]).astype(np.float32)
    right = (columns + 0.5 - shape.apex[1]).astype(np.float32)
    depth = _unit(np.hypot(down, right), inside)
    # Beside the apex a pixel is as wide as many beams: their angles would stretch the opening.
    beam = _unit(np.arctan2(right, down), inside & (depth >= min(0.5, float(depth[inside].max()))))
    return depth, beam


def _unit(values: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Values scaled so that those inside go from 0 to 1, and clipped; read-only."""
    low, high = values[inside].min(), values[inside].max()
    scaled = np.clip((values - low) / max(float(high - low), 1e-6), 0, 1)
    scaled.setflags(write=False)
    return scaled


def _times(image: np.ndarray, gain: np.ndarray) -> np.ndarray:
    """uint8 times float32, both ``[H, W]``, rounded and kept within 0 to 255."""
    return cv2.multiply(image, gain, dtype=cv2.CV_8U)
