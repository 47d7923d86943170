"""What the folder packer says of bad recipes, splits, folders and files, and of wrong usage."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from folders import CINE, RECIPE, carve, refused, write_frame, write_image

from tte_tee.cli import main
from tte_tee.data.pack import pack_folder
from tte_tee.data.recipe import load_recipe
from tte_tee.errors import UserError


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
    ({"sector": {"file": "."}}, "key 'sector.file': '.' names no file"),
    ({"sector": {"file": "{number}.png"}}, "key 'sector.file': '{number}' is no group"),
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
    ({"split": carve(to=carve()["carve"]["from"])}, "key 'split.carve.to': 'train' is where"),
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


def test_a_black_sector_is_named_and_one_that_is_an_image_too_is_refused(cine: Path) -> None:
    write_image(cine / "cone.png", np.zeros((32, 32), np.uint8))
    assert "cone.png: marks no sector where the picture of" in refused(cine, CINE, sector={"file": "cone.png"})
    assert "is read as an image or a mask" in refused(cine, CINE, sector={"file": "labels/f_{frame}.png"})
    dot = np.zeros((32, 32), np.uint8)
    dot[1, 1] = 255
    write_image(cine / "cone.png", dot)
    assert "nothing of the sector" in refused(cine, CINE, sector={"file": "cone.png"}, size=8)


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


def test_a_picture_that_no_square_holds_is_left_out(root: Path) -> None:
    for end in ("", "_gt"):
        write_image(root / f"train/p1_2CH_ED{end}.png", np.full((1, 60_000), 10, np.uint8))
    changes = {"sector": {"apex": [0, 16], "edges": [-80, 80], "radii": [0, 60]}}
    assert "p1_2CH_ED.png: declares 60000x60000 values" in refused(root, **changes)
    recipe, out = root.parent / "recipe.yaml", root.parent / "out/f.h5"
    summary = pack_folder(recipe, root, out, workers=0, skip_bad=True)
    assert summary.frames == 3 and len(summary.problems) == 1
