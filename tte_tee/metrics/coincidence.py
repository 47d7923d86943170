"""What coincidence looks like: a threshold from patients whom nobody can have copied, and intervals of shares.

Frames of a patient hang together, so every interval goes by patient.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy import stats

from tte_tee.errors import UserError
from tte_tee.metrics.crossed import MINIMUM_PATIENTS

LEVEL, RESAMPLES = 0.95, 2000


@dataclass(frozen=True)
class Share:
    """A share of frames and its interval.

    Attributes:
        count, frames, clusters: frames that count, all, and the patients (or single masks) they are of.
        share: count / frames.
        low, high: of the interval.
    """

    count: int
    frames: int
    clusters: int
    share: float
    low: float
    high: float

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


@dataclass(frozen=True)
class Calibration:
    """A threshold that coincidence seldom passes.

    Attributes:
        threshold: a score above it is more than coincidence.
        allowed: at most this share of the calibrating frames lies above.
        low, high: interval of the threshold, by a bootstrap of patients; its upper end cannot pass the
            largest score that was seen.
        false_alarms: share of frames above the threshold that all other patients set.
        frames, patients: that calibrated.
    """

    threshold: float
    allowed: float
    low: float
    high: float
    false_alarms: Share
    frames: int
    patients: int

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


ALLOWED = 0.01
"""Share of frames that may pass for copies by coincidence, where no other is asked for."""


def calibrate(scores: np.ndarray, patients: Sequence[str] | np.ndarray, allowed: float) -> Calibration:
    """The smallest score that at most a share ``allowed`` of frames exceed, and how sure that is.

    Frames of new patients exceed it more often than those that set it, the more so the fewer patients there are:
    on the phantom, at 2 % allowed, 3.8 % with 14 patients, 3.2 % with 30 and 2.8 % with 50 (means of 200 draws
    from 150 patients of 4 frames). A rate of copies is to be read against ``false_alarms``, not ``allowed``.

    Args:
        scores: ``[N]``, higher is more alike.
        patients: ``[N]``, whom each frame is of.
        allowed: share of frames that may lie above.

    Raises:
        UserError: it is not estimable: fewer than eight patients, fewer frames than one in ``1 / allowed``, or
            a frame has no score.
    """
    if not 0 < allowed < 1:
        raise UserError(f"a share of {allowed} of false alarms; use one between 0 and 1")
    if not np.isfinite(scores).all():
        raise UserError("a frame has no score")
    names, codes = np.unique(np.asarray(patients, str), return_inverse=True)
    if len(names) < MINIMUM_PATIENTS:
        raise UserError(f"{len(names)} patients; what coincidence looks like takes {MINIMUM_PATIENTS}")
    needed = int(np.ceil(1 / allowed - 1e-9))
    if len(scores) < needed:
        raise UserError(f"{len(scores)} frames; a share of {allowed:g} takes {needed}")
    order = np.argsort(scores, kind="stable")
    ranked, of_patient = np.asarray(scores, float)[order], codes[order]

    def thresholds(counts: np.ndarray) -> np.ndarray:
        """``[R]``, each patient counted as often as ``[R, patients]`` says."""
        reached = np.cumsum(counts[:, of_patient], axis=1)
        return ranked[(reached >= ((1 - allowed) * reached[:, -1:] - 1e-9)).argmax(1)]

    everybody = np.ones((1, len(names)), int)
    without_one = 1 - np.eye(len(names), dtype=int)
    rng = np.random.default_rng(0)
    drawn = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=RESAMPLES)
    low, high = np.quantile(thresholds(drawn), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    alarms = np.asarray(scores, float) > thresholds(without_one)[codes]
    return Calibration(
        threshold=float(thresholds(everybody)[0]),
        allowed=allowed,
        low=float(low),
        high=float(high),
        false_alarms=share_of(alarms, codes),
        frames=len(scores),
        patients=len(names),
    )


def share_of(hits: np.ndarray, clusters: Sequence[str] | np.ndarray) -> Share:
    """A share with a Clopper-Pearson interval at the effective number of frames.

    The number of frames is divided by the design effect of the clusters and scaled by the ratio of t quantiles
    (Korn and Graubard, Survey Methodology 24(2), 1998). Where no frame counts, or all do, the data say nothing
    of the design effect, and the number of clusters stands in.

    Args:
        hits: bool ``[N]``.
        clusters: ``[N]``, whom each frame is of.

    Raises:
        UserError: it is not estimable: there are fewer than two clusters.
    """
    names, codes = np.unique(np.asarray(clusters), return_inverse=True)
    if len(names) < 2:
        raise UserError(f"{len(names)} patient or mask; an interval takes 2")
    frames, groups, share = len(hits), len(names), float(np.mean(hits))
    effective = float(groups)
    if 0 < share < 1:
        excess = np.bincount(codes, weights=hits - share)
        variance = groups / (groups - 1) * float(np.square(excess).sum()) / frames**2
        of_t = stats.t.ppf((1 + LEVEL) / 2, frames - 1) / stats.t.ppf((1 + LEVEL) / 2, groups - 1)
        effective = min(frames, share * (1 - share) / variance * of_t**2) if variance else float(frames)
    tail, count = (1 - LEVEL) / 2, share * effective
    low = stats.beta.ppf(tail, count, effective - count + 1) if count else 0.0
    high = stats.beta.ppf(1 - tail, count + 1, effective - count) if share < 1 else 1.0
    return Share(int(np.sum(hits)), frames, groups, share, float(low), float(high))
