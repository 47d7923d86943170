"""What the parts measure: the compact network, an adapter, batches, a training step, and its peak memory."""

import copy
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import lightning as L
import torch
from diffusers import DDPMScheduler
from lightning.pytorch.callbacks import Callback
from ratios import Options, synchronize
from torch import Tensor

from tte_tee.anatomy import CAMUS, PLANES, TEE, solve
from tte_tee.models.adapters import add_lora
from tte_tee.models.conditioning import encode_condition
from tte_tee.models.denoiser import Denoiser, DenoiserConfig
from tte_tee.models.diffusion import TRAIN_STEPS, diffusion_loss, noise_schedule
from tte_tee.models.folders import SHIPPED, load_base, save_base
from tte_tee.models.maskr2 import MaskR2
from tte_tee.synthesis.batches import repeatable
from tte_tee.synthesis.frames import Sampling, draw_frames

LORA_MLP = ("cross_attention", "feed_forward", "time_embedding")
RANK = 4
USUAL = Sampling(steps=10, guidance=2.0)
"""Ten steps of sde-dpm++, guided."""
TINY = DenoiserConfig(
    image_size=16, channels=(8, 16), heads=(1, 2), attention=(False, True), patch=4, token_channels=8, norm_groups=4
)


def shape(options: Options, image_size: int | None = None) -> DenoiserConfig:
    """The compact network, or where it is to be quick a tiny one."""
    config = options.pick(DenoiserConfig(), TINY)
    return replace(config, image_size=image_size or config.image_size)


@dataclass
class Drawer:
    """An adapter of the compact base that has not learnt anything yet, which costs what a trained one costs."""

    denoiser: Denoiser
    schedule: DDPMScheduler
    maskr2: MaskR2

    def merged(self) -> "Drawer":
        """The same with its LoRA merged into the base's weights."""
        denoiser = copy.deepcopy(self.denoiser)
        denoiser.unet = denoiser.unet.merge_and_unload()
        return replace(self, denoiser=denoiser)

    def draw(self, frames: int, sampling: Sampling) -> Tensor:
        """Frames for random masks, as ``synthesize`` draws a batch."""
        matrix, side = self.maskr2.matrix, self.denoiser.config.image_size
        batch = {
            "mask": torch.randint(0, len(TEE.structures) + 1, (frames, side, side)),
            "sector": torch.ones(frames, 1, side, side),
            "plane": torch.arange(frames) % len(PLANES),
        }
        batch = {name: values.to(matrix.device) for name, values in batch.items()}
        keys = [str(number) for number in range(frames)]
        with repeatable(torch.get_num_threads()):
            return draw_frames(self.denoiser, self.schedule, self.maskr2, batch, keys, sampling)


def drawer(options: Options, image_size: int | None = None) -> Drawer:
    """LoRA of scope ``lora_mlp`` on the shipped base, or, of another size, on random weights."""
    config = shape(options, image_size)
    shipped = config == DenoiserConfig()
    denoiser, schedule = Denoiser(config), noise_schedule()
    if shipped:
        base = load_base(SHIPPED)
        denoiser, schedule = base.denoiser, base.schedule
    denoiser.unet = add_lora(denoiser.unet, LORA_MLP, rank=RANK, alpha=RANK)
    maskr2 = MaskR2(solve(CAMUS.structures, TEE.structures))
    return Drawer(denoiser.to(options.device).eval(), schedule, maskr2.to(options.device))


def base_in(options: Options, folder: Path) -> str:
    """Name of the shipped base, or where it is to be quick of a tiny one that is written into ``folder``."""
    if not options.quick:
        return SHIPPED
    save_base(folder / "base", Denoiser(TINY), noise_schedule(), {"made": "for the bench"}, half=False)
    return str(folder / "base")


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


def fresh_process(work: Callable[..., Any], *words: Any) -> Any:
    """``work(*words)`` in a new process, into which nothing comes from this one; both must pickle."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(work, *words).result()


def step_memory(config: DenoiserConfig, scope: Sequence[str], frames: int, device: str) -> float:
    """MiB that training takes at its peak (weights, gradients, optimiser, activations), libraries left out."""
    if torch.device(device).type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before, peak = 0.0, lambda: torch.cuda.max_memory_allocated(device) / 2**20
    else:
        # Not ru_maxrss: that goes on from the peak of the process that started this one.
        before, peak = resident("VmRSS"), partial(resident, "VmHWM")
    step = training_step(trained(config, scope, device), frames, device)
    for _ in range(3):
        step()
    synchronize(device)
    return peak() - before


def resident(name: str) -> float:
    """MiB, of what Linux says of this process (``VmRSS``, at most ``VmHWM``)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (kib,) = (line.split()[1] for line in lines if line.startswith(f"{name}:"))
    return float(kib) / 1024


class Clock(Callback):
    """Logs the seconds per step of a fit, without the first few; what is logged comes back from other ranks."""

    NAME = "seconds_a_step"

    def __init__(self, device: str, first: int) -> None:
        self.device, self.first = device, first

    def on_train_batch_start(self, trainer: L.Trainer, *_: Any) -> None:
        if trainer.global_step == self.first:
            synchronize(self.device)
            self._start = time.perf_counter()

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        if trainer.global_step == trainer.max_steps:
            synchronize(self.device)
            took = (time.perf_counter() - self._start) / (trainer.max_steps - self.first)
            pl_module.log(self.NAME, took, batch_size=1)


def fit_seconds(
    module: L.LightningModule, data: Any, device: str, steps: int, *callbacks: Callback, **trainer: Any
) -> float:
    """Seconds per step of a fit on a data module or loader, without logs, checkpoints and validation."""
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    silent = {"enable_model_summary": False, "limit_val_batches": 0, "accelerator": torch.device(device).type}
    clock = Clock(device, steps // 5)
    runner = L.Trainer(max_steps=steps, callbacks=[*callbacks, clock], **{"devices": 1, **quiet, **silent, **trainer})
    runner.fit(module, **{"datamodule" if isinstance(data, L.LightningDataModule) else "train_dataloaders": data})
    return float(runner.callback_metrics[Clock.NAME])
