"""Processes of their own, and the memory that they take, libraries left out."""

from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from networks import trained, training_step
from ratios import synchronize

from tte_tee.anatomy import TEE
from tte_tee.data.store import EchoStore, FrameInfo, StoreWriter
from tte_tee.models.denoiser import DenoiserConfig


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


def fill_and_read(folder: Path, frames: int) -> float:
    """Writes a store of many small frames and reads some; MiB at the peak, of a process of its own."""
    before = resident("VmRSS")
    path, frame = folder / f"{frames}_frames.h5", np.zeros((3, 32, 32), np.uint8)
    frame[2] = 1
    with StoreWriter(path, TEE, licence="none", command="bench") as writer:
        for i in range(frames):
            name = f"patient{i // 20:05d}"
            info = FrameInfo(f"{name}/{i:06d}", name, "ME4C", "train", "acquired", mask_source="none")
            writer.append(*frame, info)
    store = EchoStore(path)
    for i in np.random.default_rng(0).integers(0, frames, 2000).tolist():
        store.frame(i)
    return resident("VmHWM") - before


def resident(name: str) -> float:
    """MiB, of what Linux says of this process (``VmRSS``, at most ``VmHWM``)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (kib,) = (line.split()[1] for line in lines if line.startswith(f"{name}:"))
    return float(kib) / 1024
