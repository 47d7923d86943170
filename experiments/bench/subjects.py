"""What several parts measure: an adapter that draws, and a fit by the clock."""

import logging
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import torch
from diffusers import DDPMScheduler
from lightning.pytorch.callbacks import Callback
from networks import LORA_MLP, RANK, TINY, shape
from ratios import Options, synchronize
from torch import Tensor

from tte_tee.anatomy import CAMUS, PLANES, TEE, solve
from tte_tee.models.adapters import add_lora, merge_lora
from tte_tee.models.denoiser import Denoiser, DenoiserConfig
from tte_tee.models.diffusion import noise_schedule
from tte_tee.models.folders import SHIPPED, load_base, save_base
from tte_tee.models.maskr2 import MaskR2
from tte_tee.synthesis.batches import repeatable
from tte_tee.synthesis.frames import Sampling, draw_frames

USUAL = Sampling(steps=12, guidance=2.0, guided_below=0.6)
"""Twelve steps of sde-dpm++, guided in the last 60 % of the time steps: what the grids draw with."""


@dataclass
class Drawer:
    """An adapter of the compact base that has not learnt anything yet, which costs what a trained one costs."""

    denoiser: Denoiser
    schedule: DDPMScheduler
    maskr2: MaskR2

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


def drawer(options: Options, image_size: int | None = None, *, merged: bool = True) -> Drawer:
    """LoRA of scope ``lora_mlp`` on the shipped base, or, of another size, on random weights.

    ``merged``: in the weights of the base, as adapters are read.
    """
    config = shape(options, image_size)
    if config == DenoiserConfig():
        base = load_base(SHIPPED)
        denoiser, schedule = base.denoiser, base.schedule
    else:
        denoiser, schedule = Denoiser(config), noise_schedule()
    adapted = add_lora(denoiser.unet, LORA_MLP, rank=RANK, alpha=RANK)
    denoiser.unet = merge_lora(adapted) if merged else adapted
    maskr2 = MaskR2(solve(CAMUS.structures, TEE.structures))
    return Drawer(denoiser.to(options.device).eval(), schedule, maskr2.to(options.device))


def base_in(options: Options, folder: Path) -> str:
    """Name of the shipped base, or where it is to be quick of a tiny one that is written into ``folder``."""
    if not options.quick:
        return SHIPPED
    save_base(folder / "base", Denoiser(TINY), noise_schedule(), {"made": "for the bench"}, half=False)
    return str(folder / "base")


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
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    clock = Clock(device, steps // 5)
    runner = L.Trainer(max_steps=steps, callbacks=[*callbacks, clock], **{"devices": 1, **quiet, **silent, **trainer})
    with warnings.catch_warnings(action="ignore"):
        runner.fit(module, **{"datamodule" if isinstance(data, L.LightningDataModule) else "train_dataloaders": data})
    return float(runner.callback_metrics[Clock.NAME])
