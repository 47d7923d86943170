"""Differences over seeds and patients, both of them random: their mean, its standard error, and resamples of it.

A *difference* is arm minus baseline, of one seed and one test patient; :mod:`tte_tee.metrics.statistics` says what a
seed is, and makes intervals of what is computed here.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from tte_tee.errors import UserError

MINIMUM_PATIENTS, MINIMUM_SEEDS = 8, 3


@dataclass(frozen=True)
class Crossed:
    """Differences with what the analysis of variance says of their mean.

    Attributes:
        values: ``[seeds, patients]``, NaN where there is none.
        n_without: patients without any value.
        error: standard error of the mean.
        freedom: Satterthwaite's degrees of freedom of the error.
    """

    values: np.ndarray
    n_without: int
    error: float
    freedom: float

    @property
    def present(self) -> np.ndarray:
        """Where there is a value."""
        return np.isfinite(self.values)


def checked(differences: np.ndarray | Sequence[Sequence[float]], name: str, *, drop: bool = True) -> Crossed:
    """Differences ``[seeds, patients]`` that allow an interval.

    Args:
        differences: NaN where there is no value.
        name: of the comparison, for messages.
        drop: takes out rows and columns without any value; without it, comparisons share resamples.

    Raises:
        UserError: they have the wrong shape, one is infinite, or too few seeds or patients have values.
    """
    rows = [np.asarray(row, float) for row in differences]
    if any(row.ndim != 1 for row in rows) or len({row.shape for row in rows}) > 1:
        raise UserError(f"{name}: differences go as [seeds, patients], one row per seed, as long as the others")
    values = np.array(rows).reshape(len(rows), len(rows[0]) if rows else 0)
    present = np.isfinite(values)
    if np.isinf(values).any():
        raise UserError(f"{name}: a difference is infinite; write NaN where a patient has no value")
    n_seeds, n_patients = int(present.any(axis=1).sum()), int(present.any(axis=0).sum())
    if n_seeds < MINIMUM_SEEDS:
        raise UserError(f"{name}: {n_seeds} seeds have values; an interval over seeds needs {MINIMUM_SEEDS}")
    if n_patients < MINIMUM_PATIENTS:
        raise UserError(f"{name}: {n_patients} patients have values; an interval needs {MINIMUM_PATIENTS}")
    filled = values[present.any(axis=1)][:, present.any(axis=0)]
    return Crossed(filled if drop else values, values.shape[1] - n_patients, *_crossed_error(filled))


def _crossed_error(values: np.ndarray) -> tuple[float, float]:
    """Standard error of the mean of ``[seeds, patients]`` and its degrees of freedom.

    Deleting a seed at a time gives sigma_seed² / S + sigma² / SP, deleting a patient at a time
    sigma_patient² / P + sigma² / SP. Their sum counts the peculiar part sigma² / SP of the cells twice, so
    it is taken off once; the larger of the two is the least that the sum can be.
    """
    n_seeds, n_patients = values.shape
    whole = np.ones((1, n_seeds)), np.ones((1, n_patients))
    without_patient = _weighted_mean(values, np.ones((n_patients, n_seeds)), 1 - np.eye(n_patients))
    of_patients = (n_patients - 1) * float(np.var(without_patient))
    without_seed = _weighted_mean(values, 1 - np.eye(n_seeds), np.ones((n_seeds, n_patients)))
    of_seeds = (n_seeds - 1) * float(np.var(without_seed))
    peculiar = (
        values
        - np.nanmean(values, axis=1, keepdims=True)
        - np.nanmean(values, axis=0, keepdims=True)
        + float(_weighted_mean(values, *whole)[0])
    )
    cells = int(np.isfinite(values).sum())
    freedom = max(cells - n_seeds - n_patients + 1, 1)
    of_cells = float(np.nansum(peculiar**2)) / freedom / cells
    variance = max(of_seeds + of_patients - of_cells, of_seeds, of_patients)
    parts = of_seeds**2 / (n_seeds - 1) + of_patients**2 / (n_patients - 1) + of_cells**2 / freedom
    satterthwaite = variance**2 / parts if parts else np.inf
    least = min(n_seeds, n_patients) - 1
    return float(np.sqrt(variance)), float(np.clip(satterthwaite, least, cells - 1))


def _weighted_mean(values: np.ndarray, seeds: np.ndarray, patients: np.ndarray) -> np.ndarray:
    """``[R]``; a weight per seed ``[R, S]`` and per patient ``[R, P]``. NaN where no weight meets a value."""
    present = np.isfinite(values)
    total = ((seeds @ np.where(present, values, 0.0)) * patients).sum(axis=1)
    weight = ((seeds @ present.astype(float)) * patients).sum(axis=1)
    return np.divide(total, weight, out=np.full(len(total), np.nan), where=weight > 0)


def mean_of(cells: Crossed) -> float:
    """Over all cells that have a value."""
    return float(np.nanmean(cells.values))


def shifts_of(family: Sequence[Crossed], resamples: int, seed: int) -> np.ndarray:
    """How far each resample moves each mean, ``[comparisons, resamples]``; the same draws for all of them."""
    rng = np.random.default_rng(seed)
    n_seeds, n_patients = family[0].values.shape
    seeds = rng.multinomial(n_seeds, np.full(n_seeds, 1 / n_seeds), size=resamples).astype(float)
    patients = rng.multinomial(n_patients, np.full(n_patients, 1 / n_patients), size=resamples).astype(float)
    moved = np.stack([_weighted_mean(cells.values, seeds, patients) - mean_of(cells) for cells in family])
    # A resample that met none of a comparison's values says nothing of it; rounding is no deviation either.
    rounding = np.array([1e-12 * np.nanmax(np.abs(cells.values)) for cells in family])[:, None]
    return np.where(np.abs(moved) > rounding, moved, 0.0)


def stretch(cells: Crossed, shifts: np.ndarray, level: float) -> float:
    """By how much a bootstrap interval is too short, or too long, in scale and in its quantile."""
    spread = float(np.std(shifts))
    if not spread:
        return 1.0
    normal, t = stats.norm.ppf((1 + level) / 2), stats.t.ppf((1 + level) / 2, cells.freedom)
    return cells.error / spread * float(t / normal)
