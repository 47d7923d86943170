"""MaskR² applied: a matrix from the labels of the masks to the places of the base.

Source: arXiv 2508.13077; the rules are solved in :mod:`tte_tee.anatomy.maskr2`.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tte_tee.anatomy import MaskMap


class MaskR2(nn.Module):
    """Turns a mask of label space Y into the structure channels of a base of label space X.

    ``learnable`` makes the matrix a parameter that starts at the rule: then merged structures
    (RV and RA) may drift apart, which the fixed rule forbids.
    """

    def __init__(self, mask_map: MaskMap, *, learnable: bool = False) -> None:
        super().__init__()
        self.mask_map = mask_map
        self.learnable = learnable
        self.matrix = nn.Parameter(torch.tensor(mask_map.matrix()), requires_grad=learnable)

    def forward(self, mask: Tensor) -> Tensor:
        """``[B, H, W]`` integer ids of Y (0 background) -> ``[B, X, H, W]``, in [0, 1] under the rule."""
        one_hot = F.one_hot(mask.long(), len(self.mask_map.target) + 1)[..., 1:].to(self.matrix.dtype)
        return torch.einsum("bhwy,xy->bxhw", one_hot, self.matrix)
