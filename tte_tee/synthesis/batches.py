"""Frames for a store's masks in batches of fixed composition, drawn by any number of processes into parts.

The list of frames is cut into batches first, and whole batches are dealt out: how many processes
share them changes no batch, and so no bit of a frame.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import default_collate

from tte_tee.data.datamodule import FrameDataset
from tte_tee.data.parts import Parts, write_arrays
from tte_tee.data.store import EchoStore
from tte_tee.data.workers import cores, in_order, rank
from tte_tee.errors import UserError
from tte_tee.models.folders import Adapter, load_adapter
from tte_tee.synthesis.frames import Sampling, draw_frames
from tte_tee.synthesis.shards import Shard

Batch = Sequence[tuple[int, int]]
"""(index of the mask's frame in its store, number of the sample) of each frame."""
Drawn = tuple[tuple[int, int], np.ndarray]
"""The same of one frame, and the frame, uint8 ``[H, W]``."""

DECIDES = ("tte_tee", "versions", "adapter", "masks", "sampling", "drawn")
"""What of a synthetic store's provenance decides its frames to the bit."""
_CODE = tuple(Path(__file__).parents[1] / room for room in ("models", "synthesis"))


_MOST_THREADS = 1024  # a machine may have fewer cores than the one whose frames are drawn again


@dataclass(frozen=True)
class Work:
    """How drawing is divided up, and where it is done.

    Attributes:
        batch_size: frames drawn at once.
        threads: CPU threads per process.
        device: torch device; ``cuda`` alone spreads processes and shards over the GPUs of a node.
        processes: that draw; None takes as many as fill the CPU cores, or one per GPU, or one for a shard.
        shard: draws a share of the batches, and leaves the store to a merge.
        merge: draws nothing; the store is written from what so many shards drew.

    Raises:
        UserError: a number is out of its range, or a shard is to merge.
    """

    batch_size: int = 16
    threads: int = 1
    device: str = "cpu"
    processes: int | None = None
    shard: Shard | None = None
    merge: int | None = None

    def __post_init__(self) -> None:
        for name in ("batch_size", "threads", "processes", "merge"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise UserError(f"--{name.replace('_', '-')} {value}: use 1 or more")
        if self.threads > _MOST_THREADS:
            raise UserError(f"--threads {self.threads}: use {_MOST_THREADS} at most")
        if self.shard and self.merge:
            raise UserError(f"--shard {self.shard} --merge {self.merge}: a shard draws, and a merge does not; give one")


@dataclass(frozen=True)
class Drawing:
    """What every process needs to know to draw.

    Attributes:
        adapter, base, masks: folder, folder of its base if that moved, and store.
        hashes: of adapter and masks, as they were when the work began.
        sampling: solver, steps, guidance, seed.
        work: how it is divided up.
        first_rank: number of the first of these processes among those of all shards.
    """

    adapter: Path
    base: str | None
    masks: Path
    hashes: tuple[str, str]
    sampling: Sampling
    work: Work
    first_rank: int = 0


def cut(indices: Sequence[int] | np.ndarray, samples_per_mask: int, batch_size: int) -> list[Batch]:
    """Batches of the frames to draw, mask by mask."""
    frames = [(int(index), sample) for index in indices for sample in range(samples_per_mask)]
    return [frames[start : start + batch_size] for start in range(0, len(frames), batch_size)]


def fingerprint(record: Mapping[str, Any]) -> str:
    """Changes with all of a provenance that decides frames, and with the code that draws; for :class:`Parts`."""
    decides = {**{name: record[name] for name in DECIDES}, "code": code_hash(_CODE)}
    text = json.dumps(decides, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def code_hash(folders: Sequence[Path]) -> str:
    """SHA-256 over names and text of all modules in those folders: a version says less while code is worked on."""
    digest = hashlib.sha256()
    for folder in folders:
        for path in sorted(folder.rglob("*.py")):
            digest.update(f"{folder.name}/{path.relative_to(folder).as_posix()}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def default_processes(device: str, threads: int, shard: Shard | None) -> int:
    """As many as fill the CPU cores, or one per GPU; one alone where a launcher starts the shards."""
    if shard is not None:
        return 1
    kind = torch.device(device)
    if kind.type == "cpu":
        return max(1, cores() // threads)
    return torch.cuda.device_count() if kind.type == "cuda" and kind.index is None else 1


def device_of(device: str, rank: int, gpus: int) -> str:
    """The device of one process: ``cuda`` alone spreads them over the GPUs of a node, any other name stays."""
    return f"cuda:{rank % gpus}" if device == "cuda" else device


def draw_batches(drawing: Drawing, batches: Sequence[Batch], parts: Parts) -> None:
    """Draws the batches, of a shard or all, that no part holds yet, each into its part, with a bar on stderr.

    Raises:
        UserError: a process died, adapter or masks changed meanwhile, memory or disk is too small.
    """
    work = drawing.work
    share = work.shard or Shard(0, 1)
    processes = work.processes or default_processes(work.device, work.threads, work.shard)
    drawing = replace(drawing, first_rank=share.number * processes)
    missing = [number for number in range(len(batches)) if share.has(number) and not parts.has(number)]
    jobs = [(drawing, batches[number], parts.path(number)) for number in missing]
    size = max(map(len, batches))
    try:
        workers = 0 if processes == 1 else processes
        for _ in in_order(_draw_batch, jobs, workers=workers, description=f"batches of {size} frames", progress=True):
            pass
    finally:
        _opened.cache_clear()


def drawn_frames(parts: Parts, batches: Sequence[Batch]) -> Iterator[Drawn]:
    """Every frame, in order."""
    for number, batch in enumerate(batches):
        with np.load(parts.path(number), allow_pickle=False) as arrays:
            yield from zip(batch, arrays["images"], strict=True)


def _draw_batch(drawing: Drawing, batch: Batch, path: Path) -> None:
    device = device_of(drawing.work.device, drawing.first_rank + rank(), torch.cuda.device_count())
    loaded, dataset = _opened(drawing, device)
    keys = dataset.store.table["key"]
    try:
        with repeatable(drawing.work.threads):
            frames = draw_frames(
                loaded.denoiser,
                loaded.schedule,
                loaded.maskr2,
                {k: v.to(device) for k, v in default_collate([dataset[index, 0] for index, _ in batch]).items()},
                [f"{keys[index]}#{sample}" for index, sample in batch],
                drawing.sampling,
            )
    except torch.OutOfMemoryError as error:
        raise UserError(f"--device {device}: has no memory for {len(batch)} frames; lower --batch-size") from error
    write_arrays(path, images=frames.numpy())


@lru_cache(maxsize=1)
def _opened(drawing: Drawing, device: str) -> tuple[Adapter, FrameDataset]:
    """Adapter on its device, and masks: once per process.

    Raises:
        UserError: they are others than when the work began.
    """
    loaded, store = load_adapter(drawing.adapter, drawing.base), EchoStore(drawing.masks)
    if (loaded.hash, store.content_hash) != drawing.hashes:
        raise UserError(f"{drawing.adapter}, {drawing.masks}: changed while frames were drawn; run the command again")
    loaded.denoiser.to(device)
    loaded.maskr2.to(device)
    return loaded, FrameDataset(store)


@contextmanager
def repeatable(threads: int) -> Iterator[None]:
    """So many CPU threads, and single precision in earnest: cuDNN would round convolutions to TF32."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
            yield
    finally:
        torch.set_num_threads(before)
