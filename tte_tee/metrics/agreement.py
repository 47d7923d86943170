"""Agreement of two ways to measure the same thing (Bland and Altman, Stat Methods Med Res 8(2), 1999)."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy import stats

from tte_tee.errors import UserError

MINIMUM_PAIRS = 3
_COVERED = 1.959963984540054  # standard deviations either way that hold 95 % of a normal distribution


@dataclass(frozen=True)
class BlandAltman:
    """Bias and limits of agreement, in the unit of the measure, each with its interval.

    Attributes:
        n: pairs used.
        dropped: pairs in which a side has no value.
        bias: mean of found minus truth.
        sd: of the differences.
        lower, upper: limits of agreement, bias -+ 1.96 sd.
        bias_interval, lower_interval, upper_interval: (low, high) at ``level``.
        means, differences: of every pair, for the plot.
    """

    n: int
    dropped: int
    level: float
    bias: float
    sd: float
    lower: float
    upper: float
    bias_interval: tuple[float, float]
    lower_interval: tuple[float, float]
    upper_interval: tuple[float, float]
    means: tuple[float, ...]
    differences: tuple[float, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(self).items()}


def bland_altman(
    found: Sequence[float] | np.ndarray, truth: Sequence[float] | np.ndarray, *, level: float = 0.95
) -> BlandAltman:
    """Bias and limits of agreement of ``found`` against ``truth``.

    The pairs are taken as independent: one per patient, so average a patient's frames first. The intervals
    are t intervals; that of a limit has the standard error sd sqrt(1 / n + 1.96² / (2 (n - 1))).

    Args:
        found: ``[N]``, NaN where there is no value.
        truth: ``[N]``, NaN where there is no value.
        level: of the intervals. The limits themselves always span 95 % of the differences.

    Raises:
        UserError: the two differ in length, or fewer than three pairs have both values.
    """
    ours, theirs = np.asarray(found, float), np.asarray(truth, float)
    if ours.shape != theirs.shape or ours.ndim != 1:
        raise UserError(f"Bland-Altman: {list(ours.shape)} values found and {list(theirs.shape)} true; give pairs")
    whole = np.isfinite(ours) & np.isfinite(theirs)
    ours, theirs, n = ours[whole], theirs[whole], int(whole.sum())
    if n < MINIMUM_PAIRS:
        raise UserError(f"Bland-Altman: {n} pairs have both values; limits of agreement need {MINIMUM_PAIRS}")
    differences = ours - theirs
    bias, sd = float(differences.mean()), float(differences.std(ddof=1))
    t = float(stats.t.ppf((1 + level) / 2, n - 1))
    around_bias, around_limit = t * sd / np.sqrt(n), t * sd * np.sqrt(1 / n + _COVERED**2 / (2 * (n - 1)))

    def interval(middle: float, half: float) -> tuple[float, float]:
        return float(middle - half), float(middle + half)

    lower, upper = interval(bias, _COVERED * sd)
    return BlandAltman(
        n=n,
        dropped=int((~whole).sum()),
        level=level,
        bias=bias,
        sd=sd,
        lower=lower,
        upper=upper,
        bias_interval=interval(bias, around_bias),
        lower_interval=interval(lower, around_limit),
        upper_interval=interval(upper, around_limit),
        means=tuple(((ours + theirs) / 2).tolist()),
        differences=tuple(differences.tolist()),
    )
