"""What is shown of a store is what is there: numbers, pictures, cards and the command line."""

import os
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from curating import INFO, frames, many, refused, run, write

from tte_tee.anatomy import STRUCTURES, TEE, VIEWS, LabelSpace
from tte_tee.cli import curate as words
from tte_tee.cli import main
from tte_tee.data.curate import inspect, split
from tte_tee.data.curate.card import card
from tte_tee.data.curate.numbers import count_store, structure_table
from tte_tee.data.store import COHORTS, SPLITS, EchoStore, StoreWriter


def odd(path: Path) -> Path:
    """A frame without a mask, a mask without a picture, a generated frame, and one with everything unknown."""
    return write(
        path,
        replace(INFO, key="a", mask_source="none", sector_confidence=0.25),
        replace(INFO, key="b", origin="mask", mask_source="ssm", cohort="none"),
        replace(INFO, key="c", origin="generated", parent="b", spacing=None),
        replace(INFO, key="d" * 90, view="other", phase="unknown", spacing=None),
        space=LabelSpace("all", tuple(STRUCTURES)),
    )


def test_numbers_are_those_of_the_pixels(tmp_path: Path) -> None:
    store = EchoStore(odd(tmp_path / "f.h5"))
    numbers = count_store(store)
    assert (numbers.frames, numbers.patients, numbers.labelled, numbers.sampled) == (4, 1, 3, 3)
    assert (numbers.estimated, numbers.doubtful, len(numbers.spaced)) == (1, 1, 2)
    shares, areas = [], []
    for i in (1, 2, 3):
        _, mask, sector = store.frame(i)
        if n := (mask == 2).sum():
            shares.append(n / sector.sum())
            areas += [n * 0.25 / 100] * (i == 1)
    epi = numbers.structures[1]
    assert (epi.name, epi.frames) == ("LV_epi", len(shares))
    assert epi.area == pytest.approx(np.mean(shares))
    assert epi.area_cm2 == (pytest.approx(np.mean(areas)) if areas else None)


def test_masks_that_their_sector_cuts_are_counted_and_come_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, mask = tmp_path / "f.h5", np.zeros((16, 16), np.uint8)
    mask[4:14, 4:14] = 1
    with StoreWriter(path, TEE, licence="CC0-1.0", command="a test") as writer:
        for name, rows in (("whole", 16), ("scratched", 13), ("half", 9), ("most", 6)):  # of the sector
            sector = np.zeros((16, 16), np.uint8)
            sector[:rows] = 1
            writer.append(mask, mask, sector, replace(INFO, key=name, sector_confidence=0.9))
    numbers = count_store(EchoStore(path))
    assert numbers.cut == (3, 2)  # a tenth is no more than a tenth
    shown: list[tuple[int, bool]] = []
    cell = inspect._cell
    monkeypatch.setattr(inspect, "_cell", lambda store, i, cut: (shown.append((i, bool(cut))), cell(store, i, cut))[1])
    run("inspect", path, "--png", tmp_path / "f.png", "--frames", 3)
    assert shown[0] == (3, True) and len(shown) == 3
    assert "masks of which their sector cuts more than a tenth" in capsys.readouterr().out


def test_a_large_store_is_sampled_and_says_so(tee_store: Path) -> None:
    numbers = count_store(EchoStore(tee_store), sample=5)
    assert numbers.sampled == 5 and all(s.frames <= 5 for s in numbers.structures)
    assert "over 5 of 16 frames with a mask" in structure_table(numbers).title
    assert count_store(EchoStore(tee_store), sample=5).structures == numbers.structures


def test_inspect_shows_what_there_is(tmp_path: Path, tee_store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("inspect", tee_store)
    said = capsys.readouterr().out
    for word in ("CC0-1.0", "16 of 8 patients", "tee: LV, LA, RV, RA", "train", "ME2C", "phantom", "cm²", "2 x 1.5"):
        assert word in said, word


def test_inspect_of_odd_stores(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("inspect", odd(tmp_path / "f.h5"), "--png", tmp_path / "f.png")
    said = capsys.readouterr().out
    assert "3 of 4" not in said.split("Spacing")[0] and "over all 3 frames with a mask" in said
    bare = write(tmp_path / "bare.h5", replace(INFO, mask_source="none"))
    run("inspect", bare, "--png", tmp_path / "bare.png", "--frames", 3)
    assert "no frame has a mask" in capsys.readouterr().out
    assert all(cv2.imread(str(tmp_path / name)) is not None for name in ("f.png", "bare.png"))


@pytest.mark.parametrize("size", [16, 300])
def test_the_picture_shows_frames_and_masks_in_their_colours(tmp_path: Path, size: int) -> None:
    path = write(tmp_path / "f.h5", *frames("p"), *frames("q"), size=size)
    run("inspect", path, "--png", tmp_path / "f.png", "--frames", 4)
    picture = cv2.imread(str(tmp_path / "f.png"))[..., ::-1]
    assert all((picture == STRUCTURES[name].colour).all(axis=-1).any() for name in TEE.structures)
    run("inspect", path, "--png", tmp_path / "g.png", "--frames", 8)
    assert cv2.imread(str(tmp_path / "g.png")).size > picture.size


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (["inspect", "--frames", "3"], "--png"),
        (["inspect", "--png", "f.h5"], ".png"),
        (["inspect", "--png", "folder.png"], "no file that can be replaced"),
        (["inspect", "--png", "pipe.png"], "no file that can be replaced"),
        (["card", "--out", "f.h5"], ".md"),
        (["card", "--out", "note/c.md"], "cannot write there"),
    ],
)
def test_pictures_and_cards_replace_nothing_else(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    line: list[str],
    says: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    store = write(tmp_path / "f.h5", INFO)
    (tmp_path / "folder.png").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "note").write_text("")
    before = sorted(tmp_path.iterdir())
    assert says in refused(capsys, line[0], store, *line[1:])
    assert sorted(tmp_path.iterdir()) == before
    assert (tmp_path / "pipe.png").is_fifo() and EchoStore(store)


def test_a_card_says_what_limits_the_store(tmp_path: Path) -> None:
    text = card(count_store(EchoStore(odd(tmp_path / "f.h5"))))
    for words_ in (
        "single-patient demonstration",
        "2 of 4 frames distances and areas are in pixels",
        "1 of 4 frames the edge of the sector is a guess, 1 of them",
        "1 of 4 frames have no mask",
        "Synthetic pictures: 1 of 4 frames",
        "1 of 4 frames are black",
        "the generator knows no plane for 1 of 4",
        "Licence: CC0-1.0.",
        EchoStore(tmp_path / "f.h5").content_hash,
    ):
        assert words_ in text, words_


def test_a_card_repeats_and_names_no_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    many(tmp_path / "f.h5")
    run("subset", tmp_path / "f.h5", "--patients=12", "--out", tmp_path / "g.h5")
    capsys.readouterr()
    run("card", tmp_path / "g.h5")
    printed = capsys.readouterr().out
    run("card", tmp_path / "g.h5", "--out", tmp_path / "new" / "g.md")
    assert (tmp_path / "new" / "g.md").read_text() == printed
    assert str(tmp_path) not in printed and "data subset f.h5 --patients=12 --out g.h5" in printed
    assert "held out" in printed and '"made_by": "subset"' in printed
    assert "Known limits" in printed and "acquired from a patient" not in printed


def test_the_words_of_the_options_are_those_of_the_store() -> None:
    assert (SPLITS, COHORTS, tuple(VIEWS), split.BY) == (words.SPLITS, words.COHORTS, words.VIEWS, words.BY)


@pytest.mark.parametrize("command", ["inspect", "verify", "merge", "split", "subset", "card"])
def test_each_command_teaches(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        run(command, "--help")
    assert not stop.value.code
    assert f"example:\n  python -m tte_tee data {command} " in capsys.readouterr().out
    main(["--help"])
    assert f"\n  data {command} " in capsys.readouterr().out


def test_brackets_are_shown_as_they_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("inspect", write(tmp_path / "a[b].h5", INFO, licence="as [/stated] in [red]"))
    said = capsys.readouterr().out
    assert "as [/stated] in [red]" in said
    (tmp_path / "a[b].h5").unlink()
    with pytest.raises(SystemExit):
        run("verify", tmp_path / "a[b].h5")
    assert "a[b].h5: no such echo store" in capsys.readouterr().out


def test_a_missing_store_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for line in (
        ["inspect"],
        ["card"],
        ["subset", "--frames=1", "--out=x.h5"],
        ["split", "--val=0", "--test=0", "--out=x.h5"],
    ):
        assert "no such echo store" in refused(capsys, line[0], tmp_path / "f.h5", *line[1:])
