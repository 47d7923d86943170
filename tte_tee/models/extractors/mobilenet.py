"""``mobilenet_v2=FILE.pth``: MobileNetV2 (Sandler et al., CVPR 2018) with weights in torchvision's layout."""

from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from tte_tee.files import file_hash
from tte_tee.models.extractors.extractor import IMAGENET, Extractor, as_imagenet, reading

# Table 2 of the paper: expansion, channels, blocks, stride of the first of them.
_STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
_FIRST, _LAST = 32, 1280


class MobileNetV2(nn.Module):
    """Everything up to the classifier; modules are named as torchvision names them, so that its weights fit."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [_convolution(3, _FIRST, 3, stride=2)]
        channels = _FIRST
        for expansion, width, blocks, stride in _STAGES:
            for block in range(blocks):
                layers.append(_Inverted(channels, width, expansion, stride if block == 0 else 1))
                channels = width
        layers.append(_convolution(channels, _LAST, 1))
        self.features = nn.Sequential(*layers)

    def forward(self, image: Tensor) -> Tensor:
        """``[B, 3, H, W]`` -> mean over space of the last layer, ``[B, 1280]``."""
        return self.features(image).mean((2, 3))


class _Inverted(nn.Module):
    """Inverted residual: expand, filter each channel, project; the input is added where the shapes agree."""

    def __init__(self, channels: int, width: int, expansion: int, stride: int) -> None:
        super().__init__()
        inner = channels * expansion
        expand = [] if expansion == 1 else [_convolution(channels, inner, 1)]
        project = [nn.Conv2d(inner, width, 1, bias=False), nn.BatchNorm2d(width)]
        self.conv = nn.Sequential(*expand, _convolution(inner, inner, 3, stride=stride, groups=inner), *project)
        self.adds = stride == 1 and channels == width

    def forward(self, x: Tensor) -> Tensor:
        """``[B, C, H, W]`` -> ``[B, width, H / stride, W / stride]``."""
        return x + self.conv(x) if self.adds else self.conv(x)


def _convolution(channels: int, width: int, kernel: int, *, stride: int = 1, groups: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(channels, width, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(width), nn.ReLU6())


def load(path: Path, device: str) -> Extractor:
    """The network with weights of a ``state_dict``, such as torchvision's ``mobilenet_v2-b0353104.pth`` (ImageNet).

    Raises:
        UserError: the file is missing, is no such ``state_dict``, or holds more than tensors.
    """
    network = MobileNetV2()
    with reading("mobilenet_v2", path, "a state_dict of torchvision's mobilenet_v2"):
        weights = torch.load(path, map_location="cpu", weights_only=True)
        network.load_state_dict(OrderedDict((k, v) for k, v in weights.items() if not k.startswith("classifier.")))
    network.eval().to(device)

    def compute(frames: np.ndarray) -> Tensor:
        return network(as_imagenet(frames).to(device, memory_format=torch.channels_last))  # a third faster on a CPU

    return Extractor("mobilenet_v2", file_hash(path), {"layout": "torchvision"}, compute, IMAGENET)
