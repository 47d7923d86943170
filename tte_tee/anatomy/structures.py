"""Structures that a mask can name, each with the colour it has in every picture."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Structure:
    """A named part of the heart.

    Attributes:
        name: short name used in label spaces, configs, logs and tables.
        description: what the pixels of this label cover.
        colour: (red, green, blue), 0-255, the same in every figure. The chambers differ in lightness where
            red and green, or blue and purple, look alike.
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
        Structure("RV", "right-ventricular cavity", (160, 220, 140)),
        Structure("RA", "right-atrial cavity", (235, 180, 240)),
        Structure("RHS", "right-hand side: right ventricle and right atrium as one", (38, 166, 154)),
        Structure("AML", "anterior mitral leaflet", (255, 240, 120)),
        Structure("PML", "posterior mitral leaflet", (127, 219, 255)),
        Structure("tissue", "walls, septa and leaflets of any chamber", (189, 168, 140)),
    )
}

BLOOD = ("LV", "LA", "RV", "RA", "RHS")
"""Structures that are filled with blood."""
