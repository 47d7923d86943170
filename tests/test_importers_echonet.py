"""EchoNet-Dynamic: what comes out of a small copy of its layout, and what is said of a damaged one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml
from folders import pack, refused

from tte_tee.data.importers.video import read_video_frames
from tte_tee.data.pack import pack_folder
from tte_tee.data.store import EchoStore
from tte_tee.errors import UserError

SIDE = 64
RECIPE: dict[str, Any] = {
    "type": "echonet_dynamic",
    "name": "toy",
    "licence": "none",
    "label_space": {"name": "echonet", "structures": ["LV"]},
    "labels": {0: "background", 1: "LV"},
    "size": SIDE,
    "sector": "estimate",
    "split": {"group": "split", "splits": {"TRAIN": "train", "VAL": "val", "TEST": "test"}},
    "spacing": "unknown",
}
LIST_HEADER = "FileName,EF,ESV,EDV,FrameHeight,FrameWidth,FPS,NumberOfFrames,Split"
TRACE_HEADER = "FileName,X1,Y1,X2,Y2,Frame"


def write_video(path: Path, frames: int = 8) -> None:
    """Frames of which each is a little brighter than the one before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    size = (SIDE, SIDE)
    video = cv2.VideoWriter(str(path), cv2.CAP_OPENCV_MJPEG, cv2.VideoWriter_fourcc(*"MJPG"), 50, size)
    y, x = np.mgrid[:SIDE, :SIDE]
    for i in range(frames):
        grey = ((np.abs(x - SIDE / 2) < 2 + 0.45 * y) * (60 + 10 * i)).astype(np.uint8)
        video.write(cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR))
    video.release()


def trace(name: str, frame: int, half: int, chords: int = 20) -> list[str]:
    """A box, ``2 * half`` wide and 40 high: its long axis, then chords from left to right."""
    rows = [f"{name},32.0,10.0,32.0,50.0,{frame}"]
    return rows + [f"{name},{32 - half},{y:.2f},{32 + half},{y:.2f},{frame}" for y in np.linspace(10, 50, chords)]


def write_tables(root: Path, listed: list[str], traced: list[str]) -> None:
    (root / "FileList.csv").write_text("\n".join([LIST_HEADER, *listed, ""]))
    (root / "VolumeTracings.csv").write_text("\n".join([TRACE_HEADER, *traced, ""]))


def listed(name: str, split: str = "TRAIN") -> str:
    return f"{name},55.2,40.1,90.3,64,64,50,8,{split}"


LISTED = [listed("0XA"), listed("0XB.avi", "TEST"), listed("0XC", "VAL")]
TRACED = trace("0XA.avi", 5, 12) + trace("0XA.avi", 2, 6) + trace("0XB", 0, 8) + trace("0XB", 7, 9)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    for name in ("0XA", "0XB", "0XC"):
        write_video(folder / f"Videos/{name}.avi")
    write_tables(folder, LISTED, TRACED)
    return folder


def test_traced_frames_become_a_store(root: Path) -> None:
    store = pack(root, RECIPE)
    table = store.table
    assert list(table["key"]) == ["0XA/2", "0XA/5", "0XB/0", "0XB/7"]  # nobody traced 0XC
    assert list(table["phase"]) == ["ES", "ED", "ES", "ED"]
    assert list(table["split"]) == ["train", "train", "test", "test"]
    assert list(table["patient"]) == ["0XA", "0XA", "0XB", "0XB"]
    assert set(table["view"]) == {"A4C"} and set(table["mask_source"]) == {"annotated"}
    for i, (frame, half) in enumerate(((2, 6), (5, 12), (0, 8), (7, 9))):
        image, mask, _ = store.frame(i)
        box = np.zeros((SIDE, SIDE), np.uint8)
        box[10:51, 32 - half : 32 + half + 1] = 1
        assert np.array_equal(mask, box)
        assert abs(float(np.median(image[box > 0])) - (60 + 10 * frame)) <= 2


def test_summary_counts_what_is_left_aside(root: Path) -> None:
    (root / "notes.txt").write_text("")
    recipe = root.parent / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(RECIPE))
    summary = pack_folder(recipe, root, root.parent / "out/f.h5", workers=0, dry_run=True)
    assert (summary.frames, summary.ignored) == (4, 2)  # the notes, and the video that nobody traced


@pytest.mark.parametrize(("frames", "phases"), [([3], ["unknown"]), ([1, 2, 3], ["ES", "unknown", "ED"])])
def test_phases_of_other_than_two_traces(root: Path, frames: list[int], phases: list[str]) -> None:
    write_tables(root, LISTED, [row for i, frame in enumerate(frames) for row in trace("0XA", frame, 5 + i)])
    assert list(pack(root, RECIPE).table["phase"]) == phases


def test_a_byte_order_mark_and_other_line_ends(root: Path) -> None:
    before = pack(root, RECIPE).content_hash
    for name in ("FileList.csv", "VolumeTracings.csv"):
        text = (root / name).read_text()
        (root / name).write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    assert pack(root, RECIPE).content_hash == before


BAD_TABLES: list[tuple[list[str], list[str], str]] = [
    (LISTED, [*TRACED, "0XA,1,2,x,4,2"], "VolumeTracings.csv: row 86: X2 'x' is no number"),
    (LISTED, [*TRACED, "0XA,1,2,nan,4,2"], "VolumeTracings.csv: row 86: X2 'nan'"),
    (LISTED, [*TRACED, "0XA,1,2,1e300,4,2"], "VolumeTracings.csv: row 86: X2 '1e300'"),
    (LISTED, [*TRACED, "0XA,1,2,3,4"], "VolumeTracings.csv: row 86: Frame ''"),
    (LISTED, [*TRACED, "0XA,1,2,3,4,2.5"], "VolumeTracings.csv: row 86: Frame '2.5'"),
    (LISTED, [*TRACED, "0XA,1,2,3,4,-1"], "VolumeTracings.csv: row 86: Frame '-1'"),
    (LISTED, [*TRACED, *trace("0XD", 1, 5)], "VolumeTracings.csv: row 86: '0XD' is not in FileList.csv"),
    (LISTED, [*TRACED, *trace("../x", 1, 5)], "VolumeTracings.csv: row 86: '../x' is no name of a video"),
    (LISTED, [*TRACED, *trace("0XC", 8, 5)], "VolumeTracings.csv: row 86: frame 8 is not in"),
    (
        LISTED,
        [*TRACED, *trace("0XC", 1, 5, chords=2)],
        "VolumeTracings.csv: row 86: the trace of frame 1 encloses nothing",
    ),
    (LISTED, [*TRACED, *trace("0XC", 1, 0)], "VolumeTracings.csv: row 86: the trace of frame 1 encloses nothing"),
    (
        LISTED,
        [*TRACED, *(f"0XC,{200 - 5},{y},{200 + 5},{y},1" for y in range(9))],
        "VolumeTracings.csv: row 86: the trace lies outside of",
    ),
    ([*LISTED, listed("0XA")], TRACED, "FileList.csv: row 5: '0XA' stands in row 2 too"),
    ([*LISTED, listed("../0XA")], TRACED, "FileList.csv: row 5: '../0XA' is no name of a video"),
    ([*LISTED, listed("/etc/passwd")], TRACED, "FileList.csv: row 5: '/etc/passwd' is no name"),
    ([*LISTED, listed("")], TRACED, "FileList.csv: row 5: '' is no name"),
    ([*LISTED, listed("0XD")], [*TRACED, *trace("0XD", 1, 5)], "FileList.csv: row 5: there is no"),
    ([*LISTED[:2], listed("0XC", "DEV")], [*TRACED, *trace("0XC", 1, 5)], "FileList.csv: row 4: 'DEV' is not in"),
]


@pytest.mark.parametrize(("videos", "traces", "said"), BAD_TABLES, ids=[said for *_, said in BAD_TABLES])
def test_a_bad_row_is_named_and_the_rest_packed(root: Path, videos: list[str], traces: list[str], said: str) -> None:
    write_tables(root, videos, traces)
    message = refused(root, RECIPE)
    assert message.startswith(str(root)) and said in message
    recipe = root.parent / "recipe.yaml"
    summary = pack_folder(recipe, root, root.parent / "out/f.h5", workers=0, skip_bad=True)
    assert summary.problems and summary.problems[0] == message
    keys = set(EchoStore(root.parent / "out/f.h5").table["key"])
    assert keys >= {"0XB/0", "0XB/7"} and not any(key.startswith(("0XC", "0XD")) for key in keys)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda root: (root / "FileList.csv").unlink(), "FileList.csv: cannot be read (No such file"),
        (lambda root: (root / "FileList.csv").write_text(""), "FileList.csv: has no column FileName, Split"),
        (lambda root: (root / "VolumeTracings.csv").write_text("FileName,Frame\n"), "no column X1, Y1, X2, Y2"),
        (lambda root: (root / "FileList.csv").write_bytes(b"FileName,Split\n\xff\xfe,TRAIN\n"), "FileList.csv: cannot"),
        (lambda root: (root / "VolumeTracings.csv").write_text(f"{TRACE_HEADER}\n"), "nothing to pack"),
        (lambda root: (root / "FileList.csv").write_text('FileName,Split\n0XA,"TRAIN\n0XB'), "row 3: has a quote"),
        (lambda root: (root / "Videos/0XA.avi").write_bytes(b""), "0XA.avi: is empty"),
        (lambda root: (root / "Videos/0XA.avi").write_text("#EXTM3U\n/etc/passwd\n"), "0XA.avi: is no AVI file"),
        (lambda root: (root / "Videos/0XA.avi").write_bytes(b"RIFF\0\0\0\0AVI "), "0XA.avi: cannot be decoded"),
        (lambda root: (root / "Videos/0XA.avi").unlink(), "FileList.csv: row 2: there is no"),
    ],
)
def test_a_bad_file(root: Path, damage: Callable[[Path], Any], said: str) -> None:
    damage(root)
    assert said in refused(root, RECIPE)


def test_a_video_that_leads_outside(root: Path) -> None:
    video = root / "Videos/0XA.avi"
    video.rename(root.parent / "0XA.avi")
    video.symlink_to(root.parent / "0XA.avi")
    assert "0XA.avi: leads outside of" in refused(root, RECIPE)


@pytest.mark.parametrize(
    "changes", [{"frames": "all"}, {"labels": {1: "RV"}}, {"split": {"group": "fold", "splits": {}}}]
)
def test_bad_key(root: Path, changes: dict[str, Any]) -> None:
    assert refused(root, RECIPE, **changes).startswith(str(root.parent / "recipe.yaml"))


@pytest.mark.slow
@pytest.mark.parametrize("file", ["Videos/0XA.avi", "FileList.csv", "VolumeTracings.csv"])
def test_damaged_files_are_packed_or_named(root: Path, file: str, capfd: pytest.CaptureFixture[str]) -> None:
    recipe, out = root.parent / "recipe.yaml", root.parent / "out" / "f.h5"
    recipe.write_text(yaml.safe_dump({**RECIPE, "sector": {"file": "cone.png"}}))  # estimates take longer
    cv2.imwrite(str(root / "cone.png"), np.ones((SIDE, SIDE), np.uint8))
    data = (root / file).read_bytes()
    rng = np.random.default_rng(0)
    bad_ones = 0
    for i in range(50):
        bad = bytearray(data[: rng.integers(0, len(data))] if i % 5 == 0 else data)
        for _ in range(rng.integers(1, 12) if bad else 0):
            bad[rng.integers(0, min(len(bad), 3000 if i % 2 else len(bad)))] = rng.integers(0, 256)
        (root / file).write_bytes(bad)
        try:
            pack_folder(recipe, root, out, workers=0)
            assert [path.name for path in out.parent.iterdir()] == ["f.h5"]
            assert len(EchoStore(out)) >= 1
            out.unlink()
        except UserError as error:
            assert str(root) in str(error) and "\n" not in str(error)
            assert not list(out.parent.glob("*"))
            bad_ones += 1
    assert bad_ones > 10
    assert capfd.readouterr().err == ""


def test_the_order_of_messages_is_that_of_the_names(root: Path) -> None:
    names = [f"0X{letter}" for letter in "DEFGHIJK"]
    empty = [row for name in names for row in trace(name, 1, 0)]
    write_tables(root, [*LISTED, *map(listed, names)], [*TRACED, *empty])
    recipe = root.parent / "recipe.yaml"
    refused(root, RECIPE)
    summary = pack_folder(recipe, root, root.parent / "out/f.h5", workers=0, skip_bad=True)
    rows = [int(line.partition(": row ")[2].partition(":")[0]) for line in summary.problems]
    assert len(rows) == len(names) and rows == sorted(rows)


def test_of_a_large_file_the_start_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.avi"
    with path.open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(UserError, match="is no AVI file"):
        read_video_frames(path, {0})
