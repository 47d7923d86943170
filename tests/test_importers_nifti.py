"""Importers of NIfTI, MetaImage and nnU-Net: what comes out of a faithful miniature of each data set."""

import gzip
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import volumes
import yaml
from folders import pack, refused, write_image
from volumes import DATA, HEIGHT, SPACING, WIDTH, scene, write_itk, write_nifti

from tte_tee.data.pack import PackSummary, pack_folder
from tte_tee.data.store import EchoStore

LEFT = (HEIGHT - WIDTH) // 2  # black columns that make a square


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "root"


def run(root: Path, recipe: dict[str, Any], **options: Any) -> PackSummary:
    path = root.parent / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    return pack_folder(path, root, root.parent / "out" / "f.h5", workers=0, **options)


def row(store: EchoStore, key: str) -> int:
    return list(store.table["key"]).index(key)


def shows(store: EchoStore, key: str, image: np.ndarray, mask: np.ndarray | None) -> bool:
    """Whether a frame of the store is this picture and mask, pixel by pixel, in the middle of black."""
    stored_image, stored_mask, _ = store.frame(row(store, key))
    wanted = np.zeros_like(image) if mask is None else mask
    pad = ((0, 0), (LEFT, HEIGHT - WIDTH - LEFT))
    return np.array_equal(stored_image, np.pad(image, pad)) and np.array_equal(stored_mask, np.pad(wanted, pad))


def column(store: EchoStore, name: str) -> dict[str, str]:
    return dict(zip(store.table["key"], store.table[name], strict=True))


def patients(store: EchoStore, name: str) -> dict[str, str]:
    return dict(zip(store.table["patient"], store.table[name], strict=True))


def test_camus_stills_are_upright_and_exact(root: Path) -> None:
    store = pack(root, volumes.camus(root))
    assert len(store) == 12
    assert shows(store, "patient0001_2CH_ED", *scene(0))
    assert shows(store, "patient0003_4CH_ES", *scene(24))
    assert column(store, "view")["patient0001_2CH_ED"] == "A2C" and column(store, "view")["patient0001_4CH_ED"] == "A4C"
    assert column(store, "phase")["patient0002_4CH_ES"] == "ES"
    assert patients(store, "split") == {"patient0001": "train", "patient0002": "test", "patient0003": "test"}
    assert patients(store, "cohort") == {"patient0001": "base", "patient0002": "test", "patient0003": "test"}
    assert store.info(0).spacing == pytest.approx((0.154, 0.308))
    assert set(store.table["mask_source"]) == {"annotated"}


def test_camus_spacing_follows_a_resize(root: Path) -> None:
    store = pack(root, volumes.camus(root), size=16)
    assert store.info(0).spacing == pytest.approx((0.308, 0.616))


def test_spacing_needs_no_time_step(root: Path) -> None:
    recipe = volumes.camus(root)
    for file in root.rglob("*half_sequence*"):
        data = bytearray(gzip.decompress(file.read_bytes()))
        data[88:92] = bytes(4)  # pixdim[3]
        file.write_bytes(gzip.compress(data))
    assert pack(root, recipe, frames="sequence").info(0).spacing == pytest.approx((0.154, 0.308))


@pytest.mark.parametrize(("unit", "factor"), [("meter", 1000), ("micron", 0.001), ("mm", 1), ("unknown", 1)])
def test_spacing_in_other_units(root: Path, unit: str, factor: float) -> None:
    recipe = volumes.camus(root)
    for file in root.rglob("*_E?*.nii.gz"):
        image = nibabel.Nifti1Image(volumes.read_itk(file).T, np.eye(4))
        image.header.set_zooms([length / factor for length in SPACING])
        image.header.set_xyzt_units(unit)
        nibabel.save(image, file)
    assert pack(root, recipe).info(0).spacing == pytest.approx((0.154, 0.308))


def test_camus_sequence(root: Path) -> None:
    store = pack(root, volumes.camus(root), frames="sequence")
    assert len(store) == 24
    assert all(shows(store, f"patient0002_2CH_{i:03d}", *scene(10 + i)) for i in range(4))
    phases = [column(store, "phase")[f"patient0002_2CH_{i:03d}"] for i in range(4)]
    assert phases == ["ED", "unknown", "unknown", "ES"]


def test_camus_sequence_without_its_cfg_has_no_phases(root: Path) -> None:
    recipe = volumes.camus(root)
    for cfg in root.rglob("*.cfg"):
        cfg.unlink()
    assert set(pack(root, recipe, frames="sequence").table["phase"]) == {"unknown"}


def test_camus_one_phase(root: Path) -> None:
    assert set(pack(root, volumes.camus(root), frames=["ES"]).table["phase"]) == {"ES"}


def test_camus_png_and_nifti_give_the_same_store(tmp_path: Path) -> None:
    """Pictures as camus224 has them, written as CAMUS publishes them: ITK, first axis across, spacing in the header."""
    png, nifti = tmp_path / "png", tmp_path / "nifti"
    for patient, folder, subgroup in (("patient0001", "train", "training"), ("patient0007", "val", "validation")):
        for n, name in enumerate(f"{patient}_{view}_{phase}" for view in ("2CH", "4CH") for phase in ("ED", "ES")):
            for end, array in zip(("", "_gt"), scene(n + len(folder)), strict=True):
                write_image(png / folder / f"{name}{end}.png", array)
                write_itk(nifti / "database_nifti" / patient / f"{name}{end}.nii.gz", array)
        (nifti / "database_split").mkdir(exist_ok=True)
        (nifti / "database_split" / f"subgroup_{subgroup}.txt").write_text(patient)
    pack_folder(DATA / "camus224.yaml", png, tmp_path / "png.h5", workers=0)
    pack_folder(DATA / "camus_nifti.yaml", nifti, tmp_path / "nifti.h5", workers=0)
    left, right = EchoStore(tmp_path / "png.h5"), EchoStore(tmp_path / "nifti.h5")
    assert [Path(key).name for key in left.table["key"]] == list(right.table["key"])
    for i in range(len(left)):
        assert all(np.array_equal(a, b) for a, b in zip(left.frame(i), right.frame(i), strict=True))
    for name in ("patient", "view", "phase", "split"):
        assert list(left.table[name]) == list(right.table[name])


def test_camus_meta_image(root: Path) -> None:
    store = pack(root, volumes.camus_mhd(root))
    assert shows(store, "patient0001_4CH_ED", *scene(8 + 2 + 1))
    assert shows(store, "testing-patient0001_4CH_ES", scene(7 + 2 + 1)[0], None)
    assert patients(store, "split") == {"patient0001": "train", "patient0002": "train", "testing-patient0001": "test"}
    assert patients(store, "mask_source")["testing-patient0001"] == "none"
    assert store.info(0).spacing == pytest.approx((0.154, 0.308))


def test_camus_meta_image_sequence(root: Path) -> None:
    store = pack(root, volumes.camus_mhd(root), frames="sequence")
    assert shows(store, "patient0002_4CH_001", scene(1)[0], None)
    assert column(store, "phase")["patient0002_4CH_002"] == "ED"


def test_cardiac_uda_takes_the_drawn_frames_of_view_4(root: Path) -> None:
    store = pack(root, volumes.cardiac_uda(root))
    assert list(store.table["key"]) == [
        f"{site}/normal-1-4_image/000{i}" for site in ("Site_G_100", "Site_R_126") for i in (1, 3)
    ]
    image, mask = scene(1 + len("normal-1"), (1, 2, 3, 4))
    assert shows(store, "Site_G_100/normal-1-4_image/0001", image, np.array([0, 1, 2, 4, 3], np.uint8)[mask])
    assert set(store.table["patient"]) == {"Site_G/normal-1", "Site_R/normal-1"}
    assert set(store.table["view"]) == {"A4C"} and np.isnan(store.table["spacing_y"]).all()


def test_cardiac_uda_all_frames(root: Path) -> None:
    store = pack(root, volumes.cardiac_uda(root), frames="all")
    assert len(store) == 15
    assert list(store.table["mask_source"])[:5] == ["none", "annotated", "none", "annotated", "none"]
    assert patients(store, "mask_source")["Site_R/ill-9"] == "none"


@pytest.mark.parametrize("words", [["down", "right", "time"], ["left", "up", "time"], ["time", "up", "right"]])
def test_axes_turn_frames_upright(root: Path, words: list[str]) -> None:
    recipe = volumes.cardiac_uda(root)
    for file in root.rglob("*.nii.gz"):
        frames = volumes.read_itk(file)  # [time, down, right]
        array = frames.transpose([{"t": 0, "d": 1, "u": 1, "r": 2, "l": 2}[word[0]] for word in words])
        array = np.flip(array, [i for i, word in enumerate(words) if word in ("left", "up")])
        write_nifti(file, array.T)
    store = pack(root, recipe, axes=words)
    image, mask = scene(3 + len("normal-1"), (1, 2, 3, 4))
    assert shows(store, "Site_R_126/normal-1-4_image/0003", image, np.array([0, 1, 2, 4, 3], np.uint8)[mask])


def test_mvseg_planes_of_whole_voxels_are_exact(root: Path) -> None:
    store = pack(root, volumes.mvseg(root))
    volume = np.random.default_rng(5).integers(40, 250, (HEIGHT, 9, 15)).astype(np.uint8)  # [down, back, right]
    image, mask, _ = store.frame(row(store, "train/train_001-US/0"))
    assert np.array_equal(image[:, 8:23], volume[:, 4])
    assert np.unique(mask[:, 8 + 3 : 8 + 6]).tolist() == [0, 2] and np.unique(mask[:, 8 + 8 : 8 + 12]).tolist() == [
        0,
        1,
    ]
    image, mask, _ = store.frame(row(store, "train/train_001-US/90"))
    assert np.array_equal(image[:, 11:20], volume[:, :, 7])  # back to the right
    assert not mask.any()  # between the leaflets
    assert list(store.table["view"]) == ["ME4C", "ME2C"] * 2
    assert store.info(0).spacing == (0.5, 0.5)
    assert patients(store, "cohort") == {"train_001": "adaptation", "test_001": "test"}


def test_mvseg_turns_from_right_to_back(root: Path) -> None:
    """A bright wall on the right comes back on the left at 180 degrees; one at the back is seen at 90."""
    volume = np.full((HEIGHT, 11, 11), 50, np.uint8)
    volume[:, :, -1], volume[:, -1, :] = 200, 100
    write_nifti(root / "train/train_001-US.nii", volume, (0.5, 0.5, 0.5))
    recipe = volumes.recipe_of("mvseg2023", masks="none", labels=None)
    recipe["planes"] = [{"view": "other", "angle": angle} for angle in (0, 90, 180)]
    store = pack(root, recipe)
    rows = [store.frame(i)[0][5, 10:21] for i in range(3)]
    assert [line[0] for line in rows] == [50, 50, 200] and [line[-1] for line in rows] == [200, 100, 50]


def test_mvseg_resamples_to_square_pixels(root: Path) -> None:
    """A ramp stays a ramp in mm, whatever the voxels are."""
    ramp = np.broadcast_to(np.arange(16, dtype=np.uint8)[:, None, None] * 8, (16, 9, 33)).copy()
    write_nifti(root / "train/train_001-US.nii", ramp, (0.25, 1.0, 0.5))
    recipe = volumes.recipe_of("mvseg2023", masks="none", labels=None, size=33)
    image = pack(root, recipe).frame(0)[0]
    assert image[1:32, 16].tolist() == [round(4 * i) for i in range(31)]  # 31 rows of 0.25 mm out of 16 of 0.5 mm


def test_mvseg_axes_may_be_flipped(root: Path) -> None:
    recipe = volumes.mvseg(root)
    kept = pack(root, recipe).frame(0)[0]
    for file in root.rglob("*.nii"):
        write_nifti(file, volumes.read_itk(file)[::-1, ::-1, ::-1], (0.5, 0.5, 0.5))
    assert np.array_equal(pack(root, recipe, axes=["left", "front", "up"]).frame(0)[0], kept)


@pytest.mark.parametrize("ending", [".png", ".nii.gz", ".mha", ".mhd"])
def test_nnunet_pictures(root: Path, ending: str) -> None:
    store = pack(root, volumes.nnunet(root, ending))
    assert shows(store, "imagesTr/b_2CH_ES_0000", *scene(1))
    assert shows(store, "imagesTs/d_4CH_ED_0000", scene(3)[0], None)
    assert patients(store, "split")["c"] == "test" and set(store.table["patient"]) == {"a", "b", "c", "d"}
    assert column(store, "phase")["imagesTr/b_2CH_ES_0000"] == "ES"
    spacing = store.info(0).spacing
    assert spacing is None if ending == ".png" else spacing == pytest.approx((0.154, 0.308))


def test_nnunet_channel(root: Path) -> None:
    store = pack(root, volumes.nnunet(root), channel=1)
    image, mask = scene(0)
    assert shows(store, "imagesTr/a_4CH_ED_0001", image // 2, mask)


def test_nnunet_cines(root: Path) -> None:
    store = pack(root, volumes.nnunet(root, ".nii.gz", (3,)))
    assert len(store) == 12 and shows(store, "imagesTr/a_4CH_ED_0000/0002", *scene(0))


def test_compressed_meta_image(root: Path) -> None:
    recipe = volumes.nnunet(root, ".mha")
    for file in root.rglob("*.mha"):
        write_itk(file, volumes.read_itk(file), small=True)
    assert shows(pack(root, recipe), "imagesTr/b_2CH_ES_0000", *scene(1))


def test_window_brings_values_to_8_bits(root: Path) -> None:
    recipe = volumes.nnunet(root, ".nii.gz")
    image = np.linspace(-100, 300, HEIGHT * WIDTH).reshape(HEIGHT, WIDTH)
    write_nifti(root / "imagesTr/a_4CH_ED_0000.nii.gz", image.astype(np.int16))
    assert "'window: [low, high]'" in refused(root, recipe)
    stored = pack(root, recipe, window=[0, 200]).frame(0)[0][:, LEFT : LEFT + WIDTH]
    assert stored.min() == 0 and stored.max() == 255 and abs(int(stored[16, 0]) - round(image[16, 0] * 255 / 200)) <= 2


def test_whole_numbers_kept_as_floats_are_taken_as_they_are(root: Path) -> None:
    recipe = volumes.nnunet(root, ".nii.gz")
    for file in root.rglob("*.nii.gz"):
        write_nifti(file, volumes.read_itk(file).astype(np.float32))
    assert shows(pack(root, recipe), "imagesTr/b_2CH_ES_0000", *scene(1))


@pytest.mark.parametrize("build", [volumes.camus, volumes.cardiac_uda, volumes.mvseg, volumes.nnunet])
def test_dry_run_reads_no_pixels(root: Path, build: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = build(root)
    monkeypatch.setattr("tte_tee.data.importers.volumes._read", None)
    summary = run(root, recipe, dry_run=True)
    known = {"camus": 12, "cardiac_uda": None, "mvseg": 4, "nnunet": 4}
    assert summary.frames == known[build.__name__] and not (root.parent / "out").exists()
    monkeypatch.undo()
    assert run(root, recipe).patients == summary.patients
    assert run(root, recipe).ignored == summary.ignored


def test_files_that_belong_to_nobody_are_counted(root: Path) -> None:
    recipe = volumes.camus(root)
    assert run(root, recipe).ignored == 18  # cines and cfgs; not what names the subgroups
    assert run(root, {**recipe, "frames": "sequence"}).ignored == 24


def test_workers_do_not_change_the_store(root: Path) -> None:
    recipe = volumes.camus(root)
    alone = pack(root, recipe).content_hash
    pack_folder(root.parent / "recipe.yaml", root, root.parent / "out" / "f.h5", workers=2)
    assert EchoStore(root.parent / "out" / "f.h5").content_hash == alone
