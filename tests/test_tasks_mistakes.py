"""Mistakes in training are told in one line, and leave no adapter."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Train, write_store

from tte_tee.anatomy import CAMUS, TEE


def test_checkpoint_of_another_scope_is_refused(
    adapt: Train, lora_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        adapt(tmp_path, "--model.scope=[self_attention]", f"--ckpt_path={lora_run}/checkpoints/last.ckpt")
    assert stop.value.code == 2
    assert "checkpoint holds other trained weights" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["validate", "test", "predict"])
def test_untrained_weights_are_not_scored(
    adapt: Train, tmp_path: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        adapt(tmp_path, command=command)
    assert stop.value.code == 2
    assert "--ckpt_path" in capsys.readouterr().err


Spoil = Callable[[Path, Path], list[str]]


def small_frames(folder: Path, tte: Path) -> list[str]:
    return [f"--data.store={write_store(folder / 'f.h5', TEE, size=8)}"]


def no_train(folder: Path, tte: Path) -> list[str]:
    return [f"--data.store={write_store(folder / 'f.h5', TEE, patients={'test': 1})}"]


def garbage_checkpoint(folder: Path, tte: Path) -> list[str]:
    (folder / "g.ckpt").write_bytes(b"no checkpoint")
    return [f"--ckpt_path={folder / 'g.ckpt'}"]


def code_in_checkpoint(folder: Path, tte: Path) -> list[str]:
    torch.save({"state_dict": Path("x"), "pytorch-lightning_version": "2"}, folder / "c.ckpt")
    return [f"--ckpt_path={folder / 'c.ckpt'}"]


def foreign_checkpoint(folder: Path, tte: Path) -> list[str]:
    torch.save({"weights": torch.zeros(1)}, folder / "f.ckpt")
    return [f"--ckpt_path={folder / 'f.ckpt'}"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (small_frames, "frames are 8x8, the network takes 16x16"),
        (no_train, "no frame in split 'train'"),
        (["--data.store=nowhere.h5"], "nowhere.h5: no such echo store"),
        (["--model.base=nowhere"], "nowhere: no base folder"),
        (["--model.scope=[mlp]"], "mlp is no group of layers"),
        (["--model.scope=[]"], "is empty, so nothing would be trained"),
        (["--model.method=full"], "uses no scope"),
        (["--model.method=full", "--model.scope=[]", "--model.rank=4"], "method 'full' uses no rank"),
        (["--model.method=scratch", "--model.scope=[]", "--model.alpha=4"], "method 'scratch' uses no alpha"),
        (["--model.alpha=0"], "model.alpha: 0"),
        (["--model.rank=0"], "a rank is 1 or more"),
        (["--model.maskr2.background=[LV_epi]"], "LV_epi is no label of the masks"),
        (["--model.maskr2.repurpose.RV=LA"], "the place of LA is not free"),
        (["--trainer.max_steps=-1"], "say how many steps"),
        (["--trainer.max_steps=0"], "0 steps train nothing"),
        (["--trainer.val_check_interval=0.5"], "trainer: "),
        (["--trainer.limit_val_batches=2.5"], "trainer: "),
        (["--trainer.strategy=foo"], "trainer: "),
        (["--ema.decay=2"], "ema.decay: 2"),
        (["--previews.frames=0"], "previews: "),
        (["--ckpt_path=nowhere.ckpt"], "nowhere.ckpt: no such file"),
        (garbage_checkpoint, "not a readable checkpoint"),
        (code_in_checkpoint, "not a readable checkpoint"),
        (foreign_checkpoint, "not a checkpoint of a run"),
        (["--model.method=none", "--model.scope=[]"], "trains nothing; set it to 0"),
        (["--model.method=bitfit"], "method"),
        (["--model.ranks=4"], "ranks"),
        (["--model.sampling.sampler=euler"], "sampler"),
    ],
)
def test_mistakes_are_told_in_one_line(
    adapt: Train, tte_store: Path, tmp_path: Path, words: Any, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        adapt(tmp_path / "out", *(words if isinstance(words, list) else words(tmp_path, tte_store)))
    assert stop.value.code == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("tte_tee fit: ")]
    assert says in line
    assert not list(tmp_path.glob("out/run/*/adapter"))


def test_a_base_is_trained_on_its_own_label_space(
    train_base: Train, tee_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        train_base(tmp_path, f"--data.store={tee_store}")
    assert stop.value.code == 2
    said = capsys.readouterr().err
    assert all(name in said for name in (*CAMUS.structures, *TEE.structures))
