"""How long a user waits: command line, phantom, loading and one step of the main job.

    python experiments/bench/speed.py [--out FILE.json]

Times are medians of repeated runs on an otherwise idle machine; the share that a training step
waits for data is a ratio of two of them and so survives a slower machine.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from torch.utils.data import default_collate

from tte_tee.data.datamodule import FrameDataset
from tte_tee.data.mixing import FrameStream
from tte_tee.data.phantom import PhantomSpec, write_phantom
from tte_tee.data.store import EchoStore
from tte_tee.models.adapters import GROUPS, add_lora
from tte_tee.models.conditioning import encode_condition
from tte_tee.models.denoiser import Denoiser, DenoiserConfig
from tte_tee.models.diffusion import diffusion_loss, keyed_draws, noise_schedule
from tte_tee.synthesis.provenance import provenance

BATCH = 16
LORA_MLP = ("cross_attention", "feed_forward", "time_embedding")


def median_seconds(work: Callable[[], object], repeats: int) -> float:
    """Median wall time of ``work`` after one warm-up."""
    work()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def help_seconds() -> float:
    """``python -m tte_tee --help`` as a process."""
    command = [sys.executable, "-m", "tte_tee", "--help"]
    return median_seconds(lambda: subprocess.run(command, check=True, capture_output=True), 5)


def phantom_frames_per_second(folder: Path) -> float:
    """Both domains, 20 hearts each, store included."""

    def make() -> None:
        for domain in ("tte", "tee"):
            write_phantom(PhantomSpec(domain=domain, patients=20, seed=0), folder / f"{domain}.h5")

    return 160 / median_seconds(make, 3)


def loading_seconds(store: EchoStore) -> float:
    """One batch: read, convert, collate, draw its noise."""
    data = FrameDataset(store)
    stream = iter(FrameStream(store.indices(), seed=0, batch_size=BATCH, steps=10**6))

    def load() -> None:
        batch = default_collate([data[key] for key in islice(stream, BATCH)])
        keyed_draws(("train", 0), batch["frame"], batch["draw"], batch["image"].shape[1:])

    return median_seconds(load, 30)


def step_seconds(scope: tuple[str, ...]) -> float:
    """One optimiser step of the compact base with LoRA on ``scope``; all weights when it is empty."""
    denoiser = Denoiser(DenoiserConfig())
    if scope:
        denoiser.unet = add_lora(denoiser.unet, scope, rank=4, alpha=4)
    optimizer = torch.optim.AdamW([p for p in denoiser.parameters() if p.requires_grad], 1e-4)
    schedule, plane = noise_schedule(), torch.zeros(BATCH, dtype=torch.long)
    image, structures = torch.zeros(BATCH, 1, 64, 64), torch.zeros(BATCH, 3, 64, 64)
    condition = encode_condition(structures, torch.ones(BATCH, 1, 64, 64))
    timesteps, noise, _ = keyed_draws(("bench", 0), torch.arange(BATCH), torch.zeros(BATCH).long(), (1, 64, 64))

    def step() -> None:
        optimizer.zero_grad()
        loss = diffusion_loss(
            lambda noisy, t: denoiser(noisy, t, condition, plane), schedule, image, timesteps, noise, 5.0
        )
        loss.mean().backward()
        optimizer.step()

    return median_seconds(step, 7)


def main() -> None:
    """Measures, prints and, where asked for, writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="JSON to write")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        figures = {"help_s": help_seconds(), "phantom_frames_per_s": phantom_frames_per_second(folder)}
        figures["load_batch_s"] = loading_seconds(EchoStore(folder / "tee.h5"))
    figures["lora_mlp_step_s"] = step_seconds(LORA_MLP)
    figures["lora_full_step_s"] = step_seconds(GROUPS)
    figures["full_step_s"] = step_seconds(())
    figures["waiting_share"] = figures["load_batch_s"] / (figures["load_batch_s"] + figures["lora_mlp_step_s"])
    figures["lora_mlp_over_full_step"] = figures["lora_mlp_step_s"] / figures["full_step_s"]

    table = Table("what", "figure")
    for key, value in figures.items():
        table.add_row(key, f"{value:.4g}")
    Console().print(table)
    if options.out:
        machine = {"threads": torch.get_num_threads(), "cpus": os.cpu_count()}
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps({**provenance(), **machine, "figures": figures}, indent=2) + "\n")


if __name__ == "__main__":
    main()
