"""Shape models: learnt from training masks alone, with rules that reject, kept in a folder that is checked."""

import json
from pathlib import Path

import numpy as np
import pytest
from hearts import LA, LV, RA, RV, heart, write_hearts
from safetensors.numpy import load, save

from tte_tee.anatomy import TEE
from tte_tee.data.sector import SectorShape
from tte_tee.data.shape_model import REASONS, Rules, ShapeModel, fit_shape_model, load_shape_model, save_shape_model
from tte_tee.data.shape_model.fields import to_fields, to_mask
from tte_tee.data.shape_model.outline import from_outline, to_outline
from tte_tee.data.store import EchoStore, FrameInfo, StoreWriter
from tte_tee.errors import UserError


@pytest.fixture
def folder(shape_model: ShapeModel, tmp_path: Path) -> Path:
    save_shape_model(tmp_path / "model", shape_model)
    return tmp_path / "model"


def test_fields_give_the_mask_back() -> None:
    mask, _ = heart(3, right=True)
    back = to_mask(to_fields(mask, [LV, LA, RV, RA]), [LV, LA, RV, RA], mask.shape)
    assert (back != mask).mean() < 0.02


def test_an_absent_structure_is_nowhere() -> None:
    mask, _ = heart(3, right=False)
    assert set(np.unique(to_mask(to_fields(mask, [LV, LA, RV]), [LV, LA, RV], mask.shape))) == {0, LV, LA}


def test_outline_gives_the_sector_back() -> None:
    shape = SectorShape((-7.0, 61.0), -0.4, 0.7, 12.0, 110.0, 0.8)
    back = from_outline(to_outline(shape, 128.0), 128.0)
    assert (*back.apex, back.left, back.right, back.near, back.far, back.stretch) == pytest.approx(
        (*shape.apex, shape.left, shape.right, shape.near, shape.far, shape.stretch)
    )


def test_only_training_masks_are_learnt(hearts: EchoStore, shape_model: ShapeModel) -> None:
    for view in ("ME4C", "ME2C"):
        assert shape_model.views[view].patients == tuple(f"p{i}" for i in range(6))
        assert shape_model.views[view].frames == 12
    assert shape_model.views["ME4C"].structures == ("LV", "LA", "RV", "RA")
    assert shape_model.views["ME2C"].structures == ("LV", "LA")
    assert shape_model.store == hearts.content_hash


def test_modes_are_orthonormal_and_in_order(shape_model: ShapeModel) -> None:
    view = shape_model.views["ME4C"]
    assert np.allclose(view.modes @ view.modes.T, np.eye(len(view.sd)), atol=1e-4)
    assert list(view.explained) == sorted(view.explained, reverse=True)
    assert sum(view.explained) >= 0.95


def test_variance_sets_the_modes(hearts: EchoStore, shape_model: ShapeModel) -> None:
    few = fit_shape_model(hearts, variance=0.6).views["ME4C"]
    assert len(few.sd) < len(shape_model.views["ME4C"].sd)
    with pytest.raises(UserError, match="variance 1"):
        fit_shape_model(hearts, variance=1)


def test_same_masks_same_model(hearts: EchoStore, shape_model: ShapeModel) -> None:
    assert fit_shape_model(hearts).hash == shape_model.hash
    assert fit_shape_model(hearts, record={"time": "later"}).hash == shape_model.hash


def test_held_out_cohorts_are_refused(hearts: EchoStore, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cohort test is held out"):
        fit_shape_model(hearts, cohorts=["test"])
    with pytest.raises(UserError, match="held-out cohort is in split test alone"):
        write_hearts(tmp_path / "leak.h5", split="train", cohort="confirmatory")
    with pytest.raises(UserError, match="split train has none"):
        fit_shape_model(EchoStore(write_hearts(tmp_path / "test.h5", split="test", cohort="test")))


def test_pool_is_learnt_only_when_named(tmp_path: Path) -> None:
    pool = EchoStore(write_hearts(tmp_path / "pool.h5", split="train", cohort="pool"))
    with pytest.raises(UserError, match="split train has none"):
        fit_shape_model(pool)
    assert fit_shape_model(pool, cohorts=["pool"]).views["ME2C"].frames == 14


def test_frames_without_a_mask_are_left_out(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="split train has none"):
        fit_shape_model(EchoStore(write_hearts(tmp_path / "none.h5", mask_source="none")))


def test_too_few_masks(tee_store: Path) -> None:
    with pytest.raises(UserError, match="4 training masks of ME4C; a shape model needs 10"):
        fit_shape_model(EchoStore(tee_store))


def test_a_view_that_shows_the_impossible(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"frame 'p0/ME4C/ED': shows RV, which A2C cannot show"):
        path = tmp_path / "wrong.h5"
        with StoreWriter(path, TEE, licence="x", command="test") as store:
            for patient in range(10):
                info = FrameInfo(f"p{patient}/ME4C/ED", f"p{patient}", "A2C", "train", "phantom", mask_source="phantom")
                mask, sector = heart(patient, right=True)
                store.append(mask, mask, sector, info)
        fit_shape_model(EchoStore(path))


def test_training_masks_keep_their_rules(hearts: EchoStore, shape_model: ShapeModel) -> None:
    for index in hearts.indices(split="train"):
        _, mask, sector = hearts.frame(int(index))
        assert shape_model.views[hearts.table["view"][index]].rules.broken(mask, sector, TEE) is None


@pytest.mark.parametrize("reason", REASONS)
def test_each_rule_rejects(shape_model: ShapeModel, reason: str) -> None:
    view = "ME2C" if reason == "foreign" else "ME4C"
    mask, sector = heart(0, right=True)
    if reason == "missing":
        mask[mask == RA] = 0
    elif reason == "pieces":
        mask[28, 16] = RV
    elif reason == "area":
        rows = np.flatnonzero((mask == LV).any(1))
        mask[rows[3] :][mask[rows[3] :] == LV] = 0
    elif reason == "parted":
        first = int(np.flatnonzero((mask == LV).any(1))[0])
        mask[first][mask[first] == LV] = 0
        mask[(mask == 0) & (np.roll(mask, 1, 0) == LV)] = LV
    elif reason == "joined":
        row = int(np.flatnonzero((mask == RV).any(1))[4])
        between = np.flatnonzero(mask[row] == RV).max() + 1
        mask[row, between : np.flatnonzero(mask[row] == LV).min()] = RV
    elif reason == "holes":
        row = int(np.flatnonzero((mask == LV).any(1))[3])
        mask[row, int(np.flatnonzero(mask[row] == LV)[1])] = 0
    elif reason == "outside":
        sector = np.roll(sector, 9, axis=1)
    elif reason == "sector":
        sector = np.ones_like(sector)
    assert shape_model.views[view].rules.broken(mask, sector, TEE) == reason


def test_neighbours_keep_their_border(shape_model: ShapeModel) -> None:
    mask, sector = heart(0, right=True)
    first = int(np.flatnonzero((mask == LV).any(1))[0])
    row = mask[first]
    row[np.flatnonzero(row == LV)[1:]] = 0  # they touch in one corner still
    assert shape_model.views["ME4C"].rules.broken(mask, sector, TEE) == "parted"


def test_structure_that_some_lack_may_be_absent() -> None:
    with_right, without = heart(0, right=True), heart(0, right=False)
    rules = Rules.learn([with_right, without], TEE)
    assert rules.always == ("LV", "LA")
    assert rules.broken(*without, TEE) is None


def test_folder_round_trip(folder: Path, shape_model: ShapeModel) -> None:
    back = load_shape_model(folder)
    assert back.hash == shape_model.hash
    assert back.core() == shape_model.core()
    assert sorted(path.name for path in folder.iterdir()) == [
        "modes_ME2C.png",
        "modes_ME4C.png",
        "shape_model.json",
        "shape_model.safetensors",
    ]
    values = json.loads((folder / "shape_model.json").read_text())
    assert values["views"]["ME4C"]["patients"] == [f"p{i}" for i in range(6)]
    assert values["training"]["store"] == shape_model.store


def test_folder_is_replaced_only_by_its_like(folder: Path, shape_model: ShapeModel, tmp_path: Path) -> None:
    save_shape_model(folder, shape_model)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis/chapter").write_text("mine")
    with pytest.raises(UserError, match="is no shape model"):
        save_shape_model(tmp_path / "thesis", shape_model)
    assert (tmp_path / "thesis/chapter").read_text() == "mine"


def damage(folder: Path, how: str) -> None:
    record, arrays = folder / "shape_model.json", folder / "shape_model.safetensors"
    values, tensors = json.loads(record.read_text()), load(arrays.read_bytes())
    if how == "schema":
        values["schema_version"] = 7
    elif how == "half":
        arrays.write_bytes(arrays.read_bytes()[:1000])
        return
    elif how == "gone":
        arrays.unlink()
        return
    elif how == "text":
        record.write_text("{")
        return
    elif how == "NaN":
        tensors["ME4C.mean"][3] = np.nan
    elif how == "changed":
        values["views"]["ME4C"]["rules"]["outside"] = 0.5
    elif how == "key":
        del values["views"]["ME4C"]["rules"]["always"]
    elif how == "shape":
        tensors["ME4C.modes"] = tensors["ME4C.modes"][:, :-1].copy()
    elif how == "structure":
        values["label_space"]["structures"] = ["spleen"]
    elif how == "past":
        values["provenance"] = []
    elif how == "foreign":
        tensors["A4C.mean"] = tensors["ME4C.mean"]
    record.write_text(json.dumps(values))
    arrays.write_bytes(save(tensors))


DAMAGE = {
    "schema": "schema 7",
    "half": "not a readable shape model",
    "gone": "No such file",
    "text": "no shape model folder",
    "structure": "unknown structure spleen",
    "past": "provenance is no mapping",
    "NaN": "mean holds NaN",
    "changed": "not what its hash says",
    "key": "always",
    "shape": "modes is float32",
    "foreign": "holds what",
}


@pytest.mark.parametrize("how", DAMAGE)
def test_damaged_folder_is_refused(folder: Path, how: str) -> None:
    damage(folder, how)
    with pytest.raises(UserError, match=DAMAGE[how]) as caught:
        load_shape_model(folder)
    assert "\n" not in str(caught.value) and str(folder) in str(caught.value)


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="masks fit"):
        load_shape_model(tmp_path)
