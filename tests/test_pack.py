"""The folder packer: what comes out of a good folder."""

from pathlib import Path

import numpy as np
import pytest
import yaml
from folders import CINE, RECIPE, carve, pack, refused, splits, write_frame, write_image

from tte_tee.cli import main
from tte_tee.data.geometry import resize_image, resize_labels
from tte_tee.data.pack import pack_folder
from tte_tee.data.recipe import load_recipe
from tte_tee.data.store import EchoStore
from tte_tee.errors import UserError

SHIPPED = sorted((Path(__file__).parents[1] / "data").glob("*.yaml"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_recipe_is_valid(path: Path) -> None:
    assert load_recipe(path).name == path.stem


def test_recipes_are_shipped() -> None:
    assert {path.stem for path in SHIPPED} >= {"camus224", "tee_cine_adapt", "tee_cine_later"}


def test_round_trip(root: Path) -> None:
    store = pack(root, sector="estimate")
    assert list(store.table["key"]) == ["train/p1_2CH_ED", "train/p1_2CH_ES", "train/p2_4CH_ED", "val/p3_4CH_ES"]
    assert list(store.table["view"]) == ["A2C", "A2C", "A4C", "A4C"]
    assert list(store.table["phase"]) == ["ED", "ES", "ED", "ES"]
    assert splits(store) == {"p1": "train", "p2": "train", "p3": "test"}
    assert set(store.table["origin"]) == {"acquired"}
    assert store.info(0).spacing is None
    assert store.licence == "none"
    image, mask, sector = store.frame(0)
    assert np.unique(mask).tolist() == [0, 1, 3]  # LV_epi is in the map, and in no file
    assert mask[4:8, 4:8].tolist() == np.full((4, 4), 1).tolist()
    assert mask[8:12, 4:8].tolist() == np.full((4, 4), 3).tolist()
    assert image[4:12, 4:12].min() == 100
    assert (sector != (image == 100)).sum() <= 4  # its corners are rounded


def test_same_folder_same_store(root: Path) -> None:
    assert pack(root).content_hash == pack(root).content_hash


def test_existing_store_is_replaced_or_kept_whole(root: Path) -> None:
    before = pack(root).content_hash
    with pytest.raises(UserError):
        pack(root, labels={0: "background"})
    out = root.parent / "out"
    assert [path.name for path in out.iterdir()] == ["f.h5"]
    assert EchoStore(out / "f.h5").content_hash == before
    assert pack(root, size=8).image_size == (8, 8)


def test_summary_counts_frames_patients_and_the_rest(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "notes.txt").write_text("left aside")
    recipe = root.parent / "recipe.yaml"
    recipe.write_text(yaml.safe_dump({**RECIPE, "sector": "estimate"}))
    main(["data", "pack", str(recipe), "--root", str(root), "--out", str(root.parent / "f.h5")])
    printed = capsys.readouterr().out
    # The frames are boxes of grey, which no sector explains.
    said = "toy: 4 frames; patients: train 2, test 1; 1 files ignored; 4 uncertain sectors ('data inspect' shows them)"
    assert printed == f"{said} -> {root.parent / 'f.h5'}\n"


def test_padding_keeps_aspect_and_spacing_is_scaled(tmp_path: Path) -> None:
    write_frame(tmp_path / "root", "images/f_0.png", "labels/f_0.png", shape=(32, 64))
    store = pack(tmp_path / "root", CINE, spacing=[0.5, 0.25])
    image, mask, sector = store.frame(0)
    assert store.info(0).spacing == (2.0, 1.0)  # 64 pixels padded, 16 stored
    for array in (image, mask, sector):
        assert not array[:4].any() and not array[-4:].any()
    assert image[6:10, 2:14].min() == 100
    assert np.argwhere(mask == 1).tolist() == [[y, x] for y in (6, 7) for x in range(4, 8)]


@pytest.mark.parametrize(("side", "size"), [(224, 64), (63, 9), (8, 24), (10, 10)])
def test_masks_stay_on_their_images(side: int, size: int) -> None:
    half = np.zeros((side, side), np.uint8)
    half[:, side // 2 :] = 1
    lit = resize_image(half * 200, size)[0] > 100
    assert np.abs(lit.astype(int) - resize_labels(half, size)[0]).sum() <= 1
    centred = np.arange(side, dtype=np.uint8)[None].repeat(side, 0)
    assert abs(resize_labels(centred, size)[0].mean() - (side - 1) / 2) <= 0.5


def test_sector_is_shared_within_patient_and_view(root: Path) -> None:
    dark = np.zeros((32, 32), np.uint8)
    dark[2:16, 2:-2] = 100
    write_image(root / "train/p1_2CH_ES.png", dark)
    store = pack(root, sector="estimate")
    assert np.array_equal(store.frame(0)[2], store.frame(1)[2])


def test_sector_from_a_file(cine: Path) -> None:
    cone = np.zeros((32, 32), np.uint8)
    cone[:, 16:] = 255
    write_image(cine / "cone.png", cone)
    sector = pack(cine, CINE, sector={"file": "cone.png"}).frame(0)[2]
    assert np.array_equal(sector, np.tile([0] * 8 + [1] * 8, (16, 1)))


def test_a_split_that_a_hash_leaves_empty_is_named(root: Path) -> None:
    pack(root, split={"hash": {"train": 0.98, "test": 0.02}, "seed": 1})
    summary = pack_folder(root.parent / "recipe.yaml", root, root.parent / "out/f.h5", workers=0)
    assert "patients: train 3, test 0;" in str(summary)


def test_a_sector_for_each_file(root: Path) -> None:
    marked = {"file": "sectors/{patient}_{view}_{phase}.png"}
    for number, name in enumerate(("p1_2CH_ED", "p1_2CH_ES", "p2_4CH_ED", "p3_4CH_ES")):
        cone = np.zeros((32, 32), np.uint8)
        cone[2 * number :] = 255
        write_image(root / f"sectors/{name}.png", cone)
    store = pack(root, sector=marked)
    assert [int(store.frame(index)[2][:, 0].argmax()) for index in range(4)] == [0, 1, 2, 3]
    assert set(store.table["sector_confidence"]) == {1.0}
    again = pack_folder(root.parent / "recipe.yaml", root, root.parent / "out/f.h5", workers=0)
    assert again.ignored == 0
    (root / "sectors/p1_2CH_ES.png").unlink()
    recipe = root.parent / "recipe.yaml"
    summary = pack_folder(recipe, root, root.parent / "out/f.h5", workers=0, skip_bad=True)
    assert summary.frames == 3 and len(summary.problems) == 1 and "p1_2CH_ES.png: has no sector" in summary.problems[0]
    with pytest.raises(UserError, match=r"p1_2CH_ES\.png: has no sector"):
        pack_folder(recipe, root, root.parent / "out/f.h5", workers=0, dry_run=True)


def test_colour_images_become_grey(cine: Path) -> None:
    write_image(cine / "images/f_00.png", np.full((32, 32, 3), 77, np.uint8))
    assert pack(cine, CINE).frame(0)[0].tolist() == np.full((16, 16), 77).tolist()


def test_blocks_of_a_cine_become_two_stores(cine: Path) -> None:
    early = pack(cine, CINE, select={"group": "frame", "from": 0, "to": 2}, split="train")
    assert list(early.table["key"]) == [f"images/f_{i:02d}" for i in (0, 1, 2)]
    assert set(early.table["split"]) == {"train"}
    later = pack(cine, CINE, select={"group": "frame", "from": 4, "to": 9})
    assert list(later.table["key"]) == ["images/f_04", "images/f_05"]
    assert set(later.table["patient"]) == {"one"} and set(later.table["phase"]) == {"unknown"}


def test_mask_left_out_by_select_needs_no_image(cine: Path) -> None:
    (cine / "images/f_05.png").unlink()
    (cine / "labels/f_04.png").unlink()
    assert len(pack(cine, CINE, select={"group": "frame", "from": 0, "to": 3})) == 4


def crowd(root: Path, patients: int) -> None:
    for i in range(patients):
        for phase in ("ED", "ES"):
            write_frame(root, f"train/p{i}_4CH_{phase}.png", f"train/p{i}_4CH_{phase}_gt.png", shape=(8, 8))


def test_carve_is_by_patient_and_stable(tmp_path: Path) -> None:
    root = tmp_path / "root"
    crowd(root, 40)
    few = splits(pack(root, split=carve()))
    assert 4 <= sum(split == "val" for split in few.values()) <= 20
    assert set(few.values()) == {"train", "val"}
    assert splits(pack(root, split=carve(seed=1))) != few
    crowd(root, 44)
    more = splits(pack(root, split=carve()))
    assert {patient: more[patient] for patient in few} == few


def test_carve_leaves_other_splits_alone(root: Path) -> None:
    assert splits(pack(root, split=carve(share=0.999)))["p3"] == "test"


def test_split_by_hash(tmp_path: Path) -> None:
    root = tmp_path / "root"
    crowd(root, 40)
    found = splits(pack(root, split={"hash": {"train": 0.5, "val": 0.25, "test": 0.25}, "seed": 0}))
    assert set(found.values()) == {"train", "val", "test"}
    assert splits(pack(root, split={"hash": {"train": 0.5, "val": 0.25, "test": 0.25}, "seed": 3})) != found
    assert set(splits(pack(root, split={"hash": {"test": 1}, "seed": 0})).values()) == {"test"}


def test_split_by_csv(root: Path) -> None:
    (root / "splits.csv").write_text("patient,split\np1,val\np2,test\np3,train\n")
    assert splits(pack(root, split={"csv": "splits.csv"})) == {"p1": "val", "p2": "test", "p3": "train"}


def test_mask_pattern_knows_what_a_group_can_be(root: Path) -> None:
    write_image(root / "other/p9_4CH_ED_gt.png", np.zeros((4, 4), np.uint8))  # no folder of the recipe
    assert len(pack(root)) == 4


def test_group_with_brackets_and_classes(tmp_path: Path) -> None:
    write_frame(tmp_path / "root", "a(1).png", "a(1)_m.png")
    write_frame(tmp_path / "root", "b[2].png", "b[2]_m.png")
    changes = {"images": r"(?P<stem>(?P<letter>[a-c)])[(\[](?:\d)[\])])\.png", "masks": "{stem}_m.png"}
    assert list(pack(tmp_path / "root", CINE, **changes).table["key"]) == ["a(1)", "b[2]"]
    (tmp_path / "root/b[2].png").unlink()
    (tmp_path / "out/f.h5").unlink()
    assert "b[2]_m.png" in refused(tmp_path / "root", CINE, **changes)


def test_phantom_passes_its_options(tmp_path: Path) -> None:
    options = ["--patients", "2", "--seed", "5", "--size", "16", "--angles", "30", "--val", "0", "--test", "0.5"]
    main(["data", "phantom", "--domain", "tee", *options, "--out", str(tmp_path / "f.h5")])
    store = EchoStore(tmp_path / "f.h5")
    assert store.image_size == (16, 16)
    assert sorted(splits(store).values()) == ["test", "train"]
    assert len(store) == 2 * 3 * 2  # patients, planes, phases
    assert "--seed 5" in store.command


def test_help_shows_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("pack", "phantom"):
        with pytest.raises(SystemExit):
            main(["data", command, "--help"])
        assert f"python -m tte_tee data {command}" in capsys.readouterr().out.split("example:")[1]
