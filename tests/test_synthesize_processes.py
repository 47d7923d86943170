"""``synthesize`` over processes, devices and launchers, and what it refuses before or while it draws."""

import multiprocessing
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from synthesizing import Draw, parts_of, refused
from torch.utils.data import default_collate

from tte_tee.anatomy import CAMUS
from tte_tee.anatomy.maskr2 import identity
from tte_tee.data.datamodule import FrameDataset
from tte_tee.data.phantom import PhantomSpec, write_phantom
from tte_tee.data.store import EchoStore
from tte_tee.errors import UserError
from tte_tee.models.folders import SHIPPED, load_base
from tte_tee.models.maskr2 import MaskR2
from tte_tee.synthesis import batches, generate
from tte_tee.synthesis.batches import Work, default_processes, device_of
from tte_tee.synthesis.frames import Sampling, draw_frames
from tte_tee.synthesis.shards import Shard, parse_shard


@pytest.mark.parametrize("thing", ["folder", "text"])
def test_a_name_that_is_taken_is_refused_before_anything_is_drawn(
    thing: str, synthesize: Draw, out_store: Path, batches_drawn: list[list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    out_store.mkdir(parents=True) if thing == "folder" else (out_store.parent.mkdir(), out_store.write_text("mine"))
    for options in ([], ["--shard=0/2"], ["--merge=2"]):
        assert f"{out_store}: is " in refused(lambda: synthesize(*options), capsys)  # noqa: B023
    assert not batches_drawn
    assert [path.name for path in out_store.parent.iterdir()] == [out_store.name]


def test_threads_are_pinned_and_single_precision_is_meant(
    synthesize: Draw, monkeypatch: pytest.MonkeyPatch, batches_drawn: list[list[str]]
) -> None:
    seen = set()

    def spy(*given: Any) -> torch.Tensor:
        seen.add((torch.get_num_threads(), torch.backends.cudnn.allow_tf32))
        return draw_frames(*given)

    monkeypatch.setattr(batches, "draw_frames", spy)
    before = torch.get_num_threads()
    synthesize("--threads=2", "--split=val", "--samples-per-mask=1", "--steps=1")
    assert seen == {(2, False)}
    assert torch.get_num_threads() == before


def test_too_little_memory_is_one_line(
    synthesize: Draw, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*given: Any) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate\nmuch")

    monkeypatch.setattr(batches, "draw_frames", full)
    assert "no memory for 3 frames; lower --batch-size" in refused(synthesize, capsys)


def test_an_adapter_that_changes_meanwhile_is_refused(
    synthesize: Draw, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    loaded = batches.load_adapter

    def changed(*given: Any) -> Any:
        adapter = loaded(*given)
        adapter.hash = "other"
        return adapter

    monkeypatch.setattr(batches, "load_adapter", changed)
    assert "changed while frames were drawn" in refused(synthesize, capsys)


@pytest.mark.parametrize(
    ("device", "rank", "gpus", "expected"),
    [("cuda", 0, 4, "cuda:0"), ("cuda", 6, 4, "cuda:2"), ("cuda", 3, 1, "cuda:0"), ("cuda:1", 0, 4, "cuda:1")],
)
def test_processes_are_spread_over_the_gpus(device: str, rank: int, gpus: int, expected: str) -> None:
    assert device_of(device, rank, gpus) == expected
    assert device_of("cpu", rank, gpus) == "cpu"


def test_processes_fill_the_cores_unless_a_launcher_starts_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "cores", lambda: 8)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert [default_processes("cpu", threads, None) for threads in (1, 3, 16)] == [8, 2, 1]
    assert [default_processes(device, 1, None) for device in ("cuda", "cuda:1")] == [4, 1]
    assert default_processes("cpu", 1, Shard(0, 2)) == 1


@pytest.mark.parametrize(
    ("work", "says"),
    [
        ({"batch_size": 0}, "--batch-size 0"),
        ({"threads": 0}, "--threads 0"),
        ({"threads": 10**6}, "1024 at most"),
        ({"processes": 0}, "--processes 0"),
        ({"merge": 0}, "--merge 0"),
        ({"shard": Shard(0, 2), "merge": 2}, "a shard draws"),
    ],
)
def test_impossible_work_is_refused(work: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        Work(**work)


def test_no_sample_of_a_mask_is_refused(lora_run: Path, tee_store: Path, out_store: Path) -> None:
    with pytest.raises(UserError, match="--samples-per-mask 0"):
        generate.synthesize(lora_run / "adapter", tee_store, out_store, samples_per_mask=0)


def test_the_launcher_says_which_shard_a_process_draws() -> None:
    torchrun, srun = {"RANK": "1", "WORLD_SIZE": "4"}, {"SLURM_PROCID": "2", "SLURM_NTASKS": "3"}
    assert parse_shard("auto", torchrun) == Shard(1, 4)
    assert parse_shard("auto", srun) == Shard(2, 3)
    assert parse_shard("auto", {**srun, **torchrun}) == Shard(1, 4)
    assert parse_shard("0/2", torchrun) == Shard(0, 2)
    with pytest.raises(UserError, match="neither RANK and WORLD_SIZE, nor SLURM_PROCID and SLURM_NTASKS are set"):
        parse_shard("auto", {"RANK": "0"})


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--shard=2/2"], "--shard 2/2"),
        (["--shard=0/0"], "--shard 0/0"),
        (["--shard=1"], "--shard 1: give I/N"),
        (["--shard=-1/2"], "--shard -1/2"),
        (["--merge=0"], "--merge"),
        (["--shard=0/2", "--merge=2"], "not allowed with"),
        (["--processes=0"], "--processes"),
        (["--threads=0"], "--threads"),
    ],
)
def test_impossible_shares_are_refused(
    options: list[str], says: str, synthesize: Draw, out_store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert says in refused(lambda: synthesize(*options), capsys)
    assert not out_store.parent.exists()


@pytest.mark.slow
def test_a_worker_that_dies_ends_the_run_and_leaves_its_parts(
    synthesize: Draw, out_store: Path, batches_drawn: list[list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    died: list[float] = []

    def kill() -> None:
        parts_of(out_store, 2)
        died.append(time.monotonic())
        multiprocessing.active_children()[0].kill()

    killer = threading.Thread(target=kill)
    killer.start()
    line = refused(lambda: synthesize("--steps=60", "--processes=2"), capsys)
    killer.join()
    assert time.monotonic() - died[0] < 10
    assert "a worker process died" in line
    assert not multiprocessing.active_children()
    synthesize("--steps=60")
    assert len(batches_drawn) <= 9
    assert len(EchoStore(out_store)) == 32


@pytest.mark.slow
def test_the_shipped_base_draws_the_same_frames_in_any_batch(tmp_path: Path) -> None:
    write_phantom(PhantomSpec(domain="tte", patients=4, seed=99), tmp_path / "tte.h5")
    dataset = FrameDataset(EchoStore(tmp_path / "tte.h5"))
    items = [dataset[i % len(dataset), 0] for i in range(16)]
    base, maskr2 = load_base(SHIPPED), MaskR2(identity(CAMUS.structures))

    def frames(indices: range) -> np.ndarray:
        given = default_collate([items[i] for i in indices]), [str(i) for i in indices], Sampling(steps=4)
        return draw_frames(base.denoiser.eval(), base.schedule, maskr2, *given).numpy().astype(int)

    together = frames(range(16))
    np.testing.assert_array_equal(together, frames(range(16)))
    for i in range(0, 16, 4):
        assert np.abs(together[i] - frames(range(i, i + 1))[0]).max() <= 2
    assert len({frame.tobytes() for frame in together}) == 16
