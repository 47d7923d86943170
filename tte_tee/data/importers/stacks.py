"""Which way the axes of an array run in the picture, and arrays as stacks of upright frames."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tte_tee.data.importers.contract import RawFrame
from tte_tee.data.importers.pairs import Pair
from tte_tee.data.importers.volumes import Volume, read_image, read_labels, stem, to_grey
from tte_tee.data.section import Section
from tte_tee.errors import UserError

TIME = "time"
IN_TIME = {TIME: 1}
AXES = ("right", "down", TIME)
"""How ITK and NIfTI keep a cine whose frames are upright: x runs to the right, y down, z with the time."""

_DOWN = {"down": 1, "up": -1}
_RIGHT = {"right": 1, "left": -1}


@dataclass(frozen=True)
class Axes:
    """Where each axis of an array leads, in the order of the file.

    Attributes:
        words: ``right`` or ``left``, ``down`` or ``up``, and one of ``third``; in any order.
        third: words for the axis that leads out of the picture, and the direction of each.
    """

    words: tuple[str, ...]
    third: Mapping[str, int]

    def arrange(self, volume: Volume, path: Path) -> Volume:
        """The volume with axes ``[third, down, right]``; a picture becomes a volume of one frame.

        Raises:
            UserError: the array has more axes than there are words, or fewer than two.
        """
        values, words = volume.values, self.words
        if values.ndim == 2:
            words = tuple(word for word in words if word not in self.third)
        extra = [axis for axis in range(2, values.ndim) if values.shape[axis] == 1][: max(0, values.ndim - len(words))]
        if values.ndim < 2 or values.ndim - len(extra) != len(words):
            raise UserError(f"{path}: has {values.ndim} axes, 'axes' of the recipe has {len(words)}; they must agree")
        values, spacing = (
            np.squeeze(values, tuple(extra)),
            [float(length) for length in np.delete(volume.spacing, extra)],
        )
        if values.ndim == 2:
            values, spacing, words = values[..., None], [*spacing, math.nan], (*words, next(iter(self.third)))
        steps = {**self.third, **_DOWN, **_RIGHT}
        values = values[tuple(slice(None, None, steps[word]) for word in words)]
        order = [next(i for i, word in enumerate(words) if word in kind) for kind in (self.third, _DOWN, _RIGHT)]
        return Volume(values.transpose(order), tuple(spacing[i] for i in order))


def parse_axes(section: Section, third: Mapping[str, int], default: tuple[str, ...]) -> Axes:
    """Takes ``axes``: for each axis of the array, fastest first, where it leads in the picture."""
    words = tuple(section.check("axes", word, str) for word in section.take("axes", list, default=list(default)))
    kinds = (_RIGHT, _DOWN, third)
    if len(words) != 3 or any(sum(word in kind for word in words) != 1 for kind in kinds):
        wanted = ", ".join(" or ".join(kind) for kind in kinds)
        raise section.error("axes", f"expected a list of three words, one each of: {wanted}; found {list(words)}")
    return Axes(words, third)


def parse_window(section: Section) -> tuple[float, float] | None:
    """Takes ``window``: the values that become black and white."""
    if not section.has("window"):
        return section.take("window", list, default=None)
    low, high = section.numbers("window", 2)
    if not -np.inf < low < high < np.inf:
        raise section.error("window", f"expected two numbers, low before high, found [{low:g}, {high:g}]")
    return low, high


def read_stack(
    root: Path, image: str, mask: str | None, axes: Axes, window: tuple[float, float] | None
) -> tuple[Volume, np.ndarray | None]:
    """An image, uint8, and its label values, both ``[third, down, right]``.

    Raises:
        UserError: a file is bad, or the two are of different sizes.
    """
    grey = read_image(root, image)
    grey = axes.arrange(Volume(to_grey(grey, root / image, window), grey.spacing), root / image)
    if mask is None:
        return grey, None
    values = axes.arrange(read_labels(root, mask), root / mask).values
    if values.shape != grey.values.shape:
        sizes = ["x".join(map(str, array.shape[::-1])) for array in (values, grey.values)]
        raise UserError(
            f"{root / mask}: is {sizes[0]}, its image {root / image} is {sizes[1]} "
            "(width x height x frames); they must be of one size"
        )
    return grey, values


def cine_frames(root: Path, pair: Pair, axes: Axes, window: tuple[float, float] | None) -> Iterator[RawFrame]:
    """The frames of one file in their order; one of several has its number, from 0, in its key."""
    grey, values = read_stack(root, pair.image, pair.mask, axes, window)
    _, down, right = grey.spacing
    name, count = stem(pair.image), len(grey.values)
    for i, image in enumerate(grey.values):
        yield RawFrame(
            file=pair.image,
            key=name if count == 1 else f"{name}/{i:04d}",
            image=np.ascontiguousarray(image),
            values=None if values is None else np.ascontiguousarray(values[i]),
            view=pair.view,
            mask_file=pair.mask or "",
            phase=pair.phase,
            spacing=None if math.isnan(down + right) else (down, right),
        )
