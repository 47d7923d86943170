"""The denoiser: diffusers' ``UNet2DConditionModel`` driven by a mask, a sector and a plane.

Every parameter is inside the U-Net, so plain diffusers loads the whole network; what stands
around it (space-to-depth, patches of the mask) has none.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn
from torch.nn import functional as F

from tte_tee.anatomy import CAMUS, PLANES, LabelSpace
from tte_tee.errors import UserError
from tte_tee.models.conditioning import mask_tokens, token_width, without_mask

Conditioning = Literal["tokens", "concat", "both"]


@dataclass(frozen=True)
class DenoiserConfig:
    """Shape of a denoiser. The defaults are the compact preset (5.6 M parameters, 2 CPU cores).

    Attributes:
        structures: label space X of the base; one condition channel each, the sector after them.
        image_size: side of a frame in pixels; divisible by ``patch`` and by
            ``space_to_depth * 2 ** (len(channels) - 1)``.
        conditioning: where the mask enters. ``tokens``: cross-attention alone. ``concat``: input
            channels beside the noisy frame alone, so ``conv_in`` carries the mask and the tokens
            only the sector. ``both``: both.
        space_to_depth: pixels folded into channels at the input and unfolded at the output.
        patch: side in pixels of the patch that makes one mask token.
        channels: width of each level of the U-Net.
        heads: attention heads of each level (heads, not head size).
        attention: which levels attend to themselves and to the mask.
        layers_per_block: residual blocks per level.
        token_channels: width to which the U-Net projects a mask token.
        norm_groups: groups of every group norm; divides every width.
    """

    structures: tuple[str, ...] = CAMUS.structures
    image_size: int = 64
    conditioning: Conditioning = "both"
    space_to_depth: int = 2
    patch: int = 8
    channels: tuple[int, ...] = (64, 96, 128)
    heads: tuple[int, ...] = (1, 2, 4)
    attention: tuple[bool, ...] = (False, True, True)
    layers_per_block: int = 1
    token_channels: int = 128
    norm_groups: int = 32

    def __post_init__(self) -> None:
        LabelSpace("denoiser.structures", self.structures)
        if self.conditioning not in get_args(Conditioning):
            raise UserError(f"denoiser.conditioning: '{self.conditioning}'; use {', '.join(get_args(Conditioning))}")
        levels = len(self.channels)
        positive = (self.image_size, self.space_to_depth, self.patch, self.layers_per_block, self.token_channels)
        if not levels or min(*positive, self.norm_groups, *self.channels, *self.heads) < 1:
            raise UserError(
                "denoiser: there must be a level, and image_size, space_to_depth, patch, channels, heads, "
                "layers_per_block, token_channels and norm_groups must be 1 or more"
            )
        if len(self.heads) != levels or len(self.attention) != levels:
            raise UserError(
                f"denoiser: channels, heads and attention must name the same number of levels "
                f"(got {levels}, {len(self.heads)}, {len(self.attention)})"
            )
        stride = self.space_to_depth * 2 ** (levels - 1)
        if self.image_size % stride or self.image_size % self.patch:
            raise UserError(
                f"denoiser.image_size: {self.image_size} is not divisible by {stride} (space_to_depth and levels) "
                f"and by patch {self.patch}"
            )
        if any(c % self.norm_groups for c in self.channels):
            raise UserError(f"denoiser.norm_groups: {self.norm_groups} does not divide every width of {self.channels}")
        if any(c % h for c, h in zip(self.channels, self.heads, strict=True)):
            raise UserError(f"denoiser.heads: {self.heads} do not divide the widths {self.channels}")


def build_unet(config: DenoiserConfig) -> UNet2DConditionModel:
    """A freshly initialised U-Net of that shape; draws from torch's global random state."""
    condition_channels = len(config.structures) + 1
    input_channels = 1 if config.conditioning == "tokens" else 1 + condition_channels
    fold = config.space_to_depth**2
    return UNet2DConditionModel(
        sample_size=config.image_size // config.space_to_depth,
        in_channels=input_channels * fold,
        out_channels=fold,
        block_out_channels=config.channels,
        layers_per_block=config.layers_per_block,
        down_block_types=tuple("CrossAttnDownBlock2D" if a else "DownBlock2D" for a in config.attention),
        up_block_types=tuple("CrossAttnUpBlock2D" if a else "UpBlock2D" for a in reversed(config.attention)),
        attention_head_dim=config.heads,  # diffusers reads this as a number of heads
        cross_attention_dim=config.token_channels,
        encoder_hid_dim=token_width(condition_channels, config.patch),
        encoder_hid_dim_type="text_proj",
        num_class_embeds=len(PLANES),
        norm_num_groups=config.norm_groups,
    )


class Denoiser(nn.Module):
    """Predicts noise or velocity from a noisy frame and a condition.

    Attributes:
        config: the shape.
        unet: the network; a ``UNet2DConditionModel``, or peft's wrapper around it.
    """

    def __init__(self, config: DenoiserConfig, unet: nn.Module | None = None) -> None:
        super().__init__()
        self.config = config
        self.unet = build_unet(config) if unet is None else unet

    def forward(self, noisy: Tensor, timestep: Tensor, condition: Tensor, plane: Tensor) -> Tensor:
        """One evaluation of the network.

        Args:
            noisy: ``[B, 1, H, W]``.
            timestep: ``[B]`` integers.
            condition: ``[B, X + 1, H, W]`` from :func:`conditioning.encode_condition`.
            plane: ``[B]`` indices into :data:`anatomy.PLANES`.

        Returns:
            ``[B, 1, H, W]``.
        """
        config = self.config
        image = noisy if config.conditioning == "tokens" else torch.cat([noisy, condition], dim=1)
        shown = without_mask(condition) if config.conditioning == "concat" else condition
        output = self.unet(
            F.pixel_unshuffle(image, config.space_to_depth),
            timestep,
            encoder_hidden_states=mask_tokens(shown, config.patch),
            class_labels=plane,
        ).sample
        return F.pixel_shuffle(output, config.space_to_depth)
