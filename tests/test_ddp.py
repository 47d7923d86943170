"""Two processes are one: the same curves, scores and predictions, no hang over uneven data, no rank left behind."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import OFTEN, Train, write_store
from resuming import AUTO, assert_same
from trained import scalars_of

from tte_tee.anatomy import CAMUS, TEE, LabelSpace
from tte_tee.data.store import EchoStore, StoreWriter

TWO = ("--trainer.devices=2", "--trainer.strategy=ddp_fork", "--data.batch_size=2")
# Adam turns a gradient near zero, whose sign is rounding, into a whole step: so small ones.
COMMON = ("--model.learning_rate=0.0005", "--trainer.max_steps=4", "--trainer.val_check_interval=2")


def write_few(path: Path, space: LabelSpace, counts: dict[str, int]) -> Path:
    """A store of so many frames in each split."""
    whole = EchoStore(write_store(path.with_name("whole.h5"), space, patients=dict.fromkeys(counts, 3)))
    with StoreWriter(path, space, licence="CC0-1.0", command="test") as writer:
        for split, count in counts.items():
            for index in whole.indices(split=split)[:count].tolist():
                writer.append(*whole.frame(index), whole.info(index))
    return path


def approximately(curves: dict[str, list[float]]) -> Any:
    return {name: pytest.approx(curve, rel=2e-3, abs=1e-5) for name, curve in curves.items()}


@pytest.mark.parametrize(
    "counts",
    [
        {"train": 5, "val": 3, "test": 5},
        pytest.param({"train": 1, "val": 1, "test": 1}, marks=pytest.mark.slow),
    ],
    ids=["uneven", "fewer frames than ranks"],
)
@pytest.mark.parametrize("task", ["base", "lora", "segmenter"])
def test_two_processes_are_one(
    train_base: Train, adapt: Train, fit: Train, tmp_path: Path, task: str, counts: dict[str, int]
) -> None:
    """Half the batch on each of two ranks; evaluation goes in batches of 2, of which the last is smaller."""
    run = {"base": train_base, "lora": adapt, "segmenter": fit}[task]
    space, key = CAMUS if task == "base" else TEE, "real" if task == "segmenter" else "store"
    store = write_few(tmp_path / "few.h5", space, counts)
    words = (*COMMON, f"--data.{key}={store}", "--data.eval_batch_size=2")
    one, two = (run(tmp_path / str(n), *words, *ranks) for n, ranks in enumerate(((), TWO)))
    assert len(scalars_of(one)["train/loss"]) == 4
    assert scalars_of(two) == approximately(scalars_of(one))

    checkpoint = f"--ckpt_path={one}/checkpoints/last.ckpt"
    tested = [run(tmp_path / f"t{n}", *words, checkpoint, *ranks, command="test") for n, ranks in enumerate(((), TWO))]
    assert scalars_of(tested[1]) == approximately(scalars_of(tested[0]))
    if task == "segmenter":
        cases = [json.loads((folder / "metrics.json").read_text())["cases"] for folder in tested]
        assert cases[0] == cases[1]
        assert len(cases[0]) == counts["test"] * len(space.structures)

    drawn = [
        EchoStore(run(tmp_path / f"p{n}", *words, checkpoint, *ranks, command="predict") / "predictions.h5")
        for n, ranks in enumerate(((), TWO))
    ]
    assert len(drawn[0]) == counts["test"]
    assert drawn[0].table.equals(drawn[1].table)
    for first, second in zip(*drawn, strict=True):
        np.testing.assert_array_equal(first[1], second[1])
        assert np.abs(first[0].astype(int) - second[0]).max() <= 2


STRIKE = """
import os, signal
from lightning.pytorch.strategies.launchers import subprocess_script
from tte_tee.cli import main
from tte_tee.tasks.task import Task

rank, step, what = os.environ["STRIKE"].split()

def mine(self):
    return (self.trainer.global_step, self.global_rank) == (int(step), int(rank))

def struck():
    open(os.environ["STRUCK"], "w").close()

def kill(*_):
    struck()
    os.kill(os.getpid(), signal.SIGKILL)

def strike(self, optimizer):
    if mine(self):
        struck()
        if what == "raise":
            raise ArithmeticError("this rank is broken")
        os.kill(os.getpid(), getattr(signal, what))

def spoil(self, loss):
    if mine(self):
        struck()
        loss = loss * float("nan")
    return plain(self, loss)

plain = Task.on_before_backward
if what == "nan":
    Task.on_before_backward = spoil
elif what == "early" and rank == os.environ.get("LOCAL_RANK"):
    kill()
elif what == "early" and rank == "0" and "LOCAL_RANK" not in os.environ:
    subprocess_script._launch_process_observer = kill
else:
    Task.on_before_optimizer_step = strike
main()
"""


def launch(out: Path, store: Path, *words: str, strike: tuple[int, int, str]) -> subprocess.CompletedProcess[str]:
    """A run on two ranks as a user starts it, in which one rank meets with something in the middle of a step."""
    script = out / "strike.py"
    script.write_text(STRIKE)
    given = (
        *("fit", "--model=HeartSegmenter", "--model.network.channels=[4, 8, 8]", "--model.warmup_steps=0"),
        *("--model.network.dropout=0.3", "--trainer.val_check_interval=2", "--trainer.log_every_n_steps=1"),
        *("--data=SegmentationDataModule", f"--data.real={store}", "--data.batch_size=2"),
        *("--trainer.devices=2", "--trainer.strategy=ddp", "--trainer.accelerator=cpu"),
        *("--trainer.enable_progress_bar=false", "--trainer.logger=TensorBoardLogger"),
        *(f"--trainer.logger.save_dir={out}", "--trainer.logger.name=run", *OFTEN, *words),
    )
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path.cwd()),
        "STRIKE": " ".join(map(str, strike)),
        "STRUCK": str(out / "struck"),
    }
    return subprocess.run(
        [sys.executable, str(script), *given], env=environment, capture_output=True, text=True, timeout=300, check=False
    )


@pytest.mark.slow
def test_a_launched_run_is_requeued_and_ends_as_a_forked_one(fit: Train, tmp_path: Path, tee_store: Path) -> None:
    words = (*OFTEN, *TWO, "--model.network.dropout=0.3", "--trainer.val_check_interval=2")
    undisturbed = fit(tmp_path / "forked", *words)
    stopped = launch(tmp_path, tee_store, AUTO, strike=(1, 3, "SIGUSR1"))
    assert stopped.returncode == os.EX_TEMPFAIL, stopped.stderr
    assert stopped.stderr.count("stopped by") == 1
    finished = launch(tmp_path, tee_store, AUTO, strike=(1, 99, "SIGUSR1"))
    assert finished.returncode == 0, finished.stderr
    assert_same(tmp_path / "run/version_0", undisturbed)
    again = launch(tmp_path, tee_store, AUTO, strike=(1, 99, "SIGUSR1"))
    assert again.returncode == 0
    assert "nothing to do" in again.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rank", "what", "says"),
    [
        (1, "raise", "this rank is broken"),
        (0, "SIGKILL", "another process of this run"),
        (1, "SIGKILL", "another process of this run"),
        (0, "early", ""),
        (1, "early", "terminated with code -9"),
    ],
)
def test_a_rank_that_dies_takes_the_run_down_with_its_error(
    tmp_path: Path, tee_store: Path, rank: int, what: str, says: str
) -> None:
    run = launch(tmp_path, tee_store, strike=(rank, 2, what))  # returns when the last process has closed its stderr
    assert time.time() - (tmp_path / "struck").stat().st_mtime < 60
    assert run.returncode not in (0, os.EX_TEMPFAIL)
    assert says in run.stderr


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_loss_of_one_rank_that_is_no_number_ends_the_run_in_one_line(
    tmp_path: Path, tee_store: Path, rank: int
) -> None:
    run = launch(tmp_path, tee_store, strike=(rank, 3, "nan"))
    assert time.time() - (tmp_path / "struck").stat().st_mtime < 60
    assert run.returncode == 2
    (line,) = [line for line in run.stderr.splitlines() if line.startswith("tte_tee ")]
    last = tmp_path / "run/version_0/checkpoints/last.ckpt"
    assert "the loss is nan at step 4" in line and f"kept: {last}, go on with --ckpt_path {last}" in line
    assert "Traceback" not in run.stderr
    assert last.readlink() == Path("step=2.ckpt")
