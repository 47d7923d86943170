"""Stores are joined whole, or not at all, and what is read is not written over."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import draw_frame
from curating import INFO, frames, refused, run, write

from tte_tee.anatomy import TEE, LabelSpace
from tte_tee.data.curate.copying import join_licences
from tte_tee.data.curate.verify import verify_store
from tte_tee.data.store import EchoStore, FrameInfo, StoreWriter


def test_merge_keeps_every_frame_and_remembers_its_parts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parts = [
        EchoStore(write(tmp_path / "a.h5", *frames("p1"), licence="A")),
        EchoStore(write(tmp_path / "b.h5", *frames("p2", cohort="test", split="test"), licence="B; cite C")),
        EchoStore(write(tmp_path / "c.h5", replace(INFO, key="p1/more", patient="p1"), licence="A")),
    ]
    run("merge", *(part.path for part in parts), "--out", tmp_path / "m.h5")
    merged = EchoStore(tmp_path / "m.h5")
    pd.testing.assert_frame_equal(merged.table, pd.concat([part.table for part in parts], ignore_index=True))
    for frame, expected in zip(merged, (frame for part in parts for frame in part), strict=True):
        np.testing.assert_array_equal(frame, expected)
    assert merged.licence == "A AND B; cite C"
    assert merged.command.startswith("python -m tte_tee data merge ") and "--out" in merged.command
    assert [part["hash"] for part in merged.provenance["from"]] == [part.content_hash for part in parts]
    assert [part["command"] for part in merged.provenance["from"]] == ["a test"] * 3
    assert "left in" in capsys.readouterr().out
    assert not [finding for finding in verify_store(merged.path) if finding.error]


def test_licences_are_named_once() -> None:
    assert join_licences(["CC BY-NC", "CC BY", "CC BY AND MIT"]) == "CC BY-NC AND CC BY AND MIT"


@pytest.mark.parametrize(
    ("infos", "options", "says"),
    [
        (frames("q"), {"space": LabelSpace("tee", ("LA", "LV", "RV", "RA"))}, "hold LA, LV, RV, RA, those of"),
        (frames("q"), {"size": 8}, "b.h5: frames are 8x8, those of"),
        (frames("p", 1), {}, "frame key p/0 stands in"),
        ([replace(INFO, key="x", split="test")], {}, "patient p stands in split train of"),
        ([replace(INFO, key="x", cohort="pool")], {}, "patient p stands in cohort none of"),
    ],
)
def test_what_does_not_go_together_is_not_merged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], infos: list[FrameInfo], options: dict, says: str
) -> None:
    a, b = write(tmp_path / "a.h5", *frames("p")), write(tmp_path / "b.h5", *infos, **options)
    said = refused(capsys, "merge", a, b, "--out", tmp_path / "m.h5")
    assert says in said and "a.h5" in said and "b.h5" in said
    assert not (tmp_path / "m.h5").exists()


def test_one_store_is_not_merged(tmp_path: Path, tee_store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "two stores or more" in refused(capsys, "merge", tee_store, "--out", tmp_path / "m.h5")


@pytest.mark.parametrize(
    "line", [["merge", "{}", "{}"], ["split", "{}", "--val=0", "--test=0"], ["subset", "{}", "--frames=1"]]
)
def test_what_is_read_is_not_written_over(tmp_path: Path, line: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "f.h5", *frames("p"))
    (tmp_path / "g.h5").hardlink_to(path)
    before = path.read_bytes()
    for out in (path, tmp_path / "g.h5"):
        assert "is the store that is read" in refused(capsys, *(word.format(path) for word in line), "--out", out)
    (tmp_path / "text").write_text("a note")
    assert "no echo store" in refused(capsys, *(word.format(path) for word in line), "--out", tmp_path / "text")
    assert path.read_bytes() == before


def test_provenance_of_any_length_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "f.h5"
    with StoreWriter(path, TEE, licence="x", command="x", provenance=json.dumps({"long": "x" * 200_000})) as writer:
        writer.append(*draw_frame(4, 0), INFO)
        writer.append(*draw_frame(4, 1), replace(INFO, key="b"))
    run("subset", path, "--frames=1", "--out", tmp_path / "g.h5")
    assert EchoStore(tmp_path / "g.h5").provenance["from"][0]["provenance"]["long"] == "x" * 200_000
