"""What is peculiar to one layout and wrong: headers of MetaImage, subgroups of CAMUS, dataset.json, planes, keys."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import volumes
import yaml
from folders import pack, refused
from volumes import scene, write_itk, write_nifti

from tte_tee.data.recipe import load_recipe
from tte_tee.errors import UserError


@pytest.mark.parametrize(
    "target", ["../../../outside.raw", "/outside.raw", "nowhere.raw", "LIST", "a%03d.raw 1 3 1", ""]
)
def test_meta_image_whose_pixels_are_elsewhere(tmp_path: Path, target: str) -> None:
    root = tmp_path / "root"
    recipe = volumes.camus_mhd(root)
    path = root / "training/patient0002/patient0002_4CH_ED.mhd"
    path.with_suffix(".raw").rename(tmp_path / "outside.raw")
    text = path.read_text().replace(
        "patient0002_4CH_ED.raw", target.replace("/outside", f"{tmp_path}/outside", target[0:1] == "/")
    )
    path.write_text(text)
    said = refused(root, recipe)
    assert str(path) in said or f"leads outside of {root}" in said


@pytest.mark.parametrize("spoil", [b"NDims = 200\n", b"ElementDataFile = LOCAL\n"])
def test_meta_image_of_two_minds(tmp_path: Path, spoil: bytes) -> None:
    root = tmp_path / "root"
    recipe = volumes.camus_mhd(root)
    path = root / "training/patient0002/patient0002_4CH_ED.mhd"
    path.write_bytes(spoil + path.read_bytes())
    assert f"{path}: is no MetaImage of 2 to 4 axes" in refused(root, recipe)


def test_camus_patient_of_no_subgroup(tmp_path: Path) -> None:
    recipe = volumes.camus(tmp_path / "root")
    (tmp_path / "root/database_split/subgroup_testing.txt").write_text("patient0009\n")
    said = refused(tmp_path / "root", recipe)
    assert "patient0003_2CH_ED.nii.gz: its patient is in none of database_split/subgroup_*.txt" in said
    store = pack(tmp_path / "root", recipe, split="train", cohorts=None)  # does not ask for subgroups
    assert len(store) == 12


def test_camus_patient_in_two_subgroups(tmp_path: Path) -> None:
    recipe = volumes.camus(tmp_path / "root")
    (tmp_path / "root/database_split/subgroup_testing.txt").write_text("patient0003\npatient0001\n")
    assert "patient0001 is in subgroup" in refused(tmp_path / "root", recipe)


def test_camus_part_that_stands_twice(tmp_path: Path) -> None:
    root = tmp_path / "root"
    recipe = volumes.camus(root)
    write_nifti(root / "copy/patient0001/patient0001_2CH_ED.nii.gz", scene(0)[0])
    assert "patient0001_2CH_ED.nii.gz: stands a second time as" in refused(root, recipe)


def test_camus_still_of_several_frames(tmp_path: Path) -> None:
    root = tmp_path / "root"
    recipe = volumes.camus(root)
    for end in ("", "_gt"):
        write_nifti(root / f"database_nifti/patient0001/patient0001_2CH_ED{end}.nii.gz", np.ones((2, 9, 9), np.uint8))
    assert "patient0001_2CH_ED.nii.gz: holds 2 frames" in refused(root, recipe)


@pytest.mark.parametrize(
    ("content", "said"), [(b"ED: one\n", "gives 'one' as the frame of ED"), (b"\xff\xfe", "is no text")]
)
def test_camus_info_is_wrong(tmp_path: Path, content: bytes, said: str) -> None:
    recipe = volumes.camus(tmp_path / "root")
    path = tmp_path / "root/database_nifti/patient0001/Info_2CH.cfg"
    path.write_bytes(content)
    assert f"{path}: {said}" in refused(tmp_path / "root", {**recipe, "frames": "sequence"})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("{", "is no description"),
        ("[]", "is no description"),
        ('{"file_ending": ".png"}', "channel_names"),
        ('{"file_ending": ".dcm", "channel_names": {"0": ""}}', "'file_ending' is '.dcm'"),
        ('{"file_ending": ".png", "channel_names": {"1": ""}}', "has no channel 0"),
        ('{"file_ending": ".mha", "channel_names": {"0": ""}}', "has files that end in .mha"),
        ('{"file_ending": [".png"], "channel_names": {"0": ""}}', "'file_ending' is"),
        ("[" * 9000, "is no description"),
    ],
)
def test_nnunet_description_is_wrong(tmp_path: Path, text: str, said: str) -> None:
    recipe = volumes.nnunet(tmp_path / "root")
    (tmp_path / "root/dataset.json").write_text(text)
    message = refused(tmp_path / "root", recipe)
    assert said in message and "dataset.json" in message


def test_nnunet_without_description(tmp_path: Path) -> None:
    recipe = volumes.nnunet(tmp_path / "root")
    (tmp_path / "root/dataset.json").unlink()
    assert "dataset.json: cannot be read" in refused(tmp_path / "root", recipe)


def test_cardiac_uda_without_any_mask(tmp_path: Path) -> None:
    recipe = volumes.cardiac_uda(tmp_path / "root")
    assert "none of 3 cines has a mask" in refused(tmp_path / "root", recipe, masks="{folder}/{patient}_mask.nii{gz}")


def test_mvseg_without_spacing_or_thickness(tmp_path: Path) -> None:
    root = tmp_path / "root"
    recipe = volumes.mvseg(root)
    header = bytearray((root / "test/test_001-US.nii").read_bytes())
    header[80:84] = np.float32(np.nan).tobytes()  # pixdim[1]
    (root / "test/test_001-US.nii").write_bytes(header)
    assert "test_001-US.nii: is no volume with a voxel spacing" in refused(root, recipe)
    for name in ("US", "label"):
        write_nifti(root / f"test/test_001-{name}.nii", np.ones((9, 9), np.uint8))
    assert "test_001-US.nii: is no volume with a voxel spacing" in refused(root, recipe)


def test_mvseg_spacing_that_asks_for_too_much(tmp_path: Path) -> None:
    root = tmp_path / "root"
    recipe = volumes.mvseg(root)
    for name in ("US", "label"):
        write_nifti(root / f"test/test_001-{name}.nii", np.ones((9, 9, 9), np.uint8), (1e-5, 1, 1))
    assert "test_001-US.nii: would give planes of 9x800001 pixels" in refused(root, recipe)


def test_frames_that_would_make_too_large_a_square(tmp_path: Path) -> None:
    recipe = volumes.nnunet(tmp_path / "root", ".mha")
    write_itk(tmp_path / "root/imagesTr/a_4CH_ED_0000.mha", np.ones((1, 50_000), np.uint8))
    write_itk(tmp_path / "root/labelsTr/a_4CH_ED.mha", np.ones((1, 50_000), np.uint8))
    assert "a_4CH_ED_0000.mha: declares 50000x50000" in refused(tmp_path / "root", recipe)


KEYS: list[tuple[str, dict[str, Any], str]] = [
    ("camus_nifti", {"frames": None}, "key 'frames': missing"),
    ("camus_nifti", {"frames": "cine"}, "key 'frames': 'cine'"),
    ("camus_nifti", {"frames": ["ED", "ED"]}, "key 'frames'"),
    ("camus_nifti", {"frames": []}, "key 'frames'"),
    ("camus_nifti", {"frames": [1]}, "key 'frames'"),
    ("camus_nifti", {"window": [1]}, "key 'window'"),
    ("camus_nifti", {"window": [5, 5]}, "key 'window'"),
    ("camus_nifti", {"window": [0, float("inf")]}, "key 'window'"),
    ("camus_nifti", {"images": "x"}, "key 'images': unknown"),
    ("camus_nifti", {"split": {"group": "quality", "splits": {}}}, "key 'split.group'"),
    ("camus_nifti", {"type": "camsu"}, "key 'type': 'camsu'"),
    ("cardiac_uda", {"frames": "some"}, "key 'frames': 'some'"),
    ("cardiac_uda", {"masks": "none"}, "key 'masks'"),
    ("cardiac_uda", {"axes": ["right", "down"]}, "key 'axes'"),
    ("cardiac_uda", {"axes": ["right", "left", "time"]}, "key 'axes'"),
    ("cardiac_uda", {"axes": ["right", "down", "back"]}, "key 'axes'"),
    ("cardiac_uda", {"axes": [1, 2, 3]}, "key 'axes'"),
    ("mvseg2023", {"planes": []}, "key 'planes'"),
    ("mvseg2023", {"planes": [3]}, "key 'planes'"),
    ("mvseg2023", {"planes": [{"view": "ME4C"}]}, "key 'planes[0].angle': missing"),
    ("mvseg2023", {"planes": [{"view": "ME4C", "angle": 0}, {"view": "ME9C", "angle": 1}]}, "key 'planes[1].view'"),
    ("mvseg2023", {"planes": [{"view": "ME4C", "angle": 200}]}, "key 'planes[0].angle'"),
    ("mvseg2023", {"planes": [{"view": "ME4C", "angle": 5}, {"view": "ME2C", "angle": 5.0}]}, "key 'planes'"),
    ("mvseg2023", {"planes": [{"view": "ME4C", "angle": 5, "offset": 1}]}, "key 'planes[0].offset': unknown"),
    ("mvseg2023", {"axes": ["right", "down", "time"]}, "key 'axes'"),
    ("nnunet", {"cases": "("}, "key 'cases'"),
    ("nnunet", {"cases": "(?i)(?P<patient>x)"}, "key 'cases'"),
    ("nnunet", {"cases": "(?P<case>x)"}, "key 'cases'"),
    ("nnunet", {"channel": -1}, "key 'channel'"),
    ("nnunet", {"patient": "{nobody}"}, "key 'patient'"),
]


@pytest.mark.parametrize(("name", "changes", "said"), KEYS, ids=[f"{name}-{said}" for name, _, said in KEYS])
def test_bad_recipe(tmp_path: Path, name: str, changes: dict[str, Any], said: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(volumes.recipe_of(name, **changes)))
    with pytest.raises(UserError) as caught:
        load_recipe(path)
    assert str(caught.value).startswith(str(path)) and said in str(caught.value) and "\n" not in str(caught.value)
