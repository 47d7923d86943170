"""Runs that are killed or stopped end where undisturbed ones end."""

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import Train
from resuming import AUTO, DDP, assert_same, ended, kept, status_of

slow = pytest.mark.slow


@pytest.mark.parametrize(
    ("task", "options"),
    [
        ("base", ()),
        ("lora", ()),
        ("learnable", ()),
        ("segmenter", ()),
        ("segmenter", DDP),
        pytest.param("base", DDP, marks=slow),
        pytest.param("lora", DDP, marks=slow),
        pytest.param("learnable", DDP, marks=slow),
    ],
    ids=lambda value: value if isinstance(value, str) else "ddp" * bool(value) or "alone",
)
def test_a_killed_run_ends_where_an_undisturbed_one_ends(
    tasks: dict[str, Train], undisturbed: Callable[..., Path], tmp_path: Path, task: str, options: tuple[str, ...]
) -> None:
    """Killed a step after its last checkpoint: what the curve says of it already is said anew."""
    status = ended(lambda: tasks[task](tmp_path, *options, AUTO), by=signal.SIGKILL, at=3, rank=len(options) // 3)
    assert status == (1 if options else -signal.SIGKILL)
    run = tmp_path / "run/version_0"
    assert kept(run) == {2}
    (run / "checkpoints/step=4.ckpt.tmp").write_bytes(b"half a checkpoint")
    tasks[task](tmp_path, *options, AUTO)
    assert_same(run, undisturbed(task, *options))
    assert kept(run) == {4, 6}


def test_a_run_that_was_killed_over_its_config_goes_on(
    tasks: dict[str, Train], undisturbed: Callable[..., Path], tmp_path: Path
) -> None:
    def die(self: Path, content: bytes) -> None:
        with self.open("wb") as file:
            file.write(content[:100])
        os.kill(os.getpid(), signal.SIGKILL)

    def target() -> None:
        Path.write_bytes = die  # type: ignore[assignment,method-assign]
        tasks["segmenter"](tmp_path, AUTO)

    assert status_of(target) == -signal.SIGKILL
    tasks["segmenter"](tmp_path, AUTO)
    run = tmp_path / "run/version_0"
    assert_same(run, undisturbed("segmenter"))
    assert {path.name for path in run.glob("config*")} == {"config.yaml"}


@pytest.mark.parametrize(
    ("task", "options", "rank", "by"),
    [
        ("lora", (), 0, signal.SIGTERM),
        ("segmenter", (), 0, signal.SIGUSR1),
        ("segmenter", DDP, 1, signal.SIGUSR1),
        pytest.param("base", DDP, 0, signal.SIGTERM, marks=slow),
    ],
    ids=["lora", "segmenter", "segmenter, another rank", "base, ddp"],
)
def test_a_requeued_run_ends_where_an_undisturbed_one_ends(
    tasks: dict[str, Train],
    undisturbed: Callable[..., Path],
    tmp_path: Path,
    task: str,
    options: tuple[str, ...],
    rank: int,
    by: signal.Signals,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """The signal comes within step 5, which is finished and kept; status 75 says that there is more to do."""
    assert ended(lambda: tasks[task](tmp_path, *options, AUTO), by=by, at=4, rank=rank) == os.EX_TEMPFAIL
    run = tmp_path / "run/version_0"
    (line,) = [line for line in capfd.readouterr().err.splitlines() if line.startswith("stopped by")]
    assert "after step 5" in line and str(run / "checkpoints/last.ckpt") in line
    assert "with --trainer.logger.init_args.version 0 --resume auto" in line
    assert (run / "checkpoints/last.ckpt").readlink() == Path("step=5.ckpt")
    assert not list(run.rglob("*.safetensors"))
    spent = torch.load(run / "checkpoints/last.ckpt", weights_only=True)["callbacks"]["Export"]["seconds"]
    tasks[task](tmp_path, *options, AUTO)
    (record,) = (path for name in ("adapter", "base", "segmenter") for path in run.glob(f"{name}/{name}.json"))
    record = json.loads(record.read_text())
    assert record.get("provenance", record)["seconds"] > spent
    assert_same(run, undisturbed(task, *options))


def test_a_run_that_was_told_twice_stops_once(tasks: dict[str, Train], tmp_path: Path) -> None:
    """Stopped and resumed at every step, the first one included."""
    for step in range(3):
        assert ended(lambda: tasks["segmenter"](tmp_path, AUTO), by=signal.SIGUSR1, at=step) == os.EX_TEMPFAIL
        assert (tmp_path / "run/version_0/checkpoints/last.ckpt").readlink() == Path(f"step={step + 1}.ckpt")


@pytest.mark.parametrize(("times", "steps", "says"), [(1, {4, 5}, "stopped by SIGINT after step 5; "), (2, {2, 4}, "")])
def test_ctrl_c_keeps_the_step_and_twice_ends_at_once(
    tasks: dict[str, Train],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    times: int,
    steps: set[int],
    says: str,
) -> None:
    run = tmp_path / "run/version_0"
    assert ended(lambda: tasks["segmenter"](tmp_path, AUTO), by=signal.SIGINT, at=4, times=times) == 130
    assert kept(run) == steps
    said = says or f"tte_tee fit: interrupted; kept: {run}/checkpoints/last.ckpt, go on with --ckpt_path "
    assert said in capfd.readouterr().err


def test_in_slurm_lightning_neither_saves_nor_requeues(
    tasks: dict[str, Train], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scontrol = tmp_path / "bin/scontrol"
    scontrol.parent.mkdir()
    scontrol.write_text(f"#!/bin/sh\ntouch {tmp_path}/requeued\n")
    scontrol.chmod(0o755)
    monkeypatch.setenv("PATH", str(scontrol.parent), prepend=os.pathsep)
    monkeypatch.chdir(tmp_path)
    for name in ("PROCID", "LOCALID", "NODEID"):
        monkeypatch.setenv(f"SLURM_{name}", "0")
    for name, value in {"NTASKS": "1", "NTASKS_PER_NODE": "1", "NNODES": "1", "JOB_ID": "7", "JOB_NAME": "x"}.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    assert ended(lambda: tasks["segmenter"](tmp_path, AUTO), by=signal.SIGUSR1, at=2) == os.EX_TEMPFAIL
    assert not list(tmp_path.rglob("hpc_ckpt*"))
    assert not (tmp_path / "requeued").exists()


def test_a_run_that_was_killed_before_it_left_its_product_leaves_it(
    tasks: dict[str, Train], undisturbed: Callable[..., Path], tmp_path: Path
) -> None:
    run = shutil.copytree(undisturbed("segmenter").parents[1], tmp_path / "copy", symlinks=True) / "run/version_0"
    (run / "segmenter").rename(run / ".segmenter.tmp-0123abcd")
    (run / "previews/step_000006.png.tmp-0123abcd").write_bytes(b"half a picture")
    tasks["segmenter"](tmp_path / "copy", AUTO)
    assert_same(run, undisturbed("segmenter"))
    assert not [path for path in run.rglob("*") if "tmp" in path.name]
