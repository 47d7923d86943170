"""The segmenter: a MONAI network that finds structures in a frame, and the folder it is kept in.

The folder::

    segmenter.json            network, label space, frame size, provenance
    segmenter.safetensors     weights
    README.md                 model card
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_model, save_model
from torch import Tensor, nn

from tte_tee.anatomy import LabelSpace
from tte_tee.errors import UserError
from tte_tee.files import file_hash, first_line, whole_folder, write_json, write_whole
from tte_tee.models.card import CARD, segmenter_card
from tte_tee.models.records import read_record

_WEIGHTS = "segmenter.safetensors"


@dataclass(frozen=True)
class SegmenterConfig:
    """Shape of the network.

    Attributes:
        network: ``unet``, a small residual U-Net (Kerfoot et al., STACOM 2018), or ``dynunet``, in the style of
            nnU-Net (Isensee et al., Nature Methods 18, 2021) with deep supervision.
        channels: of each level; each level below the first halves the frame.
        dropout: share of channels dropped in training.
    """

    network: Literal["unet", "dynunet"] = "unet"
    channels: tuple[int, ...] = (16, 32, 64, 128)
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if self.network not in ("unet", "dynunet"):
            raise UserError(f"model.network.network: '{self.network}' is unknown; use unet or dynunet")
        if len(self.channels) < 3 or min(self.channels) < 1:
            raise UserError(f"model.network.channels: {list(self.channels)}; give three levels or more")
        if not 0 <= self.dropout < 1:
            raise UserError(f"model.network.dropout: {self.dropout}; a share from 0 to below 1")

    @property
    def stride(self) -> int:
        """What rows and columns of a frame must be a multiple of."""
        return 2 ** (len(self.channels) - 1)


class Segmenter(nn.Module):
    """Grey levels in [-1, 1] -> logits of background and each structure."""

    def __init__(self, config: SegmenterConfig, structures: tuple[str, ...]) -> None:
        super().__init__()
        self.config, self.structures = config, structures
        self.net = _network(config, len(structures) + 1)

    def forward(self, image: Tensor) -> Tensor:
        """``[B, 1, H, W]`` -> ``[B, structures + 1, H, W]``."""
        return self.outputs(image)[0]

    def outputs(self, image: Tensor) -> list[Tensor]:
        """Logits at full resolution, and in training those of the lower levels, brought up to it."""
        out = self.net(image)
        return list(out.unbind(1)) if out.ndim == 5 else [out]

    @torch.no_grad()
    def features(self, image: Tensor) -> Tensor:
        """Mean and standard deviation over space of the deepest layer's channels, ``[B, 1, H, W]`` -> ``[B, 2 C]``."""
        seen: list[Tensor] = []
        hook = _deepest(self.net).register_forward_hook(lambda _layer, _input, output: seen.append(output))
        try:
            self.net(image)
        finally:
            hook.remove()
        deepest = seen[0].flatten(2)
        return torch.cat([deepest.mean(2), deepest.std(2)], 1)

    @torch.no_grad()
    def find(self, image: Tensor) -> Tensor:
        """Ids ``[B, H, W]`` uint8 of the likeliest structures."""
        return self(image).argmax(1).byte()


def _network(config: SegmenterConfig, classes: int) -> nn.Module:
    from monai.networks.nets import DynUNet, UNet

    channels, levels = list(config.channels), len(config.channels)
    if config.network == "unet":
        return UNet(2, 1, classes, channels, [2] * (levels - 1), num_res_units=2, dropout=config.dropout)
    return DynUNet(
        spatial_dims=2,
        in_channels=1,
        out_channels=classes,
        kernel_size=[3] * levels,
        strides=[1] + [2] * (levels - 1),
        upsample_kernel_size=[2] * (levels - 1),
        filters=channels,
        dropout=config.dropout or None,
        norm_name=("INSTANCE", {"affine": True}),
        deep_supervision=True,
        deep_supr_num=min(2, levels - 2),
    )


def _deepest(net: nn.Module) -> nn.Module:
    """The layer at the lowest resolution."""
    from monai.networks.layers.simplelayers import SkipConnection
    from monai.networks.nets import DynUNet

    if isinstance(net, DynUNet):
        return net.bottleneck
    *_, innermost = (layer for layer in net.modules() if isinstance(layer, SkipConnection))
    return innermost.submodule


@dataclass(frozen=True)
class LoadedSegmenter:
    """A segmenter ready to use, what its ids mean, the frame size it was trained at, and where it comes from."""

    segmenter: Segmenter
    label_space: LabelSpace
    image_size: tuple[int, int]
    record: dict[str, Any]
    hash: str


def save_segmenter(
    folder: Path, segmenter: Segmenter, label_space: LabelSpace, image_size: tuple[int, int], record: dict[str, Any]
) -> None:
    """Writes a segmenter folder, whole or not at all."""
    with whole_folder(folder) as temporary:
        save_model(segmenter, str(temporary / _WEIGHTS))  # DynUNet knows its layers under two names each
        values = {
            "network": asdict(segmenter.config),
            "label_space": label_space.to_json(),
            "image_size": image_size,
            "provenance": record,
        }
        write_json(temporary / "segmenter.json", values)
        write_whole(temporary / CARD, segmenter_card(values, file_hash(temporary / _WEIGHTS)).encode())


def load_segmenter(folder: str | Path) -> LoadedSegmenter:
    """Reads a segmenter folder.

    Raises:
        UserError: the folder is no segmenter, or its weights are not those of its network.
    """
    folder = Path(folder)
    values = read_record(folder / "segmenter.json", "segmenter")
    try:
        network = dict(values["network"])
        config = SegmenterConfig(network["network"], tuple(network["channels"]), network["dropout"])
        space = LabelSpace.from_json(values["label_space"])
        (rows, columns), record = values["image_size"], dict(values["provenance"])
        segmenter = Segmenter(config, space.structures)
        load_model(segmenter, str(folder / _WEIGHTS))
        if not all(torch.isfinite(weight).all() for weight in segmenter.state_dict().values()):
            raise ValueError("a weight is no finite number")
    except (OSError, LookupError, TypeError, ValueError, RuntimeError, SafetensorError, UserError) as error:
        raise UserError(f"{folder}: not a readable segmenter ({first_line(error)}); train one with 'fit'") from error
    return LoadedSegmenter(segmenter.eval(), space, (int(rows), int(columns)), record, file_hash(folder / _WEIGHTS))


def take_over(segmenter: Segmenter, other: LoadedSegmenter, folder: str) -> None:
    """Starts ``segmenter`` from another's weights; what names structures is left as it is unless they are the same.

    Raises:
        UserError: the networks differ in more than their structures.
    """
    if segmenter.config != other.segmenter.config:
        raise UserError(f"model.pretrained {folder}: is another network than model.network asks for; make them equal")
    own, weights = segmenter.state_dict(), other.segmenter.state_dict()
    if segmenter.structures != other.label_space.structures:
        one_more = Segmenter(segmenter.config, (*segmenter.structures, "")).state_dict()
        weights = {name: weight for name, weight in weights.items() if own[name].shape == one_more[name].shape}
    segmenter.load_state_dict({**own, **weights})


def as_input(image: np.ndarray) -> Tensor:
    """Grey levels uint8 ``[..., H, W]`` -> ``[..., 1, H, W]`` in [-1, 1], as in every batch."""
    return torch.from_numpy(image).float().div(127.5).sub(1.0).unsqueeze(-3)
