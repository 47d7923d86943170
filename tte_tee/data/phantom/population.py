"""Populations of hearts: the distribution each shape mode is drawn from."""

from dataclasses import dataclass

import numpy as np

Spread = tuple[float, float]
"""Mean and standard deviation."""


@dataclass(frozen=True)
class Population:
    """Means and standard deviations of the shape modes that populations differ in.

    The defaults are ``patients``: adults seen in an echo laboratory, many of them failing.

    Attributes:
        size: of the whole heart, relative.
        ejection: left ejection fraction.
        dilation: of the left ventricle beyond what its failing explains, relative.
        thickness: of the left ventricle's wall: mean in mm, spread relative to it.
        septal, lateral: thickness of each side relative to that.
        lv_length: mm.
        lv_bend: how far the apex leaves the axis towards the septum, mm.
        lobes: standard deviation of the irregularities of all chambers, relative to the ventricle's.
        la_length, la_radius, ra_length, ra_radius: of the atria, mm.
        rv_length: relative to the left ventricle's.
        rv_across, rv_deep: semi-axes of the right ventricle, mm.
        rv_gap: distance of the right ventricle's axis from the septum, relative to its semi-axis.
        rv_lean: how far the right apex leans to the left, relative to the offset of its ring.
    """

    size: Spread = (1.0, 0.08)
    ejection: Spread = (0.53, 0.12)
    dilation: Spread = (0.0, 0.05)
    thickness: Spread = (11.5, 0.14)
    septal: Spread = (1.0, 0.1)
    lateral: Spread = (0.95, 0.1)
    lv_length: Spread = (84, 5)
    lv_bend: Spread = (-2, 5)
    lobes: float = 1.0
    la_length: Spread = (45, 6)
    la_radius: Spread = (20.5, 2.5)
    ra_length: Spread = (47, 5)
    ra_radius: Spread = (22, 2.5)
    rv_length: Spread = (0.84, 0.05)
    rv_across: Spread = (21, 2.5)
    rv_deep: Spread = (30, 3)
    rv_gap: Spread = (0.62, 0.1)
    rv_lean: Spread = (0.8, 0.18)


POPULATIONS: dict[str, Population] = {
    "patients": Population(),
    # Who is sent to transoesophageal echo: valve disease, atrial fibrillation, pulmonary
    # hypertension. Atria and right hearts are larger and differ more.
    "referred": Population(
        size=(1.0, 0.1),
        ejection=(0.5, 0.12),
        dilation=(0.0, 0.08),
        lv_bend=(-2, 8),
        lobes=1.7,
        la_length=(47, 7),
        la_radius=(21.5, 3.5),
        ra_length=(46, 7),
        ra_radius=(23, 4),
        rv_length=(0.8, 0.1),
        rv_across=(22, 4.5),
        rv_deep=(31, 5),
        rv_gap=(0.6, 0.15),
        rv_lean=(0.75, 0.28),
    ),
    # Who lies in a whole-heart atlas: people scanned by CT or MR for another reason, whose hearts
    # are smaller and pump well, and whose shapes were smoothed by registration and by few modes.
    "atlas": Population(
        size=(0.95, 0.05),
        ejection=(0.62, 0.05),
        dilation=(0.0, 0.03),
        thickness=(10.0, 0.08),
        septal=(1.0, 0.05),
        lateral=(0.97, 0.05),
        lv_length=(86, 3.5),
        lv_bend=(0, 2.5),
        lobes=0.5,
        la_length=(41, 3.5),
        la_radius=(18.5, 1.6),
        ra_length=(44, 3),
        ra_radius=(20, 1.6),
        # The CT heart is imaged in inspiration: the right ventricle is narrower, further from the
        # septum, and its apex stands closer to the left one.
        rv_length=(0.88, 0.03),
        rv_across=(19, 1.5),
        rv_deep=(31, 2),
        rv_gap=(0.72, 0.06),
        rv_lean=(0.6, 0.1),
    ),
}


def normal(rng: np.random.Generator, mean: float, spread: float) -> float:
    """A draw that never leaves 2.2 spreads, so that no heart falls apart."""
    return mean + spread * float(np.clip(rng.standard_normal(), -2.2, 2.2))
