"""Rank correlation with an interval: does one number order things as another does?"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy import stats

from tte_tee.errors import UserError

MINIMUM_POINTS, LEVEL = 8, 0.95


@dataclass(frozen=True)
class Correlation:
    """Spearman's rank correlation.

    Attributes:
        estimate: -1 to 1.
        low, high: of the interval.
        level: of the interval.
        n: points.
    """

    estimate: float
    low: float
    high: float
    level: float
    n: int

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def rank_correlation(x: Sequence[float], y: Sequence[float]) -> Correlation:
    """Spearman's rank correlation, with Fisher's z and the variance (1 + r²/2) / (n - 3).

    The variance is that of Bonett and Wright, Psychometrika 65, 2000. Ranks that agree wholly have no z; their
    interval is that of the next lower correlation that n points can have, and ends at 1. Points are taken to be
    independent.

    Args:
        x: ``[N]``.
        y: ``[N]``.

    Raises:
        UserError: fewer than eight points, or all of one side are the same.
    """
    if len(x) < MINIMUM_POINTS:
        raise UserError(f"{len(x)} points; a rank correlation takes {MINIMUM_POINTS}")
    if min(len(set(x)), len(set(y))) < 2:
        raise UserError("all points have the same value")
    n = len(x)
    found = float(np.clip(stats.spearmanr(x, y).statistic, -1, 1))
    most = 1 - 12 / (n * (n**2 - 1))
    centre = float(np.clip(found, -most, most))
    half = stats.norm.ppf((1 + LEVEL) / 2) * np.sqrt((1 + centre**2 / 2) / (n - 3))
    low, high = np.tanh(np.arctanh(centre) + np.array([-half, half]))
    return Correlation(found, min(float(low), found), max(float(high), found), LEVEL, n)
