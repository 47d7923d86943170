"""What a training run left behind, read back; shared by the tests of training."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tte_tee.data.store import EchoStore

WEIGHTS = "unet/diffusion_pytorch_model.safetensors"
Tensors = dict[str, torch.Tensor]


def weights_of(run: Path) -> Tensors:
    """The exported weights and matrix of an adapter's run."""
    folder = run / "adapter"
    stored = load_file(folder / ("adapter_model.safetensors" if (folder / "adapter_config.json").exists() else WEIGHTS))
    return {**stored, "matrix": torch.tensor(json.loads((folder / "maskr2.json").read_text())["matrix"])}


def same(first: Tensors, second: Tensors) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


def checkpoint_of(run: Path, name: str = "last.ckpt") -> dict[str, Any]:
    return torch.load(run / "checkpoints" / name, weights_only=True)


def scalars_of(run: Path) -> dict[str, list[float]]:
    """What a run logged, its files in the order they were written.

    TensorBoard goes by their names, which tell the second they were begun, and then a process number: tests resume
    within a second.
    """
    with TemporaryDirectory() as folder:
        for number, path in enumerate(sorted(run.glob("events*"), key=lambda path: path.stat().st_mtime_ns)):
            (Path(folder) / f"events.out.tfevents.{number:03d}").symlink_to(path.resolve())
        events = EventAccumulator(folder).Reload()
        return {tag: [event.value for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def learnt_from(store: EchoStore) -> dict[str, object]:
    """What a record says of a tiny store: the test patients are no part of it."""
    return {
        "store": store.path.name,
        "hash": store.content_hash,
        "label_space": store.label_space.name,
        "licence": "CC0-1.0",
        "cohorts": ["none"],
        "learnt_from": {"train": {"patients": 4, "frames": 8}, "val": {"patients": 2, "frames": 4}},
    }


def equal_states(first: Any, second: Any) -> bool:
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(equal_states(first[key], second[key]) for key in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(equal_states, first, second))
    return first == second
