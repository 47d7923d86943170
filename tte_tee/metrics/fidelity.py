"""How near one set of frames is to another, in the features of a network: arrays in, numbers out.

Every function takes features float ``[N, D]`` of a sample and of a reference, and raises :class:`NotEstimableError`
where so few frames do not give the number.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torchmetrics.image.kid import poly_mmd

from tte_tee.errors import UserError

PRECISION_NEIGHBOURS, DENSITY_NEIGHBOURS = 3, 5
"""k of precision and recall, and of density and coverage: those of the papers."""


class NotEstimableError(UserError):
    """What there is does not give the number; the message says why."""


@dataclass(frozen=True)
class KernelDistance:
    """KID: mean and standard deviation over subsets."""

    mean: float
    deviation: float


def kernel_distance(
    sample: np.ndarray, reference: np.ndarray, subset: int, subsets: int, rng: np.random.Generator
) -> KernelDistance:
    """Squared maximum mean discrepancy with kernel (x'y / D + 1)^3, unbiased (KID; Binkowski et al., ICLR 2018).

    Args:
        sample: features.
        reference: features.
        subset: frames of each set that one estimate takes.
        subsets: how many estimates.
        rng: draws the subsets.

    Raises:
        NotEstimableError: a set has fewer frames than a subset takes, or a subset takes fewer than 2.
    """
    few = min(len(sample), len(reference))
    if subset < 2 or few < subset:
        raise NotEstimableError(
            f"{few} frames, a subset takes {subset}" if few < subset else "a subset takes 2 or more"
        )
    ours, theirs = (torch.from_numpy(np.asarray(f, np.float64)) for f in (sample, reference))
    values = []
    for _ in range(subsets):
        one, other = (f[torch.from_numpy(rng.choice(len(f), subset, replace=False))] for f in (theirs, ours))
        values.append(float(poly_mmd(one, other)))
    return KernelDistance(float(np.mean(values)), float(np.std(values)))


def frechet_distance(sample: np.ndarray, reference: np.ndarray) -> float:
    """Squared Frechet distance of two Gaussians fitted to the features (Heusel et al., NeurIPS 2017, eq. 6).

    Raises:
        NotEstimableError: a set has fewer than D + 1 frames, so that its covariance has not full rank.
    """
    few, width = min(len(sample), len(reference)), sample.shape[1]
    if few < width + 1:
        raise NotEstimableError(f"{few} frames for {width} features; {width + 1} or more give a covariance")
    ours, theirs = (np.asarray(f, np.float64) for f in (sample, reference))
    one, other = np.cov(ours, rowvar=False), np.cov(theirs, rowvar=False)
    shift = np.square(ours.mean(0) - theirs.mean(0)).sum()
    # The trace of the root of a product is the sum of the roots of its eigenvalues, which are not negative.
    root = np.sqrt(np.linalg.eigvals(np.atleast_2d(one @ other)).real.clip(0)).sum()
    return float(shift + np.trace(np.atleast_2d(one)) + np.trace(np.atleast_2d(other)) - 2 * root)


def manifold_overlap(sample: np.ndarray, reference: np.ndarray) -> dict[str, float]:
    """Precision and recall (Kynkaanniemi et al., NeurIPS 2019), density and coverage (Naeem et al., ICML 2020).

    A set's manifold is the union of the balls about its frames that reach to their k-th nearest neighbour.

    Returns:
        ``precision``: share of the sample in the reference's manifold; ``recall``: the other way round;
        ``density``: how many of the reference's balls a frame of the sample lies in, relative to k;
        ``coverage``: share of the reference's balls that hold a frame of the sample.

    Raises:
        NotEstimableError: a set has no more than k frames.
    """
    few, most = min(len(sample), len(reference)), max(PRECISION_NEIGHBOURS, DENSITY_NEIGHBOURS)
    if few <= most:
        raise NotEstimableError(f"{few} frames; the {most}th neighbour needs more")
    ours, theirs = (torch.from_numpy(np.asarray(f, np.float64)) for f in (sample, reference))
    between, among, own = (torch.cdist(a, b) for a, b in ((ours, theirs), (theirs, theirs), (ours, ours)))
    near = between <= _radius(among, PRECISION_NEIGHBOURS)
    dense = between <= _radius(among, DENSITY_NEIGHBOURS)
    recalled = between <= _radius(own, PRECISION_NEIGHBOURS)[:, None]
    return {
        "precision": near.any(1).double().mean().item(),
        "recall": recalled.any(0).double().mean().item(),
        "density": dense.double().sum(1).mean().item() / DENSITY_NEIGHBOURS,
        "coverage": dense.any(0).double().mean().item(),
    }


def _radius(distances: torch.Tensor, neighbours: int) -> torch.Tensor:
    """Distance of each frame to its k-th nearest neighbour; the nearest of all is itself."""
    return distances.kthvalue(neighbours + 1, dim=1).values
