"""How a mask, a sector and a view enter the denoiser. Nothing here has parameters.

The condition is one image per structure plus one for the sector, in [-1, 1]: +1 inside, -1
outside, and 0 in every structure channel for "no mask given". So the null condition of
classifier-free guidance is not the mask of an empty heart, and the sector outlives it.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

POSITION_WIDTH = 32


def encode_condition(structures: Tensor, sector: Tensor, null: Tensor | None = None) -> Tensor:
    """Structure and sector channels of the condition.

    Args:
        structures: ``[B, X, H, W]`` in [0, 1], one channel per structure of the base.
        sector: ``[B, 1, H, W]`` in [0, 1].
        null: ``[B]`` bool, True where the mask is withheld (mask dropout, guidance).

    Returns:
        ``[B, X + 1, H, W]`` in [-1, 1].
    """
    signed = 2.0 * structures - 1.0
    if null is not None:
        signed = signed.masked_fill(null.view(-1, 1, 1, 1), 0.0)
    return torch.cat([signed, 2.0 * sector - 1.0], dim=1)


def without_mask(condition: Tensor) -> Tensor:
    """The null condition: ``[B, X + 1, H, W]`` with every structure channel 0, the sector kept."""
    return torch.cat([torch.zeros_like(condition[:, :-1]), condition[:, -1:]], dim=1)


def mask_tokens(condition: Tensor, patch: int) -> Tensor:
    """Cuts the condition into patches and appends each patch's fixed position.

    Args:
        condition: ``[B, C, H, W]``; ``patch`` divides H and W.
        patch: side of a patch in pixels.

    Returns:
        ``[B, (H / patch) * (W / patch), token_width(C, patch)]``.
    """
    patches = F.pixel_unshuffle(condition, patch)
    batch, _, rows, columns = patches.shape
    position = _positions(rows, columns, patches.device, patches.dtype)
    return torch.cat([patches.flatten(2).transpose(1, 2), position.expand(batch, -1, -1)], dim=2)


def token_width(channels: int, patch: int) -> int:
    """Width of one mask token: the pixels of a patch and its position code."""
    return channels * patch * patch + POSITION_WIDTH


def _positions(rows: int, columns: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """``[rows * columns, POSITION_WIDTH]``: sines and cosines of row and column (Vaswani et al. 2017)."""
    quarter = POSITION_WIDTH // 4
    rates = math.pi * 2.0 ** torch.linspace(-1, 3, quarter, device=device)
    y = (torch.arange(rows, device=device) + 0.5) / rows
    x = (torch.arange(columns, device=device) + 0.5) / columns
    row_angle = (y[:, None] * rates)[:, None].expand(rows, columns, quarter)
    column_angle = (x[:, None] * rates)[None].expand(rows, columns, quarter)
    code = torch.cat([row_angle.sin(), row_angle.cos(), column_angle.sin(), column_angle.cos()], dim=-1)
    return code.reshape(rows * columns, POSITION_WIDTH).to(dtype)
