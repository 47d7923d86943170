"""Importers of NIfTI, MetaImage and nnU-Net on bad folders: one line that names the file, and nothing written."""

import gzip
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import volumes
import yaml
from folders import pack, refused
from volumes import HEIGHT, WIDTH, write_nifti

from tte_tee.data.pack import pack_folder
from tte_tee.data.store import EchoStore
from tte_tee.errors import UserError


def nnunet_mha(root: Path) -> dict[str, Any]:
    return volumes.nnunet(root, ".mha")


FORMATS: dict[str, tuple[Callable[[Path], dict[str, Any]], str, str]] = {
    "camus": (
        volumes.camus,
        "database_nifti/patient0002/patient0002_2CH_ES.nii.gz",
        "database_nifti/patient0002/patient0002_2CH_ES_gt.nii.gz",
    ),
    "camus_mhd": (
        volumes.camus_mhd,
        "training/patient0002/patient0002_4CH_ES.mhd",
        "training/patient0002/patient0002_4CH_ES_gt.mhd",
    ),
    "cardiac_uda": (
        volumes.cardiac_uda,
        "Site_R_126/normal-1-4_image.nii.gz",
        "Site_R_126/normal-1-4_label.nii.gz",
    ),
    "mvseg": (volumes.mvseg, "test/test_001-US.nii", "test/test_001-label.nii"),
    "nnunet": (volumes.nnunet, "imagesTr/b_2CH_ES_0000.png", "labelsTr/b_2CH_ES.png"),
    "nnunet_mha": (nnunet_mha, "imagesTr/b_2CH_ES_0000.mha", "labelsTr/b_2CH_ES.mha"),
}
Case = tuple[Path, dict[str, Any], str, str]
WITH_MASKS = [name for name in FORMATS if name != "cardiac_uda"]  # the others may come without
HEADED = [name for name in FORMATS if name != "nnunet"]  # PNG holds bytes alone, and has tests of its own
NIFTI = ["camus", "cardiac_uda", "mvseg"]
VALUES = [(dtype, fill, said) for dtype in (np.float32, np.int16)
          for fill, said in ((-3, "from -3 to -3"), (999, "from 999 to 999"))] + [(np.float32, 0.5, "0.5")]  # fmt: skip


def only(names: list[str]) -> pytest.MarkDecorator:
    """A test of some of the formats."""
    return pytest.mark.parametrize("case", names, indirect=True)


@pytest.fixture(params=FORMATS, ids=str)
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Case:
    """A good folder, its recipe, and the image and mask that a test then spoils."""
    build, image, mask = FORMATS[request.param]
    return tmp_path / "root", build(tmp_path / "root"), image, mask


def damage(path: Path, array: np.ndarray) -> None:
    """Writes another array in the place of a file."""
    if path.name.endswith((".nii", ".nii.gz")):
        write_nifti(path, array, (0.5, 0.5, 0.5)[: array.ndim])
    else:
        volumes.write_any(path, array)


def array_like(path: Path, fill: float, dtype: type = np.uint8, more: int = 0) -> np.ndarray:
    """An array of the size of a file's, or one that is ``more`` pixels wider."""
    if path.suffix in (".png",):
        shape: tuple[int, ...] = (HEIGHT, WIDTH)
    elif path.suffix in (".mhd", ".mha"):
        shape = volumes.read_itk(path).shape
    else:
        shape = nibabel.load(path).shape[::-1]
    return np.full((*shape[:-1], shape[-1] + more), fill, dtype)


def test_the_good_folder_packs(case: Case) -> None:
    root, recipe, *_ = case
    assert len(pack(root, recipe))


@pytest.mark.parametrize("which", ["image", "mask"])
@pytest.mark.parametrize("kept", [0.0, 0.02, 0.5, 0.95])
def test_truncated(case: Case, which: str, kept: float, capfd: pytest.CaptureFixture[str]) -> None:
    root, recipe, image, mask = case
    file = image if which == "image" else mask
    path = root / file
    if path.suffix == ".mhd" and kept > 0.02:
        path = path.with_suffix(".raw")
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * kept)])
    assert str(root / file) in refused(root, recipe)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("content", [b"no picture at all" * 40, b"\0" * 400, b"\x1f\x8b", b"\x89PNG\r\n\x1a\n"])
def test_of_another_kind(case: Case, content: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    root, recipe, image, _ = case
    (root / image).write_bytes(content)
    assert str(root / image) in refused(root, recipe)
    assert capfd.readouterr().err == ""


def test_skip_bad_packs_the_rest(case: Case) -> None:
    root, recipe, image, _ = case
    whole = len(pack(root, recipe))
    (root / image).write_bytes(b"no picture")
    summary = pack_folder(root.parent / "recipe.yaml", root, root.parent / "out" / "f.h5", skip_bad=True, workers=0)
    (line,) = summary.problems
    assert str(root / image) in line and "\n" not in line
    assert 0 < len(EchoStore(root.parent / "out" / "f.h5")) < whole


@only(WITH_MASKS)
def test_mask_missing(case: Case) -> None:
    root, recipe, image, mask = case
    (root / mask).unlink()
    said = refused(root, recipe)
    assert f"{root / image}: has no mask" in said


def test_mask_without_image(case: Case) -> None:
    root, recipe, image, mask = case
    (root / image).unlink()
    assert f"{root / mask}: is a mask without an image" in refused(root, recipe)


def test_label_outside_the_map(case: Case) -> None:
    root, recipe, _, mask = case
    damage(root / mask, array_like(root / mask, 77))
    assert f"{root / mask}: holds label value 77" in refused(root, recipe)


def test_sizes_differ(case: Case) -> None:
    root, recipe, _, mask = case
    damage(root / mask, array_like(root / mask, 1, more=3))
    said = refused(root, recipe)
    assert str(root / mask) in said and "of one size" in said


def test_folder_of_something_else(case: Case) -> None:
    root, recipe, *_ = case
    other = root.parent / "other"
    other.mkdir()
    (other / "dataset.json").write_text('{"file_ending": ".png", "channel_names": {"0": "US"}}')
    said = refused(other, recipe)
    assert str(other) in said and "--root" in said


@only(HEADED)
@pytest.mark.parametrize(("dtype", "fill", "said"), VALUES)
def test_values_that_are_no_grey_levels(case: Case, dtype: type, fill: float, said: str) -> None:
    root, recipe, image, _ = case
    damage(root / image, array_like(root / image, fill, dtype))
    message = refused(root, recipe)
    assert f"{root / image}: holds values" in message and said in message and "'window: [low, high]'" in message


@only(HEADED)
@pytest.mark.parametrize("fill", [np.nan, np.inf])
def test_values_that_are_no_numbers(case: Case, fill: float) -> None:
    root, recipe, image, mask = case
    good = (root / image).read_bytes()
    damage(root / image, array_like(root / image, fill, np.float32))
    assert f"{root / image}: holds values that are not finite" in refused(root, recipe)
    damage(root / image, array_like(root / image, 100))
    (root / image).write_bytes(good)
    damage(root / mask, array_like(root / mask, fill, np.float32))
    assert f"{root / mask}: holds {fill:g}; label values are whole numbers" in refused(root, recipe)


@only(HEADED)
def test_labels_in_fractions(case: Case) -> None:
    root, recipe, _, mask = case
    damage(root / mask, array_like(root / mask, 1.5, np.float32))
    assert f"{root / mask}: holds 1.5; label values are whole numbers" in refused(root, recipe)


@only(HEADED)  # of PNG it becomes grey
def test_colour(case: Case) -> None:
    root, recipe, image, _ = case
    path = root / image
    if path.suffix in (".mhd", ".mha"):
        volumes.write_colour(path)
    else:
        rgb = np.zeros((4, 5), np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")]))
        nibabel.save(nibabel.Nifti1Image(rgb, np.eye(4)), path)
    assert f"{path}: has " in refused(root, recipe)


@only(NIFTI)  # the libraries of the others write no such thing
@pytest.mark.parametrize("shape", [(7,), (3, 4, 5, 6)])
def test_wrong_number_of_axes(case: Case, shape: tuple[int, ...]) -> None:
    root, recipe, image, _ = case
    nibabel.save(nibabel.Nifti1Image(np.ones(shape, np.uint8), np.eye(4)), root / image)
    assert f"{root / image}: has {len(shape)} axes" in refused(root, recipe)


@only(HEADED)
def test_declares_more_than_memory(case: Case, capfd: pytest.CaptureFixture[str]) -> None:
    root, recipe, image, _ = case
    path = root / image
    if path.suffix in (".mhd", ".mha"):
        head, mark, tail = path.read_bytes().partition(b"DimSize = ")
        path.write_bytes(head + mark + b"30000 90000" + tail[tail.index(b"\n") :])
    else:
        header = nibabel.Nifti1Header()
        header.set_data_shape((30000, 30000, 30))
        header["vox_offset"], header["magic"] = 352, b"n+1"
        data = header.binaryblock + b"\0" * 40
        path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    assert f"{path}: declares 30000x" in refused(root, recipe)
    assert capfd.readouterr().err == ""


def test_link_that_leads_outside(case: Case) -> None:
    root, recipe, image, _ = case
    (root / image).rename(root.parent / Path(image).name)
    (root / image).symlink_to(root.parent / Path(image).name)
    assert f"{root / image}: leads outside of {root}" in refused(root, recipe)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_no_permission(case: Case) -> None:
    root, recipe, image, _ = case
    (root / image).chmod(0)
    assert f"{root / image}: cannot be read" in refused(root, recipe)


def mutate(data: bytes, rng: np.random.Generator) -> bytes:
    """Bytes flipped, most of them near the start where headers are; or the end cut off, or something put in."""
    spoilt = bytearray(data)
    kind = rng.integers(4)
    if kind == 0:
        return data[: rng.integers(len(data))]
    if kind == 1:
        at = int(rng.integers(len(data)))
        return data[:at] + rng.bytes(int(rng.integers(1, 40))) + data[at:]
    for _ in range(int(rng.integers(1, 12))):
        spoilt[int(len(data) * rng.random() ** 3)] = int(rng.integers(256))
    return bytes(spoilt)


@pytest.mark.parametrize("name", FORMATS)
def test_random_damage(tmp_path: Path, name: str, capfd: pytest.CaptureFixture[str]) -> None:
    """Twenty-four spoilt files of each kind: packed, or refused in one line that says where; never anything else."""
    build, image, mask = FORMATS[name]
    root, out, rng = tmp_path / "root", tmp_path / "out" / "f.h5", np.random.default_rng(len(name))
    recipe = build(root)
    others = {"dataset.json", "Info_2CH.cfg", "Info_4CH.cfg", "subgroup_validation.txt"}
    files = [image, image, mask, *(str(p.relative_to(root)) for p in sorted(root.rglob("*")) if p.name in others)][:6]
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump({**recipe, "size": 8}))
    refusals = 0
    for i in range(24):
        path = root / files[i % len(files)]
        path = path.with_suffix(".raw") if path.suffix == ".mhd" and i % 5 == 0 else path
        good = path.read_bytes()
        compressed = path.suffix == ".gz" and i % 2
        path.write_bytes(gzip.compress(mutate(gzip.decompress(good), rng)) if compressed else mutate(good, rng))
        try:
            pack_folder(tmp_path / "recipe.yaml", root, out, workers=0)
            out.unlink()
        except UserError as error:
            refusals += 1
            assert str(root) in str(error) and "\n" not in str(error)
        assert not list(out.parent.glob("*"))
        path.write_bytes(good)
    assert refusals >= 6
    assert capfd.readouterr().err == ""
