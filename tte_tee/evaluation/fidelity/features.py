"""Distances between sets of frames in the features of an extractor."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tte_tee.evaluation.fidelity.estimates import Rows, Sets, over_draws, row
from tte_tee.evaluation.fidelity.frames import Draws
from tte_tee.metrics.fidelity import (
    DENSITY_NEIGHBOURS,
    PRECISION_NEIGHBOURS,
    frechet_distance,
    kernel_distance,
    manifold_overlap,
)
from tte_tee.models.extractors import Extractor

_OVERLAP = {
    "precision": PRECISION_NEIGHBOURS,
    "recall": PRECISION_NEIGHBOURS,
    "density": DENSITY_NEIGHBOURS,
    "coverage": DENSITY_NEIGHBOURS,
}
_SHOWN = 200  # points of each set in the picture


def label(extractor: Extractor) -> str:
    """Name and beginning of the version, as it stands in the record."""
    return f"{extractor.name} {extractor.version[:8]}"


def features_of(extractor: Extractor, sets: Sets, draws: Draws) -> dict[str, np.ndarray]:
    """Features of every frame that a draw needs, at its place; rows of other frames are not a number."""
    found = {}
    for name, part in sets.items():
        places = draws.used(name)
        features = extractor(part.images(places))
        found[name] = np.full((len(part), features.shape[1]), np.nan, np.float32)
        found[name][places] = features
    return found


def feature_rows(
    extractor: Extractor, values: Mapping[str, np.ndarray], draws: Draws, subset: int, subsets: int, seed: int
) -> Rows:
    """KID, Frechet distance, precision, recall, density and coverage in one extractor's features."""
    group, width = label(extractor), values["real"].shape[1]

    def kernel(sample: np.ndarray, reference: np.ndarray, rng: np.random.Generator) -> Sequence[float]:
        distance = kernel_distance(sample, reference, subset, subsets, rng)
        return distance.mean, distance.deviation

    def frechet(sample: np.ndarray, reference: np.ndarray, _: np.random.Generator) -> Sequence[float]:
        return (frechet_distance(sample, reference),)

    def overlap(sample: np.ndarray, reference: np.ndarray, _: np.random.Generator) -> Sequence[float]:
        return tuple(manifold_overlap(sample, reference)[name] for name in _OVERLAP)

    distances = over_draws(draws, values, ("KID", "spread"), kernel, seed)
    for role, estimate in distances["KID"].items():
        if "mean" in estimate:
            estimate["subset_sd"] = distances["spread"][role]["mean"]
    # FID is the name of one network's distance.
    name = "FID" if extractor.name == "inception_v3" else f"Fréchet distance ({extractor.name})"
    gaussian = over_draws(draws, values, (name,), frechet, seed)[name]
    shared = over_draws(draws, values, tuple(_OVERLAP), overlap, seed)
    return [
        row(group, "KID", distances["KID"], subset=subset, subsets=subsets),
        row(group, name, gaussian, features=width),
        *(row(group, measure, shared[measure], higher=True, k=k) for measure, k in _OVERLAP.items()),
    ]


def plane_of(values: Mapping[str, np.ndarray], draws: Draws) -> dict[str, Any]:
    """The first draw in the two directions in which all its sets together vary most (principal components).

    Returns:
        ``points``: set -> ``[[x, y], ...]``, so many at most; ``explained``: share of the variance of either direction.
    """
    first = draws.draws[0]
    places = {"real": first.reference, "synthetic": first.synthetic, "ceiling": first.ceiling}
    evenly = np.linspace(0, draws.frames - 1, min(_SHOWN, draws.frames)).astype(int)
    shown = {name: values[name][p[evenly]].astype(np.float64) for name, p in places.items() if p is not None}
    everything = np.concatenate(list(shown.values()))
    centre = everything.mean(0)
    _, sizes, directions = np.linalg.svd(everything - centre, full_matrices=False)
    share = sizes**2 / max(float((sizes**2).sum()), 1e-12)
    points = {name: np.round((f - centre) @ directions[:2].T, 4).tolist() for name, f in shown.items()}
    return {"points": points, "explained": share[:2].tolist()}
