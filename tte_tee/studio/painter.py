"""The canvas on which labels are painted.

Gradio's ImageEditor paints colours: it smooths the edges of strokes, needs WebGL, and gives pictures back. Here a
pixel of the canvas is a pixel of the mask, so a stroke is labels from the start.
"""

import json
from html import escape
from importlib.resources import files
from typing import Any

import gradio as gr
import numpy as np

from tte_tee.anatomy import STRUCTURES, LabelSpace
from tte_tee.data.pictures import INSIDE, OUTSIDE
from tte_tee.studio.labels import to_text


def painter(value: dict[str, str], label_space: LabelSpace, size: tuple[int, int]) -> gr.HTML:
    """The canvas with a button per structure; tells by its event ``input`` that something was painted."""
    here = files("tte_tee.studio")
    return gr.HTML(
        value,
        html_template=_template(label_space, size),
        css_template=(here / "painter.css").read_text(),
        js_on_load=(here / "painter.js").read_text(),
        apply_default_css=False,
        elem_id="painter",
        label="Mask",
    )


def painted(mask: np.ndarray, sector: np.ndarray) -> dict[str, str]:
    """What the canvas shows: ids and sector, ``[H, W]``."""
    return {"labels": to_text(mask), "sector": to_text(sector)}


def labels_of(value: Any) -> Any:
    """The text of the labels in what the canvas gives back, if it is there."""
    return value.get("labels") if isinstance(value, dict) else None


def _template(label_space: LabelSpace, size: tuple[int, int]) -> str:
    rows, columns = size
    named = [
        ("erase", INSIDE, "background"),
        *((s, STRUCTURES[s].colour, STRUCTURES[s].description) for s in label_space.structures),
    ]
    colours = [OUTSIDE, *(colour for _, colour, _ in named)]
    swatches = "".join(
        f'<button type="button" role="radio" data-label="{label}" title="{escape(text)}">'
        f'<i style="background: rgb{colour}"></i>{escape(name)}</button>'
        for label, (name, colour, text) in enumerate(named)
    )
    return f"""
<div class="painter" data-rows="{rows}" data-columns="{columns}" data-colours="{escape(json.dumps(colours))}">
  <div class="swatches" role="radiogroup" aria-label="Structure to paint">{swatches}</div>
  <canvas width="{columns}" height="{rows}" aria-label="Mask; paint here"></canvas>
  <div class="tools">
    <button type="button" data-tool="fill" title="Give the region under the pointer the chosen label">Fill</button>
    <button type="button" data-tool="undo">Undo</button>
    <button type="button" data-tool="redo">Redo</button>
    <label>Brush <input type="range" min="1" max="8" step="0.5" value="2" aria-label="Radius of the brush"></label>
  </div>
</div>"""
