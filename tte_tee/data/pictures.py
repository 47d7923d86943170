"""Pictures of frames and masks: numpy in, RGB out."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from tte_tee.anatomy import STRUCTURES, LabelSpace
from tte_tee.files import write_whole

_OUTSIDE, _INSIDE = (0, 0, 0), (38, 38, 46)


def colour_mask(mask: np.ndarray, sector: np.ndarray, label_space: LabelSpace) -> np.ndarray:
    """A mask in its structures' colours, the sector as a dark shape behind it.

    Args:
        mask: ids ``[H, W]``.
        sector: 0 or 1 ``[H, W]``.
        label_space: of the mask.

    Returns:
        uint8 ``[H, W, 3]``.
    """
    palette = np.array([_INSIDE, *(STRUCTURES[s].colour for s in label_space.structures)], np.uint8)
    picture = palette[mask]
    picture[(mask == 0) & (sector == 0)] = _OUTSIDE
    return picture


def grey(image: np.ndarray) -> np.ndarray:
    """uint8 ``[H, W]`` -> uint8 ``[H, W, 3]``."""
    return np.repeat(image[..., None], 3, axis=-1)


def contact_sheet(rows: Sequence[Sequence[np.ndarray]], titles: Sequence[str], *, scale: int = 3) -> np.ndarray:
    """Pictures in rows and columns under column titles.

    Args:
        rows: pictures uint8 ``[H, W, 3]``, all of one size, ``len(titles)`` to a row.
        titles: one per column.
        scale: enlargement, so that small frames can be looked at.

    Returns:
        uint8 RGB picture.
    """
    height, width = rows[0][0].shape[:2]
    cell_height, cell_width, gap, header = height * scale, width * scale, 4, 22
    canvas = np.full(
        (header + len(rows) * (cell_height + gap), len(titles) * (cell_width + gap) - gap, 3), 255, np.uint8
    )
    for column, title in enumerate(titles):
        left = column * (cell_width + gap)
        cv2.putText(canvas, title, (left + 3, 15), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (30, 30, 30), 1, cv2.LINE_AA)
        for row, pictures in enumerate(rows):
            top = header + row * (cell_height + gap)
            enlarged = cv2.resize(pictures[column], (cell_width, cell_height), interpolation=cv2.INTER_NEAREST)
            canvas[top : top + cell_height, left : left + cell_width] = enlarged
    return canvas


def write_png(path: Path, picture: np.ndarray) -> None:
    """Writes an RGB picture atomically."""
    ok, encoded = cv2.imencode(".png", picture[..., ::-1])
    if not ok:
        raise RuntimeError(f"could not encode {path}")
    write_whole(path, encoded.tobytes())
