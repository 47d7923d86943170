"""The cohorts of the frozen phantom: which seed holds whose hearts.

A seed is one cohort's whatever number of its hearts is drawn, so no heart is in two cohorts.
"""

from tte_tee.data.phantom.write import PhantomSpec
from tte_tee.errors import UserError

_PLANES = (15, 75)  # beside 0 and 90 degrees: with ED and ES 8 frames per patient, 160 of 20 patients

STUDY: dict[str, PhantomSpec] = {
    "base": PhantomSpec("tte", 500, seed=1, val=0.04, test=0.04),
    "adaptation": PhantomSpec("tee", 20, seed=11, angles=_PLANES, val=0.2, test=0.0),
    "pool": PhantomSpec("tee", 200, seed=12, angles=_PLANES, val=0.0, test=0.0),
    "test": PhantomSpec("tee", 60, seed=13, angles=_PLANES, val=0.0, test=0.0),
    "confirmatory": PhantomSpec("tee", 60, seed=14, angles=_PLANES, val=0.0, test=0.0),
}
"""The study's stores at 64x64; the two held-out ones are in split ``test`` as a whole."""


def study_spec(cohort: str) -> PhantomSpec:
    """The spec of a cohort.

    Raises:
        UserError: there is none of that name.
    """
    if cohort not in STUDY:
        raise UserError(f"phantom: cohort '{cohort}' is unknown; use {', '.join(STUDY)}")
    return STUDY[cohort]
