"""``lpips_alexnet=FILE.npz``: LPIPS v0.1 on AlexNet (Zhang et al., CVPR 2018), a distance for pairs, and features.

The file holds the convolutions of torchvision's AlexNet as ``AlexNet_0/Conv_<n>/kernel`` (``[H, W, in, out]``) and
``.../bias``, and the linear heads as ``NetLinLayer_<n>/Conv_0/kernel`` (``[1, 1, channels, 1]``), n from 0 to 4.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, max_pool2d

from tte_tee.files import file_hash
from tte_tee.models.extractors.extractor import Extractor, colour, reading

# Channels in and out, kernel, stride, padding; pooling by 3 with stride 2 stands before the second and the third.
_LAYERS = ((3, 64, 11, 4, 2), (64, 192, 5, 1, 2), (192, 384, 3, 1, 1), (384, 256, 3, 1, 1), (256, 256, 3, 1, 1))
_POOLED_BEFORE = (1, 2)
_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)  # LPIPS's own, of images in [-1, 1]
_LEAST = 64
"""Pixels of the shorter side below which a frame is enlarged: the patches LPIPS was trained on have as many."""


class LPIPS(nn.Module):
    """AlexNet's five layers, each with a head that weighs its channels."""

    shift: Tensor
    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(nn.Conv2d(*layer) for layer in _LAYERS)
        self.heads = nn.ParameterList(nn.Parameter(torch.zeros(width)) for _, width, *_ in _LAYERS)
        self.register_buffer("shift", torch.tensor(_SHIFT)[:, None, None], persistent=False)
        self.register_buffer("scale", torch.tensor(_SCALE)[:, None, None], persistent=False)

    def layers(self, image: Tensor) -> list[Tensor]:
        """``[B, 3, H, W]`` in [-1, 1] -> what each layer gives after its ReLU, ``[B, C, h, w]``."""
        x, given = (image - self.shift) / self.scale, []
        for number, convolution in enumerate(self.convolutions):
            if number in _POOLED_BEFORE:
                x = max_pool2d(x, 3, 2)
            x = convolution(x).relu()
            given.append(x)
        return given

    def forward(self, one: Tensor, other: Tensor) -> Tensor:
        """Distance ``[B]`` (eq. 1): squared difference of unit channels, weighed, averaged over space, summed."""
        total = torch.zeros(len(one), device=one.device)
        for a, b, head in zip(self.layers(one), self.layers(other), self.heads, strict=True):
            difference = (_unit(a) - _unit(b)).square()
            total = total + (difference * head[:, None, None]).sum(1).mean((1, 2))
        return total


def _unit(x: Tensor) -> Tensor:
    return x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10)


def load(path: Path, device: str) -> Extractor:
    """The distance, and as features the mean over space of the fifth layer, ``[B, 256]``.

    Raises:
        UserError: the file is missing, or does not hold these arrays.
    """
    network = LPIPS()
    with reading("lpips_alexnet", path, "an .npz of AlexNet's convolutions and LPIPS's heads"), np.load(path) as arrays:
        for number, (convolution, head) in enumerate(zip(network.convolutions, network.heads, strict=True)):
            name = f"AlexNet_0/Conv_{number}"
            kernel, bias = (torch.from_numpy(arrays[f"{name}/{part}"]) for part in ("kernel", "bias"))
            convolution.load_state_dict({"weight": kernel.permute(3, 2, 0, 1), "bias": bias})
            weights = torch.from_numpy(arrays[f"NetLinLayer_{number}/Conv_0/kernel"])
            head.data.copy_(weights.reshape(head.shape))
    network.eval().to(device)

    def scaled(frames: np.ndarray) -> Tensor:
        image = colour(frames)
        if (side := min(image.shape[-2:])) < _LEAST:
            size = [round(length * _LEAST / side) for length in image.shape[-2:]]
            image = interpolate(image, size=size, mode="bilinear")
        return image.mul(2).sub(1).to(device)

    def compute(frames: np.ndarray) -> Tensor:
        return network.layers(scaled(frames))[-1].mean((2, 3))

    def distance(frames: np.ndarray, others: np.ndarray) -> Tensor:
        return network(scaled(frames), scaled(others))

    prepared = f"grey in three channels, grey levels to [-1, 1], at its own size or with {_LEAST} pixels to a side"
    return Extractor("lpips_alexnet", file_hash(path), {"lpips": "0.1"}, compute, prepared, distance)
