"""Shape models: learnt from training masks alone, drawn by rules, kept in a folder that is checked."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load, save

from tte_tee.anatomy import CAMUS, TEE
from tte_tee.cli import main
from tte_tee.data.sector import SectorShape
from tte_tee.data.shape_model import REASONS, Rules, ShapeModel, fit_shape_model, load_shape_model, save_shape_model
from tte_tee.data.shape_model.fields import to_fields, to_mask
from tte_tee.data.shape_model.outline import from_outline, to_outline
from tte_tee.data.shape_model.sample import ATTEMPTS, sample_masks
from tte_tee.data.store import EchoStore, FrameInfo, StoreWriter
from tte_tee.errors import UserError

SIZE = 32
LV, LA, RV, RA = 1, 2, 3, 4


def heart(seed: int, *, right: bool) -> tuple[np.ndarray, np.ndarray]:
    """Mask and sector: an atrium on top of a ventricle, and the right side beside them."""
    rng = np.random.default_rng(seed)
    angle = 0.7 + 0.02 * (seed // 10 % 3)
    sector = SectorShape((-1.0, 16.0), -angle, angle, 1.0, 32.0).draw((SIZE, SIZE))
    y, x = np.mgrid[:SIZE, :SIZE] + 0.5
    mask = np.zeros((SIZE, SIZE), np.uint8)
    valve, middle, width = rng.uniform(11, 14), rng.uniform(16, 18), rng.uniform(2.6, 4)
    inside = np.abs(x - middle) < width
    mask[inside & (y >= valve) & (y < valve + rng.uniform(10, 14))] = LV
    mask[inside & (y < valve) & (y >= valve - rng.uniform(4, 6))] = LA
    if right:
        beside = np.abs(x - middle + width + 4) < 2
        mask[beside & (y >= valve) & (y < valve + 8)] = RV
        mask[beside & (y < valve) & (y >= valve - 3)] = RA
    return mask * sector, sector


def write(path: Path, **given: object) -> Path:
    """Seven patients of two views and two phases; the last is split test."""
    with StoreWriter(path, TEE, licence="CC0-1.0", command="test") as store:
        for patient in range(7):
            for view in ("ME4C", "ME2C"):
                for number, phase in enumerate(("ED", "ES")):
                    mask, sector = heart(10 * patient + number, right=view == "ME4C")
                    values = {
                        "split": "train" if patient < 6 else "test",
                        "origin": "phantom",
                        "mask_source": "phantom",
                        "spacing": (3.0 + 0.1 * patient, 2.0 + 0.1 * patient),
                        **given,
                    }
                    info = FrameInfo(f"p{patient}/{view}/{phase}", f"p{patient}", view, phase=phase, **values)  # type: ignore[arg-type]
                    store.append(mask * 9, mask, sector, info)
    return path


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> EchoStore:
    return EchoStore(write(tmp_path_factory.mktemp("shapes") / "train.h5"))


@pytest.fixture(scope="module")
def model(store: EchoStore) -> ShapeModel:
    return fit_shape_model(store)


@pytest.fixture
def folder(model: ShapeModel, tmp_path: Path) -> Path:
    save_shape_model(tmp_path / "model", model)
    return tmp_path / "model"


def frames(path: Path) -> list[tuple[np.ndarray, ...]]:
    return list(EchoStore(path))


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


def test_only_training_masks_are_learnt(store: EchoStore, model: ShapeModel) -> None:
    for view in ("ME4C", "ME2C"):
        assert model.views[view].patients == tuple(f"p{i}" for i in range(6))
        assert model.views[view].frames == 12
    assert model.views["ME4C"].structures == ("LV", "LA", "RV", "RA")
    assert model.views["ME2C"].structures == ("LV", "LA")
    assert model.store == store.content_hash


def test_modes_are_orthonormal_and_in_order(model: ShapeModel) -> None:
    view = model.views["ME4C"]
    assert np.allclose(view.modes @ view.modes.T, np.eye(len(view.sd)), atol=1e-4)
    assert list(view.explained) == sorted(view.explained, reverse=True)
    assert sum(view.explained) >= 0.95


def test_variance_sets_the_modes(store: EchoStore, model: ShapeModel) -> None:
    few = fit_shape_model(store, variance=0.6).views["ME4C"]
    assert len(few.sd) < len(model.views["ME4C"].sd)
    with pytest.raises(UserError, match="variance 1"):
        fit_shape_model(store, variance=1)


def test_same_masks_same_model(store: EchoStore, model: ShapeModel) -> None:
    assert fit_shape_model(store).hash == model.hash
    assert fit_shape_model(store, record={"time": "later"}).hash == model.hash


def test_held_out_cohorts_are_refused(store: EchoStore, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cohort test is held out"):
        fit_shape_model(store, cohorts=["test"])
    with pytest.raises(UserError, match="held-out cohort is in split test alone"):
        write(tmp_path / "leak.h5", split="train", cohort="confirmatory")
    with pytest.raises(UserError, match="split train has none"):
        fit_shape_model(EchoStore(write(tmp_path / "test.h5", split="test", cohort="test")))


def test_pool_is_learnt_only_when_named(tmp_path: Path) -> None:
    pool = EchoStore(write(tmp_path / "pool.h5", split="train", cohort="pool"))
    with pytest.raises(UserError, match="split train has none"):
        fit_shape_model(pool)
    assert fit_shape_model(pool, cohorts=["pool"]).views["ME2C"].frames == 14


def test_frames_without_a_mask_are_left_out(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="split train has none"):
        fit_shape_model(EchoStore(write(tmp_path / "none.h5", mask_source="none")))


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


def test_training_masks_keep_their_rules(store: EchoStore, model: ShapeModel) -> None:
    for index in store.indices(split="train"):
        _, mask, sector = store.frame(int(index))
        assert model.views[store.table["view"][index]].rules.broken(mask, sector, TEE) is None


@pytest.mark.parametrize("reason", REASONS)
def test_each_rule_rejects(model: ShapeModel, reason: str) -> None:
    view = "ME2C" if reason == "foreign" else "ME4C"
    mask, sector = heart(0, right=True)
    if reason == "missing":
        mask[mask == RA] = 0
    elif reason == "pieces":
        mask[28, 16] = RV
    elif reason == "area":
        rows = np.flatnonzero((mask == LV).any(1))
        mask[rows[3] :][mask[rows[3] :] == LV] = 0
    elif reason == "apart":
        first = int(np.flatnonzero((mask == LV).any(1))[0])
        mask[first][mask[first] == LV] = 0
        mask[(mask == 0) & (np.roll(mask, 1, 0) == LV)] = LV
    elif reason == "touching":
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
    assert model.views[view].rules.broken(mask, sector, TEE) == reason


def test_neighbours_keep_their_border(model: ShapeModel) -> None:
    mask, sector = heart(0, right=True)
    first = int(np.flatnonzero((mask == LV).any(1))[0])
    row = mask[first]
    row[np.flatnonzero(row == LV)[1:]] = 0  # they touch in one corner still
    assert model.views["ME4C"].rules.broken(mask, sector, TEE) == "apart"


def test_structure_that_some_lack_may_be_absent() -> None:
    with_right, without = heart(0, right=True), heart(0, right=False)
    rules = Rules.learn([with_right, without], TEE)
    assert rules.always == ("LV", "LA")
    assert rules.broken(*without, TEE) is None


def test_draws_are_valid_and_differ(model: ShapeModel, tmp_path: Path) -> None:
    tallies = sample_masks(model, tmp_path / "m.h5", 20, seed=3)
    drawn = EchoStore(tmp_path / "m.h5")
    assert {view: tally.accepted for view, tally in tallies.items()} == {"ME4C": 10, "ME2C": 10}
    seen = set()
    for index, (image, mask, sector) in enumerate(drawn):
        view = drawn.table["view"][index]
        assert model.views[view].rules.broken(mask, sector, TEE) is None
        assert not image.any()
        seen.add(mask.tobytes())
    assert len(seen) > 15
    info = drawn.info(1)
    assert (info.view, info.origin, info.mask_source, info.split) == ("ME2C", "mask", "ssm", "train")
    assert (info.phase, info.cohort, info.seed) == ("unknown", "none", 3)
    assert info.patient == f"ssm-{model.hash[:8]}-s3-ME2C-0000"
    assert drawn.table["patient"].is_unique
    record = drawn.provenance["shape_model"]
    assert record["hash"] == model.hash
    assert record["rejected"] == {view: dict(tally.rejected) for view, tally in tallies.items()}


def test_spacing_is_drawn_where_training_knows_it(model: ShapeModel, tmp_path: Path) -> None:
    sample_masks(model, tmp_path / "m.h5", 10)
    table = EchoStore(tmp_path / "m.h5").table
    assert table["spacing_y"].between(2.5, 4.5).all() and table["spacing_y"].nunique() > 5
    assert np.allclose(table["spacing_y"] - table["spacing_x"], 1.0, atol=0.3)
    unknown = fit_shape_model(EchoStore(write(tmp_path / "unknown.h5", spacing=None)))
    sample_masks(unknown, tmp_path / "m.h5", 4)
    assert EchoStore(tmp_path / "m.h5").table["spacing_y"].isna().all()


def test_a_larger_count_begins_with_the_same_masks(model: ShapeModel, tmp_path: Path) -> None:
    sample_masks(model, tmp_path / "few.h5", 5, seed=1)
    sample_masks(model, tmp_path / "many.h5", 9, seed=1)
    few, many = EchoStore(tmp_path / "few.h5"), EchoStore(tmp_path / "many.h5")
    assert list(few.table["key"]) == list(many.table["key"][:5])
    assert all(np.array_equal(few.frame(i), many.frame(i)) for i in range(5))
    sample_masks(model, tmp_path / "other.h5", 5, seed=2)
    assert not np.array_equal(EchoStore(tmp_path / "other.h5").frame(0)[1], few.frame(0)[1])


def test_fewer_views_change_no_mask(model: ShapeModel, tmp_path: Path) -> None:
    sample_masks(model, tmp_path / "both.h5", 6)
    sample_masks(model, tmp_path / "one.h5", 3, views=["ME2C"])
    both, one = EchoStore(tmp_path / "both.h5"), EchoStore(tmp_path / "one.h5")
    assert [i.tobytes() for i in np.stack([f[1] for f in one])] == [both.frame(i)[1].tobytes() for i in (1, 3, 5)]


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"count": 0}, "at least 1"),
        ({"seed": -1}, "negative"),
        ({"seed": 2**63}, "too large"),
        ({"views": ["A4C"]}, "has ME4C, ME2C"),
    ],
)
def test_what_cannot_be_drawn(model: ShapeModel, tmp_path: Path, given: dict, line: str) -> None:
    with pytest.raises(UserError, match=line):
        sample_masks(model, tmp_path / "m.h5", **{"count": 1, **given})


def test_draws_that_are_all_rejected_end(tmp_path: Path, model: ShapeModel) -> None:
    rules = replace(model.views["ME2C"].rules, sector=(0.99, 1.0))
    strict = replace(model, views={"ME2C": replace(model.views["ME2C"], rules=rules)})
    with pytest.raises(UserError, match=rf"ME2C: {ATTEMPTS} draws in a row were rejected, \d+ as 'sector' \(has a"):
        sample_masks(strict, tmp_path / "m.h5", 1)
    assert not (tmp_path / "m.h5").exists()


def test_folder_round_trip(folder: Path, model: ShapeModel) -> None:
    back = load_shape_model(folder)
    assert back.hash == model.hash
    assert back.core() == model.core()
    assert sorted(path.name for path in folder.iterdir()) == [
        "modes_ME2C.png",
        "modes_ME4C.png",
        "shape_model.json",
        "shape_model.safetensors",
    ]
    values = json.loads((folder / "shape_model.json").read_text())
    assert values["views"]["ME4C"]["patients"] == [f"p{i}" for i in range(6)]
    assert values["training"]["store"] == model.store


def test_folder_is_replaced_only_by_its_like(folder: Path, model: ShapeModel, tmp_path: Path) -> None:
    save_shape_model(folder, model)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis/chapter").write_text("mine")
    with pytest.raises(UserError, match="is no shape model"):
        save_shape_model(tmp_path / "thesis", model)
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
    elif how == "foreign":
        tensors["A4C.mean"] = tensors["ME4C.mean"]
    record.write_text(json.dumps(values))
    arrays.write_bytes(save(tensors))


DAMAGE = {
    "schema": "schema 7",
    "half": "not a readable shape model",
    "gone": "No such file",
    "text": "not a readable",
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


def test_command_line(store: EchoStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["masks", "fit", str(store.path), "--out", str(tmp_path / "m")])
    assert "ME4C" in capsys.readouterr().out
    main(["masks", "sample", "--model", str(tmp_path / "m"), "--count", "4", "--out", str(tmp_path / "m.h5")])
    shown = capsys.readouterr().out
    assert "accepted" in shown and "rejected" in shown
    drawn = EchoStore(tmp_path / "m.h5")
    assert len(drawn) == 4 and drawn.command.startswith("python -m tte_tee masks sample --model")
    assert "commit" in drawn.provenance


@pytest.mark.parametrize("words", [["masks"], ["masks", "fit"], ["masks", "sample", "--model", "x", "--count", "y"]])
def test_command_line_mistakes_are_one_line(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("command", ["fit", "sample"])
def test_help_has_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["masks", command, "--help"])
    assert "example:" in capsys.readouterr().out


def test_label_space_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "camus.h5"
    with StoreWriter(path, CAMUS, licence="CC0-1.0", command="test") as store:
        for patient in range(10):
            mask, sector = heart(patient, right=False)
            info = FrameInfo(f"p{patient}", f"p{patient}", "A4C", "train", "phantom", mask_source="phantom")
            store.append(mask, np.where(mask == LA, 3, mask).astype(np.uint8), sector, info)
    sample_masks(fit_shape_model(EchoStore(path)), tmp_path / "m.h5", 3)
    drawn = EchoStore(tmp_path / "m.h5")
    assert drawn.label_space == CAMUS
    assert set(np.unique(drawn.frame(0)[1])) == {0, 1, 3}
