"""The cohorts of the frozen phantom, as the study draws them.

A seed is one cohort's whatever number of its hearts is drawn, so no heart is in two cohorts.
"""

from typing import Any

from tte_tee.data.phantom.write import COHORTS, PhantomSpec
from tte_tee.errors import UserError

_PLANES = (15, 75)  # beside 0 and 90 degrees: with ED and ES 8 frames per patient, 160 of 20 patients
_ASKED: dict[str, dict[str, Any]] = {
    "base": {"patients": 500, "val": 0.04, "test": 0.04},
    "adaptation": {"patients": 20, "angles": _PLANES, "val": 0.2, "test": 0.0},
    "pool": {"patients": 200, "angles": _PLANES, "val": 0.0, "test": 0.0},
    "test": {"patients": 60, "angles": _PLANES, "val": 0.0, "test": 0.0},
    "confirmatory": {"patients": 60, "angles": _PLANES, "val": 0.0, "test": 0.0},
}
STUDY = {name: PhantomSpec(domain=domain, seed=seed, **_ASKED[name]) for name, (domain, seed) in COHORTS.items()}
"""The study's stores at 64x64; the two held-out ones are in split ``test`` as a whole."""


def study_spec(cohort: str) -> PhantomSpec:
    """The spec of a cohort.

    Raises:
        UserError: there is none of that name.
    """
    if cohort not in STUDY:
        raise UserError(f"phantom: cohort '{cohort}' is unknown; use {', '.join(STUDY)}")
    return STUDY[cohort]
