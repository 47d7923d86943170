"""Structures that a mask can name, each with the colour it has in every picture."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Structure:
    """A named part of the heart.

    Attributes:
        name: short name used in label spaces, configs, logs and tables.
        description: what the pixels of this label cover.
        colour: (red, green, blue), 0-255, the same in every figure.
    """

    name: str
    description: str
    colour: tuple[int, int, int]


STRUCTURES: dict[str, Structure] = {
    structure.name: structure
    for structure in (
        Structure("LV", "left-ventricular cavity", (214, 69, 65)),
        Structure("LV_epi", "left-ventricular myocardium, between endo- and epicardium", (244, 179, 80)),
        Structure("LA", "left-atrial cavity", (70, 130, 220)),
        Structure("RV", "right-ventricular cavity", (72, 180, 97)),
        Structure("RA", "right-atrial cavity", (155, 89, 182)),
        Structure("RHS", "right-hand side: right ventricle and right atrium as one", (38, 166, 154)),
        Structure("AML", "anterior mitral leaflet", (238, 130, 238)),
        Structure("PML", "posterior mitral leaflet", (127, 219, 255)),
        Structure("tissue", "walls, septa and leaflets of any chamber", (189, 168, 140)),
    )
}

BLOOD = ("LV", "LA", "RV", "RA", "RHS")
"""Structures that are filled with blood."""
