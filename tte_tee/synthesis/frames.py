"""One batch of masks to one batch of frames: what previews, ``predict`` and ``synthesize`` share."""

import math
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from diffusers import DDPMScheduler
from torch import Tensor

from tte_tee.errors import UserError
from tte_tee.models.conditioning import encode_condition
from tte_tee.models.denoiser import Denoiser
from tte_tee.models.diffusion import (
    STEPS,
    TRAIN_STEPS,
    Sampler,
    generator_for,
    make_sampler,
    noise_schedule,
    sample,
)
from tte_tee.models.maskr2 import MaskR2

Precision = Literal["32", "bf16"]


@dataclass(frozen=True)
class Sampling:
    """How frames are drawn.

    Attributes:
        sampler: solver: ``sde-dpm++`` (DPM-Solver++ 2M with noise in every step), ``dpm++`` (the same without),
            ``ddim``, ``ddpm`` or ``unipc``.
        steps: of the solver; each evaluates the network once, a guided one twice (see ``guided_below``).
        guidance: classifier-free guidance on the mask; 1 leaves it out.
        guided_below: share of the time steps, counted from the clean end, in which guidance acts. In the noisiest ones
            the brightness of the frame is decided, and guidance would make all frames bright.
        seed: of every draw.
        precision: ``32``, or ``bf16``: the network computes in bfloat16, in little more than half the time; frames
            differ by more than the last bits then.

    Raises:
        UserError: a value is out of its range.
    """

    sampler: Sampler = "sde-dpm++"
    steps: int = STEPS
    guidance: float = 1.0
    guided_below: float = 0.8
    seed: int = 0
    precision: Precision = "32"

    def __post_init__(self) -> None:
        for name, value, kind in (("sampler", self.sampler, Sampler), ("precision", self.precision, Precision)):
            if value not in get_args(kind):
                raise UserError(f"sampling: {name} '{value}'; use {', '.join(get_args(kind))}")
        if not 1 <= self.steps <= TRAIN_STEPS:
            raise UserError(f"sampling: {self.steps} steps; use 1 to {TRAIN_STEPS}")
        if not math.isfinite(self.guidance):
            raise UserError(f"sampling: guidance {self.guidance}; use a finite number")
        if not 0 < self.guided_below <= 1:
            raise UserError(f"sampling: guided_below {self.guided_below}; a share above 0 and up to 1")
        if not 0 <= self.seed < 2**63:
            raise UserError(f"sampling: seed {self.seed}; use a whole number of 0 or more, below 2 ** 63")

    @property
    def evaluations(self) -> int:
        """Of the network per frame; two in a guided step."""
        times = make_sampler(self.sampler, noise_schedule(), self.steps).timesteps
        guided = self.guidance != 1.0
        return sum(1 + (guided and bool(time < self.guided_below * TRAIN_STEPS)) for time in times)


def draw_frames(
    denoiser: Denoiser,
    schedule: DDPMScheduler,
    maskr2: MaskR2,
    batch: dict[str, Tensor],
    keys: Sequence[str],
    sampling: Sampling,
) -> Tensor:
    """Draws a frame for every mask of a batch.

    Args:
        denoiser: base or adapted network.
        schedule: its forward process.
        maskr2: from the labels of the masks to the places of the base.
        batch: ``mask`` ``[B, H, W]``, ``sector`` ``[B, 1, H, W]``, ``plane`` ``[B]``.
        keys: one per frame; with the seed, they alone decide the noise.
        sampling: solver, steps, guidance, seed.

    Returns:
        uint8 ``[B, H, W]`` on the CPU, black outside the sector as packed frames are.

    Raises:
        UserError: the network gives what is no number.
    """
    with torch.no_grad():
        condition = encode_condition(maskr2(batch["mask"]), batch["sector"])
    half = torch.autocast(condition.device.type, torch.bfloat16) if sampling.precision == "bf16" else nullcontext()
    with half:
        frames = sample(
            denoiser,
            schedule,
            condition,
            batch["plane"],
            [generator_for("sample", sampling.seed, key) for key in keys],
            sampler=sampling.sampler,
            steps=sampling.steps,
            guidance=sampling.guidance,
            guided_below=sampling.guided_below,
        )
    if not frames.isfinite().all():
        raise UserError(
            f"sampling: with guidance {sampling.guidance:g} the network gives what is no number; "
            "use less guidance, or weights that are whole"
        )
    return frames.clamp(-1.0, 1.0).add(1.0).mul(127.5).mul(batch["sector"])[:, 0].round().to(torch.uint8).cpu()
