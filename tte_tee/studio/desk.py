"""What the page shows: from the values of its controls to pictures and lines."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tte_tee.data.pictures import enlarge, grey, overlay
from tte_tee.data.store import EchoStore
from tte_tee.errors import UserError
from tte_tee.studio.draw import MOST_STEPS, STEPS, DrawnFrame, draw
from tte_tee.studio.heart import SLIDERS, Heart, by_hand, edited, of_modes, of_store, opened, unlike_training
from tte_tee.studio.judge import fidelity_line, mask_fidelity, neighbour
from tte_tee.studio.labels import from_text
from tte_tee.studio.start import Artist, Studio
from tte_tee.studio.uploads import read_mask
from tte_tee.synthesis.frames import Sampling

SIDE = 384  # pixels of a frame on the page
GUIDANCE = (0.0, 5.0)
SEEDS = 2**31  # more than a browser's numbers need


@dataclass(frozen=True)
class Settings:
    """How frames are drawn and shown.

    Attributes:
        names: of the artists that draw.
        steps: of the solver.
        guidance: on the mask; 1 leaves it out.
        seed: of the noise.
        outlined: the mask is laid over the frames.

    Raises:
        UserError: a value is out of its range.
    """

    names: Sequence[str]
    steps: int = STEPS
    guidance: float = 1.0
    seed: int = 0
    outlined: bool = False

    def __post_init__(self) -> None:
        if not self.names:
            raise UserError("no adapter is chosen; tick one")
        if not 1 <= self.steps <= MOST_STEPS or not GUIDANCE[0] <= self.guidance <= GUIDANCE[1]:
            raise UserError(f"{self.steps} steps, guidance {self.guidance:g}; use 1 to {MOST_STEPS}, and 0 to 5")
        if not 0 <= self.seed < SEEDS:
            raise UserError(f"seed {self.seed}; use a whole number of 0 or more, below {SEEDS}")

    @property
    def sampling(self) -> Sampling:
        """The same, as ``synthesize`` knows it."""
        return Sampling(steps=self.steps, guidance=self.guidance, seed=self.seed)


@dataclass(frozen=True)
class Shown:
    """One artist's frame on the page.

    Attributes:
        drawing: the frame, with all that decides it.
        picture: RGB uint8, enlarged.
        text: Markdown below it.
        neighbour: RGB uint8 of the nearest training frame, or None.
    """

    drawing: DrawnFrame
    picture: np.ndarray
    text: str
    neighbour: np.ndarray | None


def first_heart(studio: Studio) -> Heart:
    """The mean of the shape model's first view; a four-chamber view where it has one."""
    views = sorted(studio.shapes.views, key=lambda name: "4C" not in name)
    return of_modes(studio.shapes, views[0], [0.0] * SLIDERS)


def heart_of_store(stores: Mapping[str, EchoStore], name: str, number: int) -> Heart:
    """The heart of a frame of one of the stores.

    Raises:
        UserError: there is no such store or frame.
    """
    if name not in stores:
        raise UserError("no such store is here; choose one, or upload it")
    return of_store(stores[name], number)


def heart_of_picture(studio: Studio, path: Path, like: Heart) -> Heart:
    """The heart of a PNG mask, in the sector and view of another heart.

    Raises:
        UserError: as :func:`.uploads.read_mask` raises.
    """
    return by_hand(read_mask(path, studio.image_size, studio.label_space), like, "a PNG")


def empty_heart(like: Heart) -> Heart:
    """A blank mask in the sector and view of another heart."""
    return by_hand(np.zeros_like(like.mask), like, "blank")


def heart_now(studio: Studio, heart: Heart, labels: Any, view: str, percent: float) -> Heart:
    """The heart as it stands on the page: repainted, in its sector at a percentage of its opening, told as a view.

    Raises:
        UserError: a value is none that the page gives.
    """
    mask = from_text(labels, studio.image_size, studio.label_space)
    return edited(heart, mask, opened(heart, percent), view)


def show(studio: Studio, heart: Heart, settings: Settings) -> dict[str, Shown]:
    """Draws the heart with each artist that is chosen, and says what is to be known of each frame.

    Raises:
        UserError: an artist is unknown.
    """
    artists = {artist.name: artist for artist in studio.artists}
    if unknown := [name for name in settings.names if name not in artists]:
        raise UserError(f"adapter '{unknown[0]}' is not here; the page has {', '.join(artists)}")
    return {name: _show(studio, artist, heart, settings) for name, artist in artists.items() if name in settings.names}


def remark(studio: Studio, heart: Heart) -> str:
    """What is to be known of the mask, in one line of Markdown; empty where there is nothing."""
    if not heart.mask.any():
        return "The mask is empty: paint a structure."
    if reason := unlike_training(studio.shapes, heart):
        return f"Unlike all training masks of {heart.info.view}: {reason}."
    return ""


def _show(studio: Studio, artist: Artist, heart: Heart, settings: Settings) -> Shown:
    drawing = draw(artist.adapter, heart, settings.sampling)
    lines = [f"Drawn in {drawing.seconds:.1f} s."]
    if studio.segmenter:
        try:
            lines.append(fidelity_line(mask_fidelity(studio.segmenter, drawing)))
        except UserError as error:
            lines.append(f"Found back: {error}.")
    else:
        lines.append("Found back: unknown; give a segmenter of other patients with `--segmenter`.")
    near = neighbour(drawing, artist.training) if artist.training else None
    if near:
        lines.append(f"{'**A copy?** ' if near.copy else ''}Nearest training frame: {near.line}.")
    else:
        lines.append(f"Nearest training frame: none; {artist.unknown}.")
    side = enlarge(near.image, SIDE // 2) if near else None
    return Shown(drawing, _picture(studio, drawing, settings), "\n\n".join(lines), None if side is None else grey(side))


def _picture(studio: Studio, drawing: DrawnFrame, settings: Settings) -> np.ndarray:
    if settings.outlined:
        return overlay(drawing.image, drawing.heart.mask, drawing.heart.sector, studio.label_space, SIDE)
    return grey(enlarge(drawing.image, SIDE))
