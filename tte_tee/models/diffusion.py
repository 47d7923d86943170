"""Noise schedule, training loss and sampling, on diffusers' schedulers.

Every draw is keyed by what it is for (seed, frame, how often that frame was drawn), never by
batch, rank or worker, so the same frame sees the same noise however the work is divided.
"""

import hashlib
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    UniPCMultistepScheduler,
)
from torch import Tensor

from tte_tee.models.conditioning import without_mask

Prediction = Literal["epsilon", "v_prediction"]
Sampler = Literal["sde-dpm++", "dpm++", "ddim", "ddpm", "unipc"]
STOCHASTIC = ("sde-dpm++", "ddpm")
"""Samplers that draw noise in every step; it mends what an early step got wrong, at the same cost."""

TRAIN_STEPS = 1000
STEPS = 12
"""Of a sampler, where nothing else is asked for."""
SOLVER_ORDER = 2
DECIDES = 4.0
"""log(signal / noise), of amplitudes, beyond which nothing of a frame is decided."""


def noise_schedule(prediction: Prediction = "v_prediction") -> DDPMScheduler:
    """The forward process: 1000 steps, cosine schedule (Nichol & Dhariwal 2021)."""
    return DDPMScheduler(
        num_train_timesteps=TRAIN_STEPS,
        beta_schedule="squaredcos_cap_v2",
        prediction_type=prediction,
        clip_sample=False,
    )


def generator_for(*key: int | str) -> torch.Generator:
    """A CPU generator that depends on the key alone."""
    digest = hashlib.blake2b("/".join(map(str, key)).encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)


def keyed_draws(
    key: tuple[str, int], frames: Tensor, draws: Tensor, shape: Sequence[int]
) -> tuple[Tensor, Tensor, Tensor]:
    """Time step, noise and a uniform number for each frame of a batch.

    Args:
        key: what the draws are for, and the seed.
        frames: ``[B]`` index of the frame in its store.
        draws: ``[B]`` how often that frame was drawn before.
        shape: of one frame, ``[1, H, W]``.

    Returns:
        ``[B]`` time steps, ``[B, *shape]`` standard normal noise, ``[B]`` uniform in [0, 1).
    """
    timesteps, noise, uniform = [], [], []
    for frame, draw in zip(frames.tolist(), draws.tolist(), strict=True):
        generator = generator_for(*key, frame, draw)
        timesteps.append(torch.randint(TRAIN_STEPS, (), generator=generator))
        uniform.append(torch.rand((), generator=generator))
        noise.append(torch.randn(*shape, generator=generator))
    return torch.stack(timesteps), torch.stack(noise), torch.stack(uniform)


def loss_weight(schedule: DDPMScheduler, timesteps: Tensor, gamma: float | None) -> Tensor:
    """``[B]`` weights of the squared error: min(SNR, gamma) over SNR (epsilon) or SNR + 1 (velocity).

    Without ``gamma`` all are 1. Of velocity, min-SNR leaves the noisiest steps almost nothing (.02 at step 900), and
    it is there that the brightness of a frame is decided.

    Source: Hang et al., "Efficient diffusion training via min-SNR weighting", ICCV 2023.
    """
    if gamma is None:
        return torch.ones_like(timesteps, dtype=torch.float32)
    signal = schedule.alphas_cumprod.to(timesteps.device)[timesteps]
    snr = signal / (1.0 - signal)
    divisor = snr if schedule.config.prediction_type == "epsilon" else snr + 1.0
    return snr.clamp(max=gamma) / divisor


def diffusion_loss(
    denoise: Callable[[Tensor, Tensor], Tensor],
    schedule: DDPMScheduler,
    image: Tensor,
    timesteps: Tensor,
    noise: Tensor,
    gamma: float | None,
) -> Tensor:
    """``[B]`` weighted squared error of the predicted noise or velocity.

    Args:
        denoise: (noisy ``[B, 1, H, W]``, time steps ``[B]``) -> prediction ``[B, 1, H, W]``.
        schedule: the forward process; says what is predicted.
        image: ``[B, 1, H, W]`` in [-1, 1].
        timesteps: ``[B]``.
        noise: ``[B, 1, H, W]`` standard normal.
        gamma: of :func:`loss_weight`.
    """
    noisy = schedule.add_noise(image, noise, timesteps)
    target = noise
    if schedule.config.prediction_type == "v_prediction":
        target = schedule.get_velocity(image, noise, timesteps)
    error = (denoise(noisy, timesteps).float() - target).square().mean(dim=(1, 2, 3))
    return loss_weight(schedule, timesteps, gamma) * error


def time_steps(schedule: DDPMScheduler, count: int) -> list[int]:
    """At most ``count`` time steps from the noisiest down, after that one even in log(signal / noise) from -4 to 4.

    Signal and noise are amplitudes.

    The brightness of a frame is a mean over thousands of pixels: it shows through noise that hides every one of
    them, and is decided in the noisiest tenth of the steps. Speckle is decided in the cleanest tenth. Even steps
    cross either in a stride or two, and frames come out alike and smooth. Of many steps some coincide; each is
    taken once.

    Source: log-SNR spacing as in Lu et al., "DPM-Solver", NeurIPS 2022, within the range that decides anything.
    """
    signal = schedule.alphas_cumprod
    ratio = (signal / (1.0 - signal)).log() / 2
    wanted = torch.linspace(-DECIDES, DECIDES, count + 1)[1:-1]
    return list(dict.fromkeys([TRAIN_STEPS - 1, *(int((ratio - value).abs().argmin()) for value in wanted)]))


def make_sampler(name: Sampler, schedule: DDPMScheduler, steps: int) -> DDPMScheduler:
    """The diffusers scheduler of that name on the same forward process, set to so many steps.

    ``dpm++`` is DPM-Solver++ 2M (Lu et al. 2022), ``sde-dpm++`` the same with noise in every step, both at
    :func:`time_steps`; ``unipc`` is UniPC (Zhao et al. 2023). The others' steps are spaced evenly from the last one
    down ("trailing", Lin et al. 2024): the start is pure noise, so the first step must be the one that was trained
    on almost pure noise.
    """
    if name in ("dpm++", "sde-dpm++"):
        algorithm = name.replace("dpm", "dpmsolver")
        solver = DPMSolverMultistepScheduler.from_config(
            schedule.config, algorithm_type=algorithm, solver_order=SOLVER_ORDER
        )
        solver.set_timesteps(timesteps=time_steps(schedule, steps))
        return solver
    kinds = {"unipc": UniPCMultistepScheduler, "ddim": DDIMScheduler, "ddpm": DDPMScheduler}
    # As an option of its own: diffusers drops what a config holds by default, whatever its value was changed to.
    solver = kinds[name].from_config(schedule.config, timestep_spacing="trailing")
    solver.set_timesteps(steps)
    return solver


@torch.no_grad()
def sample(
    denoiser: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor],
    schedule: DDPMScheduler,
    condition: Tensor,
    plane: Tensor,
    generators: Sequence[torch.Generator],
    *,
    sampler: Sampler,
    steps: int,
    guidance: float,
    guided_below: float,
) -> Tensor:
    """Draws one frame per condition.

    Args:
        denoiser: as :class:`models.denoiser.Denoiser`.
        schedule: the forward process that the denoiser was trained on.
        condition: ``[B, X + 1, H, W]``.
        plane: ``[B]``.
        generators: one per frame; start noise and, of :data:`STOCHASTIC` samplers, the noise of every step.
        sampler: solver.
        steps: evaluations of the network (each of twice the batch when guided).
        guidance: classifier-free guidance (Ho & Salimans 2022); 1 leaves it out.
        guided_below: share of the time steps, counted from the clean end, in which it acts (Kynkaanniemi et al.,
            "Applying guidance in a limited interval", NeurIPS 2024).

    Returns:
        ``[B, 1, H, W]`` as the last step leaves it: of a frame in [-1, 1], a little beyond in places.
    """
    solver = make_sampler(sampler, schedule, steps)
    shape = (1, *condition.shape[-2:])
    frame = torch.stack([torch.randn(*shape, generator=g) for g in generators]).to(condition.device)
    frame = frame * solver.init_noise_sigma
    null = without_mask(condition)
    stochastic = {"generator": list(generators)} if sampler in STOCHASTIC else {}
    for timestep in solver.timesteps:
        t = timestep.to(condition.device).expand(len(frame))
        noisy = solver.scale_model_input(frame, timestep)
        if guidance == 1.0 or timestep >= guided_below * TRAIN_STEPS:
            prediction = denoiser(noisy, t, condition, plane)
        else:
            both = denoiser(
                torch.cat([noisy, noisy]), torch.cat([t, t]), torch.cat([condition, null]), torch.cat([plane, plane])
            )
            with_mask, without = both.chunk(2)
            prediction = without + guidance * (with_mask - without)
        frame = solver.step(prediction.float(), timestep, frame, **stochastic).prev_sample
    return frame
