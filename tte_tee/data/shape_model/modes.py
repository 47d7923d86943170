"""Pictures of a shape model: what each mode changes."""

import numpy as np

from tte_tee.anatomy import LabelSpace
from tte_tee.data.pictures import colour_mask, contact_sheet, legend, write_text
from tte_tee.data.shape_model.model import ShapeModel

STEPS = (-2.0, 0.0, 2.0)  # standard deviations
MOST = 8  # modes in a picture, those with the most variance
_CELL, _MARGIN, _HEAD = 160, 120, 30
_PALE = (110, 110, 110)


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
    sheet = np.full((height + _HEAD, width + _MARGIN, 3), 255, np.uint8)
    sheet[_HEAD : _HEAD + height, _MARGIN:] = cells
    kept = 100 * sum(part.explained)
    title = (
        f"{view}: {part.frames} masks of {len(part.patients)} patients, {len(part.explained)} modes keep {kept:.0f} %"
    )
    write_text(sheet, title, 8, 20, size=0.5)
    row_height = model.image_size[0] * scale + 4
    for mode in range(shown):
        middle = _HEAD + 22 + mode * row_height + row_height // 2
        write_text(sheet, f"mode {mode + 1}", 8, middle - 4, size=0.45)
        write_text(sheet, f"{100 * part.explained[mode]:.1f} % of var.", 8, middle + 14, size=0.38, colour=_PALE)
    named = legend(LabelSpace(view, part.structures), "", sheet.shape[1], outlined=False)
    return np.vstack([sheet, named])
