"""Views: where the probe stands, which plane it cuts, and what can be seen there."""

from dataclasses import dataclass

from tte_tee.anatomy.structures import STRUCTURES

PHASES = ("ED", "ES", "unknown")
"""End-diastole, end-systole, or a frame of a cine whose phase nobody stated."""

PLANES = ("four_chamber", "two_chamber")
"""What the generator is told of the view. A plane, not a window: the mid-oesophageal views then
take the places of the apical views of the same plane, and an adapter starts from a condition
that the base has seen."""


@dataclass(frozen=True)
class View:
    """A standard view.

    Attributes:
        name: short name, as in stores and configs.
        plane: one of :data:`PLANES`, or None where the generator knows none.
        shows: structures that the plane can cut.
    """

    name: str
    plane: str | None
    shows: tuple[str, ...]


_FOUR = ("LV", "LV_epi", "LA", "RV", "RA", "RHS", "tissue", "AML", "PML")
_TWO = ("LV", "LV_epi", "LA", "tissue", "AML", "PML")
_ALL = tuple(STRUCTURES)

VIEWS: dict[str, View] = {
    view.name: view
    for view in (
        View("A4C", "four_chamber", _FOUR),
        View("A2C", "two_chamber", _TWO),
        View("ME4C", "four_chamber", _FOUR),
        # From the oesophagus a plane that strays a little from 90 degrees grazes the right heart.
        View("ME2C", "two_chamber", (*_TWO, "RV", "RA", "RHS")),
        View("other", None, _ALL),
    )
}

WITHOUT_PLANE = tuple(view.name for view in VIEWS.values() if view.plane is None)
"""Views of which the generator cannot be told."""
