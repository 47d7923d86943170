"""How cost grows. An optimiser step of lora_mlp (rank 4) on frames of 96, 128 and 224 pixels against 64, in batches of
4, and in batches of 16 and 64 against 4 at 64 pixels, all per frame. Then what a second process brings, one thread
each: `synthesize` of the same masks by two processes (their start included) against one, and `fit` with the batch of 16
divided over two ranks against one rank. Two cores at best halve what is measured.
"""

import os
import tempfile
from functools import partial
from pathlib import Path

import torch
from memory import fresh_process
from networks import LORA_MLP, RANK, shape, trained, training_step
from ratios import Options, Reading, Row, all_against, interleaved, row, seconds
from subjects import USUAL, base_in, fit_seconds

from tte_tee.anatomy import TEE, solve
from tte_tee.data.datamodule import EchoDataModule
from tte_tee.data.phantom import PhantomSpec, write_phantom
from tte_tee.models.adapters import add_lora
from tte_tee.models.folders import load_base, save_adapter
from tte_tee.models.maskr2 import MaskR2
from tte_tee.synthesis.batches import Work
from tte_tee.synthesis.generate import synthesize
from tte_tee.tasks.adapter import TEEAdapter


def measure(options: Options) -> list[Row]:
    """Sizes, batches, processes."""
    small, *_ = sides = options.pick((64, 96, 128, 224), (16, 32))
    few, *_ = batches = options.pick((4, 16, 64), (2, 4))
    by_side = {f"{side}x{side}": per_frame(options, side, few) for side in sides}
    rows = all_against(interleaved(by_side, options.few), f"{small}x{small}", "s a frame")
    by_batch = {f"batches of {size}": per_frame(options, small, size) for size in batches}
    rows += all_against(interleaved(by_batch, options.few), f"batches of {few}", "s a frame")
    with tempfile.TemporaryDirectory() as name:
        return rows + process_rows(options, Path(name))


def per_frame(options: Options, side: int, frames: int) -> Reading:
    """A step of training, over the frames of its batch."""
    step = training_step(trained(shape(options, side), LORA_MLP, options.device), frames, options.device)
    return seconds(step, options.device, frames)


def process_rows(options: Options, folder: Path) -> list[Row]:
    """One process against two; ranks need a device each."""
    masks = folder / "masks.h5"
    write_phantom(PhantomSpec("tee", options.pick(16, 8), size=shape(options).image_size), masks)
    base = base_in(options, folder)
    adapter = write_adapter(base, folder / "adapter")

    def draw(processes: int) -> None:
        synthesize(
            adapter,
            masks,
            folder / "drawn.h5",
            sampling=USUAL,
            gain="drawn",  # the adapter has seen no frame
            work=Work(options.pick(8, 4), device=options.device, processes=processes),
        )

    rivals = {f"synthesize, {count} processes": seconds(partial(draw, count)) for count in (2, 1)}
    rows = [row(interleaved(rivals, options.pick(3, 2), warm_up=False), *rivals)]
    if torch.device(options.device).type == "cpu" or torch.cuda.device_count() > 1:
        ranks = {f"fit, {n} ranks": partial(fresh_process, fit_with_ranks, options, masks, base, n) for n in (2, 1)}
        rows.append(row(interleaved(ranks, options.pick(3, 2), warm_up=False), *ranks, "s a step"))
    return rows


def write_adapter(base: str, folder: Path) -> Path:
    """An adapter of that base that has learnt nothing."""
    loaded = load_base(base)
    loaded.denoiser.unet = add_lora(loaded.denoiser.unet, LORA_MLP, rank=RANK, alpha=RANK)
    rule = MaskR2(solve(loaded.denoiser.config.structures, TEE.structures))
    save_adapter(folder, loaded.denoiser, rule, "lora", TEE, {"base": base, "base_hash": loaded.hash})
    return folder


def fit_with_ranks(options: Options, store: Path, base: str, ranks: int) -> float:
    """Seconds per step with a global batch that is divided over the ranks; runs in a process of its own."""
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
    size, steps = options.pick((16, 20), (4, 5))
    module = TEEAdapter(base, scope=LORA_MLP, rank=RANK)
    data = EchoDataModule(str(store), batch_size=size // ranks)
    # A forked rank takes its thread along; a GPU's context cannot be forked.
    strategy = "ddp_fork" if torch.device(options.device).type == "cpu" else "ddp_spawn"
    return fit_seconds(module, data, options.device, steps, devices=ranks, strategy=strategy if ranks > 1 else "auto")
