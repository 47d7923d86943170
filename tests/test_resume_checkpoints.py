"""Which checkpoint a run goes on from: a damaged one is noticed, and one of another run is refused."""

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Train, write_store
from resuming import AUTO, assert_same, ended, kept, mistake, state_of
from safetensors.torch import load_file
from trained import equal_states

from tte_tee.anatomy import TEE


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
    for text in (b"model: [", b"\xff\xfe", b"[" * 5000):
        (stopped / "config.yaml").write_bytes(text)
        assert "config.yaml is no YAML" in said(AUTO)


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
