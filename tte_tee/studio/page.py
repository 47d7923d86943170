"""The page itself: Gradio's controls, and what they call. Whatever is computed stands in the other files."""

from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from types import MappingProxyType
from typing import Any

import gradio as gr
import numpy as np

from tte_tee.data.store import EchoStore
from tte_tee.errors import UserError
from tte_tee.studio.desk import (
    GUIDANCE,
    SEEDS,
    Settings,
    empty_heart,
    first_heart,
    heart_now,
    heart_of_picture,
    heart_of_store,
    remark,
    show,
)
from tte_tee.studio.draw import MOST_STEPS, STEPS
from tte_tee.studio.heart import DRAWN_VIEWS, REACH, SLIDERS, Heart, frames_with_masks, of_modes, opened
from tte_tee.studio.labels import to_text
from tte_tee.studio.painter import labels_of, painted, painter
from tte_tee.studio.start import Studio
from tte_tee.studio.uploads import open_store

LOOKS: dict[str, Any] = {
    "theme": gr.themes.Default(primary_hue="teal", font=["system-ui", "sans-serif"], font_mono=["monospace"]),
    "css": "footer, .icon-button-wrapper { display: none !important }"
    ".gradio-container { max-width: 1240px !important }",
}
_SESSION = 3600  # seconds after which a session's pictures are removed
_SILENT: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}


def build(studio: Studio) -> gr.Blocks:
    """The page of a studio, not yet served."""
    return _Page(studio).blocks


def told(function: Callable[..., Any]) -> Callable[..., Any]:
    """What a handler refuses is one line on the page, and all else stays as it was."""

    @wraps(function)
    def handler(*values: Any) -> Any:
        try:
            return function(*values)
        except UserError as error:
            gr.Warning(str(error), title="Not possible")
            return gr.skip()

    return handler


class _Page:
    """Controls as attributes, so that handlers and wiring find them."""

    def __init__(self, studio: Studio) -> None:
        self.studio = studio
        first = first_heart(studio)
        with gr.Blocks(title="TEE studio", analytics_enabled=False, delete_cache=(_SESSION, _SESSION)) as self.blocks:
            self.heart, self.drawings, self.stores = gr.State(first), gr.State({}), gr.State({})
            gr.Markdown("# TEE studio\nPaint a heart and see the synthetic frame of it. For research only.")
            for note in studio.notes:
                gr.Markdown(f"> {note}")
            with gr.Row():
                with gr.Column(scale=5, min_width=340):
                    self.canvas = painter(painted(first.mask, first.sector), studio.label_space, studio.image_size)
                    self.remark = gr.Markdown(elem_id="remark")
                with gr.Column(scale=6, min_width=340):
                    self._frames()
            with gr.Row():
                with gr.Column(scale=5, min_width=340):
                    self._begin(first)
                with gr.Column(scale=6, min_width=340):
                    self._settings(first)
                    self._saving()
            self._wire()

    def _begin(self, first: Heart) -> None:
        views, stores = list(self.studio.shapes.views), list(self.studio.stores)
        with gr.Tabs():
            with gr.Tab("Shape model"):
                most = min(SLIDERS, *(len(part.sd) for part in self.studio.shapes.views.values()))
                self.shape_view = gr.Dropdown(views, value=first.info.view, label="View")
                self.modes = [
                    gr.Slider(-REACH, REACH, 0, step=0.1, label=f"Mode {number + 1} (sd)", buttons=[])
                    for number in range(most)
                ]
                with gr.Row():
                    self.mean = gr.Button("Mean", min_width=100)
                    self.random = gr.Button("Random", min_width=100)
            with gr.Tab("Store"):
                with gr.Row():
                    self.store = gr.Dropdown(stores, value=stores[0] if stores else None, label="Store")
                    self.number = gr.Number(0, precision=0, minimum=0, label=self._numbers(stores[:1]), min_width=90)
                self.take = gr.Button("Begin with this mask")
                self.store_file = gr.UploadButton("Upload another echo store (.h5)", file_types=[".h5"])
            with gr.Tab("Picture"):
                gr.Markdown("A PNG in the structures' colours, or with ids as grey values. " + _BY_HAND)
                self.picture = gr.UploadButton("Upload a mask (.png)", file_types=[".png"])
                self.blank = gr.Button("Begin with a blank mask")

    def _frames(self) -> None:
        self.columns, self.frames, self.texts, self.neighbours = [], [], [], []
        with gr.Row():
            for number, artist in enumerate(self.studio.artists):
                with gr.Column(min_width=200) as column:
                    gr.Markdown(f"**{artist.name}**")
                    self.frames.append(_image(f"frame-{number}"))
                    self.texts.append(gr.Markdown(elem_id=f"text-{number}"))
                    self.neighbours.append(_image(f"near-{number}", visible=artist.training is not None))
                self.columns.append(column)

    def _settings(self, first: Heart) -> None:
        names = [artist.name for artist in self.studio.artists]
        with gr.Group():
            self.names = gr.CheckboxGroup(names, value=names, label="Adapters", visible=len(names) > 1)
            with gr.Row():
                self.view = gr.Dropdown(
                    DRAWN_VIEWS, value=first.info.view, label="View told to the adapter", min_width=120
                )
                self.opening = gr.Slider(40, 160, 100, step=5, label="Sector, % of its opening", buttons=[])
            with gr.Row():
                self.steps = gr.Slider(1, MOST_STEPS, STEPS, step=1, label="Steps", buttons=[], min_width=140)
                self.guidance = gr.Slider(*GUIDANCE, 1, step=0.25, label="Guidance", buttons=[], min_width=140)
            with gr.Row():
                self.seed = gr.Number(0, precision=0, minimum=0, label="Seed (noise)", min_width=120)
                self.outlined = gr.Checkbox(False, label="Lay the mask over the frames", min_width=160)
        with gr.Row():
            self.again = gr.Button("Draw", variant="primary", elem_id="draw")
            self.noise = gr.Button("Other noise")

    def _saving(self) -> None:
        with gr.Row():
            self.save = gr.Button("Save the frames shown", elem_id="save")
            path = self.studio.album.path
            there = path.exists()
            self.download = gr.DownloadButton("Download the store", str(path) if there else None, visible=there)
        self.saved = gr.Markdown(f"Goes to `{path}`.", elem_id="saved")

    def _wire(self) -> None:
        draw = self._drawing()
        for start in self._starts():
            start.then(**draw)
        self.noise.click(lambda: int(np.random.default_rng().integers(SEEDS)), None, self.seed, **_SILENT).then(**draw)
        asks = [self.blocks.load, self.canvas.input, self.view.input, self.names.input, self.outlined.input]
        asks += [self.steps.release, self.guidance.release, self.seed.input, self.again.click]
        gr.on(asks, **draw)
        self.store.change(
            lambda name, more: gr.update(value=0, label=self._numbers([name], more)),
            [self.store, self.stores],
            self.number,
            **_SILENT,
        )
        self.store_file.upload(
            told(self._open_store), [self.store_file, self.stores], [self.stores, self.store], **_SILENT
        )
        self.save.click(told(self._save), self.drawings, [self.saved, self.download], api_visibility="private")

    def _drawing(self) -> dict[str, Any]:
        """What every event that draws calls; one at a time, since they share the networks."""
        settings = [self.names, self.steps, self.guidance, self.seed, self.outlined]
        return {
            "fn": told(self._draw),
            "inputs": [self.heart, self.canvas, self.view, self.opening, *settings],
            "outputs": [
                *(self.drawings, self.remark),
                *self.columns,
                *self.frames,
                *self.texts,
                *self.neighbours,
            ],
            "trigger_mode": "always_last",  # what is asked for while a frame is drawn is drawn after it
            "concurrency_limit": 1,
            "concurrency_id": "draw",
            "show_progress": "minimal",
            "show_progress_on": self.frames,
            "api_visibility": "private",
        }

    def _starts(self) -> list[Any]:
        """Events after which another heart, or another sector, stands on the page."""
        begun = [self.heart, self.canvas, self.view, self.opening]
        modes: dict[str, Any] = {
            "fn": told(self._from_modes),
            "inputs": [self.shape_view, *self.modes],
            "outputs": begun,
            **_SILENT,
        }
        moved = [self.shape_view.input, *(mode.release for mode in self.modes)]
        return [
            gr.on(moved, trigger_mode="always_last", **modes),
            self.mean.click(lambda: [0.0] * len(self.modes), None, self.modes, **_SILENT).then(**modes),
            self.random.click(self._at_random, None, self.modes, **_SILENT).then(**modes),
            self.take.click(told(self._from_store), [self.store, self.number, self.stores], begun, **_SILENT),
            self.picture.upload(told(self._from_picture), [self.picture, self.heart], begun, **_SILENT),
            self.blank.click(told(self._from_blank), self.heart, begun, **_SILENT),
            self.opening.release(
                told(self._open_sector), [self.heart, self.canvas, self.opening], self.canvas, **_SILENT
            ),
        ]

    def _draw(self, heart: Heart, canvas: Any, view: str, percent: float, *values: Any) -> list[Any]:
        names, steps, guidance, seed, outlined = values
        now = heart_now(self.studio, heart, labels_of(canvas), view, percent)
        settings = Settings(names, int(steps), float(guidance), int(seed or 0), bool(outlined))
        shown = show(self.studio, now, settings)
        rows = [shown.get(artist.name) for artist in self.studio.artists]
        drawings = {name: each.drawing for name, each in shown.items()}
        return [  # not the canvas: it may have been painted on meanwhile
            drawings,
            remark(self.studio, now),
            *(gr.update(visible=row is not None) for row in rows),
            *(row.picture if row else None for row in rows),
            *(row.text if row else "" for row in rows),
            *(row.neighbour if row else None for row in rows),
        ]

    def _begun(self, heart: Heart) -> list[Any]:
        return [heart, painted(heart.mask, heart.sector), heart.info.view, 100]

    def _from_modes(self, view: str, *values: float) -> list[Any]:
        return self._begun(of_modes(self.studio.shapes, view, values))

    def _at_random(self) -> list[float]:
        """Standard normal, as the training masks are, within the reach of the sliders."""
        drawn = np.random.default_rng().standard_normal(len(self.modes)).clip(-REACH, REACH)
        return [round(float(value), 1) for value in drawn]

    def _from_store(self, name: str, number: float, more: dict[str, Any]) -> list[Any]:
        return self._begun(heart_of_store({**self.studio.stores, **more}, name, int(number or 0)))

    def _from_picture(self, path: str, heart: Heart) -> list[Any]:
        return self._begun(heart_of_picture(self.studio, Path(path), heart))

    def _from_blank(self, heart: Heart) -> list[Any]:
        return self._begun(empty_heart(heart))

    def _open_sector(self, heart: Heart, canvas: Any, percent: float) -> dict[str, Any]:
        return {"labels": labels_of(canvas), "sector": to_text(opened(heart, percent))}

    def _open_store(self, path: str, more: dict[str, Any]) -> list[Any]:
        store = open_store(Path(path), self.studio.image_size, self.studio.label_space)
        name = f"{store.path.name} (uploaded)"
        known = {**more, name: store}
        return [known, gr.update(choices=[*self.studio.stores, *known], value=name)]

    def _numbers(self, names: list[str], more: Mapping[str, EchoStore] = MappingProxyType({})) -> str:
        """What the masks of a store are numbered."""
        counts = [len(frames_with_masks({**self.studio.stores, **more}[name])) for name in names]
        return f"Mask, 0 to {counts[0] - 1}" if counts else "Mask"

    def _save(self, drawings: dict[str, Any]) -> list[Any]:
        count = self.studio.album.add(list(drawings.values()))
        path = self.studio.album.path
        said = f"`{path}` holds {count} {'frame' if count == 1 else 'frames'}, with mask, seed and adapter of each."
        return [said, gr.update(value=str(path), visible=True)]


_BY_HAND = (
    "Nobody can tell whose heart such a mask was traced from, so it counts as a patient's own: "
    "training on others' patients refuses its frames."
)


def _image(name: str, *, visible: bool = True) -> gr.Image:
    return gr.Image(
        elem_id=name, format="png", interactive=False, show_label=False, container=False, buttons=[], visible=visible
    )
