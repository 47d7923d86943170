"""The gain of synthetic frames: how bright each is, as the frames are that the adapter learnt from."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import Train, sector_of
from hypothesis import given
from hypothesis import strategies as st
from synthesizing import refused

from tte_tee.cli import main
from tte_tee.data.store import EchoStore
from tte_tee.synthesis.gain import brightness, gain_levels, matched_levels, set_gain

SECTOR = sector_of(16)


@given(st.integers(0, 2**32 - 1), st.floats(0, 255), st.integers(1, 255))
def test_any_frame_becomes_as_bright_as_is_asked(seed: int, level: float, spread: int) -> None:
    frame = np.random.default_rng(seed).integers(0, spread + 1, SECTOR.shape).astype(np.uint8) * SECTOR
    result = set_gain(frame, SECTOR, level)
    assert brightness(result, SECTOR) == pytest.approx(level, abs=0.51)  # whole grey levels
    assert not result[SECTOR == 0].any()
    pairs = np.argsort(frame[SECTOR > 0], kind="stable")
    assert (np.diff(result[SECTOR > 0][pairs].astype(int)) >= 0).all()  # what was darker is not brighter now


def test_levels_are_those_of_the_frames(tee_store: Path) -> None:
    store = EchoStore(tee_store)
    levels = gain_levels(store, store.indices(split="train"))
    own = [brightness(image, sector) for image, _, sector in (store.frame(i) for i in store.indices(split="train"))]
    assert len(levels) == 101
    assert (levels[0], levels[-1]) == (pytest.approx(min(own), abs=0.01), pytest.approx(max(own), abs=0.01))


def test_the_darkest_becomes_as_dark_as_the_darkest() -> None:
    levels = np.linspace(20, 120, 101)
    drawn = [90.0, 70.0, 80.0, 70.0, 200.0]
    assert matched_levels(drawn, levels).tolist() == pytest.approx([90, 30, 70, 50, 110])
    assert matched_levels([5.0], levels).tolist() == [70]
    many = matched_levels(np.random.default_rng(0).normal(100, 3, 1000), levels)
    assert np.percentile(many, [10, 50, 90]) == pytest.approx([30, 70, 110], abs=0.2)


def test_frames_together_are_as_bright_as_those_learnt_from(
    lora_run: Path, tee_store: Path, synthesize: Callable[..., None], out_store: Path
) -> None:
    synthesize()
    bright = EchoStore(out_store)
    assert bright.provenance["gain"] == "training"
    assert "| gain | training |" in out_store.with_suffix(".md").read_text()
    frames = [image for image, _, _ in bright]
    found = [brightness(image, sector) for image, _, sector in bright]
    levels = np.asarray(json.loads((lora_run / "adapter/adapter.json").read_text())["gain"])
    store = EchoStore(tee_store)
    assert levels.tolist() == gain_levels(store, store.indices(split="train"))
    shares = (np.arange(len(found)) + 0.5) / len(found) * 100
    assert sorted(found) == pytest.approx(np.interp(shares, np.arange(101), levels), abs=0.51)
    synthesize("--gain=drawn")
    drawn = EchoStore(out_store)
    assert drawn.provenance["gain"] == "drawn"
    before = [brightness(image, sector) for image, _, sector in drawn]
    wanted = matched_levels(before, levels)
    for image, (other, _, sector), level in zip(frames, drawn, wanted, strict=True):
        np.testing.assert_array_equal(image, set_gain(other, sector, level))


def test_an_adapter_that_learnt_from_no_frame_leaves_them_as_drawn(
    adapt: Train, tee_store: Path, tmp_path: Path
) -> None:
    run = adapt(tmp_path, "--trainer.max_steps=0", method="none")
    assert "gain" not in json.loads((run / "adapter/adapter.json").read_text())
    words = ["synthesize", f"--adapter={run / 'adapter'}", f"--masks={tee_store}", "--steps=2", "--processes=1"]
    stores = []
    for gain in ("training", "drawn"):
        main([*words, f"--gain={gain}", f"--out={tmp_path / gain}.h5"])
        stores.append(EchoStore(tmp_path / f"{gain}.h5"))
    assert stores[0].content_hash == stores[1].content_hash
    assert stores[0].provenance["gain"] == "drawn"


@pytest.mark.parametrize(
    ("levels", "said"),
    [
        (None, "does not say how bright the frames were"),
        ([1.0, 2.0], "101 grey levels"),
        ([2.0] * 100 + [1.0], "101 grey levels"),
        ([300.0] * 101, "101 grey levels"),
        ([None] * 101, "101 grey levels"),
        ("bright", "101 grey levels"),
    ],
)
def test_an_adapter_without_readable_levels_is_refused(
    levels: object, said: str, lora_run: Path, tee_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    adapter = tmp_path / "adapter"
    shutil.copytree(lora_run / "adapter", adapter)
    record = json.loads((adapter / "adapter.json").read_text())
    del record["gain"]
    (adapter / "adapter.json").write_text(json.dumps(record if levels is None else {**record, "gain": levels}))
    words = [f"--adapter={adapter}", f"--masks={tee_store}", "--steps=1", f"--out={tmp_path / 's.h5'}"]
    line = refused(lambda: main(["synthesize", *words]), capsys)
    assert str(adapter) in line and said in line
    assert not (tmp_path / "s.h5").exists()
    if levels is None:
        main(["synthesize", *words, "--gain=drawn"])
        assert (tmp_path / "s.h5").exists()


def test_an_unknown_gain_is_refused(synthesize: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> None:
    assert "--gain loud: use training or drawn" in refused(lambda: synthesize("--gain=loud"), capsys)
