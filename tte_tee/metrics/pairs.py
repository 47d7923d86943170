"""How near a drawn frame is to the acquired frame of the same mask."""

import torch
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure


def squared_error(drawn: Tensor, acquired: Tensor, sector: Tensor) -> Tensor:
    """Mean squared error inside the sector, grey levels scaled to [-1, 1].

    Args:
        drawn: uint8 ``[B, H, W]``.
        acquired: uint8 ``[B, H, W]``.
        sector: 0 or 1 ``[B, H, W]``.

    Returns:
        ``[B]``.
    """
    difference = (drawn.float() - acquired.float()).div(127.5).square()
    return (difference * sector).sum(dim=(1, 2)) / sector.sum(dim=(1, 2))


def similarity(drawn: Tensor, acquired: Tensor) -> Tensor:
    """Structural similarity (Wang et al. 2004) of whole frames, uint8 ``[B, H, W]`` -> ``[B]``."""
    scores = structural_similarity_index_measure(
        drawn.float()[:, None], acquired.float()[:, None], data_range=255.0, reduction="none"
    )
    assert isinstance(scores, Tensor)
    return scores


def nearest(frames: Tensor, others: Tensor, sector: Tensor) -> Tensor:
    """For each frame the squared error to the nearest of ``others``, inside the frame's sector.

    Args:
        frames: uint8 ``[B, H, W]``.
        others: uint8 ``[N, H, W]``.
        sector: 0 or 1 ``[B, H, W]``.

    Returns:
        ``[B]``, as :func:`squared_error`.
    """
    errors = [squared_error(frames, other.expand_as(frames), sector) for other in others]
    return torch.stack(errors).amin(dim=0)
