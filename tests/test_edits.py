"""Edits of masks: what each does to areas and places, what it leaves alone, and whom the new store tells of."""

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import write_store

from tte_tee.anatomy import TEE
from tte_tee.cli import main
from tte_tee.data.curate.verify import verify_store
from tte_tee.data.edits import (
    MaskFrame,
    dilate,
    open_sector,
    rotate,
    set_depth,
    shrink,
    take_sector,
    tell_view,
)
from tte_tee.data.leakage import patients_of_masks, seen_in
from tte_tee.data.sector import SectorShape
from tte_tee.data.store import EchoStore, FrameInfo, StoreWriter

SIDE = 128
SHAPE = SectorShape((0.0, 64.0), -0.6, 0.6, 4.0, 126.0)
LV, LA, RV, RA = 1, 2, 3, 4


def disc(row: float, column: float, radius: float) -> np.ndarray:
    """Pixels whose centres lie within a circle."""
    y, x = np.indices((SIDE, SIDE)) + 0.5
    return np.hypot(y - row, x - column) <= radius


def heart() -> MaskFrame:
    """LV straight below the probe's tip, the LA above it, an RV on the left."""
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[disc(90, 64, 20)] = LV
    mask[disc(50, 64, 12)] = LA
    mask[disc(90, 28, 10)] = RV
    return MaskFrame(mask, SHAPE.draw((SIDE, SIDE)), "ME4C")


def area(frame: MaskFrame, label: int) -> int:
    return int((frame.mask == label).sum())


def centre(frame: MaskFrame, label: int) -> np.ndarray:
    return np.argwhere(frame.mask == label).mean(0) + 0.5


def others_stand(before: MaskFrame, after: MaskFrame, label: int) -> bool:
    rest = (before.mask != label) & (before.mask != 0)
    return bool((after.mask[rest] == before.mask[rest]).all())


# sizes


@pytest.mark.parametrize("percent", [10, 20, 30])
def test_dilation_is_a_share_of_the_radius(percent: float) -> None:
    frame = heart()
    grown = dilate(frame, LV, percent)
    assert area(grown, LV) / area(frame, LV) == pytest.approx((1 + percent / 100) ** 2, rel=0.04)
    np.testing.assert_allclose(centre(grown, LV), centre(frame, LV), atol=0.1)
    assert others_stand(frame, grown, LV)
    assert (grown.mask[frame.mask == LV] == LV).all()


@pytest.mark.parametrize("percent", [10, 20, 50])
def test_shrinking_frees_background(percent: float) -> None:
    frame = heart()
    small = shrink(frame, LV, percent)
    assert area(small, LV) / area(frame, LV) == pytest.approx((1 - percent / 100) ** 2, abs=0.03)
    assert others_stand(frame, small, LV)
    assert set(np.unique(small.mask[frame.mask == LV])) == {0, LV}
    np.testing.assert_allclose(centre(small, LV), centre(frame, LV), atol=0.1)


def test_a_size_means_the_same_at_every_resolution() -> None:
    frame = heart()
    half = replace(frame, mask=frame.mask[::2, ::2].copy(), sector=frame.sector[::2, ::2].copy())
    shares = [area(dilate(f, LV, 25), LV) / area(f, LV) for f in (frame, half)]
    assert shares[0] == pytest.approx(shares[1], rel=0.03)


def test_a_known_spacing_makes_the_rim_round_in_the_body() -> None:
    frame = heart()
    wide = dilate(replace(frame, spacing=(2.0, 1.0)), LV, 30)
    rows, columns = (np.ptp(np.argwhere(wide.mask == LV)[:, axis]) - 39 for axis in (0, 1))
    assert 0 < 1.7 * rows < columns


def test_neighbours_that_were_apart_stay_apart_unless_they_yield() -> None:
    frame = heart()
    grown = dilate(frame, LV, 60)
    assert area(grown, RV) == area(frame, RV) and area(grown, LA) == area(frame, LA)
    around = cv2.dilate((grown.mask == RV).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    assert not (grown.mask[around] == LV).any()
    over = dilate(frame, LV, 60, (RV,))
    assert area(over, RV) < area(frame, RV) and area(over, LA) == area(frame, LA)
    assert not (over.mask[(frame.mask == LV)] != LV).any()


def test_growth_stays_in_the_sector_and_jumps_over_nothing() -> None:
    frame = heart()
    edge = dilate(frame, RV, 90)
    assert area(edge, RV) > area(frame, RV)
    assert not (edge.mask[frame.sector == 0] != frame.mask[frame.sector == 0]).any()
    wall = frame.mask.copy()
    wall[112:114] = RA  # a leaflet right across, which the LV nearly reaches
    frame = replace(frame, mask=wall)
    assert not (dilate(frame, LV, 50).mask[114:] == LV).any()


def test_an_edge_that_the_sector_cuts_is_no_edge() -> None:
    frame = heart()
    cut = replace(frame, mask=np.where(disc(20, 64, 30), LA, 0).astype(np.uint8) * frame.sector)
    small = shrink(cut, LA, 20)
    top = np.argwhere(small.mask == LA).min(0)[0], np.argwhere(cut.mask == LA).min(0)[0]
    assert top[0] == top[1]
    assert np.argwhere(small.mask == LA).max(0)[0] < np.argwhere(cut.mask == LA).max(0)[0]


# the plane and the sector


@pytest.mark.parametrize("degrees", [-12, 9, 15])
@pytest.mark.parametrize("spacing", [None, (1.0, 1.0), (0.5, 0.8)])
def test_rotation_turns_about_the_tip(degrees: float, spacing: tuple[float, float] | None) -> None:
    frame = replace(heart(), mask=np.where(disc(90, 64, 10), LV, 0).astype(np.uint8), spacing=spacing)
    turned = rotate(frame, degrees)
    down, right = centre(turned, LV) - SHAPE.apex
    stretch = spacing[0] / spacing[1] if spacing else 1.0
    assert np.rad2deg(np.arctan2(right / stretch, down)) == pytest.approx(degrees, abs=0.4)
    assert np.hypot(down, right / stretch) == pytest.approx(90, abs=1)
    assert area(turned, LV) == pytest.approx(area(frame, LV), rel=0.03)
    np.testing.assert_array_equal(turned.sector, frame.sector)


def test_what_a_rotation_takes_out_of_the_sector_is_cut() -> None:
    frame = heart()
    turned = rotate(frame, -25)
    assert area(turned, RV) < 0.3 * area(frame, RV)
    assert not (turned.mask * (1 - turned.sector)).any()
    assert area(rotate(turned, 25), RV) <= area(turned, RV) * 1.05  # what was cut does not come back


@pytest.mark.parametrize("spacing", [None, (1.0, 1.0), (0.5, 0.8)])
def test_the_opening_is_an_angle_of_the_body(spacing: tuple[float, float] | None) -> None:
    frame = replace(heart(), spacing=spacing)
    stretch = spacing[0] / spacing[1] if spacing else 1.0
    narrow = open_sector(frame, 40)
    row = 80
    width = narrow.sector[row].sum() / stretch
    assert width == pytest.approx(2 * np.tan(np.deg2rad(20)) * (row + 0.5), abs=3)
    assert not (narrow.mask * (1 - narrow.sector)).any()
    inside = narrow.sector > 0
    np.testing.assert_array_equal(narrow.mask[inside], frame.mask[inside])
    assert (narrow.sector <= frame.sector).all()


def test_a_wider_sector_keeps_the_old_one() -> None:
    frame = heart()
    wide = open_sector(frame, 90)
    assert (wide.sector >= frame.sector).all() and wide.sector.sum() > 1.2 * frame.sector.sum()
    np.testing.assert_array_equal(wide.mask, frame.mask)


def test_a_shallower_sector_magnifies_about_the_tip() -> None:
    frame = replace(heart(), spacing=(0.8, 0.8))
    near = set_depth(frame, 80)
    np.testing.assert_allclose(centre(near, LA) - SHAPE.apex, (centre(frame, LA) - SHAPE.apex) / 0.8, atol=0.8)
    assert area(near, LA) == pytest.approx(area(frame, LA) / 0.8**2, rel=0.04)
    assert near.spacing == pytest.approx((0.64, 0.64))
    assert near.sector[100:].tolist() == frame.sector[100:].tolist()  # the far arc and the edges stay
    assert near.sector.sum() < frame.sector.sum()  # the near arc does not
    assert not (near.mask * (1 - near.sector)).any()


def test_a_deeper_sector_makes_the_heart_smaller() -> None:
    frame = replace(heart(), spacing=(0.8, 0.8))
    deep = set_depth(frame, 125)
    assert area(deep, LV) == pytest.approx(area(frame, LV) * 0.8**2, rel=0.04)
    assert deep.spacing == pytest.approx((1.0, 1.0))
    mm = [area(f, LV) * f.spacing[0] * f.spacing[1] for f in (frame, deep) if f.spacing]
    assert mm[0] == pytest.approx(mm[1], rel=0.04)  # the heart itself is as large as before
    assert (deep.sector >= frame.sector).all()


def test_another_sector_and_another_view_leave_the_heart_in_its_place() -> None:
    frame = heart()
    other = SectorShape((0.0, 64.0), -0.3, 0.3, 4.0, 100.0).draw((SIDE, SIDE))
    seen = take_sector(frame, other, 0.5)
    np.testing.assert_array_equal(seen.mask, frame.mask * other)
    assert seen.sector_confidence == 0.5
    assert tell_view(frame, "ME2C") == replace(frame, view="ME2C")


# the store and the command line


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
    with StoreWriter(other, TEE, licence="x", command="x") as out:
        info = FrameInfo("q", "q", "A4C", "train", "acquired", mask_source="none", sector_confidence=0.75)
        out.append(sector, np.zeros_like(sector), sector, info)
    edited = edit(store, tmp_path / "g.h5", f"--sector=from={other}:0")
    assert "q" in seen_in(edited.provenance)
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
