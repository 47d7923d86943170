"""One frame of the phantom: a heart, a view and a phase, with its mask, from seeds alone."""

from dataclasses import dataclass, fields

import numpy as np

from tte_tee.anatomy import CAMUS, TEE, LabelSpace
from tte_tee.data.phantom.anatomy import HeartShape
from tte_tee.data.phantom.body import Array
from tte_tee.data.phantom.habitus import Habitus
from tte_tee.data.phantom.heart import Heart, Tissue
from tte_tee.data.phantom.probe import Plane, Sector, transoesophageal, transthoracic
from tte_tee.data.phantom.ultrasound import Scanner, render

DOMAINS: dict[str, LabelSpace] = {"tte": CAMUS, "tee": TEE}
PATIENTS = {"tte": "patients", "tee": "referred"}
"""Which population of hearts stands under each probe."""
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


@dataclass(frozen=True)
class Patient:
    """A heart and, under a transoesophageal probe, the traits of its pictures."""

    shape: HeartShape
    habitus: Habitus | None = None


def draw_patient(domain: str, seed: int, index: int) -> Patient:
    """Patient ``index`` of a population: a pure function of the three."""
    shape = draw_heart(domain, seed, index, PATIENTS[domain])
    if domain == "tte":
        return Patient(shape)
    rng = np.random.default_rng(derived_seed(domain, seed, index, "habitus"))
    return Patient(shape, Habitus.draw(shape, len(fields(Scanner)), rng))


def draw_heart(domain: str, seed: int, index: int, population: str = "patients") -> HeartShape:
    """The heart of patient ``index``: a pure function of the four.

    Args:
        domain: ``tte``, ``tee`` or any other word that keeps a set of hearts apart.
        seed: of the set.
        index: within the set.
        population: one of :data:`POPULATIONS`.
    """
    return HeartShape.draw(np.random.default_rng(derived_seed(domain, seed, index, "heart")), population)


def acquire(patient: Patient, domain: str, angle: int, phase: str, seed: int, size: int, take: int = 0) -> Frame:
    """One frame of a patient.

    Args:
        patient: the heart and its traits.
        domain: ``tte`` or ``tee``: which probe.
        angle: of the plane, degrees; 0 is four-chamber, 90 two-chamber.
        phase: ``ED`` or ``ES``; the two phases of one seed share probe, settings and shadows.
        seed: of the acquisition.
        size: pixels per side.
        take: others than 0 show the same slice by the same machine with other scatterers and noise.
    """
    plane, sector, scanner = survey(patient, domain, angle, seed)
    heart = patient.shape.at(phase)
    mask, inside = trace(heart, plane, sector, DOMAINS[domain], size)
    window, speckle = derived_seed(seed, "window"), derived_seed(seed, "speckle", phase, *([take] if take else []))
    image = render(heart, plane, sector, scanner, size, window, speckle, patient.habitus)
    return Frame(image * inside, mask, inside, sector.spacing(size), seed)


def survey(patient: Patient, domain: str, angle: int, seed: int) -> tuple[Plane, Sector, Scanner]:
    """Where the probe of acquisition ``seed`` stands, the sector it shows and the settings of its scanner.

    The probe is placed at end-diastole, whatever is shown, since it does not follow the beat.
    """
    rng = np.random.default_rng(derived_seed(seed, "probe"))
    place = transthoracic if domain == "tte" else transoesophageal
    plane, sector = place(patient.shape.at("ED"), angle, rng)
    if patient.habitus is None:
        return plane, sector, Scanner.draw(domain, rng)
    return plane, sector, Scanner.mixed(domain, patient.habitus.settings, rng)


def trace(heart: Heart, plane: Plane, sector: Sector, space: LabelSpace, size: int) -> tuple[Array, Array]:
    """The mask of a plane in a label space, and the sector (0 or 1), each uint8 ``[size, size]``."""
    right, down = sector.pixels(size)
    inside = sector.inside(right, down).astype(np.uint8)
    lookup = np.zeros(len(Tissue), np.uint8)
    for structure, label in space.ids.items():
        lookup[_TISSUE_OF[structure]] = label
    return lookup[heart.slice(plane.points(right, down)).tissue] * inside, inside
