"""``masks edit``: what the new store says, and of whom; what is refused, and leaves nothing."""

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import write_store
from editing import LV, RA, RV, SIDE, disc, heart

from tte_tee.anatomy import TEE
from tte_tee.cli import main
from tte_tee.data.curate.verify import verify_store
from tte_tee.data.edits import MaskFrame, dilate, rotate
from tte_tee.data.leakage import patients_of_masks
from tte_tee.data.sector import SectorShape
from tte_tee.data.store import EchoStore, FrameInfo, StoreWriter
from tte_tee.seen import seen_in


def write_hearts(path: Path, **changes: object) -> Path:
    """Hearts of four training patients and one each to validate and test; the last one has no RV."""
    frame = heart()
    with StoreWriter(path, TEE, licence="CC-BY-4.0", command="test", provenance=json.dumps({"seen": ["old"]})) as out:
        for n, split in enumerate(("train", "train", "train", "train", "val", "test")):
            mask = np.where(frame.mask == RV, 0, frame.mask).astype(np.uint8) if n == 3 else frame.mask
            info = FrameInfo(f"p{n}/a", f"p{n}", "ME4C", split, "acquired", phase="ED", mask_source="annotated", seed=5)
            out.append(frame.sector * np.uint8(99), mask, frame.sector, replace(info, **changes))  # type: ignore[arg-type]
    return path


def edit(store: Path, out: Path, *words: str) -> EchoStore:
    main(["masks", "edit", str(store), "--out", str(out), *words])
    return EchoStore(out)


def test_an_edited_store_says_what_was_done_to_whom(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = EchoStore(write_hearts(tmp_path / "f.h5"))
    edited = edit(store.path, tmp_path / "g.h5", "--dilate", "RV=20", "--rotate", "-5", "--view=ME2C")
    assert list(edited.table["key"]) == [f"p{n}/a~dilate-RV-20~rotate-5~view-ME2C" for n in range(3)]
    for index, (image, mask, _) in enumerate(edited):
        info, parent = edited.info(index), store.info(index)
        assert info == replace(parent, key=info.key, view="ME2C", origin="mask", parent=parent.key, seed=-1)
        assert not image.any()
        frame = MaskFrame(store.frame(index)[1], store.frame(index)[2], "ME4C")
        np.testing.assert_array_equal(mask, rotate(dilate(frame, RV, 20), -5).mask)
    assert [record["edit"] for record in edited.provenance["edits"]] == ["dilate", "rotate", "view"]
    assert edited.provenance["from"][0]["hash"] == store.content_hash
    assert edited.licence == "edited masks; masks: CC-BY-4.0"
    assert not [finding for finding in verify_store(edited.path) if finding.error]
    said = capsys.readouterr().out
    assert "1 masks left out: dilate-RV-20 changes nothing in them" in said and "3 masks left in" in said


def test_edits_are_applied_in_the_order_given(tmp_path: Path) -> None:
    store = write_hearts(tmp_path / "f.h5")
    first = edit(store, tmp_path / "a.h5", "--rotate=-10", "--shrink=RV=30")
    second = edit(store, tmp_path / "b.h5", "--shrink=RV=30", "--rotate=-10")
    assert first.table["key"][0] == "p0/a~rotate-10~shrink-RV-30"
    assert second.table["key"][0] == "p0/a~shrink-RV-30~rotate-10"
    assert first.content_hash != second.content_hash
    assert edit(store, tmp_path / "c.h5", "--rotate=-10", "--shrink=RV=30").content_hash == first.content_hash


def test_an_edited_heart_is_still_the_patients(tmp_path: Path) -> None:
    store = write_hearts(tmp_path / "f.h5")
    edited = edit(store, tmp_path / "g.h5", "--dilate=LV=20")
    assert patients_of_masks(edited, edited.indices()) == {"p0", "p1", "p2", "p3"}
    assert seen_in(edited.provenance) == {"p0", "p1", "p2", "p3", "old"}
    held = edit(store, tmp_path / "h.h5", "--dilate=LV=20", "--split=test")
    assert set(held.table["split"]) == {"test"} and seen_in(held.provenance) == {"p5", "old"}


def test_an_edited_heart_of_nobody_is_still_nobodys(tmp_path: Path) -> None:
    edited = edit(write_hearts(tmp_path / "f.h5", mask_source="ssm"), tmp_path / "g.h5", "--dilate=LV=20")
    assert seen_in(edited.provenance) == {"old"}
    assert set(edited.table["mask_source"]) == {"ssm"}


def test_a_borrowed_sector_tells_of_its_patient(tmp_path: Path) -> None:
    store, other = write_hearts(tmp_path / "f.h5"), tmp_path / "o.h5"
    sector = SectorShape((0.0, 64.0), -0.3, 0.3, 4.0, 126.0).draw((SIDE, SIDE))
    with StoreWriter(other, TEE, licence="of q alone", command="x") as out:
        info = FrameInfo("q", "q", "A4C", "train", "acquired", mask_source="none", sector_confidence=0.75)
        out.append(sector, np.zeros_like(sector), sector, info)
    edited = edit(store, tmp_path / "g.h5", f"--sector=from={other}:0")
    assert "q" in seen_in(edited.provenance)
    assert "sector: of q alone" in edited.licence
    assert edited.table["key"][0] == "p0/a~sector-of-o-0"
    assert (edited.table["sector_confidence"] == 0.75).all()
    np.testing.assert_array_equal(edited.frame(0)[2], sector)
    before = other.read_bytes()
    with pytest.raises(SystemExit):
        edit(store, other, f"--sector=from={other}:0")
    assert other.read_bytes() == before


def test_what_vanishes_or_breaks_is_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = write_hearts(tmp_path / "f.h5")
    edit(store, tmp_path / "g.h5", "--rotate=-35")
    row = next(line for line in capsys.readouterr().out.splitlines() if " RV " in line)
    assert [cell.strip() for cell in row.strip("│ ").split("│")] == ["RV", "0", "3", "0", "-100.0 %"]
    frame = heart()
    mask = np.where(disc(80, 55, 9) | disc(80, 73, 9), LV, 0).astype(np.uint8)
    with StoreWriter(tmp_path / "two.h5", TEE, licence="x", command="x") as out:
        info = FrameInfo("p", "p", "ME4C", "train", "acquired", mask_source="annotated")
        out.append(frame.sector, mask, frame.sector, info)
    edit(tmp_path / "two.h5", tmp_path / "h.h5", "--shrink=LV=30")
    row = next(line for line in capsys.readouterr().out.splitlines() if " LV " in line)
    assert [cell.strip() for cell in row.strip("│ ").split("│")][:4] == ["LV", "1", "1", "1"]


def test_the_picture_shows_both_sides(tmp_path: Path) -> None:
    store = write_hearts(tmp_path / "f.h5")
    edit(store, tmp_path / "g.h5", "--shrink=LV=50", "--picture", str(tmp_path / "p.png"))
    picture = cv2.imread(str(tmp_path / "p.png"))[..., ::-1]
    half = picture.shape[1] // 2
    red = (picture == (214, 69, 65)).all(-1)
    assert 0 < red[:-30, half:].sum() < 0.35 * red[:-30, :half].sum()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "no edit is asked for"),
        (["--dilate=XX=5"], "'XX' is no structure of label space 'tee' (LV, LA, RV, RA)"),
        (["--dilate=RV"], "say STRUCTURE=PERCENT"),
        (["--dilate=RV=big"], "'big' is no number"),
        (["--dilate=RV=nan"], "use 0 to 100"),
        (["--dilate=RV=500"], "use 0 to 100"),
        (["--dilate=RV=-5"], "use 0 to 100"),
        (["--dilate=RV=0"], "0 percent changes nothing"),
        (["--dilate=RV=20:RV"], "cannot yield to itself"),
        (["--dilate=RV=20:XX"], "'XX' is no structure"),
        (["--dilate=RA=20"], "no mask is left to write (dilate-RA-20 changes nothing in 4)"),
        (["--shrink=LV=100"], "use 0 to 95"),
        (["--shrink=LV=0.1"], "changes nothing in 4"),
        (["--rotate=0"], "changes nothing"),
        (["--rotate=181"], "use -90 to 90"),
        (["--rotate=x"], "'x' is no number"),
        (["--rotate=90"], "nothing is left of 4"),
        (["--sector=50"], "say angle=DEGREES"),
        (["--sector=angle=200"], "use 10 to 150"),
        (["--sector=depth=100"], "changes nothing"),
        (["--sector=depth=1000"], "use 50 to 200"),
        (["--sector=from=F"], "the frame's place in that store"),
        (["--sector=from=nowhere.h5:0"], "nowhere.h5: no such echo store"),
        (["--view=A5C"], "the generator knows A4C, A2C, ME4C, ME2C"),
        (["--view=other"], "the generator knows A4C, A2C, ME4C, ME2C"),
        (["--view=A4C"], "view-A4C changes nothing in 4"),
        (["--rotate=5", "--picture=p.gif"], ".png"),
        (["--dilate=LV=20", "--split=all"], "invalid choice"),
    ],
    ids=" ".join,
)
def test_mistakes_are_one_line_and_write_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], says: str
) -> None:
    store = write_hearts(tmp_path / "f.h5")
    with pytest.raises(SystemExit) as stop:
        edit(store, tmp_path / "g.h5", *words)
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert says in line and line.startswith("tte_tee masks edit: ")
    assert [path.name for path in tmp_path.iterdir()] == ["f.h5"]


def test_a_frame_number_or_a_size_that_does_not_fit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store, small = write_hearts(tmp_path / "f.h5"), write_store(tmp_path / "s.h5", TEE)
    for value, says in ((f"{store}:6", "has frames 0 to 5"), (f"{small}:0", "frames are 16x16, those of")):
        with pytest.raises(SystemExit):
            edit(store, tmp_path / "g.h5", f"--sector=from={value}")
        assert says in capsys.readouterr().err


def test_a_structure_that_is_shrunk_away_everywhere_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "f.h5"
    frame = heart()
    mask = frame.mask.copy()
    mask[110:112, 40:90] = RA  # a thin one: nothing of it is deeper than a pixel
    with StoreWriter(path, TEE, licence="x", command="x") as out:
        info = FrameInfo("p", "p", "ME4C", "train", "acquired", mask_source="annotated")
        out.append(frame.sector, mask, frame.sector, info)
    with pytest.raises(SystemExit):
        edit(path, tmp_path / "g.h5", "--shrink=RA=60")
    assert "RA is left in none of 1 masks" in capsys.readouterr().err


def test_the_store_that_is_read_is_not_written_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = write_hearts(tmp_path / "f.h5")
    with pytest.raises(SystemExit):
        edit(store, store, "--rotate=5")
    assert "is the store that is read" in capsys.readouterr().err
