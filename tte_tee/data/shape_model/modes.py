"""Pictures of a shape model: what each mode changes."""

import cv2
import numpy as np

from tte_tee.anatomy import STRUCTURES
from tte_tee.data.pictures import colour_mask, contact_sheet
from tte_tee.data.shape_model.model import ShapeModel

STEPS = (-2.0, 0.0, 2.0)  # standard deviations
MOST = 8  # modes in a picture, those with the most variance
_CELL, _MARGIN, _HEAD = 160, 120, 30
_INK, _PALE = (30, 30, 30), (110, 110, 110)


def mode_sheet(model: ShapeModel, view: str) -> np.ndarray:
    """The first modes of a view in rows, at -2, 0 and +2 standard deviations, under a legend; RGB ``[h, w, 3]``."""
    part = model.views[view]
    shown = min(len(part.explained), MOST)
    rows = []
    for mode in range(shown):
        coefficients = np.zeros(len(part.sd))
        pictures = []
        for step in STEPS:
            coefficients[mode] = step
            frame = part.decode(coefficients, model.image_size, model.label_space)
            pictures.append(colour_mask(frame.mask, frame.sector, model.label_space))
        rows.append(pictures)
    scale = max(1, round(_CELL / max(model.image_size)))
    cells = contact_sheet(rows, ["-2 sd", "mean", "+2 sd"], scale=scale)
    height, width = cells.shape[:2]
    sheet = np.full((height + _HEAD + 24, width + _MARGIN, 3), 255, np.uint8)
    sheet[_HEAD : _HEAD + height, _MARGIN:] = cells
    kept = 100 * sum(part.explained)
    title = (
        f"{view}: {part.frames} masks of {len(part.patients)} patients, {len(part.explained)} modes keep {kept:.0f} %"
    )
    _write(sheet, title, (8, 20), 0.5, _INK)
    row_height = model.image_size[0] * scale + 4
    for mode in range(shown):
        middle = _HEAD + 22 + mode * row_height + row_height // 2
        _write(sheet, f"mode {mode + 1}", (8, middle - 4), 0.45, _INK)
        _write(sheet, f"{100 * part.explained[mode]:.1f} % of var.", (8, middle + 14), 0.38, _PALE)
    _legend(sheet, part.structures)
    return sheet


def _legend(sheet: np.ndarray, structures: tuple[str, ...]) -> None:
    left, base = 8, len(sheet) - 10
    for name in structures:
        cv2.rectangle(sheet, (left, base - 10), (left + 12, base + 2), STRUCTURES[name].colour, -1)
        _write(sheet, name, (left + 17, base), 0.42, _INK)
        left += 17 + cv2.getTextSize(name, cv2.FONT_HERSHEY_SIMPLEX, 0.42, 1)[0][0] + 16


def _write(sheet: np.ndarray, text: str, at: tuple[int, int], size: float, colour: tuple[int, int, int]) -> None:
    cv2.putText(sheet, text, at, cv2.FONT_HERSHEY_SIMPLEX, size, colour, 1, cv2.LINE_AA)
