"""The segmenter: it learns, keeps its best, resumes exactly, is judged by the rule, and knows whom it has seen."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from conftest import Train, generated, write_store
from dicoms import make, save

from tte_tee.anatomy import CAMUS, TEE
from tte_tee.cli import main
from tte_tee.data.leakage import seen_in
from tte_tee.data.store import EchoStore, StoreWriter
from tte_tee.errors import UserError
from tte_tee.models.segmenter import Segmenter, SegmenterConfig, load_segmenter, save_segmenter, take_over
from tte_tee.tasks.judge import clinical_reading

TINY = SegmenterConfig(channels=(4, 8, 8))


@pytest.fixture(scope="session")
def seg_run(fit: Train, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fit(tmp_path_factory.mktemp("seg"))


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
        assert said(capsys, *nowhere, device).startswith(f"tte_tee evaluate: --device {device}: ")
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
    for measure in ("area of LV", "LV length"):
        assert some[1][measure] == none[1][measure] and "%" in some[1][measure]["unit"]
    assert some[1]["LV volume"]["n"] > 2 and "n" not in none[1]["LV volume"]
    assert [row["truth"]["area_unit"] for row in some[0][:2]] == ["cm2", "% of sector"]


def test_segment_pictures_and_stores(seg_run: Path, tee_store: Path, tmp_path: Path) -> None:
    pictures = tmp_path / "in" / "deep"
    pictures.mkdir(parents=True)
    image, _, _ = EchoStore(tee_store).frame(0)
    cv2.imwrite(str(pictures / "a.png"), cv2.resize(image, (48, 40)))
    words = ["--segmenter", str(seg_run / "segmenter"), "--out", str(tmp_path / "out")]
    main(["segment", str(tmp_path / "in"), *words])
    mask = cv2.imread(str(tmp_path / "out/deep/a_mask.png"), cv2.IMREAD_UNCHANGED)
    assert mask.shape == (40, 48)
    assert mask.max() <= 4
    assert (tmp_path / "out/deep/a_overlay.png").is_file()
    main(["segment", str(tee_store), *words])
    assert len(EchoStore(tmp_path / "out/found.h5")) == len(EchoStore(tee_store))


def test_masks_found_in_synthetic_frames_do_not_hide_whom_those_know(
    fit: Train, seg_run: Path, tee_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    drawn = generated(tee_store, tmp_path / "drawn.h5", record={"adapter": {"seen": ["test1"]}})
    main(["segment", str(drawn), "--segmenter", str(seg_run / "segmenter"), "--out", str(tmp_path / "out")])
    found = tmp_path / "out/found.h5"
    assert "test1" in seen_in(EchoStore(found).provenance)
    with pytest.raises(SystemExit):
        fit(tmp_path, f"--data.synthetic={found}", "--data.ratio=1")
    assert "patient test1 went into the frames" in capsys.readouterr().err


def test_segment_writes_over_nothing_that_it_reads(
    seg_run: Path, tee_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image, mask, _ = EchoStore(tee_store).frame(0)
    (tmp_path / "in").mkdir()
    cv2.imwrite(str(tmp_path / "in/a.png"), image)
    cv2.imwrite(str(tmp_path / "in/a_mask.png"), mask)
    shutil.copy(tee_store, tmp_path / "found.h5")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    segmenter = ["--segmenter", str(seg_run / "segmenter"), "--out"]
    for read, out in (("in", "in"), ("in", "in/out"), ("in/a.png", "in"), ("found.h5", "")):
        line = said(capsys, "segment", str(tmp_path / read), *segmenter, str(tmp_path / out))
        assert "give another" in line
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}


@pytest.mark.parametrize(("name", "content", "says"), [("a.png", b"no", "no whole image"), ("a.dcm", b"no", "a.dcm")])
def test_segment_refuses_what_is_no_frame(
    seg_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, content: bytes, says: str
) -> None:
    (tmp_path / name).write_bytes(content)
    words = ["--segmenter", str(seg_run / "segmenter"), "--out", str(tmp_path / "out")]
    assert says in said(capsys, "segment", str(tmp_path / name), *words)
    assert "no such file" in said(capsys, "segment", str(tmp_path / "missing"), *words)


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


def test_segment_refuses_a_dicom_whose_sector_is_unsure(
    seg_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (1, 64, 64), dtype=np.uint8)
    save(tmp_path / "a.dcm", make(noise))
    words = ["--segmenter", str(seg_run / "segmenter"), "--out", str(tmp_path / "out")]
    assert "its sector is too uncertain" in said(capsys, "segment", str(tmp_path / "a.dcm"), *words)
    assert not (tmp_path / "out").exists()
