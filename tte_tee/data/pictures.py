"""Pictures of frames and masks: numpy in, RGB out."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from tte_tee.anatomy import STRUCTURES, LabelSpace
from tte_tee.files import write_whole

OUTSIDE, INSIDE = (0, 0, 0), (38, 38, 46)
_RIM = (225, 225, 225)
_INK = (30, 30, 30)
_FONT = 0.42


def colour_mask(mask: np.ndarray, sector: np.ndarray, label_space: LabelSpace) -> np.ndarray:
    """A mask in its structures' colours, the sector as a dark shape behind it.

    Args:
        mask: ids ``[H, W]``.
        sector: 0 or 1 ``[H, W]``.
        label_space: of the mask.

    Returns:
        uint8 ``[H, W, 3]``.
    """
    palette = np.array([INSIDE, *(STRUCTURES[s].colour for s in label_space.structures)], np.uint8)
    picture = palette[mask]
    picture[(mask == 0) & (sector == 0)] = OUTSIDE
    return picture


def grey(image: np.ndarray) -> np.ndarray:
    """uint8 ``[H, W]`` -> uint8 ``[H, W, 3]``."""
    return np.repeat(image[..., None], 3, axis=-1)


SHEET_GAP, SHEET_HEADER = 4, 22
"""Pixels between the pictures of a contact sheet, and above them for their titles."""


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
    cell_height, cell_width = height * scale, width * scale
    down, across = cell_height + SHEET_GAP, cell_width + SHEET_GAP
    canvas = np.full((SHEET_HEADER + len(rows) * down, len(titles) * across - SHEET_GAP, 3), 255, np.uint8)
    for column, title in enumerate(titles):
        left = column * across
        write_text(canvas, title, left + 3, 15)
        for row, pictures in enumerate(rows):
            top = SHEET_HEADER + row * down
            enlarged = cv2.resize(pictures[column], (cell_width, cell_height), interpolation=cv2.INTER_NEAREST)
            canvas[top : top + cell_height, left : left + cell_width] = enlarged
    return canvas


def overlay(image: np.ndarray, mask: np.ndarray, sector: np.ndarray, label_space: LabelSpace, side: int) -> np.ndarray:
    """A frame with its mask laid over it, translucent within a contour, and the sector outlined.

    Args:
        image: uint8 ``[H, W]``.
        mask: ids ``[H, W]``.
        sector: 0 or 1 ``[H, W]``.
        label_space: of the mask.
        side: pixels that the longer side gets; lines are drawn at that size.

    Returns:
        uint8 RGB picture.
    """
    picture, labels = enlarge(grey(image), side), enlarge(mask, side, labels=True)
    _outline(picture, enlarge(sector, side, labels=True), _RIM)
    for structure, label in label_space.ids.items():
        colour, here = STRUCTURES[structure].colour, labels == label
        picture[here] = np.round(0.7 * picture[here] + 0.3 * np.array(colour)).astype(np.uint8)
        _outline(picture, here.astype(np.uint8), colour)
    return picture


def _outline(picture: np.ndarray, shape: np.ndarray, colour: tuple[int, int, int]) -> None:
    contours, _ = cv2.findContours(shape, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(picture, contours, -1, colour, 1)


def enlarge(picture: np.ndarray, side: int, *, labels: bool = False) -> np.ndarray:
    """``[H, W]`` or ``[H, W, 3]`` resized so that the longer side has ``side`` pixels; ``labels`` mixes no values."""
    height, width = picture.shape[:2]
    size = [max(1, round(length * side / max(height, width))) for length in (width, height)]
    smooth = cv2.INTER_AREA if side < max(height, width) else cv2.INTER_LINEAR
    return cv2.resize(picture, size, interpolation=cv2.INTER_NEAREST_EXACT if labels else smooth)


def captioned(picture: np.ndarray, lines: Sequence[str]) -> np.ndarray:
    """A picture with lines of small text below it; what is too long loses its beginning."""
    width, row = picture.shape[1], 15
    strip = np.full((row * len(lines) + 4, width, 3), 255, np.uint8)
    for number, line in enumerate(lines):
        while line and _text_width(line) > width - 4:
            line = f"..{line.removeprefix('..')[1:]}" if line != ".." else ""
        write_text(strip, line, 2, row * number + 12)
    return np.vstack([picture, strip])


def legend(label_space: LabelSpace, title: str, width: int, *, outlined: bool = True) -> np.ndarray:
    """A strip with a title and, wrapped to ``width`` pixels, the colour and name of each structure and the sector.

    The sector is ``outlined``, as :func:`overlay` does it, or a dark shape, as in :func:`colour_mask`.
    """
    sector = ("edge of the sector", _RIM, 1) if outlined else ("sector", INSIDE, -1)
    entries = [*((s, STRUCTURES[s].colour, -1) for s in label_space.structures), sector]
    places, left, top = [], 4, 24
    for name, *_ in entries:
        if left > 4 and left + 24 + _text_width(name) > width:
            left, top = 4, top + 20
        places.append((left, top))
        left += 40 + _text_width(name)
    strip = np.full((top + 24, width, 3), 255, np.uint8)
    write_text(strip, title, 4, 15)
    for (name, colour, thickness), (x, y) in zip(entries, places, strict=True):
        cv2.rectangle(strip, (x, y), (x + 14, y + 14), (0, 0, 0), -1)
        cv2.rectangle(strip, (x + 3, y + 3), (x + 11, y + 11), colour, thickness)
        write_text(strip, name, x + 20, y + 12)
    return strip


def write_text(
    picture: np.ndarray, text: str, left: int, base: int, *, size: float = _FONT, colour: tuple[int, int, int] = _INK
) -> None:
    """Writes a line into a picture, uint8 RGB, from ``left`` on and standing on row ``base``."""
    cv2.putText(picture, text, (left, base), cv2.FONT_HERSHEY_SIMPLEX, size, colour, 1, cv2.LINE_AA)


def _text_width(text: str) -> int:
    return cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, _FONT, 1)[0][0]


def write_png(path: Path, picture: np.ndarray) -> None:
    """Writes an RGB picture atomically.

    Raises:
        UserError: as :func:`write_whole` does.
    """
    _write_encoded(path, picture[..., ::-1])


def write_values(path: Path, values: np.ndarray) -> None:
    """Writes uint8 ``[H, W]`` as a PNG of one channel, atomically.

    Raises:
        UserError: as :func:`write_whole` does.
    """
    _write_encoded(path, values)


def _write_encoded(path: Path, picture: np.ndarray) -> None:
    ok, encoded = cv2.imencode(".png", picture)
    if not ok:
        raise RuntimeError(f"could not encode {path}")
    write_whole(path, encoded.tobytes())
