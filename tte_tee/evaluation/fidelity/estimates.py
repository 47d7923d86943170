"""From numbers of single draws to rows of the record: synthetic, floor, ceiling, and where between them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tte_tee.evaluation.fidelity.frames import ROLES, Draws, FrameSet
from tte_tee.metrics.fidelity import NotEstimableError

Measure = Callable[[np.ndarray, np.ndarray, np.random.Generator], Sequence[float]]
"""Values of a sample, of the reference, and a generator that is the same for every role -> one number per name."""

Sets = Mapping[str, FrameSet]
"""``real``, ``synthetic`` and, where there is one, ``ceiling``."""

Rows = list[dict[str, Any]]
Estimate = dict[str, Any]
"""``mean``, ``sd`` (of a sample; none of a single draw), ``low``, ``high`` and ``n`` (frames), or ``not_estimable`` and
why; pairs of one patient have ``mean`` and ``n`` alone."""


def missing(reason: str) -> Estimate:
    """The estimate of what cannot be estimated."""
    return {"not_estimable": reason}


def over_draws(
    draws: Draws, values: Mapping[str, np.ndarray], names: Sequence[str], measure: Measure, seed: int
) -> dict[str, dict[str, Estimate]]:
    """One or more numbers of every draw, for each role.

    Args:
        draws: which frames are compared.
        values: ``real``, ``synthetic`` and, where there is one, ``ceiling`` -> one row per place of that set.
        names: of the numbers that ``measure`` gives.
        measure: what is computed.
        seed: of the generators it gets.

    Returns:
        name -> role -> estimate; ``low`` and ``high`` are the range over the draws.
    """
    found: dict[str, dict[str, Estimate]] = {name: {} for name in names}
    for role in ROLES:
        estimates = [missing(draws.lacking[role])] * len(names) if role in draws.lacking else None
        for name, estimate in zip(
            names, estimates or _estimates(draws, values, role, measure, seed, names), strict=True
        ):
            found[name][role] = estimate
    return found


def _estimates(
    draws: Draws, values: Mapping[str, np.ndarray], role: str, measure: Measure, seed: int, names: Sequence[str]
) -> list[Estimate]:
    sample = values["real" if role == "floor" else role]
    try:
        numbers = np.array(
            [
                measure(sample[getattr(draw, role)], values["real"][draw.reference], np.random.default_rng([seed, n]))
                for n, draw in enumerate(draws.draws)
            ]
        )
    except NotEstimableError as error:
        return [missing(str(error))] * len(names)
    return [
        {
            "mean": float(column.mean()),
            **({"sd": float(column.std(ddof=1))} if len(column) > 1 else {}),
            "low": float(column.min()),
            "high": float(column.max()),
            "n": draws.frames,
        }
        for column in numbers.T
    ]


def over_patients(values: np.ndarray, patients: np.ndarray) -> Estimate:
    """Mean of the patients' means; ``low`` and ``high`` are two standard errors away. One patient has neither, nor SD.

    Args:
        values: one per pair, ``[N]``.
        patients: of each pair.
    """
    means = np.array([values[patients == patient].mean() for patient in sorted(set(patients))])
    mean = float(means.mean())
    if len(means) == 1:
        return {"mean": mean, "n": len(values)}
    deviation = float(means.std(ddof=1))
    error = deviation / np.sqrt(len(means))
    return {"mean": mean, "sd": deviation, "low": mean - 2 * error, "high": mean + 2 * error, "n": len(values)}


def row(
    group: str, measure: str, roles: Mapping[str, Estimate], *, higher: bool = False, **settings: Any
) -> dict[str, Any]:
    """A measure as it stands in the record.

    Args:
        group: extractor, ``texture`` or ``pairs``.
        measure: its name.
        roles: estimates.
        higher: is better, as with precision; of distances, lower is.
        settings: further keys, such as k, the subset or the unit.
    """
    better = "higher" if higher else "lower"
    return {
        "group": group,
        "measure": measure,
        "better": better,
        **settings,
        **roles,
        "position": position(roles, higher),
    }


def position(roles: Mapping[str, Estimate], higher: bool) -> Estimate:
    """Where the synthetic frames lie: 0 at the floor, 1 at the ceiling; below and beyond are possible."""
    for role in ROLES:
        if "not_estimable" in roles[role]:
            return missing(f"{role} is not estimable")
    floor, ceiling = roles["floor"], roles["ceiling"]
    if "low" not in floor:
        return missing("one patient: the floor has no spread")
    if floor["low"] <= ceiling["mean"] <= floor["high"]:
        return missing("floor and ceiling cannot be told apart")
    if (ceiling["mean"] > floor["mean"]) == higher:
        return missing("the ceiling is better than the floor")
    return {"share": (roles["synthetic"]["mean"] - floor["mean"]) / (ceiling["mean"] - floor["mean"])}
