"""Which layers LoRA touches: groups that partition the network, and scopes made of them.

The paper (arXiv 2508.13077) names four kinds of layers. Here they are five groups that are
disjoint and together hold every Linear and Conv2d of the U-Net:

=================== ================================================== =====================
group               layers                                             in the paper
=================== ================================================== =====================
``cross_attention`` what the mask enters by: ``attn2``, the            CA
                    projection of the mask tokens, and ``conv_in``
                    where the mask stands beside the noisy frame
``self_attention``  ``attn1``                                          SA
``feed_forward``    ``ff`` of every transformer block                  Linear
``time_embedding``  ``time_embedding``, every ``time_emb_proj``        Linear
``convolution``     every other Conv2d, with the 1x1 ``proj_in``/      Conv
                    ``proj_out`` around the transformer blocks
=================== ================================================== =====================

The paper does not say how the mask enters, only that cross-attention carries it. A scope that could not
relearn a mask where it enters could not repurpose a structure's place there.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from diffusers import UNet2DConditionModel
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn

from tte_tee.errors import UserError

GROUPS = ("cross_attention", "self_attention", "feed_forward", "time_embedding", "convolution")


def group_of(name: str, module: nn.Module, *, mask_in_image: bool) -> str:
    """The group of one Linear or Conv2d, by its place in diffusers' U-Net.

    Args:
        name: of the layer.
        module: the layer.
        mask_in_image: ``conv_in`` sees the mask, see :func:`sees_mask_in_image`.

    Raises:
        ValueError: the layer belongs to no group (a U-Net this table does not know).
    """
    if ".attn2." in name or name.startswith("encoder_hid_proj") or (mask_in_image and name == "conv_in"):
        return "cross_attention"
    if ".attn1." in name:
        return "self_attention"
    if ".ff.net." in name:
        return "feed_forward"
    if name.startswith("time_embedding.") or name.endswith(".time_emb_proj"):
        return "time_embedding"
    if isinstance(module, nn.Conv2d):
        return "convolution"
    raise ValueError(f"layer {name} belongs to no group of {GROUPS}")


def sees_mask_in_image(unet: nn.Module) -> bool:
    """Whether the mask stands beside the noisy frame: then more channels come in than go out."""
    config = plain_unet(unet).config
    return bool(config.in_channels > config.out_channels)


def partition(unet: nn.Module) -> dict[str, list[str]]:
    """Names of all Linear and Conv2d layers of a plain U-Net, by group."""
    groups: dict[str, list[str]] = {group: [] for group in GROUPS}
    mask_in_image = sees_mask_in_image(unet)
    for name, module in unet.named_modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            groups[group_of(name, module, mask_in_image=mask_in_image)].append(name)
    return groups


def check_scope(scope: Sequence[str]) -> None:
    """Refuses an empty scope, an unknown group and one that stands twice.

    Raises:
        UserError: naming the group and the known ones.
    """
    unknown = [group for group in scope if group not in GROUPS]
    if not scope:
        raise UserError(f"model.scope: is empty, so nothing would be trained; name groups of {', '.join(GROUPS)}")
    if unknown:
        raise UserError(f"model.scope: {', '.join(unknown)} is no group of layers; known: {', '.join(GROUPS)}")
    if len(set(scope)) != len(scope):
        raise UserError(f"model.scope: {', '.join(scope)}; name each group once")


def add_lora(unet: nn.Module, scope: Sequence[str], *, rank: int, alpha: int) -> PeftModel:
    """Freezes the U-Net and adds LoRA (Hu et al. 2021) to every layer of the groups in ``scope``.

    The scale of the update is ``alpha / rank``. At the start the update is zero, so the
    network computes what the base computes.

    Raises:
        UserError: an unknown group.
    """
    check_scope(scope)
    groups = partition(unet)
    targets = [name for group in scope for name in groups[group]]
    adapted = get_peft_model(unet, LoraConfig(r=rank, lora_alpha=alpha, target_modules=targets, bias="none"))
    matched = {name for name, module in plain_unet(adapted).named_modules() if hasattr(module, "lora_A")}
    if matched != set(targets):
        raise RuntimeError(f"peft adapted {sorted(matched ^ set(targets))} against the scope {list(scope)}")
    return adapted


def plain_unet(unet: nn.Module) -> UNet2DConditionModel:
    """The diffusers U-Net inside peft's wrapper, or the U-Net itself."""
    return cast(UNet2DConditionModel, unet.get_base_model() if isinstance(unet, PeftModel) else unet)


def merge_lora(unet: nn.Module) -> UNet2DConditionModel:
    """The plain U-Net with its LoRA, if it has any, in its weights: the same function, rounding aside, for less.

    The network that is given is of no use afterwards.
    """
    return cast(UNet2DConditionModel, unet.merge_and_unload() if isinstance(unet, PeftModel) else unet)


@dataclass
class GroupRow:
    """What a run does to one group of layers.

    Attributes:
        group: its name.
        layers: Linear and Conv2d layers in it.
        trained: how many of them have something to train.
        parameters: of the base.
        trainable: parameters that are trained, those of the base or those added to it.
        share: trainable over all parameters of the network, base and added.
    """

    group: str
    layers: int = 0
    trained: int = 0
    parameters: int = 0
    trainable: int = 0
    share: float = 0.0


def parameter_table(unet: nn.Module) -> list[GroupRow]:
    """A row per group, then ``other`` (norms and the embedding of the plane) and ``total``."""
    rows = {group: GroupRow(group) for group in (*GROUPS, "other")}
    mask_in_image = sees_mask_in_image(unet)
    for name, module in plain_unet(unet).named_modules():
        if ".base_layer" in name or ".lora_" in name:
            continue  # parts of a layer that was counted under its own name
        layer = getattr(module, "base_layer", module)
        if isinstance(layer, nn.Linear | nn.Conv2d):
            row, own = rows[group_of(name, layer, mask_in_image=mask_in_image)], list(module.parameters())
            row.layers += 1
            row.trained += any(p.requires_grad for p in own)
        else:
            row, own = rows["other"], list(module.parameters(recurse=False))
        row.parameters += sum(p.numel() for p in layer.parameters(recurse=False))
        row.trainable += sum(p.numel() for p in own if p.requires_grad)
    table = [*rows.values()]
    counts = ("layers", "trained", "parameters", "trainable")
    table.append(GroupRow("total", *(sum(getattr(row, count) for row in table) for count in counts)))
    everything = sum(p.numel() for p in unet.parameters())
    for row in table:
        row.share = row.trainable / everything
    return table
