"""``synthesize`` over processes, shards and kills: the same store, to the bit."""

import multiprocessing
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import default_collate

from tte_tee.anatomy import CAMUS
from tte_tee.anatomy.maskr2 import identity
from tte_tee.cli import main
from tte_tee.data.datamodule import FrameDataset
from tte_tee.data.phantom import PhantomSpec, write_phantom
from tte_tee.data.store import EchoStore
from tte_tee.errors import UserError
from tte_tee.models.folders import SHIPPED, load_base
from tte_tee.models.maskr2 import MaskR2
from tte_tee.synthesis import batches
from tte_tee.synthesis.batches import default_processes, device_of
from tte_tee.synthesis.frames import Sampling, draw_frames
from tte_tee.synthesis.shards import Shard, parse_shard

Draw = Callable[..., None]
PARTS = "s.h5.parts-*"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out" / "s.h5"


@pytest.fixture(scope="module")
def words(lora_run: Path, tee_store: Path) -> list[str]:
    """Sixteen masks, two samples of each, in eleven batches of which the last is short."""
    given = [f"--adapter={lora_run / 'adapter'}", f"--masks={tee_store}", "--samples-per-mask=2"]
    return ["synthesize", *given, "--steps=2", "--batch-size=3"]


@pytest.fixture
def draw(words: list[str], out: Path) -> Draw:
    """``draw(*options)`` runs the command in this process, unless ``--processes`` says otherwise."""
    return lambda *options: main([*words, f"--out={out}", "--processes=1", *options])


@pytest.fixture(scope="module")
def whole(words: list[str], tmp_path_factory: pytest.TempPathFactory) -> EchoStore:
    """What one unbroken run in one process leaves."""
    path = tmp_path_factory.mktemp("whole") / "s.h5"
    main([*words, f"--out={path}", "--processes=1"])
    return EchoStore(path)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Keys of every batch that this process draws."""
    keys: list[list[str]] = []

    def spy(*given: Any) -> torch.Tensor:
        keys.append(list(given[4]))
        return draw_frames(*given)

    monkeypatch.setattr(batches, "draw_frames", spy)
    return keys


def refused(run: Callable[[], None], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that is said of a mistake."""
    with pytest.raises(SystemExit) as stop:
        run()
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def interrupt_after(count: int, monkeypatch: pytest.MonkeyPatch, draw: Draw, *options: str) -> None:
    """Runs, and presses Ctrl-C while batch number ``count`` is drawn."""
    made = iter(range(count))

    def spy(*given: Any) -> torch.Tensor:
        if next(made, None) is None:
            raise KeyboardInterrupt
        return draw_frames(*given)

    with monkeypatch.context() as patch:
        patch.setattr(batches, "draw_frames", spy)
        with pytest.raises(SystemExit) as stop:
            draw(*options)
        assert stop.value.code == 130


def same(out: Path, whole: EchoStore) -> None:
    """Every key once and in order, the same bits, the same provenance, and nothing left beside the store."""
    store = EchoStore(out)
    assert list(store.table["key"]) == list(whole.table["key"])
    assert store.content_hash == whole.content_hash
    timeless = [{**each.provenance, "time": None} for each in (store, whole)]
    assert timeless[0] == timeless[1]
    assert {path.name for path in out.parent.iterdir()} == {out.name, out.with_suffix(".md").name}


def test_the_store_says_what_decides_the_last_bit(whole: EchoStore) -> None:
    expected = {"split": None, "samples_per_mask": 2, "batch_size": 3, "threads": 1, "device": "cpu"}
    assert whole.provenance["drawn"] == expected


@pytest.mark.parametrize("count", [1, 3, 12])
def test_shards_merge_into_what_one_process_draws(
    count: int, draw: Draw, out: Path, whole: EchoStore, drawn: list[list[str]]
) -> None:
    for number in reversed(range(count)):
        draw(f"--shard={number}/{count}")
        assert not out.exists()
    assert len(drawn) == 11
    draw(f"--merge={count}")
    assert len(drawn) == 11
    same(out, whole)


def test_a_shard_tells_where_it_is_and_what_follows(draw: Draw, capsys: pytest.CaptureFixture[str]) -> None:
    draw("--shard=1/2")
    assert "shard 1/2 left in " in (said := capsys.readouterr().out) and "--merge 2" in said


def test_a_missing_shard_is_named_and_then_drawn(
    draw: Draw, out: Path, whole: EchoStore, capsys: pytest.CaptureFixture[str]
) -> None:
    line = refused(lambda: draw("--merge=3"), capsys)
    assert "shard 0/3, 1/3, 2/3: 11 of 11 batches are not drawn" in line
    assert not out.parent.exists()
    draw("--shard=0/3")
    draw("--shard=2/3")
    capsys.readouterr()
    line = refused(lambda: draw("--merge=3"), capsys)
    assert "shard 1/3: 4 of 11 batches are not drawn" in line and "--shard 1/3" in line
    assert "0/3" not in line and "2/3" not in line
    assert not out.exists()
    draw("--shard=1/3")
    draw("--merge=3")
    same(out, whole)


def test_shards_that_nobody_has_are_not_counted(draw: Draw, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert f"{out}: shard 0/{10**12}, 1/{10**12}" in refused(lambda: draw(f"--merge={10**12}"), capsys)


def test_a_shard_of_other_options_is_missing(draw: Draw, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    draw("--shard=0/2")
    draw("--shard=1/2", "--seed=1")
    capsys.readouterr()
    assert "shard 1/2: 5 of 11 batches" in refused(lambda: draw("--merge=2"), capsys)
    assert len(list(out.parent.glob(PARTS))) == 2  # neither is lost


def test_one_process_draws_what_shards_have_not(
    draw: Draw, out: Path, whole: EchoStore, drawn: list[list[str]]
) -> None:
    draw("--shard=1/3")
    del drawn[:]
    draw()
    assert len(drawn) == 7
    same(out, whole)


def test_a_merge_needs_no_device(draw: Draw, out: Path, whole: EchoStore, capsys: pytest.CaptureFixture[str]) -> None:
    assert "--device cuda:77" in refused(lambda: draw("--device=cuda:77"), capsys)
    assert "shard 0/1" in refused(lambda: draw("--device=cuda:77", "--merge=1"), capsys)
    assert "--device abacus" in refused(lambda: draw("--device=abacus", "--merge=1"), capsys)


@pytest.mark.parametrize("options", [[], ["--shard=0/1"]], ids=["alone", "shard"])
def test_a_broken_off_run_goes_on_where_it_was(
    options: list[str],
    draw: Draw,
    out: Path,
    whole: EchoStore,
    drawn: list[list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    interrupt_after(4, monkeypatch, draw, *options)
    assert not out.exists()
    (folder,) = out.parent.glob(PARTS)
    assert len(list(folder.iterdir())) == 4
    draw()
    assert len(drawn) == 7
    same(out, whole)


@pytest.mark.parametrize("length", [0, 200])
def test_a_part_that_lost_its_end_is_drawn_again(length: int, draw: Draw, out: Path, whole: EchoStore) -> None:
    draw("--shard=0/1")
    (part,) = out.parent.glob(f"{PARTS}/000004.npz")
    part.write_bytes(part.read_bytes()[:length])
    with pytest.raises(SystemExit):
        draw("--merge=1")
    draw()
    same(out, whole)


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
    option: str, draw: Draw, out: Path, whole: EchoStore, drawn: list[list[str]]
) -> None:
    draw("--shard=0/6", option)
    del drawn[:]
    draw()
    assert len(drawn) == 11
    same(out, whole)


def test_parts_of_another_adapter_or_other_masks_are_not_taken_up(
    draw: Draw, out: Path, lora_run: Path, tee_store: Path, tmp_path: Path, drawn: list[list[str]]
) -> None:
    draw("--shard=0/1")
    main(["data", "subset", str(tee_store), "--split=train", f"--out={tmp_path / 'tee.h5'}"])
    draw("--shard=0/1", f"--masks={tmp_path / 'tee.h5'}")
    shutil.copytree(lora_run / "adapter", tmp_path / "adapter")
    weights = tmp_path / "adapter" / "adapter_model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    draw("--shard=0/1", f"--adapter={tmp_path / 'adapter'}")
    assert len(list(out.parent.glob(PARTS))) == 3
    assert len(drawn) == 11 + 6 + 11


def test_only_shards_of_one_run_are_at_work_at_once(
    draw: Draw, out: Path, whole: EchoStore, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []

    def meanwhile(*options: str) -> Callable[..., torch.Tensor]:
        def spy(*given: Any) -> torch.Tensor:
            monkeypatch.setattr(batches, "draw_frames", draw_frames)
            said.append(refused(lambda: draw(*options), capsys))
            return draw_frames(*given)

        return spy

    for first, second in (([], []), ([], ["--seed=1"]), ([], ["--shard=1/2"]), (["--shard=0/2"], [])):
        monkeypatch.setattr(batches, "draw_frames", meanwhile(*second))
        draw(*first)
    assert len(said) == 4 and all("another process is writing it" in line for line in said)

    def beside(*given: Any) -> torch.Tensor:
        monkeypatch.setattr(batches, "draw_frames", draw_frames)
        draw("--shard=1/2")
        return draw_frames(*given)

    shutil.rmtree(out.parent)
    monkeypatch.setattr(batches, "draw_frames", beside)
    draw("--shard=0/2")
    draw("--merge=2")
    same(out, whole)


@pytest.mark.parametrize("thing", ["folder", "text"])
def test_a_name_that_is_taken_is_refused_before_anything_is_drawn(
    thing: str, draw: Draw, out: Path, drawn: list[list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    out.mkdir(parents=True) if thing == "folder" else (out.parent.mkdir(), out.write_text("mine"))
    for options in ([], ["--shard=0/2"], ["--merge=2"]):
        assert f"{out}: is " in refused(lambda: draw(*options), capsys)  # noqa: B023
    assert not drawn
    assert [path.name for path in out.parent.iterdir()] == [out.name]


def test_threads_are_pinned_and_single_precision_is_meant(
    draw: Draw, monkeypatch: pytest.MonkeyPatch, drawn: list[list[str]]
) -> None:
    seen = set()

    def spy(*given: Any) -> torch.Tensor:
        seen.add((torch.get_num_threads(), torch.backends.cudnn.allow_tf32))
        return draw_frames(*given)

    monkeypatch.setattr(batches, "draw_frames", spy)
    before = torch.get_num_threads()
    draw("--threads=2", "--split=val", "--samples-per-mask=1", "--steps=1")
    assert seen == {(2, False)}
    assert torch.get_num_threads() == before


def test_too_little_memory_is_one_line(
    draw: Draw, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*given: Any) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate\nmuch")

    monkeypatch.setattr(batches, "draw_frames", full)
    assert "no memory for 3 frames; lower --batch-size" in refused(draw, capsys)


def test_an_adapter_that_changes_meanwhile_is_refused(
    draw: Draw, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    loaded = batches.load_adapter

    def changed(*given: Any) -> Any:
        adapter = loaded(*given)
        adapter.hash = "other"
        return adapter

    monkeypatch.setattr(batches, "load_adapter", changed)
    assert "changed while frames were drawn" in refused(draw, capsys)


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


def test_the_launcher_says_which_shard_a_process_draws() -> None:
    torchrun, srun = {"RANK": "1", "WORLD_SIZE": "4"}, {"SLURM_PROCID": "2", "SLURM_NTASKS": "3"}
    assert parse_shard("auto", torchrun) == Shard(1, 4)
    assert parse_shard("auto", srun) == Shard(2, 3)
    assert parse_shard("auto", {**srun, **torchrun}) == Shard(1, 4)
    assert parse_shard("0/2", torchrun) == Shard(0, 2)
    with pytest.raises(UserError, match="neither RANK and WORLD_SIZE, nor SLURM_PROCID and SLURM_NTASKS are set"):
        parse_shard("auto", {"RANK": "0"})


def test_a_launcher_is_asked_only_where_that_is_wanted(
    draw: Draw, out: Path, whole: EchoStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"SLURM_PROCID": "1", "SLURM_NTASKS": "2"}.items():
        monkeypatch.setenv(name, value)
    draw("--shard=auto")
    assert not out.exists()
    draw()
    same(out, whole)


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
    options: list[str], says: str, draw: Draw, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert says in refused(lambda: draw(*options), capsys)
    assert not out.parent.exists()


def parts_of(out: Path, count: int) -> None:
    """Waits until that many parts are there."""
    until = time.monotonic() + 120
    while len(list(out.parent.glob(f"{PARTS}/*.npz"))) < count:
        assert time.monotonic() < until
        time.sleep(0.02)


@pytest.mark.slow
@pytest.mark.parametrize("processes", [2, 3])
def test_processes_draw_what_one_process_draws(processes: int, draw: Draw, out: Path, whole: EchoStore) -> None:
    draw(f"--processes={processes}")
    same(out, whole)


@pytest.mark.slow
def test_a_killed_run_goes_on_and_leaves_the_same_store(
    words: list[str], draw: Draw, out: Path, tmp_path: Path, drawn: list[list[str]]
) -> None:
    for processes, count in ((2, 2), (1, 5)):
        command = [*words, f"--out={out}", "--steps=60", f"--processes={processes}"]
        with subprocess.Popen([sys.executable, "-m", "tte_tee", *command], stdout=subprocess.DEVNULL) as process:
            parts_of(out, count)
            process.send_signal(signal.SIGKILL)
        assert not out.exists()
    kept = len(list(out.parent.glob(f"{PARTS}/*.npz")))
    draw("--steps=60")
    assert 0 < len(drawn) <= 11 - 5
    assert len(drawn) == 11 - kept
    again = tmp_path / "again" / "s.h5"
    draw("--steps=60", f"--out={again}")
    same(out, EchoStore(again))


@pytest.mark.slow
def test_a_worker_that_dies_ends_the_run_and_leaves_its_parts(
    draw: Draw, out: Path, drawn: list[list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    died: list[float] = []

    def kill() -> None:
        parts_of(out, 2)
        died.append(time.monotonic())
        multiprocessing.active_children()[0].kill()

    killer = threading.Thread(target=kill)
    killer.start()
    line = refused(lambda: draw("--steps=60", "--processes=2"), capsys)
    killer.join()
    assert time.monotonic() - died[0] < 10
    assert "a worker process died" in line
    assert not multiprocessing.active_children()
    draw("--steps=60")
    assert len(drawn) <= 9
    assert len(EchoStore(out)) == 32


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
