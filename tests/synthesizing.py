"""Runs of ``synthesize`` that are refused, broken off or compared; shared by its tests."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tte_tee.data.store import EchoStore
from tte_tee.synthesis import batches
from tte_tee.synthesis.frames import draw_frames

Draw = Callable[..., None]
PARTS = "s.h5.parts-*"


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


def parts_of(out: Path, count: int) -> None:
    """Waits until that many parts are there."""
    until = time.monotonic() + 300  # a process imports torch first, on whatever machine
    while len(list(out.parent.glob(f"{PARTS}/*.npz"))) < count:
        assert time.monotonic() < until
        time.sleep(0.02)
