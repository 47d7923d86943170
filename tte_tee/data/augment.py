"""Augmentation of labelled frames, as named pipelines.

``none``: the frame as it is. ``standard``: gain (brightness, contrast, gamma) and small rotations,
scalings and shifts. ``strong``: the same with wider ranges, and attenuation with depth, shadows,
speckle, blur, bent anatomy and narrower sectors.

Geometry moves image, mask and sector together: what comes from beyond the frame lies outside of
the moved sector, so the sector holds no black wedge, and the image is 0 outside of it. A mask
inside its sector stays inside; what a person annotated beyond the sector's edge moves along too,
since the frames that are tested on keep theirs. Nothing is flipped: upside down there is no probe,
and left and right tell the chambers of a view apart.
"""

import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from tte_tee.errors import UserError

if TYPE_CHECKING:
    import albumentations as A

Frame = tuple[np.ndarray, np.ndarray, np.ndarray]
_WORD = 3  # sets these draws apart from the orders of training, which are drawn from the same seeds


class Augmentation:
    """One pipeline, by name; may be copied into workers.

    What comes out depends on the frame and on ``key`` alone: not on the process, the order of
    frames or earlier calls.

    Args:
        name: one of :data:`PIPELINES`.

    Raises:
        UserError: there is no pipeline of that name.
    """

    def __init__(self, name: str) -> None:
        if name not in PIPELINES:
            raise UserError(f"augmentation '{name}' is not one of {', '.join(PIPELINES)}")
        self.name = name
        self._pipeline: A.Compose | None = None

    def __call__(self, image: np.ndarray, mask: np.ndarray, sector: np.ndarray, key: tuple[int, ...]) -> Frame:
        """The augmented frame.

        Args:
            image: uint8 ``[H, W]``.
            mask: uint8 ``[H, W]``, ids of a label space.
            sector: uint8 ``[H, W]``, 0 or 1.
            key: of the random numbers; 0 or more each.

        Returns:
            Image, mask and sector, as they came in.

        Raises:
            UserError: the sector is empty.
        """
        if self.name == "none":
            return image, mask, sector
        if not sector.any():
            raise UserError(
                f"augmentation '{self.name}': a frame has an empty sector (drawn by {key}); pack it with its sector"
            )
        if self._pipeline is None:
            self._pipeline = _compose(PIPELINES[self.name]())
        # One generator for all transforms: seeded one by one they would all draw the same numbers.
        generator = np.random.default_rng([_WORD, *key])
        self._pipeline.set_random_state(generator, random.Random(int(generator.integers(2**63))))
        moved = self._pipeline(image=image, mask=mask, sector=sector)
        return moved["image"] * moved["sector"], moved["mask"], moved["sector"]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_pipeline": None}


def _compose(transforms: "list[A.BasicTransform]") -> "A.Compose":
    import albumentations as A

    return A.Compose(transforms, additional_targets={"sector": "mask"}, is_check_shapes=False)


def _standard() -> "list[A.BasicTransform]":
    import albumentations as A

    return [
        A.Affine(rotate=(-10, 10), scale=(0.9, 1.1), translate_percent=(-0.05, 0.05), keep_ratio=True, p=1.0),
        A.RandomBrightnessContrast(0.2, 0.15, brightness_by_max=False, p=1.0),
        A.RandomGamma(gamma_limit=(80, 125), p=1.0),
    ]


def _strong() -> "list[A.BasicTransform]":
    import albumentations as A

    from tte_tee.data import transforms as echo

    return [  # first what happens between probe and picture, then where the picture lies, then how it is shown
        echo.DepthAttenuation(p=0.5),
        echo.BeamShadow(p=0.3),
        echo.Speckle(p=0.5),
        echo.SectorElastic(p=0.5),
        echo.NarrowSector(p=0.3),
        A.Affine(rotate=(-20, 20), scale=(0.8, 1.2), translate_percent=(-0.08, 0.08), keep_ratio=True, p=1.0),
        A.RandomBrightnessContrast(0.35, 0.25, brightness_by_max=False, p=1.0),
        A.RandomGamma(gamma_limit=(70, 140), p=1.0),
        A.GaussianBlur(blur_limit=0, sigma_limit=(0.3, 0.9), p=0.3),
    ]


PIPELINES: "dict[str, Callable[[], list[A.BasicTransform]]]" = {"none": list, "standard": _standard, "strong": _strong}
"""Names of the pipelines, and what makes their transforms."""
