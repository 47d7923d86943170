"""The folder packer: what comes out of a good folder, and what is said of a bad one."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from folders import CINE, RECIPE, pack, refused, write_frame, write_image

from tte_tee.cli import main
from tte_tee.data.geometry import resize_image, resize_labels
from tte_tee.data.pack import pack_folder
from tte_tee.data.recipe import load_recipe
from tte_tee.data.store import EchoStore
from tte_tee.errors import UserError

SHIPPED = sorted((Path(__file__).parents[1] / "data").glob("*.yaml"))


def splits(store: EchoStore) -> dict[str, str]:
    return dict(zip(store.table["patient"], store.table["split"], strict=True))


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


def carve(**changes: Any) -> dict[str, Any]:
    return {**RECIPE["split"], "carve": {"from": "train", "to": "val", "share": 0.3, "seed": 0, **changes}}


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


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("patient,split\np1,train\np2,train\n", "val/p3_4CH_ES.png: patient 'p3' is not listed"),
        ("patient,split\np1,train\np2,tset\n", "splits.csv: row 3: split 'tset'"),
        ("patient,split\np1,train\np1,val\n", "splits.csv: row 3: patient 'p1'"),
        ("patient,fold\np1,train\n", "splits.csv: no column split"),
    ],
)
def test_bad_split_table(root: Path, text: str, said: str) -> None:
    (root / "splits.csv").write_text(text)
    assert said in refused(root, split={"csv": "splits.csv"})


def test_split_table_missing(root: Path) -> None:
    assert "nowhere.csv" in refused(root, split={"csv": "nowhere.csv"})


BAD_KEYS: list[tuple[dict[str, Any], str]] = [
    ({"sise": 64}, "key 'sise': unknown"),
    ({"name": None}, "key 'name': missing"),
    ({"licence": 3}, "key 'licence': expected text, found 3"),
    ({"size": "big"}, "key 'size'"),
    ({"size": True}, "key 'size'"),
    ({"size": 0}, "key 'size'"),
    ({"size": 10**9}, "key 'size'"),
    ({"images": "("}, "key 'images': not a regular expression"),
    ({"masks": "{folder}/{pateint}.png"}, "key 'masks': '{pateint}' is no group"),
    ({"masks": "{folder"}, "key 'masks': not a template"),
    ({"masks": "{folder:>9}/x.png"}, "key 'masks'"),
    ({"patient": "{nobody}"}, "key 'patient'"),
    ({"views": None}, "key 'views'"),
    ({"view": "A4C"}, "key 'views'"),
    ({"views": {"2CH": "A2C", "4CH": "A9C"}}, "key 'views.4CH': 'A9C' is not one of"),
    ({"views": {2: "A2C"}}, "in quotes"),
    ({"phases": {"ED": "ED", "ES": "systole"}}, "key 'phases.ES'"),
    ({"label_space": "camsu"}, "key 'label_space': 'camsu'"),
    ({"label_space": {"name": "x", "structures": ["LV", "spleen"]}}, "spleen"),
    ({"label_space": {"name": "x", "structures": [1]}}, "key 'label_space.structures'"),
    ({"labels": {0: "background", 1: "RV"}}, "key 'labels': 'RV' is not in label space 'camus'"),
    ({"labels": {"one": "LV"}}, "key 'labels': 'one'"),
    ({"labels": {70000: "LV"}}, "key 'labels': 70000"),
    ({"labels": {1: ["LV"]}}, "key 'labels'"),
    ({"sector": "guess"}, "key 'sector'"),
    ({"sector": {"file": "a.png", "x": 1}}, "key 'sector.x': unknown"),
    ({"spacing": "none"}, "key 'spacing'"),
    ({"spacing": [0.3]}, "key 'spacing'"),
    ({"spacing": [0.3, -1]}, "key 'spacing'"),
    ({"spacing": [0.3, float("inf")]}, "key 'spacing'"),
    ({"spacing": [0.3, 1e-30]}, "key 'spacing'"),
    ({"spacing": [0.3, 10**400]}, "key 'spacing'"),
    ({"sector": {"apex": [0, 10**300], "edges": [-30, 30], "radii": [2, 28]}}, "key 'sector.apex'"),
    ({"licence": " "}, "key 'licence': is empty"),
    ({"licence": "a\0b"}, "key 'licence'"),
    ({"patient": "\0"}, "key 'patient'"),
    ({"split": "dev"}, "key 'split': 'dev'"),
    ({"split": {"seed": 0}}, "key 'split'"),
    ({"split": {"group": "fold", "splits": {}}}, "key 'split.group'"),
    ({"split": {"group": "folder", "splits": {"train": "dev"}}}, "key 'split.splits.train'"),
    ({"split": {"hash": {"train": 0.5}, "seed": 0}}, "key 'split.hash': shares add up to 0.5"),
    ({"split": {"hash": {"train": float("nan")}, "seed": 0}}, "key 'split.hash'"),
    ({"split": {"hash": {"train": 1}}}, "key 'split.seed': missing"),
    ({"split": carve(share=1.5)}, "key 'split.carve.share'"),
    ({"split": carve(to="spare")}, "key 'split.carve.to'"),
    ({"select": {"group": "frame", "from": 0, "to": 3}}, "key 'select.group'"),
    ({"select": {"group": "patient", "from": 0}}, "key 'select.to': missing"),
]


@pytest.mark.parametrize(("changes", "said"), BAD_KEYS, ids=[said for _, said in BAD_KEYS])
def test_bad_recipe(root: Path, changes: dict[str, Any], said: str) -> None:
    message = refused(root, **changes)
    assert message.startswith(str(root.parent / "recipe.yaml"))
    assert said in message


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [", "not YAML"),
        ("a: " + "[" * 3000, "not YAML"),
        ("a: 2020-99-99", "not YAML"),
        ("- a\n- b\n", "a recipe is a mapping"),
        ("", "a recipe is a mapping"),
        ("size: 1\nsize: 2\n", "key 'size' stands twice"),
    ],
)
def test_file_is_no_recipe(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=said) as caught:
        load_recipe(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_recipe_missing(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"absent\.yaml"):
        load_recipe(tmp_path / "absent.yaml")


def test_root_missing(tmp_path: Path) -> None:
    assert "no such folder" in refused(tmp_path / "absent")


def test_no_file_matches(root: Path) -> None:
    assert "none of 8 files" in refused(root, images=RECIPE["images"].replace("png", "tif"))


def test_select_keeps_nothing(cine: Path) -> None:
    assert "'select'" in refused(cine, CINE, select={"group": "frame", "from": 50, "to": 60})


def test_select_of_no_number(cine: Path) -> None:
    changes = {"images": r"images/(?P<frame>\w+)\.png", "masks": "labels/{frame}.png"}
    said = refused(cine, CINE, select={"group": "frame", "from": 0, "to": 1}, **changes)
    assert "images/f_00.png" in said and "not a whole number" in said


def test_image_without_mask(root: Path) -> None:
    (root / "train/p2_4CH_ED_gt.png").unlink()
    said = refused(root)
    assert "train/p2_4CH_ED.png" in said and "has no mask" in said


def test_mask_without_image(root: Path) -> None:
    (root / "train/p2_4CH_ED.png").unlink()
    said = refused(root)
    assert "train/p2_4CH_ED_gt.png" in said and "without an image" in said


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


def test_mask_that_matches_images(cine: Path) -> None:
    changes = {"images": r"(?P<folder>images|labels)/(?P<frame>\w+)\.png", "masks": "labels/{frame}.png"}
    assert "labels/f_00.png: is the mask of images/f_00.png" in refused(cine, CINE, **changes)


def test_two_images_with_one_mask(cine: Path) -> None:
    assert "the mask of both images/f_00.png and images/f_01.png" in refused(cine, CINE, masks="labels/f_00.png")


def test_label_outside_the_map(root: Path) -> None:
    said = refused(root, labels={0: "background", 10: "LV"})
    assert "train/p1_2CH_ED_gt.png: holds label value 30" in said


def test_sizes_differ(root: Path) -> None:
    write_image(root / "train/p2_4CH_ED_gt.png", np.zeros((32, 31), np.uint8))
    said = refused(root)
    assert "train/p2_4CH_ED_gt.png: is 31x32" in said and "32x32" in said


def test_sector_file_of_another_size_or_missing(cine: Path) -> None:
    assert "cone.png" in refused(cine, CINE, sector={"file": "cone.png"})
    write_image(cine / "cone.png", np.ones((16, 16), np.uint8))
    assert "cone.png: is 16x16" in refused(cine, CINE, sector={"file": "cone.png"})


@pytest.mark.parametrize("file", ["train/p2_4CH_ED.png", "train/p2_4CH_ED_gt.png"])
@pytest.mark.parametrize("kept", [0, 20, 70])
def test_truncated_file(root: Path, file: str, kept: int, capfd: pytest.CaptureFixture[str]) -> None:
    data = (root / file).read_bytes()
    assert len(data) > 70
    (root / file).write_bytes(data[:kept])
    assert f"{file}: is {'no whole image' if kept else 'empty'}" in refused(root)
    assert capfd.readouterr().err == ""


def test_pixels_of_16_bits(root: Path) -> None:
    write_image(root / "train/p2_4CH_ED.png", np.full((32, 32), 999, np.uint16))
    assert "train/p2_4CH_ED.png: has uint16 pixels" in refused(root)


def test_mask_in_colour(root: Path) -> None:
    write_image(root / "train/p2_4CH_ED_gt.png", np.zeros((32, 32, 3), np.uint8))
    assert "train/p2_4CH_ED_gt.png: is in colour" in refused(root)


def test_black_image(root: Path) -> None:
    write_image(root / "train/p2_4CH_ED.png", np.zeros((32, 32), np.uint8))
    assert "train/p2_4CH_ED.png: is black" in refused(root, sector="estimate")


def test_patient_in_two_splits(root: Path) -> None:
    write_frame(root, "val/p1_4CH_ED.png", "val/p1_4CH_ED_gt.png")
    assert "patient p1 stands in more than one split" in refused(root)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"views": {"2CH": "A2C"}}, "'4CH' is not in 'views'"),
        ({"phases": {"ES": "ES"}}, "'ED' is not in 'phases'"),
        ({"split": {"group": "folder", "splits": {"train": "train"}}}, "'val' is not in 'split.splits'"),
    ],
)
def test_value_that_the_recipe_does_not_know(root: Path, changes: dict[str, Any], said: str) -> None:
    message = refused(root, **changes)
    assert said in message and ".png" in message


def test_out_cannot_be_written(root: Path) -> None:
    recipe = root.parent / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(RECIPE))
    (root.parent / "file").write_text("")
    with pytest.raises(UserError, match=r"file/f\.h5"):
        pack_folder(recipe, root, root.parent / "file" / "f.h5")
    with pytest.raises(UserError, match="is a folder"):
        pack_folder(recipe, root, root)


@pytest.mark.parametrize("argv", [[], ["pack"], ["phantom", "--domain", "ct"], ["pack", "r.yaml", "--root", "x"]])
def test_wrong_usage_exits_with_2(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["data", *argv])
    assert caught.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("tte_tee data") and "python -m tte_tee data" in line


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
