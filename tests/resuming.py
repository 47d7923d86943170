"""Runs of ``fit`` that are struck by signals, refused or compared; shared by the tests of resuming."""

import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from trained import equal_states, scalars_of

from tte_tee.tasks.task import Task

DDP = ("--trainer.devices=2", "--trainer.strategy=ddp_fork", "--data.batch_size=2")
AUTO = "--resume=auto"


def ended(run: Callable[[], Any], *, by: int, at: int, rank: int = 0, times: int = 1) -> int | None:
    """Exit status of a run, in a process of its own, that gets a signal in the middle of a step."""

    def strike(self: Task, optimizer: Any) -> None:
        if (self.trainer.global_step, self.global_rank) == (at, rank):
            for _ in range(times):
                os.kill(os.getpid(), by)

    def target() -> None:
        Task.on_before_optimizer_step = strike  # type: ignore[method-assign]
        run()

    return status_of(target)


def status_of(target: Callable[[], Any]) -> int | None:
    """Exit status of what is done in a process of its own."""
    process = multiprocessing.get_context("fork").Process(target=target)
    process.start()
    process.join(120)
    assert not process.is_alive()
    return process.exitcode


def state_of(run: Path) -> dict[str, Any]:
    """Everything that two runs may be told apart by, but times and paths."""
    held = torch.load(run / "checkpoints/last.ckpt", weights_only=True)
    keys = ("state_dict", "optimizer_states", "lr_schedulers", "global_step", "loops", "best")
    (product,) = (path for name in ("base", "adapter", "segmenter") for path in run.rglob(f"{name}/**/*.safetensors"))
    return {
        **{key: held[key] for key in keys if key in held},
        "ema": held["callbacks"]["EMA"],
        "product": load_file(product),
        "curve": scalars_of(run),
    }


def kept(run: Path) -> set[int]:
    """Steps of the checkpoints of a run, whose folder holds nothing else."""
    names = {path.name for path in (run / "checkpoints").iterdir()}
    steps = {int(name[5:-5]) for name in names if name.endswith("ckpt") and name != "last.ckpt"}
    assert names == {"last.ckpt", *(f"step={step}.ckpt{end}" for step in steps for end in ("", ".sha256"))}
    return steps


def assert_same(run: Path, other: Path) -> None:
    first, second = state_of(run), state_of(other)
    assert first.keys() == second.keys()
    for key in first:
        assert equal_states(first[key], second[key]), key


def mistake(run: Callable[[], Any], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that a run ends with."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        run()
    assert stop.value.code == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("tte_tee fit: ")]
    return line
