"""The segmenter: it learns, keeps its best, resumes exactly, is judged by the rule, and knows whom it has seen."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import Train, write_store

from tte_tee.anatomy import CAMUS, TEE
from tte_tee.cli import main
from tte_tee.data.store import EchoStore, StoreWriter
from tte_tee.errors import UserError
from tte_tee.evaluation import segmenter as evaluation
from tte_tee.evaluation.segmenter import clinical_reading, score, write_cases
from tte_tee.models.segmenter import Segmenter, SegmenterConfig, load_segmenter, save_segmenter, take_over
from tte_tee.tasks import segmenter
from tte_tee.tasks.segmenter import HeartSegmenter

TINY = SegmenterConfig(channels=(4, 8, 8))


def said(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The one line that a mistake gives."""
    with pytest.raises(SystemExit) as stop:
        main(list(words))
    assert stop.value.code == 2
    line = capsys.readouterr().err.strip()
    assert "\n" not in line
    return line


def test_a_run_leaves_a_segmenter_previews_and_what_it_has_seen(seg_run: Path, tee_store: Path) -> None:
    loaded = load_segmenter(seg_run / "segmenter")
    assert (loaded.label_space, loaded.image_size) == (TEE, (16, 16))
    assert set(loaded.record["seen"]) == {
        f"{split}{n}" for split, count in (("train", 4), ("val", 2)) for n in range(count)
    }
    assert loaded.record["data"]["hash"] == EchoStore(tee_store).content_hash
    assert list((seg_run / "previews").glob("*.png"))


def test_the_weights_that_are_kept_are_named(fit: Train, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    record = load_segmenter(fit(tmp_path, "--trainer.val_check_interval=1") / "segmenter").record
    line = (
        f"the weights of step {record['val_step']}, the best on validation patients (val/dice {record['val_dice']:.3f})"
    )
    assert line in " ".join(capfd.readouterr().err.split())


def test_training_finds_structures(fit: Train, seg_run: Path, tmp_path: Path) -> None:
    run = fit(
        tmp_path,
        "--trainer.max_steps=150",
        "--trainer.val_check_interval=50",
        "--model.network.channels=[8, 16, 16]",
        "--model.learning_rate=0.01",
        "--data.augmentation=none",
    )
    # The toy's structures look alike, so only their places tell them apart.
    dice = [load_segmenter(folder / "segmenter").record["val_dice"] for folder in (seg_run, run)]
    structures = load_segmenter(seg_run / "segmenter").record["val_structures"]
    assert np.mean(list(structures.values())) == pytest.approx(dice[0])
    assert dice[1] > 0.15 > 2 * dice[0]


@pytest.mark.parametrize("config", [TINY, SegmenterConfig("dynunet", (4, 8, 8))], ids=["unet", "dynunet"])
def test_logits_have_the_frames_size(config: SegmenterConfig) -> None:
    segmenter = Segmenter(config, TEE.structures)
    levels = segmenter.train().outputs(torch.zeros(2, 1, 16, 24))
    assert [level.shape for level in levels] == [(2, 5, 16, 24)] * len(levels)
    assert len(levels) == (2 if config.network == "dynunet" else 1)
    assert segmenter.eval()(torch.zeros(2, 1, 16, 24)).shape == (2, 5, 16, 24)


def test_dynunet_trains(fit: Train, tmp_path: Path) -> None:
    run = fit(tmp_path, "--model.network.network=dynunet")
    assert load_segmenter(run / "segmenter").segmenter.config.network == "dynunet"


def test_the_test_is_scored_with_the_best_weights(fit: Train, seg_run: Path, tmp_path: Path, tee_store: Path) -> None:
    run = fit(tmp_path, f"--ckpt_path={seg_run / 'checkpoints/last.ckpt'}", command="test")
    by_test = json.loads((run / "metrics.json").read_text())
    words = ["--segmenter", str(seg_run / "segmenter"), "--store", str(tee_store), "--out", str(tmp_path / "judged")]
    main(["evaluate", "segmenter", *words])
    by_command = json.loads((tmp_path / "judged/metrics.json").read_text())
    assert by_test["cases"] == by_command["cases"]
    assert by_test["summary"] == by_command["summary"]
    assert by_command["summary"]["patients"] == 2
    assert by_command["segmenter"]["hash"] == load_segmenter(seg_run / "segmenter").hash
    assert list((tmp_path / "judged").glob("cases_*.png"))


def test_predictions_are_masks_that_a_segmenter_found(fit: Train, seg_run: Path, tmp_path: Path) -> None:
    run = fit(tmp_path, f"--ckpt_path={seg_run / 'checkpoints/last.ckpt'}", command="predict")
    store = EchoStore(run / "predictions.h5")
    assert set(store.table["mask_source"]) == {"segmenter"}
    assert len(store) == 4


def test_a_test_against_masks_that_a_segmenter_found_is_refused(
    fit: Train, seg_run: Path, tee_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = EchoStore(tee_store)
    with StoreWriter(tmp_path / "found.h5", TEE, licence="none", command="test") as writer:
        for index, frame in enumerate(store):
            writer.append(*frame, replace(store.info(index), mask_source="segmenter"))
    checkpoint = f"--ckpt_path={seg_run / 'checkpoints/last.ckpt'}"
    with pytest.raises(SystemExit):
        fit(tmp_path, checkpoint, f"--data.test={tmp_path / 'found.h5'}", command="test")
    assert "have no true mask" in capsys.readouterr().err


def test_a_structure_that_nobody_has_is_not_logged_as_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    dice, logged = {"LV": {"dice": 0.5}, "RA": {"dice": None}, "RV": {"dice": 0.0}}, {}
    monkeypatch.setattr(segmenter, "score", lambda *_: SimpleNamespace(summary=lambda: {"structures": dice}))
    task = SimpleNamespace(
        data=SimpleNamespace(test_store=None),
        trainer=SimpleNamespace(log_dir=None, is_global_zero=True),
        log_dict=lambda values, **_: logged.update(values),
        _gathered=dict,
    )
    HeartSegmenter.on_test_epoch_end(task)
    assert logged == {"test/dice/LV": 0.5, "test/dice/RV": 0.0}


def test_options_change_the_run(fit: Train, seg_run: Path, tmp_path: Path) -> None:
    usual = load_segmenter(seg_run / "segmenter").hash
    for option in (
        "--data.augmentation=none",
        "--data.augmentation=strong",
        "--model.learning_rate=0.001",
        "--model.weight_decay=0.5",
        "--model.warmup_steps=3",
        "--model.network.dropout=0.5",
        "--seed_everything=1",
        "--data.patients=2",
    ):
        assert load_segmenter(fit(tmp_path, option) / "segmenter").hash != usual, option


def test_a_pretrained_segmenter_gives_all_but_the_last_layer(tmp_path: Path) -> None:
    start = Segmenter(TINY, CAMUS.structures)
    save_segmenter(tmp_path / "start", start, CAMUS, (16, 16), {"seen": ["x"]})
    segmenter = Segmenter(TINY, TEE.structures)
    take_over(segmenter, load_segmenter(tmp_path / "start"), "start")
    own, theirs = segmenter.state_dict(), start.state_dict()
    same = [name for name in own if own[name].shape == theirs[name].shape]
    assert all(torch.equal(own[name], theirs[name]) for name in same)
    assert 0 < len(own) - len(same) <= 8


def test_other_structures_take_over_no_output_however_many_there_are(tmp_path: Path) -> None:
    start = Segmenter(TINY, CAMUS.structures)
    save_segmenter(tmp_path / "start", start, CAMUS, (16, 16), {})
    segmenter = Segmenter(TINY, ("LV", "LA", "RV"))
    before = {name: weight.clone() for name, weight in segmenter.state_dict().items()}
    take_over(segmenter, load_segmenter(tmp_path / "start"), "start")
    wider = Segmenter(TINY, TEE.structures).state_dict()
    for name, weight in segmenter.state_dict().items():
        of_output = weight.shape != wider[name].shape
        assert torch.equal(weight, before[name] if of_output else start.state_dict()[name])


def test_what_pretraining_has_seen_is_seen(fit: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_segmenter(tmp_path / "start", Segmenter(TINY, CAMUS.structures), CAMUS, (16, 16), {"seen": ["test1"]})
    run = fit(tmp_path, f"--model.pretrained={tmp_path / 'start'}")
    assert "test1" in load_segmenter(run / "segmenter").record["seen"]
    checkpoint = run / "checkpoints/last.ckpt"
    with pytest.raises(SystemExit):
        fit(tmp_path, f"--model.pretrained={tmp_path / 'start'}", f"--ckpt_path={checkpoint}", command="test")
    assert "patient test1 went into the segmenter's training or tuning" in capsys.readouterr().err


def test_evaluate_refuses_whom_the_segmenter_has_seen(
    seg_run: Path, tee_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["evaluate", "segmenter", "--segmenter", str(seg_run / "segmenter"), "--out", str(tmp_path / "o")]
    for split in ("train", "val"):
        line = said(capsys, *words, "--store", str(tee_store), "--split", split)
        assert f"patient {split}0, {split}1" in line and "went into the segmenter" in line
    other = write_store(tmp_path / "tte.h5", CAMUS)
    assert "the segmenter finds LV, LA, RV, RA" in said(capsys, *words, "--store", str(other))
    assert "no frame in split 'test' and cohort 'pool'" in said(
        capsys, *words, "--store", str(tee_store), "--cohort", "pool"
    )
    nowhere = [*words, "--store", str(tee_store), "--device"]
    for device in ("banana", "meta"):
        assert said(capsys, *nowhere, device).startswith(f"tte_tee evaluate segmenter: --device {device}: ")
    assert not (tmp_path / "o").exists()


def test_frames_of_another_size_are_judged_at_their_own(seg_run: Path, tmp_path: Path) -> None:
    store = write_store(tmp_path / "large.h5", TEE, patients={"test": 2}, size=40)
    main(
        [
            "evaluate",
            "segmenter",
            "--segmenter",
            str(seg_run / "segmenter"),
            "--store",
            str(store),
            "--out",
            str(tmp_path / "o"),
        ]
    )
    case = json.loads((tmp_path / "o/metrics.json").read_text())["cases"][0]
    assert case["diagonal"] == pytest.approx(np.hypot(40 * 2.0, 40 * 1.5), rel=0.05)


def test_agreement_is_in_one_unit_where_some_spacing_is_unknown(tee_store: Path, tmp_path: Path) -> None:
    store = EchoStore(tee_store)
    found = {index: store.frame(index)[1] for index in store.indices()}
    with StoreWriter(tmp_path / "some.h5", TEE, licence="none", command="test") as writer:
        for index, frame in enumerate(store):
            info = store.info(index)
            writer.append(*frame, replace(info, spacing=None) if index % 2 else info)
    with StoreWriter(tmp_path / "none.h5", TEE, licence="none", command="test") as writer:
        for index, frame in enumerate(store):
            writer.append(*frame, replace(store.info(index), spacing=None))
    some, none = (clinical_reading(EchoStore(tmp_path / f"{name}.h5"), found) for name in ("some", "none"))
    for measure in ("area of LV at ED", "LV length at ED"):
        assert some[1][measure] == none[1][measure] and "%" in some[1][measure]["unit"]
    assert some[1]["LV volume at ED"]["n"] > 2 and "n" not in none[1]["LV volume at ED"]
    assert [row["truth"]["area_unit"] for row in some[0][:2]] == ["cm2", "% of sector"]


def test_a_measure_is_of_one_phase(tee_store: Path, tmp_path: Path) -> None:
    """What is wrong at ED alone is nothing that ES is blamed for."""
    with StoreWriter(tmp_path / "beats.h5", TEE, licence="none", command="test") as writer:
        for index, frame in enumerate(store := EchoStore(tee_store)):
            info = store.info(index)
            for phase in ("ED", "ES"):
                writer.append(*frame, replace(info, phase=phase, key=f"{info.key}/{phase}"))
    store = EchoStore(tmp_path / "beats.h5")
    found = {int(i): store.frame(i)[1] for i in store.indices()}
    ids = store.label_space.ids
    for index, mask in found.items():
        if store.info(index).phase == "ED":
            mask[mask == ids["LV"]] = 0
            mask[8:10, 8:10] = ids["LV"]
    biases = {name: values.get("bias") for name, values in clinical_reading(store, found)[1].items()}
    assert biases["area of LV at ED"] < 0 == biases["area of LV at ES"]
    assert not [name for name in biases if not name.endswith((" at ED", " at ES"))]


def test_worst_cases_are_of_different_patients_and_the_most_wrong(
    tee_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = EchoStore(tee_store)
    found = {int(i): np.zeros_like(store.frame(i)[1]) for i in store.indices()}  # everything missed: Dice 0 throughout
    drawn: list[str] = []

    def row(store: EchoStore, index: int, *_: object) -> list[np.ndarray]:
        drawn.append(store.info(index).key)
        return [np.zeros((8, 8, 3), np.uint8)] * 3

    monkeypatch.setattr(evaluation, "_case_row", row)
    write_cases(tmp_path, store, found, score(store, found))
    worst = drawn[:3]  # of the LV
    areas = {store.info(i).key: int((store.frame(i)[1] == store.label_space.ids["LV"]).sum()) for i in store.indices()}
    patients = [store.table["patient"][list(store.table["key"]).index(key)] for key in worst]
    assert len(set(patients)) == 3
    assert areas[worst[0]] == max(areas.values())


@pytest.mark.parametrize("damage", ["missing", "json", "record", "weights", "nan"])
def test_a_damaged_segmenter_is_refused(tmp_path: Path, damage: str) -> None:
    segmenter = Segmenter(TINY, TEE.structures)
    if damage == "nan":
        next(segmenter.parameters()).data[0] = float("nan")
    save_segmenter(tmp_path / "s", segmenter, TEE, (16, 16), {})
    if damage == "missing":
        (tmp_path / "s/segmenter.json").unlink()
    elif damage == "json":
        (tmp_path / "s/segmenter.json").write_text("[]")
    elif damage == "record":
        values = json.loads((tmp_path / "s/segmenter.json").read_text())
        (tmp_path / "s/segmenter.json").write_text(json.dumps({**values, "provenance": ["mine"]}))
    elif damage == "weights":
        (tmp_path / "s/segmenter.safetensors").write_bytes(b"none")
    with pytest.raises(UserError, match="segmenter"):
        load_segmenter(tmp_path / "s")


def test_frames_that_cannot_be_halved_are_refused(
    fit: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        fit(tmp_path, "--model.network.channels=[4, 4, 4, 4, 4, 4]")
    assert "halves them 5 times" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        fit(tmp_path, "--model.network.channels=[4, 4, 4, 4, 4]")
    assert "leaves one pixel" in capsys.readouterr().err
    assert not list(tmp_path.rglob("version_*"))  # the next run has the number that is its own
