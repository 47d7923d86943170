"""The planes and phases of an examination of the phantom: which there are, what they are called, their seeds."""

from collections.abc import Iterator, Sequence

from tte_tee.anatomy import CAMUS
from tte_tee.data.phantom.frame import DOMAINS, derived_seed
from tte_tee.errors import UserError

PHASES = ("ED", "ES")
STANDARD = (0, 90)
"""Degrees of the planes that are always there: four chambers and two."""


def planes(angles: Sequence[int]) -> tuple[int, ...]:
    """Every plane, in order, degrees; ``angles`` are those between the standard ones."""
    return (STANDARD[0], *sorted(angles), STANDARD[1])


def shots(angles: Sequence[int]) -> Iterator[tuple[int, str]]:
    """Angle and phase of every frame, in order."""
    return ((angle, phase) for angle in planes(angles) for phase in PHASES)


def acquisition_seed(domain: str, seed: int, number: int, angle: int) -> int:
    """Of the acquisition of one plane of heart ``number``; its phases share it."""
    return derived_seed(domain, seed, number, "acquisition", angle)


def plane_names(domain: str, angle: int) -> tuple[str, str]:
    """View and study of a plane; a plane between the two standard ones goes by the nearer."""
    chambers = 4 if angle <= 45 else 2
    if DOMAINS[domain] is CAMUS:
        return f"A{chambers}C", "apical"
    return f"ME{chambers}C", f"me-{angle:03d}"


def frame_key(patient: str, domain: str, angle: int, phase: str) -> str:
    """Of a frame in its store: a standard plane goes by its view, another by its study."""
    view, study = plane_names(domain, angle)
    return f"{patient}/{view if angle in STANDARD else study}/{phase}"


def check_angles(kind: str, angles: Sequence[int]) -> None:
    """Refuses further omniplane angles that are no planes between the two standard ones.

    Raises:
        UserError: saying which are meant; ``kind`` begins the message.
    """
    if any(not 0 < angle < 90 for angle in angles) or len(set(angles)) != len(angles):
        raise UserError(
            f"{kind}: angles {', '.join(map(str, angles))}; name each once, strictly between 0 and 90 "
            "(ME4C at 0 and ME2C at 90 are always there)"
        )
