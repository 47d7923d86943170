"""One frame of the phantom: a heart, a view and a phase, with its mask, from seeds alone."""

from dataclasses import dataclass

import numpy as np

from tte_tee.anatomy import CAMUS, TEE, LabelSpace
from tte_tee.data.phantom.anatomy import HeartShape
from tte_tee.data.phantom.body import Array
from tte_tee.data.phantom.heart import Heart, Tissue
from tte_tee.data.phantom.probe import Plane, Sector, transoesophageal, transthoracic
from tte_tee.data.phantom.ultrasound import Scanner, render

DOMAINS: dict[str, LabelSpace] = {"tte": CAMUS, "tee": TEE}
_TISSUE_OF = {
    "LV": Tissue.LV,
    "LV_epi": Tissue.MYOCARDIUM,
    "LA": Tissue.LA,
    "RV": Tissue.RV,
    "RA": Tissue.RA,
}


@dataclass(frozen=True)
class Frame:
    """A frame and what is known of it.

    Attributes:
        image, mask, sector: uint8 ``[size, size]``; ids of the domain's label space; 0 or 1.
        spacing: mm per pixel, (rows, columns).
        seed: of the acquisition.
    """

    image: Array
    mask: Array
    sector: Array
    spacing: tuple[float, float]
    seed: int


def derived_seed(*path: int | str) -> int:
    """A non-negative 63-bit seed from a path of numbers and words, the same on every machine."""
    words = [int.from_bytes(step.encode(), "big") if isinstance(step, str) else step for step in path]
    return int(np.random.SeedSequence(words).generate_state(1, np.uint64)[0] >> np.uint64(1))


def draw_heart(domain: str, seed: int, index: int) -> HeartShape:
    """The heart of patient ``index``: a pure function of the three."""
    return HeartShape.draw(np.random.default_rng(derived_seed(domain, seed, index, "heart")))


def acquire(shape: HeartShape, domain: str, angle: int, phase: str, seed: int, size: int) -> Frame:
    """One frame of a heart.

    Args:
        shape: the heart.
        domain: ``tte`` or ``tee``: which probe.
        angle: of the plane, degrees; 0 is four-chamber, 90 two-chamber.
        phase: ``ED`` or ``ES``; the two phases of one seed share probe, settings and shadows.
        seed: of the acquisition.
        size: pixels per side.
    """
    rng = np.random.default_rng(derived_seed(seed, "probe"))
    place = transthoracic if domain == "tte" else transoesophageal
    plane, sector = place(shape.at("ED"), angle, rng)
    scanner = Scanner.draw(domain, rng)
    heart = shape.at(phase)
    right, down = sector.pixels(size)
    inside = sector.inside(right, down)
    window, speckle = derived_seed(seed, "window"), derived_seed(seed, "speckle", phase)
    image = render(heart, plane, sector, scanner, size, window, speckle)
    mask = _mask(heart, plane, sector, DOMAINS[domain], size) * inside
    return Frame(image * inside, mask.astype(np.uint8), inside.astype(np.uint8), sector.spacing(size), seed)


def _mask(heart: Heart, plane: Plane, sector: Sector, space: LabelSpace, size: int) -> Array:
    lookup = np.zeros(len(Tissue), np.uint8)
    for structure, label in space.ids.items():
        lookup[_TISSUE_OF[structure]] = label
    return lookup[heart.slice(plane.points(*sector.pixels(size))).tissue]
