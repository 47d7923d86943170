"""Faults of the machine in the middle of a run: one line, nothing half, and the last good checkpoint stays."""

import errno
import os
import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Train, write_store

from tte_tee.anatomy import TEE
from tte_tee.cli.faults import told
from tte_tee.data.datamodule import FrameDataset
from tte_tee.errors import UserError
from tte_tee.models.denoiser import Denoiser

SAVING = ("--trainer.max_steps=6", "--checkpoint.every_n_train_steps=1")
Broken = Callable[..., tuple[str, Path]]


@pytest.fixture
def broken(adapt: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Broken:
    """Runs ``fit``, which must end with status 2; returns the one line it says and the run's folder."""

    def run(*words: str) -> tuple[str, Path]:
        with pytest.raises(SystemExit) as stop:
            adapt(tmp_path / "out", *SAVING, *words)
        assert stop.value.code == 2
        said = capsys.readouterr().err
        line = said.splitlines()[-1]
        assert line.startswith("tte_tee fit: ") and "Traceback" not in said, said
        return line, tmp_path / "out/run/version_0"

    return run


def left(run: Path) -> list[str]:
    """Files of a run, but for logs."""
    files = (path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file())
    return sorted(file for file in files if not file.startswith(("events", "config.yaml", "hparams.yaml")))


def finite(checkpoint: Path) -> bool:
    held = torch.load(checkpoint, weights_only=True)["state_dict"]
    return bool(held) and all(torch.isfinite(weight).all() for weight in held.values())


def test_a_loss_that_is_no_number_ends_the_run_before_it_reaches_the_weights(broken: Broken) -> None:
    line, run = broken("--model.learning_rate=1e30")
    assert "the loss is nan at step" in line or "the loss is inf at step" in line or "no finite number" in line
    assert "--model.learning_rate" in line
    assert f"go on with --ckpt_path {run}/checkpoints/last.ckpt" in line
    assert finite(run / "checkpoints/last.ckpt")
    assert not (run / "adapter").exists()


@pytest.mark.parametrize("step", [2, 6])
def test_weights_that_are_no_numbers_are_neither_saved_nor_exported(
    broken: Broken, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gradient can overflow where the loss did not; after the last step no loss is left to tell."""
    plain = torch.optim.AdamW.step

    def spoil(self: torch.optim.AdamW, *given: Any, **named: Any) -> Any:
        done = plain(self, *given, **named)
        weight = self.param_groups[0]["params"][0]
        if self.state[weight]["step"] == step:
            weight.data.fill_(torch.nan)
        return done

    monkeypatch.setattr(torch.optim.AdamW, "step", spoil)
    line, run = broken()
    assert f"no finite number at step {step}" in line
    assert finite(run / "checkpoints/last.ckpt")
    assert not (run / "adapter").exists()


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """No file may grow beyond ``size`` bytes, as on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("size", [0, 1_000, 10_000, 60_000])
def test_a_disk_that_fills_up_is_one_line_and_leaves_nothing_half(broken: Broken, size: int) -> None:
    with largest_file(size):
        line, run = broken()
    assert os.strerror(errno.EFBIG) in line
    assert all((run / name).stat().st_size for name in left(run))
    assert not (run / "adapter").exists()
    assert not [name for name in left(run) if "tmp" in name]


def test_a_checkpoint_that_finds_no_room_leaves_the_one_before(broken: Broken, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, saved = Path.write_bytes, list[Path]()

    def full(self: Path, content: bytes) -> int:
        saved.append(self)
        if len([path for path in saved if ".ckpt.tmp" in path.name]) == 3:
            plain(self, content[: len(content) // 2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self))
        return plain(self, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    line, run = broken()
    assert "cannot write there (No space left on device)" in line
    assert "go on with --ckpt_path" in line
    assert torch.load(run / "checkpoints/last.ckpt", weights_only=True)["global_step"] == 2
    kept = [f"step={step}.ckpt{end}" for step in (1, 2) for end in ("", ".sha256")]
    assert left(run) == [f"checkpoints/{name}" for name in ("last.ckpt", *kept)]


def test_a_folder_that_cannot_be_written_is_one_line(
    adapt: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit) as stop:
        adapt(tmp_path / "file" / "runs")
    assert stop.value.code == 2
    assert f"{tmp_path / 'file'}" in capsys.readouterr().err.splitlines()[-1]


def test_too_little_memory_is_one_line(broken: Broken, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Denoiser, "forward", lambda *given: torch.empty(2**50))
    line, _ = broken()
    assert "memory is too small" in line
    assert "--data.batch_size" in line


def from_the_ninth(monkeypatch: pytest.MonkeyPatch, happens: Callable[[], object]) -> None:
    """Something happens when training reads its ninth frame, and again at each one after it."""
    plain, read = FrameDataset.__getitem__, list[Any]()

    def get(self: FrameDataset, key: tuple[int, int]) -> Any:
        read.append(key)
        if len(read) > 8:
            happens()
        return plain(self, key)

    monkeypatch.setattr(FrameDataset, "__getitem__", get)


def test_a_reader_that_is_killed_is_one_line(broken: Broken, monkeypatch: pytest.MonkeyPatch) -> None:
    from_the_ninth(monkeypatch, lambda: os.kill(os.getpid(), signal.SIGKILL))
    line, run = broken("--data.num_workers=1")
    assert "a process that reads data" in line and "fewer --data.num_workers" in line
    assert not (run / "adapter").exists()


@pytest.mark.parametrize("workers", [0, 1])
def test_a_store_that_is_cut_in_the_middle_of_a_run_is_one_line(
    broken: Broken, workers: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = write_store(tmp_path / "f.h5", TEE)
    from_the_ninth(monkeypatch, lambda: os.truncate(store, 3000))
    line, run = broken(f"--data.store={store}", f"--data.num_workers={workers}")
    assert line.startswith(f"tte_tee fit: {store}: frame '")
    assert "cannot be read any more" in line
    assert finite(run / "checkpoints/last.ckpt") and "go on with --ckpt_path" in line


def test_a_store_that_goes_away_before_a_worker_opens_it_is_one_line(
    broken: Broken, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = write_store(tmp_path / "f.h5", TEE)
    plain = FrameDataset.__getitem__
    monkeypatch.setattr(FrameDataset, "__getitem__", lambda *given: store.unlink(missing_ok=True) or plain(*given))
    line, _ = broken(f"--data.store={store}", "--data.num_workers=1")
    assert f"{store}: frame '" in line and "No such file" in line


def raised(error: BaseException, cause: BaseException | None = None) -> BaseException:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/runs/f"), "/runs/f: No space left on device; free"),
        (OSError(errno.EROFS, "Read-only file system", "/runs/f"), "/runs/f: Read-only file system; name"),
        (OSError("Can't write (errno = 28, error message = 'No space left', name = 'f.h5')"), "f.h5: No space left"),
        (RuntimeError("SafetensorError: IoError(Os { code: 28, kind: StorageFull })"), "No space left on device"),
        (MemoryError(), "memory is too small"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), "memory is too small"),
        (raised(ValueError("a page of types"), UserError("model.rank: 0")), "model.rank: 0"),
        (
            UserError("Caught UserError in DataLoader worker process 0.\nTraceback\n  x\ntte.UserError: f.h5: y\n"),
            "f.h5: y",
        ),
        (
            Exception("\n\n-- Process 1 terminated with the following error:\nTraceback\n  x\ntte.SharedError: y\n"),
            "y",
        ),
        (RuntimeError("[pair.cc:534] Connection closed by peer [127.0.0.1]:4"), "another process of this run"),
    ],
)
def test_what_libraries_say_of_a_fault_is_one_line(error: BaseException, says: str) -> None:
    line = told(error)
    assert line is not None and says in line
    assert "\n" not in line


@pytest.mark.parametrize(
    "error",
    [
        ZeroDivisionError(),
        KeyError("x"),
        RuntimeError("shape [2]"),
        OSError("odd"),
        Exception("\n\n-- Process 1 terminated with the following error:\nTraceback\n  x\nKeyError: 'x'\n"),
    ],
)
def test_a_defect_is_no_fault(error: BaseException) -> None:
    assert told(error) is None
