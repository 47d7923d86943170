"""Masks of hearts without frames: deterministic, anatomical, and of two populations."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tte_tee.anatomy import TEE
from tte_tee.cli import main
from tte_tee.data.phantom import PHANTOM_VERSION, STUDY, HeartMasks, PhantomSpec, write_heart_masks, write_phantom
from tte_tee.data.shape_model import fit_shape_model
from tte_tee.data.store import EchoStore
from tte_tee.errors import UserError

HEARTS = 40


def _store(folder: Path, **changes: object) -> EchoStore:
    spec = HeartMasks(**{"hearts": HEARTS, "size": 48, **changes})
    path = folder / f"{spec.source}-{spec.seed}-{spec.hearts}.h5"
    write_heart_masks(spec, path)
    return EchoStore(path)


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> dict[str, EchoStore]:
    folder = tmp_path_factory.mktemp("masks")
    return {source: _store(folder, source=source) for source in ("atlas", "oracle")}


def _areas(store: EchoStore, structure: str, study: str = "me-000") -> np.ndarray:
    """Area of a structure at end-diastole in mm2, ``[hearts]``."""
    table = store.table[(store.table["phase"] == "ED") & (store.table["study"] == study)]
    pixels = [(store.frame(i)[1] == TEE.ids[structure]).sum() for i in table.index]
    return np.array(pixels) * (table["spacing_x"] * table["spacing_y"]).to_numpy()


def test_same_arguments_same_masks(tmp_path: Path) -> None:
    first, again, other = (_store(tmp_path / str(i), hearts=2, seed=i // 2) for i in range(3))
    assert again.content_hash == first.content_hash
    assert other.content_hash != first.content_hash


def test_a_set_begins_with_the_same_hearts_whatever_its_size(stores: dict[str, EchoStore], tmp_path: Path) -> None:
    fewer = _store(tmp_path, hearts=2)
    for index in range(len(fewer)):
        np.testing.assert_array_equal(fewer.frame(index)[1], stores["atlas"].frame(index)[1])


def test_rows_say_what_the_masks_are(tmp_path: Path) -> None:
    store = _store(tmp_path, source="oracle", hearts=1, seed=3, angles=(15, 75))
    assert len(store) == 8
    assert store.label_space == TEE
    assert set(store.table["patient"]) == {"oracle-s3-0000"}
    assert store.table["key"][0] == "oracle-s3-0000/ME4C/ED"
    assert store.table["key"][2] == "oracle-s3-0000/me-015/ED"
    assert set(store.table["split"]) == {"train"}
    assert set(store.table["origin"]) == {"mask"}
    assert set(store.table["mask_source"]) == {"oracle"}
    assert store.table["spacing_y"].notna().all()
    assert store.provenance["phantom"]["version"] == PHANTOM_VERSION
    assert store.provenance["phantom"]["masks"] == "oracle"
    assert store.command == (
        "python -m tte_tee masks heart --source oracle --hearts 1 --seed 3 --size 48 --angles 15 75 --out oracle-3-1.h5"
    )


def test_there_is_no_image_and_nothing_outside_the_sector(stores: dict[str, EchoStore]) -> None:
    for store in stores.values():
        for image, mask, sector in store:
            assert not image.any()
            assert not mask[sector == 0].any()


@pytest.mark.parametrize("source", ["atlas", "oracle"])
def test_every_structure_of_a_view_is_there(source: str, stores: dict[str, EchoStore]) -> None:
    for structure in TEE.structures:
        assert (_areas(stores[source], structure) > 0).mean() > 0.8
        assert (_areas(stores[source], structure, "me-090") > 0).mean() == (structure in ("LV", "LA"))


def test_no_heart_is_a_phantom_patients(stores: dict[str, EchoStore], tmp_path: Path) -> None:
    write_phantom(PhantomSpec("tee", 2, seed=0, size=48), tmp_path / "tee.h5")
    phantom = EchoStore(tmp_path / "tee.h5")
    masks = {mask.tobytes() for _, mask, _ in phantom}
    for store in stores.values():
        assert not set(store.table["patient"]) & set(phantom.table["patient"])
        assert not masks & {mask.tobytes() for _, mask, _ in store}


def test_the_atlas_is_shifted_and_the_oracle_is_not(stores: dict[str, EchoStore], tmp_path: Path) -> None:
    write_phantom(PhantomSpec("tee", HEARTS, seed=0, size=48), tmp_path / "tee.h5")
    patients = EchoStore(tmp_path / "tee.h5")
    for structure, least in (("LV", 0.8), ("LA", 0.8), ("RV", 0.0)):
        truth = _areas(patients, structure)
        error = truth.std() / np.sqrt(HEARTS / 2)
        shift = {source: abs(_areas(store, structure).mean() - truth.mean()) for source, store in stores.items()}
        assert shift["oracle"] < 3 * error
        assert shift["atlas"] >= least * truth.std() / 2
    assert _areas(stores["atlas"], "RV").std() < 0.8 * _areas(patients, "RV").std()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"source": "ct"}, "atlas or oracle"),
        ({"hearts": 0}, "1 or more"),
        ({"seed": -1}, "0 or more"),
        ({"size": 8}, "16 to 4096"),
        ({"angles": (90,)}, "between 0 and 90"),
        ({"angles": (30, 30)}, "each once"),
    ],
)
def test_bad_arguments_are_refused(arguments: dict[str, object], says: str) -> None:
    with pytest.raises(UserError, match=says):
        HeartMasks(**arguments)


def test_the_command_line_slices_hearts(tmp_path: Path) -> None:
    words = ["--source", "atlas", "--hearts", "1", "--seed", "4", "--size", "48", "--angles", "30"]
    main(["masks", "heart", *words, "--out", str(tmp_path / "f.h5")])
    assert EchoStore(tmp_path / "f.h5").content_hash == _store(tmp_path, hearts=1, seed=4, angles=(30,)).content_hash


def test_the_studys_adaptation_cohort_has_shapes_to_learn(tmp_path: Path) -> None:
    write_phantom(replace(STUDY["adaptation"], size=32), tmp_path / "adaptation.h5")
    model = fit_shape_model(EchoStore(tmp_path / "adaptation.h5"))
    assert {view: shapes.frames for view, shapes in model.views.items()} == {"ME4C": 64, "ME2C": 64}


def test_a_pipe_gets_no_bar(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_heart_masks(HeartMasks(hearts=1, size=16), tmp_path / "f.h5", progress=True)
    assert capsys.readouterr() == ("", "")
