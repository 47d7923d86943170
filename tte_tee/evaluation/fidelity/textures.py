"""Distances between the distributions of intensity and speckle inside structures."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tte_tee.anatomy import BLOOD
from tte_tee.evaluation.fidelity.estimates import Rows, Sets, over_draws, row
from tte_tee.evaluation.fidelity.frames import Draws, FrameSet
from tte_tee.metrics.texture import STATISTICS, between_histograms, between_values, contrast, histogram, texture

_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


def texture_rows(sets: Sets, draws: Draws, seed: int) -> Rows:
    """Wasserstein-1 distances of intensity and speckle, structure by structure, and of the contrast of the blood."""
    rows: Rows = []
    grey, numbers = {}, {}
    structures = sets["real"].store.label_space.structures
    for name, part in sets.items():
        grey[name], numbers[name] = _textures(part, draws.used(name), structures)
    for place, structure in enumerate(structures):
        columns = [
            ("grey level", "grey levels", None),
            *((s, u, i) for i, (s, u) in enumerate(STATISTICS.items())),
        ]
        for statistic, unit, column in columns:
            values = {n: grey[n][:, place] if column is None else numbers[n][:, place, column] for n in sets}
            rows.append(_distribution_row(structure, statistic, unit, values, draws, seed))
    contrasts = {n: numbers[n][:, -1, 0] for n in sets}
    rows.append(_distribution_row("blood", "contrast", "grey levels", contrasts, draws, seed))
    return rows


def _textures(part: FrameSet, places: np.ndarray, structures: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Histograms ``[N, S, 256]`` and statistics ``[N, S + 1, 5]``, NaN or 0 where none; last comes the contrast."""
    ids = part.store.label_space.ids
    grey = np.zeros((len(part), len(structures), 256), np.int32)
    numbers = np.full((len(part), len(structures) + 1, len(STATISTICS)), np.nan)
    blood = [ids[s] for s in BLOOD if s in ids]
    for place in places:
        image, mask, sector = part.frame(place)
        for column, structure in enumerate(structures):
            inside = mask == ids.get(structure, -1)
            grey[place, column] = histogram(image, inside)
            numbers[place, column] = texture(image, inside)
        numbers[place, -1, 0] = contrast(image, np.isin(mask, blood), sector)
    return grey, numbers


def _distribution_row(
    structure: str, statistic: str, unit: str, values: Mapping[str, np.ndarray], draws: Draws, seed: int
) -> dict[str, Any]:
    pixels = values["real"].ndim == 2
    between = between_histograms if pixels else between_values

    def measure(sample: np.ndarray, reference: np.ndarray, _: np.random.Generator) -> Sequence[float]:
        return (between(sample, reference),)

    roles = over_draws(draws, values, (statistic,), measure, seed)[statistic]
    spread = {n: _histogram_quantiles(v) if pixels else _quantiles(v) for n, v in values.items()}
    return row("texture", statistic, roles, structure=structure, unit=unit, quantiles=spread)


def _quantiles(values: np.ndarray) -> list[float]:
    known = values[np.isfinite(values)]
    return np.quantile(known, _QUANTILES).tolist() if len(known) else []


def _histogram_quantiles(values: np.ndarray) -> list[float]:
    share = np.cumsum(values.sum(0)) / max(1, values.sum())
    return np.searchsorted(share, _QUANTILES).astype(float).tolist() if values.any() else []
