"""The shape model: modes of masks and sectors of each view, and what it was learnt from."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from tte_tee.anatomy import LabelSpace
from tte_tee.data.shape_model.fields import grid_of, to_mask
from tte_tee.data.shape_model.outline import LENGTH, from_outline
from tte_tee.data.shape_model.rules import Rules


@dataclass(frozen=True)
class Draw:
    """One mask of a view: ``mask`` ids and ``sector`` 0 or 1, uint8 ``[H, W]``; spacing (rows, columns) in mm."""

    mask: np.ndarray
    sector: np.ndarray
    spacing: tuple[float, float] | None


@dataclass(frozen=True)
class ViewModel:
    """Mean and modes of one view.

    A mask is a vector: the fields of the background and of each structure, then the sector's outline
    and, where all training frames know it, the logarithm of the spacing; these two by ``scale``, so
    that they weigh beside the fields.

    Attributes:
        structures: names, in the order of the fields.
        mean: float32 ``[D]``.
        modes: float32 ``[M, D]``, orthonormal, the one with the most variance first.
        sd: float32 ``[M]``, standard deviation along each mode.
        scale: float32 ``[S]``, S = 30, or 32 with the spacing.
        explained: share of the training variance of each mode, ``[M]``.
        rules: that a draw must keep.
        frames: number of training masks.
        patients: that they are of.
    """

    structures: tuple[str, ...]
    mean: np.ndarray
    modes: np.ndarray
    sd: np.ndarray
    scale: np.ndarray
    explained: tuple[float, ...]
    rules: Rules
    frames: int
    patients: tuple[str, ...]

    def check(self, image_size: tuple[int, int], space: LabelSpace) -> None:
        """Refuses arrays that do not belong together, and values that are no numbers.

        Raises:
            ValueError: saying which.
        """
        rows, columns = grid_of(image_size)
        length = (1 + len(self.structures)) * rows * columns + len(self.scale)
        count = len(self.explained)
        shapes = {"mean": (length,), "modes": (count, length), "sd": (count,), "scale": (len(self.scale),)}
        for name, shape in shapes.items():
            array = getattr(self, name)
            if array.shape != shape or array.dtype != np.float32:
                raise ValueError(f"{name} is {array.dtype} {array.shape}, not float32 {shape}")
            if not np.isfinite(array).all():
                raise ValueError(f"{name} holds NaN or infinity")
        if len(self.scale) - LENGTH not in (0, 2) or (self.scale <= 0).any() or (self.sd < 0).any():
            raise ValueError("scale or sd is out of its range")
        if not set(self.structures) <= set(space.structures) or set(self.rules.area) != set(self.structures):
            raise ValueError("its structures are not those of its label space and rules")

    def decode(self, coefficients: np.ndarray, image_size: tuple[int, int], space: LabelSpace) -> Draw:
        """The mask and the sector at coefficients ``[M]``, in standard deviations.

        Where every training mask ends at its sector, so does this one.
        """
        vector = self.mean + (coefficients * self.sd).astype(np.float32) @ self.modes
        rest = vector[-len(self.scale) :] / self.scale
        fields = vector[: -len(self.scale)].reshape(1 + len(self.structures), *grid_of(image_size))
        sector = from_outline(rest[:LENGTH], float(max(image_size))).draw(image_size)
        spacing = np.exp(rest[LENGTH:])
        mask = to_mask(fields, [space.ids[name] for name in self.structures], image_size)
        if self.rules.outside == 0:
            mask *= sector
        return Draw(mask, sector, (float(spacing[0]), float(spacing[1])) if len(spacing) else None)


@dataclass(frozen=True)
class ShapeModel:
    """Views and what they were learnt from.

    Attributes:
        views: by name.
        label_space: of the masks.
        image_size: (H, W) of the frames.
        store: content hash of the training store.
        licence: of the training store.
        record: who made the model, when, with what; not part of :attr:`hash`.
    """

    views: Mapping[str, ViewModel]
    label_space: LabelSpace
    image_size: tuple[int, int]
    store: str
    licence: str
    record: Mapping[str, Any]

    def core(self) -> dict[str, Any]:
        """All that decides a draw or says where it comes from, but the arrays, as plain values."""
        return {
            "label_space": self.label_space.to_json(),
            "image_size": list(self.image_size),
            "training": {"store": self.store, "licence": self.licence},
            "views": {
                name: {
                    "structures": list(view.structures),
                    "frames": view.frames,
                    "patients": list(view.patients),
                    "modes": len(view.explained),
                    "explained_variance": list(view.explained),
                    "rules": view.rules.to_json(),
                }
                for name, view in self.views.items()
            },
        }

    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays by view and name."""
        names = ("mean", "modes", "sd", "scale")
        return {f"{view}.{name}": getattr(model, name) for view, model in self.views.items() for name in names}

    @cached_property
    def hash(self) -> str:
        """SHA-256 over :meth:`core` and the arrays."""
        digest = hashlib.sha256(json.dumps(self.core(), sort_keys=True).encode())
        for name, array in sorted(self.arrays().items()):
            digest.update(name.encode() + np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()
