"""``synthesize`` over shards, kills and restarts: the same store, to the bit."""

import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from synthesizing import PARTS, Draw, interrupt_after, parts_of, refused, same

from tte_tee.cli import main
from tte_tee.data.store import EchoStore
from tte_tee.synthesis import batches
from tte_tee.synthesis.frames import draw_frames


@pytest.fixture(scope="module")
def whole_run(synthesis_words: list[str], tmp_path_factory: pytest.TempPathFactory) -> EchoStore:
    """What one unbroken run in one process leaves."""
    path = tmp_path_factory.mktemp("whole") / "s.h5"
    main([*synthesis_words, f"--out={path}", "--processes=1"])
    return EchoStore(path)


def test_the_store_says_what_decides_the_last_bit(whole_run: EchoStore) -> None:
    expected = {"split": None, "samples_per_mask": 2, "batch_size": 3, "threads": 1, "device": "cpu"}
    assert whole_run.provenance["drawn"] == expected


@pytest.mark.parametrize("count", [1, 3, 12])
def test_shards_merge_into_what_one_process_draws(
    count: int, synthesize: Draw, out_store: Path, whole_run: EchoStore, batches_drawn: list[list[str]]
) -> None:
    for number in reversed(range(count)):
        synthesize(f"--shard={number}/{count}")
        assert not out_store.exists()
    assert len(batches_drawn) == 11
    synthesize(f"--merge={count}")
    assert len(batches_drawn) == 11
    same(out_store, whole_run)


def test_a_shard_tells_where_it_is_and_what_follows(synthesize: Draw, capsys: pytest.CaptureFixture[str]) -> None:
    synthesize("--shard=1/2")
    assert "shard 1/2 left in " in (said := capsys.readouterr().out) and "--merge 2" in said


def test_a_missing_shard_is_named_and_then_drawn(
    synthesize: Draw, out_store: Path, whole_run: EchoStore, capsys: pytest.CaptureFixture[str]
) -> None:
    line = refused(lambda: synthesize("--merge=3"), capsys)
    assert "shard 0/3, 1/3, 2/3: 11 of 11 batches are not drawn" in line
    assert not out_store.parent.exists()
    synthesize("--shard=0/3")
    synthesize("--shard=2/3")
    capsys.readouterr()
    line = refused(lambda: synthesize("--merge=3"), capsys)
    assert "shard 1/3: 4 of 11 batches are not drawn" in line and "--shard 1/3" in line
    assert "0/3" not in line and "2/3" not in line
    assert not out_store.exists()
    synthesize("--shard=1/3")
    synthesize("--merge=3")
    same(out_store, whole_run)


def test_shards_that_nobody_has_are_not_counted(
    synthesize: Draw, out_store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert f"{out_store}: shard 0/{10**12}, 1/{10**12}" in refused(lambda: synthesize(f"--merge={10**12}"), capsys)


def test_a_shard_of_other_options_is_missing(
    synthesize: Draw, out_store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    synthesize("--shard=0/2")
    synthesize("--shard=1/2", "--seed=1")
    capsys.readouterr()
    assert "shard 1/2: 5 of 11 batches" in refused(lambda: synthesize("--merge=2"), capsys)
    assert len(list(out_store.parent.glob(PARTS))) == 2  # neither is lost


def test_one_process_draws_what_shards_have_not(
    synthesize: Draw, out_store: Path, whole_run: EchoStore, batches_drawn: list[list[str]]
) -> None:
    synthesize("--shard=1/3")
    del batches_drawn[:]
    synthesize()
    assert len(batches_drawn) == 7
    same(out_store, whole_run)


def test_a_merge_needs_no_device(
    synthesize: Draw, out_store: Path, whole_run: EchoStore, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "--device cuda:77" in refused(lambda: synthesize("--device=cuda:77"), capsys)
    assert "shard 0/1" in refused(lambda: synthesize("--device=cuda:77", "--merge=1"), capsys)
    assert "--device abacus" in refused(lambda: synthesize("--device=abacus", "--merge=1"), capsys)


@pytest.mark.parametrize("options", [[], ["--shard=0/1"]], ids=["alone", "shard"])
def test_a_broken_off_run_goes_on_where_it_was(
    options: list[str],
    synthesize: Draw,
    out_store: Path,
    whole_run: EchoStore,
    batches_drawn: list[list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    interrupt_after(4, monkeypatch, synthesize, *options)
    assert not out_store.exists()
    (folder,) = out_store.parent.glob(PARTS)
    assert len(list(folder.iterdir())) == 4
    synthesize()
    assert len(batches_drawn) == 7
    same(out_store, whole_run)


@pytest.mark.parametrize("length", [0, 200])
def test_a_part_that_lost_its_end_is_drawn_again(
    length: int, synthesize: Draw, out_store: Path, whole_run: EchoStore
) -> None:
    synthesize("--shard=0/1")
    (part,) = out_store.parent.glob(f"{PARTS}/000004.npz")
    part.write_bytes(part.read_bytes()[:length])
    with pytest.raises(SystemExit):
        synthesize("--merge=1")
    synthesize()
    same(out_store, whole_run)


@pytest.mark.parametrize(
    "option",
    [
        "--seed=1",
        "--steps=3",
        "--sampler=ddim",
        "--guidance=2",
        "--samples-per-mask=1",
        "--split=train",
        "--batch-size=4",
        "--threads=2",
    ],
)
def test_parts_of_other_options_are_not_taken_up(
    option: str, synthesize: Draw, out_store: Path, whole_run: EchoStore, batches_drawn: list[list[str]]
) -> None:
    synthesize("--shard=0/6", option)
    del batches_drawn[:]
    synthesize()
    assert len(batches_drawn) == 11
    same(out_store, whole_run)


def test_parts_of_another_adapter_or_other_masks_are_not_taken_up(
    synthesize: Draw, out_store: Path, lora_run: Path, tee_store: Path, tmp_path: Path, batches_drawn: list[list[str]]
) -> None:
    synthesize("--shard=0/1")
    main(["data", "subset", str(tee_store), "--split=train", f"--out={tmp_path / 'tee.h5'}"])
    synthesize("--shard=0/1", f"--masks={tmp_path / 'tee.h5'}")
    shutil.copytree(lora_run / "adapter", tmp_path / "adapter")
    weights = tmp_path / "adapter" / "adapter_model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    synthesize("--shard=0/1", f"--adapter={tmp_path / 'adapter'}")
    assert len(list(out_store.parent.glob(PARTS))) == 3
    assert len(batches_drawn) == 11 + 6 + 11


def test_parts_of_other_code_are_not_taken_up(
    synthesize: Draw, out_store: Path, batches_drawn: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    synthesize("--shard=0/1")
    synthesize("--shard=0/1")
    assert len(batches_drawn) == 11
    monkeypatch.setattr(batches, "code_hash", lambda folders: "other")
    synthesize("--shard=0/1")
    assert len(list(out_store.parent.glob(PARTS))) == 2
    assert len(batches_drawn) == 22


def test_code_is_its_modules_by_name_and_text(tmp_path: Path) -> None:
    (tmp_path / "room").mkdir()
    hashes = [batches.code_hash([tmp_path / "room"])]
    for name, text in (("a.py", "x = 1"), ("a.py", "x = 2"), ("b.py", "")):
        (tmp_path / "room" / name).write_text(text)
        hashes.append(batches.code_hash([tmp_path / "room"]))
    assert len(set(hashes)) == 4
    (tmp_path / "room/notes.txt").touch()
    assert batches.code_hash([tmp_path / "room"]) == hashes[-1]
    assert all(any(folder.glob("*.py")) for folder in batches._CODE)


@pytest.mark.slow
def test_a_killed_run_goes_on_and_leaves_the_same_store(
    synthesis_words: list[str], synthesize: Draw, out_store: Path, tmp_path: Path, batches_drawn: list[list[str]]
) -> None:
    for processes, count in ((2, 2), (1, 5)):
        command = [*synthesis_words, f"--out={out_store}", "--steps=60", f"--processes={processes}"]
        with subprocess.Popen([sys.executable, "-m", "tte_tee", *command], stdout=subprocess.DEVNULL) as process:
            parts_of(out_store, count)
            process.send_signal(signal.SIGKILL)
        assert not out_store.exists()
    kept = len(list(out_store.parent.glob(f"{PARTS}/*.npz")))
    synthesize("--steps=60")
    assert 0 < len(batches_drawn) <= 11 - 5
    assert len(batches_drawn) == 11 - kept
    again = tmp_path / "again" / "s.h5"
    synthesize("--steps=60", f"--out={again}")
    same(out_store, EchoStore(again))


def test_only_shards_of_one_run_are_at_work_at_once(
    synthesize: Draw,
    out_store: Path,
    whole_run: EchoStore,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said: list[str] = []

    def meanwhile(*options: str) -> Callable[..., torch.Tensor]:
        def spy(*given: Any) -> torch.Tensor:
            monkeypatch.setattr(batches, "draw_frames", draw_frames)
            said.append(refused(lambda: synthesize(*options), capsys))
            return draw_frames(*given)

        return spy

    for first, second in (([], []), ([], ["--seed=1"]), ([], ["--shard=1/2"]), (["--shard=0/2"], [])):
        monkeypatch.setattr(batches, "draw_frames", meanwhile(*second))
        synthesize(*first)
    assert len(said) == 4 and all("another process is writing it" in line for line in said)

    def beside(*given: Any) -> torch.Tensor:
        monkeypatch.setattr(batches, "draw_frames", draw_frames)
        synthesize("--shard=1/2")
        return draw_frames(*given)

    shutil.rmtree(out_store.parent)
    monkeypatch.setattr(batches, "draw_frames", beside)
    synthesize("--shard=0/2")
    synthesize("--merge=2")
    same(out_store, whole_run)


def test_a_launcher_is_asked_only_where_that_is_wanted(
    synthesize: Draw, out_store: Path, whole_run: EchoStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"SLURM_PROCID": "1", "SLURM_NTASKS": "2"}.items():
        monkeypatch.setenv(name, value)
    synthesize("--shard=auto")
    assert not out_store.exists()
    synthesize()
    same(out_store, whole_run)


@pytest.mark.slow
@pytest.mark.parametrize("processes", [2, 3])
def test_processes_draw_what_one_process_draws(
    processes: int, synthesize: Draw, out_store: Path, whole_run: EchoStore
) -> None:
    synthesize(f"--processes={processes}")
    same(out_store, whole_run)
