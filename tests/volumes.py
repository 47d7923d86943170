"""Miniatures of public data sets, written by the libraries that their makers used; shared by the importers' tests."""

import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import SimpleITK
import yaml
from folders import write_image

DATA = Path(__file__).parents[1] / "data"
SPACING = (0.308, 0.154)  # across, down: the order of both libraries
HEIGHT, WIDTH = 32, 24


def scene(seed: int, values: tuple[int, ...] = (1, 2, 3)) -> tuple[np.ndarray, np.ndarray]:
    """A picture and its mask, no row or column of which is like another."""
    rng = np.random.default_rng(seed)
    image = rng.integers(60, 250, (HEIGHT, WIDTH)).astype(np.uint8)
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    for i, value in enumerate(values):
        mask[3 + 6 * i : 8 + 6 * i, 2 + 4 * i + seed % 3 : 12 + 3 * i] = value
    return image, mask


def write_nifti(path: Path, array: np.ndarray, spacing: tuple[float, ...] = SPACING) -> None:
    """``[..., H, W]`` as NIfTI, whose first axis runs across."""
    path.parent.mkdir(parents=True, exist_ok=True)
    zooms = (*spacing, *(1.0,) * (array.ndim - len(spacing)))
    image = nibabel.Nifti1Image(array.T, np.diag([*zooms[:3], *(1.0,) * (4 - len(zooms[:3]))]))
    image.header.set_zooms(zooms)
    nibabel.save(image, path)


def write_itk(path: Path, array: np.ndarray, spacing: tuple[float, ...] = SPACING, *, small: bool = False) -> None:
    """``[..., H, W]`` in whatever kind the name of the file says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = SimpleITK.GetImageFromArray(array)
    image.SetSpacing((*spacing, *(1.0,) * (array.ndim - len(spacing))))
    SimpleITK.WriteImage(image, str(path), small)


def recipe_of(name: str, **changes: Any) -> dict[str, Any]:
    """A shipped recipe at the miniatures' size, changed; a change to None takes the key out."""
    shipped = yaml.safe_load((DATA / f"{name}.yaml").read_text())
    return {key: value for key, value in {**shipped, "size": HEIGHT, **changes}.items() if value is not None}


def camus(root: Path) -> dict[str, Any]:
    """Three patients, one of each subgroup, stills and cines of four frames."""
    for n, subgroup in enumerate(("training", "validation", "testing")):
        patient = f"patient{n + 1:04d}"
        folder = root / "database_nifti" / patient
        for view in ("2CH", "4CH"):
            frames = [scene(10 * n + i + (view == "4CH")) for i in range(4)]
            images, masks = (np.stack(arrays) for arrays in zip(*frames, strict=True))
            for part, image, mask in (("ED", images[0], masks[0]), ("ES", images[3], masks[3])):
                write_nifti(folder / f"{patient}_{view}_{part}.nii.gz", image)
                write_nifti(folder / f"{patient}_{view}_{part}_gt.nii.gz", mask)
            write_nifti(folder / f"{patient}_{view}_half_sequence.nii.gz", images)
            write_nifti(folder / f"{patient}_{view}_half_sequence_gt.nii.gz", masks)
            (folder / f"Info_{view}.cfg").write_text("ED: 1\nES: 4\nNbFrame: 4\nImageQuality: Good\nEF: 56\n")
        (root / "database_split").mkdir(exist_ok=True)
        (root / "database_split" / f"subgroup_{subgroup}.txt").write_text(f"{patient}\n")
    return recipe_of("camus_nifti")


def camus_mhd(root: Path) -> dict[str, Any]:
    """The older form: two patients to train on, one of the same number to test on, without masks."""
    for folder, patient in (("training", "patient0001"), ("training", "patient0002"), ("testing", "patient0001")):
        for part in ("ED", "ES"):
            image, mask = scene(len(folder) + len(part) + int(patient[-1]))
            stem = root / folder / patient / f"{patient}_4CH_{part}"
            write_itk(stem.with_suffix(".mhd"), image)
            if folder == "training":
                write_itk(stem.with_name(f"{stem.name}_gt.mhd"), mask)
        write_itk(root / folder / patient / f"{patient}_4CH_sequence.mhd", np.stack([scene(i)[0] for i in range(3)]))
        (root / folder / patient / "Info_4CH.cfg").write_text("ES: 1\nED: 3\n")
    splits = {"group": "subgroup", "splits": {"training": "train", "testing": "test"}}
    return recipe_of("camus_nifti", split=splits)


def cardiac_uda(root: Path) -> dict[str, Any]:
    """Two cines of five frames of which two have masks, one without a label file, one of another view."""
    for site, patient in (("Site_G_100", "normal-1"), ("Site_R_126", "normal-1"), ("Site_R_73", "ill-9")):
        frames = [scene(i + len(patient), (1, 2, 3, 4)) for i in range(5)]
        images, masks = (np.stack(arrays) for arrays in zip(*frames, strict=True))
        masks[[0, 2, 4]] = 0
        write_nifti(root / site / f"{patient}-4_image.nii.gz", images)
        if site != "Site_R_73":
            write_nifti(root / site / f"{patient}-4_label.nii.gz", masks)
    write_nifti(root / "Site_G_100/normal-1-2_image.nii.gz", images)
    return recipe_of("cardiac_uda")


def mvseg(root: Path) -> dict[str, Any]:
    """Two volumes of one spacing for training and testing; [x, y, z] is [right, back, down]."""
    for folder in ("train", "test"):
        volume = np.random.default_rng(len(folder)).integers(40, 250, (HEIGHT, 9, 15)).astype(np.uint8)
        labels = np.zeros_like(volume)
        labels[8:12, 2:7, 3:6], labels[12:16, 4:8, 8:12] = 1, 2
        write_nifti(root / folder / f"{folder}_001-US.nii", volume, (0.5, 0.5, 0.5))
        write_nifti(root / folder / f"{folder}_001-label.nii", labels, (0.5, 0.5, 0.5))
    return recipe_of("mvseg2023")


def nnunet(root: Path, ending: str = ".png", shape: tuple[int, ...] = ()) -> dict[str, Any]:
    """Two cases to train on and two to test on, one of these without a mask; ``shape`` of what is before H and W."""
    for n, (folder, case) in enumerate(
        (("Tr", "a_4CH_ED"), ("Tr", "b_2CH_ES"), ("Ts", "c_4CH_ED"), ("Ts", "d_4CH_ED"))
    ):
        image, mask = (np.broadcast_to(array, (*shape, *array.shape)).copy() for array in scene(n))
        for name, array in ((f"images{folder}/{case}_0000", image), (f"images{folder}/{case}_0001", image // 2)):
            write_any(root / f"{name}{ending}", array)
        if case != "d_4CH_ED":
            write_any(root / f"labels{folder}/{case}{ending}", mask)
    description = {
        "channel_names": {"0": "US", "1": "Doppler"},
        "labels": {"background": 0, "LV": 1, "LV_epi": 2, "LA": 3},
        "numTraining": 2,
        "file_ending": ending,
    }
    (root / "dataset.json").write_text(json.dumps(description))
    return recipe_of("nnunet")


def write_any(path: Path, array: np.ndarray) -> None:
    (write_image if path.suffix == ".png" else write_itk)(path, array)


def read_itk(path: Path) -> np.ndarray:
    return SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path)))


def write_colour(path: Path) -> None:
    image = SimpleITK.GetImageFromArray(np.zeros((HEIGHT, WIDTH, 3), np.uint8), isVector=True)
    SimpleITK.WriteImage(image, str(path))
