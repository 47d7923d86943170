"""Pictures and texts of masks to masks: every pixel ends as exactly one label."""

from typing import Any

import cv2
import numpy as np

from tte_tee.anatomy import STRUCTURES, LabelSpace
from tte_tee.data.pictures import INSIDE, OUTSIDE
from tte_tee.errors import UserError

_PAPER = (255, 255, 255)
_ZERO = ord("0")


def snap(picture: np.ndarray, label_space: LabelSpace) -> np.ndarray:
    """Gives each pixel the label whose colour is nearest; anti-aliased edges and odd colours are none of their own.

    Args:
        picture: uint8 ``[H, W, 3]``, or ``[H, W, 4]`` with alpha; what is more than half transparent is background,
            and so are black, white and the dark of the sector.
        label_space: whose colours are looked for.

    Returns:
        ids uint8 ``[H, W]``.
    """
    colours = [OUTSIDE, INSIDE, _PAPER, *(STRUCTURES[name].colour for name in label_space.structures)]
    ids = np.array([0, 0, 0, *label_space.ids.values()], np.uint8)
    far = picture[..., None, :3].astype(np.int32) - np.array(colours, np.int32)
    labels: np.ndarray = ids[np.square(far).sum(-1).argmin(-1)]
    return labels * (picture[..., 3] > 127) if picture.shape[-1] == 4 else labels


def resize_labels(labels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Ids ``[H, W]`` at another size ``(h, w)``: each pixel has the label that covers the most of it."""
    names = np.unique(labels)
    shares = [
        cv2.resize((labels == name).astype(np.float32), size[::-1], interpolation=cv2.INTER_AREA) for name in names
    ]
    return names[np.argmax(shares, axis=0)].astype(np.uint8)


def to_text(labels: np.ndarray) -> str:
    """Ids ``[H, W]`` row by row, one character each, ``0`` for background: what the painter shows and gives back."""
    return (labels.ravel() + _ZERO).astype(np.uint8).tobytes().decode("ascii")


def from_text(text: Any, size: tuple[int, int], label_space: LabelSpace) -> np.ndarray:
    """The ids ``[H, W]`` that :func:`to_text` wrote.

    Raises:
        UserError: it is no text of that size, or holds an id outside of the label space.
    """
    if not isinstance(text, str) or len(text) != size[0] * size[1] or not text.isascii():
        raise UserError(f"the painted mask is not one of {size[0]}x{size[1]} labels; load the page anew")
    labels = np.frombuffer(text.encode("ascii"), np.uint8).reshape(size) - np.uint8(_ZERO)
    if labels.max(initial=0) > len(label_space.structures):
        raise UserError(
            f"the painted mask holds what is no label of {', '.join(label_space.structures)}; load the page anew"
        )
    return labels
