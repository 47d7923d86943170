"""What the packer does for every kind of recipe: workers, bad files, broken-off packs, sectors, cohorts."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from folders import CINE, RECIPE, pack, refused, write_frame, write_image

from tte_tee.cli import main
from tte_tee.data import pack as engine
from tte_tee.data.pack import pack_folder
from tte_tee.data.parts import write_arrays
from tte_tee.data.store import EchoStore
from tte_tee.errors import MachineError, UserError

COHORTS = {"train": "base", "val": "base", "test": "test"}


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """Forty patients of two frames, each frame with a grey level of its own."""
    folder = tmp_path / "many"
    for patient in range(40):
        for phase in ("ED", "ES"):
            stem = f"train/p{patient}_2CH_{phase}"
            write_frame(folder, f"{stem}.png", f"{stem}_gt.png")
            grey = np.zeros((32, 32), np.uint8)
            grey[2:-2, 2:-2] = 50 + 2 * patient + (phase == "ES")
            write_image(folder / f"{stem}.png", grey)
    return folder


def recipe_of(root: Path, base: dict[str, Any] = RECIPE, **changes: Any) -> Path:
    path = root.parent / "recipe.yaml"
    path.write_text(yaml.safe_dump({**base, **changes}))
    return path


def left(root: Path) -> list[str]:
    """What stands where the store goes."""
    return sorted(path.name for path in (root.parent / "out").glob("*"))


def test_workers_do_not_change_the_store(many: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "_FRAMES_PER_PART", 8)
    alone = pack(many).content_hash
    pack_folder(recipe_of(many), many, many.parent / "out" / "f.h5", workers=2)
    assert EchoStore(many.parent / "out" / "f.h5").content_hash == alone
    assert left(many) == ["f.h5"]


def test_a_bad_file_in_a_worker_is_one_line(many: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "_FRAMES_PER_PART", 8)
    (many / "train/p30_2CH_ES.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"p30_2CH_ES\.png: is no whole image"):
        pack_folder(recipe_of(many), many, many.parent / "out" / "f.h5", workers=2)
    assert not left(many)


def test_bad_files_are_left_out_and_listed(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "train/p1_2CH_ED.png").write_bytes(b"no picture")
    (root / "train/p2_4CH_ED_gt.png").unlink()
    write_frame(root, "train/stray.png", "train/p9_2CH_ED_gt.png")
    out = root.parent / "out" / "f.h5"
    main(["data", "pack", str(recipe_of(root)), "--root", str(root), "--out", str(out), "--skip-bad", "--workers", "0"])
    said = capsys.readouterr()
    assert list(EchoStore(out).table["key"]) == ["train/p1_2CH_ES", "val/p3_4CH_ES"]
    assert "2 frames; patients: train 1, test 1" in said.out
    assert "3 bad files left out" in said.out
    for name in ("p1_2CH_ED.png: is no whole", "p2_4CH_ED.png: has no mask", "p9_2CH_ED_gt.png: is a mask without"):
        assert sum(name in line for line in said.err.splitlines()) == 1


def test_nothing_left_after_bad_files_is_an_error(root: Path) -> None:
    for image in root.rglob("*.png"):
        image.write_bytes(b"no picture")
    with pytest.raises(UserError, match="no frame is left; 4 files are bad"):
        pack_folder(recipe_of(root), root, root.parent / "out" / "f.h5", skip_bad=True, workers=0)
    assert not left(root)


def test_dry_run_reads_no_pixels_and_writes_nothing(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "train/p1_2CH_ED.png").write_bytes(b"no picture")
    out = root.parent / "out" / "f.h5"
    main(["data", "pack", str(recipe_of(root)), "--root", str(root), "--out", str(out), "--dry-run"])
    assert "4 frames; patients: train 2, test 1; 0 files ignored -> nothing written" in capsys.readouterr().out
    assert not out.parent.exists()


def test_a_broken_off_pack_goes_on_where_it_was(many: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "_FRAMES_PER_PART", 8)
    whole = pack(many).content_hash
    (many.parent / "out" / "f.h5").unlink()
    made: list[Path] = []
    write_part = engine.write_part

    def broken_off(path: Path, part: Any) -> None:
        made.append(path)
        if len(made) == 5:
            raise KeyboardInterrupt
        write_part(path, part)

    monkeypatch.setattr(engine, "write_part", broken_off)
    with pytest.raises(KeyboardInterrupt):
        pack(many)
    (parts,) = left(many)
    assert ".parts-" in parts
    assert len(list((many.parent / "out" / parts).iterdir())) == 4
    made.clear()
    made.extend([Path()] * 5)
    assert pack(many).content_hash == whole
    assert len(made) == 5 + 6  # ten parts, of which four were there
    assert left(many) == ["f.h5"]


@pytest.mark.parametrize(("error", "kept"), [(MachineError, True), (UserError, False)])
def test_parts_stay_when_the_machine_is_at_fault(
    many: Path, monkeypatch: pytest.MonkeyPatch, error: type[UserError], kept: bool
) -> None:
    monkeypatch.setattr(engine, "_FRAMES_PER_PART", 8)
    made: list[Path] = []
    write_part = engine.write_part

    def broken_off(path: Path, part: Any) -> None:
        made.append(path)
        if len(made) == 3:
            raise error("out of order")
        write_part(path, part)

    monkeypatch.setattr(engine, "write_part", broken_off)
    with pytest.raises(error, match="out of order"):
        pack(many)
    assert bool(left(many)) is kept


def test_a_disk_without_room_is_the_machine_s_fault(
    many: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(MachineError, match="cannot write there"):
        write_arrays(tmp_path / "nowhere" / "000000.npz", a=np.zeros(1))
    monkeypatch.setattr("tte_tee.data.store.writer._SPARE", 2**62)
    with pytest.raises(MachineError, match="No space left"):
        pack(many)


def test_parts_of_other_files_are_not_taken_up(many: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stale = many.parent / "out" / "f.h5.parts-0123456789abcdef"
    stale.mkdir(parents=True)
    pack(many)
    assert left(many) == ["f.h5"]


def broken_off(root: Path, monkeypatch: pytest.MonkeyPatch, recipe: Path, **options: Any) -> list[Path]:
    """The parts that a pack leaves which is interrupted after some of them."""
    monkeypatch.setattr(engine, "_FRAMES_PER_PART", 8)
    with monkeypatch.context() as patch:
        patch.setattr(engine.StoreWriter, "append", lambda self, *frame: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            pack_folder(recipe, root, root.parent / "out" / "f.h5", workers=0, **options)
    return sorted((root.parent / "out").rglob("*.npz"))


def test_parts_of_another_commit_are_not_taken_up(many: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(engine, "fingerprint", lambda words, *_: asked.append(words) or "0" * 16)
    for commit in ("a" * 40, "b" * 40):
        monkeypatch.setattr(engine, "git_commit", lambda commit=commit: commit)
        pack(many)
    assert asked[0] != asked[1]


def test_parts_that_left_bad_files_out_are_kept_for_skip_bad_alone(many: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (many / "train/p0_2CH_ED.png").write_bytes(b"no picture")
    parts = broken_off(many, monkeypatch, recipe_of(many), skip_bad=True)
    with pytest.raises(UserError, match=r"p0_2CH_ED\.png: is no whole image"):
        pack(many)
    assert parts and all(part.exists() for part in parts) and left(many) == [parts[0].parent.name]


def test_parts_with_another_sector_picture_are_not_taken_up(many: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sector, cone = {"file": "cone.png"}, np.full((32, 32), 255, np.uint8)
    write_image(many / "cone.png", cone)
    assert broken_off(many, monkeypatch, recipe_of(many, sector=sector))
    cone[:16] = 0
    write_image(many / "cone.png", cone)
    assert {int(inside.sum()) for _, _, inside in pack(many, sector=sector)} == {128}


@pytest.mark.parametrize("kept", [slice(0), slice(100), slice(600, None)], ids=["empty", "cut", "overwritten"])
def test_a_part_that_is_not_whole_is_made_again(many: Path, monkeypatch: pytest.MonkeyPatch, kept: slice) -> None:
    part = broken_off(many, monkeypatch, recipe_of(many))[0]
    part.write_bytes(bytes(kept.start or 0) + part.read_bytes()[kept])
    assert len(pack(many)) == 80


def test_two_packs_of_one_store_are_refused(many: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read_part, second = engine.read_part, list[str]()

    def meanwhile(path: Path) -> Any:
        for changes in ({}, {"size": 8}):
            with pytest.raises(UserError, match="another process is writing it") as caught:
                pack(many, **changes)
            second.append(str(caught.value))
        return read_part(path)

    monkeypatch.setattr(engine, "read_part", meanwhile)
    pack_folder(recipe_of(many), many, many.parent / "out" / "f.h5", workers=0)
    assert second
    assert EchoStore(many.parent / "out" / "f.h5").image_size == (16, 16)
    assert left(many) == ["f.h5"]


def test_a_folder_that_is_no_pack_s_stays(many: Path) -> None:
    mine = many.parent / "out" / "f.h5.parts-of-mine"
    mine.mkdir(parents=True)
    pack(many)
    assert left(many) == ["f.h5", mine.name]


def test_brackets_in_a_name_are_no_markup_of_the_bar(many: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rich.console.Console.is_terminal", True)
    out = many.parent / "out" / "[f].h5"
    pack_folder(recipe_of(many, name="[/x]"), many, out, workers=0, progress=True)
    main(["data", "verify", str(out)])
    main(["data", "subset", str(out), "--patients=1", f"--out={out.with_name('[g].h5')}"])


def test_a_link_that_leads_nowhere_is_one_line(root: Path) -> None:
    image = root / "train/p1_2CH_ED.png"
    image.unlink()
    image.symlink_to(root / "gone.png")
    assert "p1_2CH_ED.png: cannot be read" in refused(root)


def test_a_pipe_is_one_line(root: Path) -> None:
    image = root / "train/p1_2CH_ED.png"
    image.unlink()
    os.mkfifo(image)
    assert "p1_2CH_ED.png: is no regular file" in refused(root)


def test_a_split_table_outside_of_the_folder_is_refused(root: Path) -> None:
    (root.parent / "splits.csv").write_text("patient,split\np1,train\np2,train\np3,test\n")
    assert "splits.csv: leads outside" in refused(root, split={"csv": "../splits.csv"})


@pytest.mark.slow
def test_a_killed_pack_leaves_no_store_and_a_rerun_completes(many: Path) -> None:
    for patient in range(40, 600):
        for phase in ("ED", "ES"):
            write_frame(many, f"train/p{patient}_2CH_{phase}.png", f"train/p{patient}_2CH_{phase}_gt.png")
    recipe, out = recipe_of(many, size=64), many.parent / "out" / "f.h5"
    words = [sys.executable, "-m", "tte_tee", "data", "pack", recipe, "--root", many, "--out", out, "--workers", "2"]
    for delay in (0.5, 2.0, 3.0, 3.5):
        process = subprocess.Popen([*map(str, words)], stdout=subprocess.DEVNULL)
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.wait()
        if out.exists():
            EchoStore(out)
            out.unlink()
    subprocess.run([*map(str, words)], check=True)
    assert len(EchoStore(out)) == 1200
    assert left(many) == ["f.h5"]


def test_a_file_that_leads_outside_is_refused(root: Path) -> None:
    secret = root.parent / "secret.png"
    write_image(secret, np.full((32, 32), 10, np.uint8))
    assert "leads outside" in refused(root, sector={"file": "../secret.png"})
    (root / "train/p1_2CH_ED_gt.png").unlink()
    (root / "train/p1_2CH_ED_gt.png").symlink_to(secret)
    assert "p1_2CH_ED_gt.png: leads outside" in refused(root)


def test_a_name_that_is_not_utf8_is_one_line(root: Path) -> None:
    (Path(os.fsdecode(os.fsencode(root) + b"/caf\xe9.png"))).write_bytes(b"")
    assert "is not UTF-8; rename it" in refused(root)


def test_splits_become_cohorts(root: Path) -> None:
    store = pack(root, cohorts=COHORTS)
    assert list(store.table["cohort"]) == ["base", "base", "base", "test"]
    assert set(pack(root).table["cohort"]) == {"none"}


@pytest.mark.parametrize(
    ("cohorts", "says"),
    [
        ({"dev": "base"}, "'dev' is not one of train, val, test"),
        ({"train": "mine"}, "'mine' is not one of base"),
        ({"val": "test"}, "held out"),
    ],
)
def test_bad_cohorts(root: Path, cohorts: dict[str, str], says: str) -> None:
    assert says in refused(root, cohorts=cohorts)


def test_frames_without_masks(cine: Path) -> None:
    unlabelled = {key: value for key, value in CINE.items() if key != "labels"}
    store = pack(cine, unlabelled, masks="none", images=r"images/f_(?P<frame>\d+)\.png", view="other")
    assert set(store.table["mask_source"]) == {"none"}
    assert set(store.table["view"]) == {"other"}
    assert not any(mask.any() for _, mask, _ in store)


def test_sector_from_the_recipe(cine: Path) -> None:
    store = pack(cine, CINE, sector={"apex": [0, 16], "edges": [-30, 30], "radii": [2, 28]}, size=32)
    sector = store.frame(0)[2]
    assert sector[20, 16]
    assert not sector[20, 2]
    assert not sector[31].any()
    assert set(store.table["sector_confidence"]) == {1.0}


@pytest.mark.parametrize(
    ("sector", "says"),
    [
        ({"apex": [0, 16], "edges": [30, -30], "radii": [2, 28]}, "left before right"),
        ({"apex": [0, 16], "edges": [-30, 30], "radii": [28, 2]}, "near before far"),
        ({"apex": [0], "edges": [-30, 30], "radii": [2, 28]}, "list of 2 numbers"),
        ({"apex": [0, 16], "edges": [-30, 30]}, "'sector.radii': missing"),
        ({"apex": [500, 16], "edges": [-30, 30], "radii": [2, 28]}, "nothing of the sector"),
    ],
)
def test_bad_sector(cine: Path, sector: dict[str, Any], says: str) -> None:
    assert says in refused(cine, CINE, sector=sector)


def test_an_estimated_sector_says_how_sure_it_is(cine: Path) -> None:
    confidence = pack(cine, CINE, sector="estimate").table["sector_confidence"]
    assert confidence.between(0, 1).all()
    assert confidence.nunique() == 1  # one clip, one estimate


@pytest.mark.parametrize("kind", ["ct", 3])
def test_unknown_type(root: Path, kind: Any) -> None:
    assert "key 'type'" in refused(root, type=kind)


def test_no_path_of_this_machine_is_in_a_store(root: Path) -> None:
    store = pack(root)
    assert store.command == "python -m tte_tee data pack recipe.yaml --root FOLDER --out f.h5"
    assert str(root.parent).encode() not in store.path.read_bytes()
