"""The command ``segment``: pictures, DICOM files and stores in, masks out, all or none."""

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import Train, generated
from dicoms import make, save
from test_segmenter import said

from tte_tee.cli import main
from tte_tee.cli.parser import command_line
from tte_tee.data.store import EchoStore
from tte_tee.seen import seen_in


def test_segment_pictures_and_stores(seg_run: Path, tee_store: Path, tmp_path: Path) -> None:
    pictures = tmp_path / "in" / "deep"
    pictures.mkdir(parents=True)
    image, _, _ = EchoStore(tee_store).frame(0)
    cv2.imwrite(str(pictures / "a.png"), cv2.resize(image, (48, 40)))
    words = ["--segmenter", str(seg_run / "segmenter"), "--out", str(tmp_path / "out")]
    main(["segment", str(tmp_path / "in"), *words])
    mask = cv2.imread(str(tmp_path / "out/deep/a_mask.png"), cv2.IMREAD_UNCHANGED)
    assert mask.shape == (40, 48)
    assert mask.max() <= 4
    assert (tmp_path / "out/deep/a_overlay.png").is_file()
    main(["segment", str(tee_store), *words])
    found = EchoStore(tmp_path / "out/found.h5")
    assert len(found) == len(EchoStore(tee_store))
    assert found.command == command_line("segment", str(tee_store), *words)


def test_masks_found_in_synthetic_frames_do_not_hide_whom_those_know(
    fit: Train, seg_run: Path, tee_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    drawn = generated(tee_store, tmp_path / "drawn.h5", record={"adapter": {"seen": ["test1"]}})
    main(["segment", str(drawn), "--segmenter", str(seg_run / "segmenter"), "--out", str(tmp_path / "out")])
    found = tmp_path / "out/found.h5"
    assert "test1" in seen_in(EchoStore(found).provenance)
    with pytest.raises(SystemExit):
        fit(tmp_path, f"--data.synthetic={found}", "--data.ratio=1")
    assert "patient test1 went into the frames" in capsys.readouterr().err


def test_segment_writes_over_nothing_that_it_reads(
    seg_run: Path, tee_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image, mask, _ = EchoStore(tee_store).frame(0)
    (tmp_path / "in").mkdir()
    cv2.imwrite(str(tmp_path / "in/a.png"), image)
    cv2.imwrite(str(tmp_path / "in/a_mask.png"), mask)
    shutil.copy(tee_store, tmp_path / "found.h5")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    segmenter = ["--segmenter", str(seg_run / "segmenter"), "--out"]
    for read, out in (("in", "in"), ("in", "in/out"), ("in/a.png", "in"), ("found.h5", "")):
        line = said(capsys, "segment", str(tmp_path / read), *segmenter, str(tmp_path / out))
        assert "give another" in line
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}


def test_segment_takes_several_inputs_and_a_given_sector(
    seg_run: Path, tee_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image, _, sector = EchoStore(tee_store).frame(0)
    for name, picture in (("a.png", image), ("b.png", image), ("half.png", sector * 255)):
        cv2.imwrite(str(tmp_path / name), picture)
    inputs, words = [str(tmp_path / name) for name in ("a.png", "b.png")], ["--segmenter", str(seg_run / "segmenter")]
    main(["segment", *inputs, *words, "--sector", str(tmp_path / "half.png"), "--out", str(tmp_path / "given")])
    assert "masks of 2 frames" in (line := capsys.readouterr().out) and "1 LV, 2 LA" in line
    mask = cv2.imread(str(tmp_path / "given/b_mask.png"), cv2.IMREAD_UNCHANGED)
    assert not mask[sector == 0].any()
    cv2.imwrite(str(tmp_path / "half.png"), sector[:8])
    other = ["--sector", str(tmp_path / "half.png"), "--out", str(tmp_path / "other")]
    assert "a: is 16x16, and --sector is 8x16" in said(capsys, "segment", *inputs, *words, *other)
    assert "a store is segmented by itself" in said(capsys, "segment", str(tee_store), *inputs, *words, *other)


@pytest.mark.parametrize("spoilt", ["same name", "black"])
def test_segment_leaves_all_or_nothing(
    seg_run: Path, tee_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], spoilt: str
) -> None:
    image, _, _ = EchoStore(tee_store).frame(0)
    (tmp_path / "in").mkdir()
    for name in ("a.png", "b.png", "c.PNG" if spoilt == "black" else "b.PNG"):
        cv2.imwrite(str(tmp_path / "in" / name), image * (spoilt == "same name" or name != "c.PNG"))
    words = [str(tmp_path / "in"), "--segmenter", str(seg_run / "segmenter"), "--out"]
    said_of = {"same name": "b: two frames have this name", "black": "c: is black"}
    for out in ("there", "not there"):
        if out == "there":
            (tmp_path / out).mkdir()
        assert said_of[spoilt] in said(capsys, "segment", *words, str(tmp_path / out))
    assert not list((tmp_path / "there").iterdir()) and not (tmp_path / "not there").exists()


def test_a_folder_that_is_no_segmenter_says_what_it_is(
    seg_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.full((16, 16), 200, np.uint8))
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter/adapter.json").write_text("{}")
    words = ["segment", str(tmp_path / "a.png"), "--out", str(tmp_path / "out"), "--segmenter"]
    assert f"{seg_run}/segmenter is one" in said(capsys, *words, str(seg_run))
    assert f"{seg_run}/segmenter is one" in said(capsys, *words, str(seg_run.parent))
    assert "it is that of an adapter" in said(capsys, *words, str(tmp_path / "adapter"))
    assert "there is no such folder" in said(capsys, *words, str(tmp_path / "nowhere"))


@pytest.mark.parametrize(
    ("name", "content", "says"), [("a.png", b"no", "no whole image"), ("a.md", b"no", "neither a PNG nor a DICOM file")]
)
def test_segment_refuses_what_is_no_frame(
    seg_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, content: bytes, says: str
) -> None:
    (tmp_path / name).write_bytes(content)
    words = ["--segmenter", str(seg_run / "segmenter"), "--out", str(tmp_path / "out")]
    assert says in said(capsys, "segment", str(tmp_path / name), *words)
    assert "no such file" in said(capsys, "segment", str(tmp_path / "missing"), *words)


def test_segment_refuses_a_dicom_whose_sector_is_unsure(
    seg_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (1, 64, 64), dtype=np.uint8)
    save(tmp_path / "a.dcm", make(noise))
    words = ["--segmenter", str(seg_run / "segmenter"), "--out", str(tmp_path / "out")]
    assert "its sector is too uncertain" in said(capsys, "segment", str(tmp_path / "a.dcm"), *words)
    assert not (tmp_path / "out").exists()
