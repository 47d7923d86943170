"""The networks that the parts measure, and a training step of one."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from ratios import Options
from torch import Tensor

from tte_tee.anatomy import PLANES
from tte_tee.models.adapters import add_lora
from tte_tee.models.conditioning import encode_condition
from tte_tee.models.denoiser import Denoiser, DenoiserConfig
from tte_tee.models.diffusion import TRAIN_STEPS, diffusion_loss, noise_schedule

LORA_MLP = ("cross_attention", "feed_forward", "time_embedding")
RANK = 4
TINY = DenoiserConfig(
    image_size=16, channels=(8, 16), heads=(1, 2), attention=(False, True), patch=4, token_channels=8, norm_groups=4
)


def shape(options: Options, image_size: int | None = None) -> DenoiserConfig:
    """The compact network, or where it is to be quick a tiny one."""
    config = options.pick(DenoiserConfig(), TINY)
    return replace(config, image_size=image_size or config.image_size)


def trained(config: DenoiserConfig, scope: Sequence[str], device: str) -> Denoiser:
    """A network to train by LoRA on ``scope``; by all its weights where that is empty."""
    denoiser = Denoiser(config)
    if scope:
        denoiser.unet = add_lora(denoiser.unet, scope, rank=RANK, alpha=RANK)
    return denoiser.to(device).train()


def loss_of(denoiser: Denoiser, frames: int, device: str, *, input_gradient: bool = False) -> Callable[[], Tensor]:
    """The loss of a fixed batch; ``input_gradient`` asks for the gradient of the images as well."""
    side, channels = denoiser.config.image_size, len(denoiser.config.structures)
    image = torch.rand(frames, 1, side, side, device=device).requires_grad_(input_gradient)
    mask = (torch.rand(frames, channels, side, side, device=device) > 0.8).float()
    condition = encode_condition(mask, torch.ones(frames, 1, side, side, device=device))
    plane = torch.arange(frames, device=device) % len(PLANES)
    timesteps, noise = torch.arange(frames, device=device) * 37 % TRAIN_STEPS, torch.randn_like(image)
    schedule = noise_schedule()

    def denoise(noisy: Tensor, t: Tensor) -> Tensor:
        return denoiser(noisy, t, condition, plane)

    return lambda: diffusion_loss(denoise, schedule, image, timesteps, noise, None).mean()


def training_step(denoiser: Denoiser, frames: int, device: str) -> Callable[[], None]:
    """Forward, backward and AdamW on what is to be trained, of one batch."""
    optimizer = torch.optim.AdamW([p for p in denoiser.parameters() if p.requires_grad], 1e-4)
    loss = loss_of(denoiser, frames, device)

    def step() -> None:
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()

    return step
