"""Runs that are killed, stopped or damaged end where undisturbed ones end."""

import json
import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Train, write_store
from safetensors.torch import load_file
from trained import equal_states, scalars_of

from tte_tee.anatomy import TEE
from tte_tee.tasks.task import Task

STEPS = 6
OFTEN = (f"--trainer.max_steps={STEPS}", "--checkpoint.every_n_train_steps=2", "--trainer.logger.version=0")
DDP = ("--trainer.devices=2", "--trainer.strategy=ddp_fork", "--data.batch_size=2")
AUTO = "--resume=auto"


@pytest.fixture(scope="session")
def tasks(train_base: Train, adapt: Train, fit: Train) -> dict[str, Train]:
    """Each task, in the form that is hardest to resume."""

    def with_options(run: Train, *options: str) -> Train:
        return lambda out, *words, **kwargs: run(out, *options, *OFTEN, *words, **kwargs)

    often = ("--trainer.val_check_interval=3",)
    return {
        "base": with_options(train_base, *often, "--trainer.accumulate_grad_batches=2"),
        "lora": with_options(adapt, *often),
        "learnable": with_options(adapt, "--model.maskr2.learnable=true"),
        "segmenter": with_options(fit, "--model.network.dropout=0.3", "--trainer.val_check_interval=2"),
    }


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


@pytest.fixture(scope="module")
def undisturbed(tasks: dict[str, Train], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """``undisturbed(task, *options)``: a run that nothing happened to, made once."""
    made: dict[tuple[str, ...], Path] = {}

    def run(task: str, *options: str) -> Path:
        if (task, *options) not in made:
            made[task, *options] = tasks[task](tmp_path_factory.mktemp(task), *options)
        return made[task, *options]

    return run


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


@pytest.fixture
def stopped(tasks: dict[str, Train], tmp_path: Path) -> Path:
    """Folder of a segmenter's run that was stopped after step 5; the checkpoint before is of step 4."""
    assert ended(lambda: tasks["segmenter"](tmp_path, AUTO), by=signal.SIGUSR1, at=4) == os.EX_TEMPFAIL
    return tmp_path / "run/version_0"


def flip(path: Path) -> None:
    """One bit, in the middle."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def without_checksum(path: Path) -> None:
    path.with_name(f"{path.name}.sha256").unlink()


@pytest.mark.parametrize("spoil", [flip, cut, empty, without_checksum])
def test_a_damaged_checkpoint_is_noticed_and_the_one_before_used(
    tasks: dict[str, Train],
    stopped: Path,
    undisturbed: Callable[..., Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    spoil: Callable[[Path], None],
) -> None:
    spoil(stopped / "checkpoints/step=5.ckpt")
    tasks["segmenter"](tmp_path, AUTO)
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "warning" in line]
    assert "step=5.ckpt is damaged" in line
    assert_same(stopped, undisturbed("segmenter"))


def mistake(run: Callable[[], Any], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that a run ends with."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        run()
    assert stop.value.code == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("tte_tee fit: ")]
    return line


def test_a_run_is_not_gone_on_with_by_mistake(
    tasks: dict[str, Train], stopped: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def said(*words: str) -> str:
        return mistake(lambda: tasks["segmenter"](tmp_path, *words), capsys)

    before = set(stopped.rglob("*"))
    assert "model.init_args.learning_rate is 0.005, not 0.1" in said(AUTO, "--model.learning_rate=0.1")
    assert "trainer.max_steps is 6, not 7" in said(AUTO, "--trainer.max_steps=7")
    assert "trainer.gradient_clip_val is None, not 0.5" in said(AUTO, "--trainer.gradient_clip_val=0.5")
    assert "trainer.precision is None, not bf16-mixed" in said(AUTO, "--trainer.precision=bf16-mixed")
    assert "trainer.val_check_interval is 2, not 3" in said(AUTO, "--trainer.val_check_interval=3")
    assert "holds a run already; give --resume auto" in said()
    assert "leave out --ckpt_path" in said(AUTO, "--ckpt_path=last")
    assert "needs a folder that stays" in said(AUTO, "--trainer.logger.version=null")
    flip(stopped / "checkpoints/step=5.ckpt")
    assert "checksum" in said(f"--ckpt_path={stopped}/checkpoints/last.ckpt")
    flip(stopped / "checkpoints/step=4.ckpt")
    assert "every checkpoint in it is damaged" in said(AUTO)
    assert set(stopped.rglob("*")) == before


@pytest.mark.parametrize("gone", [False, True])
def test_a_run_does_not_go_on_with_other_data_under_the_same_name(
    tasks: dict[str, Train], tmp_path: Path, tee_store: Path, capsys: pytest.CaptureFixture[str], gone: bool
) -> None:
    store = shutil.copy(tee_store, tmp_path / "f.h5")
    words = (AUTO, f"--data.real={store}")
    assert ended(lambda: tasks["segmenter"](tmp_path, *words), by=signal.SIGUSR1, at=3) == os.EX_TEMPFAIL
    store.unlink()
    if not gone:
        write_store(store, TEE, patients={"train": 3, "val": 2, "test": 1})
    line = mistake(lambda: tasks["segmenter"](tmp_path, *words), capsys)
    assert f"{store}: no such echo store" in line if gone else "was trained with data f.h5 (" in line
    assert kept(tmp_path / "run/version_0") == {2, 4}
    shutil.copy(tee_store, store)
    assert (tasks["segmenter"](tmp_path, *words) / "segmenter").is_dir()


def test_a_run_does_not_go_on_over_another_number_of_processes(
    tasks: dict[str, Train],
    stopped: Path,
    undisturbed: Callable[..., Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    line = mistake(
        lambda: tasks["segmenter"](tmp_path, AUTO, "--trainer.devices=2", "--trainer.strategy=ddp_fork"), capsys
    )
    assert "was trained with processes 1, not 2" in line
    tasks["segmenter"](tmp_path, AUTO)
    assert_same(stopped, undisturbed("segmenter"))


def test_a_finished_run_is_left_alone(
    tasks: dict[str, Train], undisturbed: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    run = undisturbed("segmenter")
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    tasks["segmenter"](run.parents[1], AUTO, "--data.num_workers=1")
    assert capsys.readouterr().err == f"tte_tee fit: {run} holds a finished run; nothing to do\n"
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before


def test_a_run_that_was_killed_before_it_left_its_product_leaves_it(
    tasks: dict[str, Train], undisturbed: Callable[..., Path], tmp_path: Path
) -> None:
    run = shutil.copytree(undisturbed("segmenter").parents[1], tmp_path / "copy", symlinks=True) / "run/version_0"
    (run / "segmenter").rename(run / ".segmenter.tmp-0123abcd")
    (run / "previews/step_000006.png.tmp-0123abcd").write_bytes(b"half a picture")
    tasks["segmenter"](tmp_path / "copy", AUTO)
    assert_same(run, undisturbed("segmenter"))
    assert not [path for path in run.rglob("*") if "tmp" in path.name]


def test_last_is_the_newest_checkpoint_of_the_run_or_of_the_one_before(
    tasks: dict[str, Train], undisturbed: Callable[..., Path], stopped: Path, tmp_path: Path
) -> None:
    new = tasks["segmenter"](tmp_path, "--ckpt_path=last", "--trainer.logger.version=1")
    assert load_file(new / "segmenter/segmenter.safetensors").keys()
    assert equal_states(state_of(new)["state_dict"], state_of(undisturbed("segmenter"))["state_dict"])
    tested = tasks["segmenter"](tmp_path, "--ckpt_path=last", "--trainer.logger.version=null", command="test")
    assert len(json.loads((tested / "metrics.json").read_text())["cases"]) == 4 * 4


@pytest.mark.parametrize("option", ["--checkpoint.keep_last=1", "--checkpoint.every_n_train_steps=5"])
def test_an_option_changes_what_is_kept(tasks: dict[str, Train], tmp_path: Path, option: str) -> None:
    run = tasks["segmenter"](tmp_path, option)
    assert kept(run) == ({5, 6} if "every" in option else {6})


@pytest.mark.parametrize("name", ["WORLD_SIZE", "SLURM_NTASKS"])
def test_another_number_of_processes_than_launched_is_refused(
    tasks: dict[str, Train],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
) -> None:
    monkeypatch.setenv(name, "2")
    monkeypatch.setenv("SLURM_NTASKS_PER_NODE", "2")
    line = mistake(lambda: tasks["segmenter"](tmp_path), capsys)
    assert f"{name} is 2, but trainer.devices x trainer.num_nodes is 1 x 1" in line
    assert not list(tmp_path.iterdir())
