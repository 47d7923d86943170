"""The copy audit on phantom hearts: planted copies are found, other hearts are not, and leaks are refused."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
from conftest import generated, write_store
from rich.console import Console

from tte_tee.anatomy import CAMUS, TEE
from tte_tee.cli import main
from tte_tee.data.phantom import PhantomSpec, write_phantom
from tte_tee.data.store import EchoStore, FrameInfo, StoreWriter
from tte_tee.report.copies import copies_table

Plant = Callable[[np.ndarray, np.random.Generator], np.ndarray]
PLANTS: dict[str, Plant] = {
    "exact": lambda image, rng: image,
    "brighter": lambda image, rng: 0.7 * image + 50,
    "gamma": lambda image, rng: 255 * (image / 255) ** rng.uniform(0.6, 1.6),
    "respeckled": lambda image, rng: image * rng.rayleigh(0.8, image.shape),
    "blurred": lambda image, rng: cv2.GaussianBlur(image, (0, 0), 1.0),
}


def phantom(path: Path, patients: int, seed: int, **options: Any) -> EchoStore:
    write_phantom(PhantomSpec("tee", patients, seed=seed, test=0.0, **{"val": 0.0, **options}), path)
    return EchoStore(path)


def write_generated(
    path: Path, frames: Sequence[tuple[Sequence[np.ndarray], FrameInfo]], record: dict[str, Any] | None = None
) -> Path:
    """A store of frames that are said to be generated."""
    with StoreWriter(path, TEE, licence="none", command="test", provenance=json.dumps(record or {})) as writer:
        for arrays, info in frames:
            writer.append(*map(np.ascontiguousarray, arrays), replace(info, origin="generated", split="train"))
    return path


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> dict[str, EchoStore]:
    """Training frames of 7 patients (one in split val), real frames of 30 others, frames of 20 yet others."""
    folder = tmp_path_factory.mktemp("stores")
    return {
        "training": phantom(folder / "training.h5", 7, 3, val=0.15),
        "held_out": phantom(folder / "held_out.h5", 30, 4),
        "others": phantom(folder / "others.h5", 20, 5),
    }


def planted(training: EchoStore, *, own: bool) -> list[tuple[Sequence[np.ndarray], FrameInfo]]:
    """Copies of every kind and direction of training frames, under their own masks or, as if, under a shape model's."""
    rng, frames = np.random.default_rng(0), []
    for kind, change in PLANTS.items():
        for index in rng.choice(training.indices(split="train"), 4, replace=False):
            image, mask, sector = training.frame(int(index))
            copy = np.clip(change(image.astype(np.float64), rng) * sector, 0, 255).astype(np.uint8)
            info = training.info(int(index))
            for way in (1, -1):
                arrays = [array[:, ::way] for array in (copy, mask, sector)]
                key = f"{kind}/{way}/{own}/{info.key}"
                drawn = (
                    replace(info, key=key, parent=info.key)
                    if own
                    else replace(info, key=key, patient=f"shape-{len(frames)}", mask_source="ssm")
                )
                frames.append((arrays, drawn))
    return frames


def novel(others: EchoStore) -> list[tuple[Sequence[np.ndarray], FrameInfo]]:
    return [
        (others.frame(i), replace(others.info(i), key=f"novel/{i}", parent=others.info(i).key))
        for i in range(len(others))
    ]


def audit(out: Path, synthetic: Path, training: EchoStore, held_out: EchoStore | None, *words: str) -> dict[str, Any]:
    others = [] if held_out is None else [f"--held-out={held_out.path}"]
    stores = [f"--synthetic={synthetic}", f"--trained-on={training.path}", *others]
    main(["evaluate", "copies", *stores, f"--out={out}", *words])
    return json.loads((out / "copies.json").read_text())


class Refusal:
    """Says what an audit is refused with: one line, and nothing written."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self.capsys = folder, capsys

    def __call__(self, synthetic: Path, training: EchoStore, held_out: EchoStore | None, *words: str) -> str:
        self.capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            audit(self.folder / "refused", synthetic, training, held_out, *words)
        said = self.capsys.readouterr().err
        assert stop.value.code == 2 and said.count("\n") == 1
        assert not (self.folder / "refused").exists()
        return said


@pytest.fixture
def refusal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Refusal:
    return Refusal(tmp_path, capsys)


@pytest.fixture(scope="module")
def audited(stores: dict[str, EchoStore], tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    """An audit of planted copies beside other hearts, and its folder."""
    folder = tmp_path_factory.mktemp("audit")
    frames = [*planted(stores["training"], own=True), *planted(stores["training"], own=False), *novel(stores["others"])]
    record = {"trained_on": {"store": "training.h5", "hash": stores["training"].content_hash}}
    synthetic = write_generated(folder / "synthetic.h5", frames, record)
    return audit(folder / "out", synthetic, stores["training"], stores["held_out"]), folder


def rows(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "out/copies.csv", keep_default_na=False, na_values={"texture": "", "correlation": ""})


def test_every_planted_copy_is_found(audited: tuple[dict[str, Any], Path]) -> None:
    table = rows(audited[1])
    copies = table[~table["key"].str.startswith("novel")]
    assert len(copies) == 2 * 2 * 4 * len(PLANTS)
    assert set(copies["verdict"]) == {"copy"}, copies[copies["verdict"] != "copy"]
    source = copies["key"].str.split("/", n=3).str[3]
    drawn_for_own = copies["mask_source"] == "phantom"
    assert (copies["found_by"] == np.where(drawn_for_own, "texture", "correlation")).all()
    partner = np.where(drawn_for_own, copies["own"], copies["nearest"])
    # The two phases of one acquisition are nearly one frame under new speckle.
    assert (pd.Series(partner).str.rsplit("/", n=1).str[0] == source.str.rsplit("/", n=1).str[0].to_numpy()).all()
    mirrored = np.where(drawn_for_own, copies["own_flipped"], copies["flipped"])
    assert (mirrored == copies["key"].str.contains("/-1/")).all()


def test_other_hearts_are_no_copies(audited: tuple[dict[str, Any], Path]) -> None:
    table = rows(audited[1])
    others = table[table["key"].str.startswith("novel")]
    assert len(others) == 80
    chance = audited[0]["thresholds"]["correlation"]["false_alarms"]
    assert (others["verdict"] == "copy").mean() <= chance["high"] < 0.1
    assert others["texture"].isna().all(), "texture is for frames drawn for a training patient's mask"


def test_rates_go_by_whose_masks_they_are(audited: tuple[dict[str, Any], Path]) -> None:
    rates = audited[0]["rates"]
    assert set(rates) == {"phantom, training patients", "phantom, other patients", "ssm"}
    assert rates["ssm"]["any"]["share"] == rates["phantom, training patients"]["texture"]["share"] == 1
    assert "texture" not in rates["ssm"]
    others = rates["phantom, other patients"]
    assert (others["frames"], others["patients"]) == (80, 20)
    assert others["any"]["low"] <= others["any"]["share"] < others["any"]["high"]
    assert others["correlation"]["over_threshold_interval"] == sorted(others["correlation"]["over_threshold_interval"])


def test_the_record_says_what_was_compared(
    audited: tuple[dict[str, Any], Path], stores: dict[str, EchoStore], tmp_path: Path
) -> None:
    values, folder = audited
    assert values["trained_on"]["hash"] == stores["training"].content_hash
    assert (values["trained_on"]["frames"], values["trained_on"]["patients"]) == (24, 6)
    assert values["trained_on"]["recorded_by_synthetic"]
    assert values["held_out"] == {
        "name": "held_out.h5",
        "hash": stores["held_out"].content_hash,
        "frames": 120,
        "patients": 30,
    }
    assert set(stores["held_out"].table["patient"]) < set(values["seen"])
    assert {t["from"] for t in values["thresholds"].values()} == {"held_out"}
    picture = cv2.imread(str(folder / "out/worst.png"))
    assert picture.shape[1] > 3 * 192 and picture.std() > 10
    console = Console(record=True, width=160)
    console.print(copies_table(values))
    text = console.export_text()
    assert "100.0 [" in text and "of 120 held-out frames of 30 patients" in text and "on trust" not in text


def test_again_gives_the_same(audited: tuple[dict[str, Any], Path], stores: dict[str, EchoStore]) -> None:
    values, folder = audited
    again = audit(folder / "again", folder / "synthetic.h5", stores["training"], stores["held_out"])
    assert (folder / "again/copies.csv").read_bytes() == (folder / "out/copies.csv").read_bytes()
    assert all(again[name] == values[name] for name in ("thresholds", "rates", "seen"))


def test_control_frames_set_the_threshold_of_texture(
    stores: dict[str, EchoStore], tmp_path: Path, refusal: Refusal
) -> None:
    """A generator that knows unseen patients' texture as well from their masks copies nobody."""
    training, held_out = stores["training"], stores["held_out"]
    record = {"adapter": {"hash": "a"}}

    def drawn(store: EchoStore) -> list[tuple[Sequence[np.ndarray], FrameInfo]]:
        frames = []
        for i in store.indices(split="train"):
            image, mask, sector = store.frame(int(i))
            like = np.clip(0.9 * image + 10 * np.random.default_rng(int(i)).normal(size=image.shape), 0, 255)
            info = store.info(int(i))
            frames.append(
                ((like.astype(np.uint8) * sector, mask, sector), replace(info, key=f"{info.key}#", parent=info.key))
            )
        return frames

    synthetic = write_generated(tmp_path / "s.h5", drawn(training), record)
    control = write_generated(tmp_path / "c.h5", drawn(held_out), record)
    without = audit(tmp_path / "without", synthetic, training, held_out)
    beside = audit(tmp_path / "with", synthetic, training, held_out, "--control", str(control))
    assert beside["thresholds"]["texture"]["from"] == "control"
    assert beside["thresholds"]["texture"]["threshold"] > without["thresholds"]["texture"]["threshold"]
    masks = "phantom, training patients"
    assert without["rates"][masks]["texture"]["share"] == 1
    assert beside["rates"][masks]["texture"]["share"] < 0.2
    other = write_generated(tmp_path / "other.h5", drawn(held_out), {"adapter": {"hash": "b"}})
    assert "not drawn by the one adapter" in refusal(synthetic, training, held_out, "--control", str(other))
    elsewhere = write_generated(tmp_path / "elsewhere.h5", drawn(stores["others"]), record)
    assert "has no frame in" in refusal(synthetic, training, held_out, "--control", str(elsewhere))


def test_too_few_held_out_patients_give_no_threshold(
    stores: dict[str, EchoStore], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = phantom(tmp_path / "one.h5", 1, 6, angles=tuple(range(5, 90, 4)))
    synthetic = write_generated(tmp_path / "s.h5", [*planted(stores["training"], own=True), *novel(stores["others"])])
    values = audit(tmp_path / "out", synthetic, stores["training"], one)
    assert all("1 patients" in t["not_estimable"] for t in values["thresholds"].values())
    assert all("not_estimable" in rates["any"] for rates in values["rates"].values())
    table = rows(tmp_path)
    assert set(table["verdict"]) == {"not estimable"}
    assert table["correlation"].between(-1, 1).all()
    shown = capsys.readouterr().out
    assert "not estimable" in shown and "1 patients" in shown.replace("\n", " ") and "on trust" in shown


def test_one_patient_alone_has_scores_and_no_rate(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], refusal: Refusal
) -> None:
    """All frames there are show one patient, so that nobody is held out."""
    training = phantom(tmp_path / "training.h5", 1, 3, angles=(30, 60))
    frames = [(training.frame(i), replace(training.info(i), key=f"{i}#", parent="")) for i in range(4)]
    synthetic = write_generated(tmp_path / "s.h5", frames)
    values = audit(tmp_path / "out", synthetic, training, None)
    shown = " ".join(capsys.readouterr().out.split())
    reason = "there is no frame of a patient whom the adapter has not seen"
    assert f"texture: no threshold from held-out frames ({reason})" in shown
    assert values["held_out"] is None
    assert values["rates"]["phantom, training patients"]["any"] == {"not_estimable": "4 of 4 frames have no verdict"}
    table = rows(tmp_path)
    assert table["texture"].tolist() == [1, 1, 1, 1] and set(table["verdict"]) == {"not estimable"}
    assert cv2.imread(str(tmp_path / "out/worst.png")).std() > 10
    assert "give --held-out" in refusal(synthetic, training, None, f"--control={synthetic}")


@pytest.mark.slow
def test_an_embedding_finds_exact_copies(stores: dict[str, EchoStore], tmp_path: Path) -> None:
    from tte_tee.models.segmenter import Segmenter, SegmenterConfig, save_segmenter

    network = Segmenter(SegmenterConfig(channels=(8, 16, 16)), TEE.structures)
    save_segmenter(tmp_path / "segmenter", network, TEE, (64, 64), {"seen": ["phantom-tee-s4-0000"]})
    frames = [f for f in planted(stores["training"], own=False) if f[1].key.startswith("exact")]
    synthetic = write_generated(tmp_path / "s.h5", [*frames, *novel(stores["others"])])
    word = f"segmenter={tmp_path / 'segmenter'}"
    values = audit(tmp_path / "out", synthetic, stores["training"], stores["held_out"], "--extractor", word)
    assert values["extractor"]["name"] == "segmenter" and len(values["extractor"]["version"]) == 64
    assert (values["extractor"]["knows_of_training"], values["extractor"]["knows_of_held_out"]) == (0, 1)
    assert values["rates"]["ssm"]["embedding"]["share"] == 1
    found = rows(tmp_path)["embedding_flipped"][: len(frames)]
    assert found.tolist() == [frame[1].key.startswith("exact/-1") for frame in frames]


def test_held_out_patients_whom_the_adapter_has_seen_are_refused(
    stores: dict[str, EchoStore], tmp_path: Path, refusal: Refusal
) -> None:
    training, held_out, others = stores["training"], stores["held_out"], stores["others"]
    synthetic = write_generated(tmp_path / "s.h5", novel(others))
    assert "phantom-tee-s3-0000" in refusal(synthetic, training, training)
    validating = tmp_path / "val.h5"
    main(["data", "subset", str(training.path), "--split", "val", "--out", str(validating)])
    assert "phantom-tee-s3-0006" in refusal(synthetic, training, EchoStore(validating))
    leaking = write_generated(tmp_path / "leaking.h5", novel(others), {"adapter": {"seen": ["phantom-tee-s4-0003"]}})
    assert "phantom-tee-s4-0003 went into the adapter" in refusal(leaking, training, held_out)


def test_who_lent_a_mask_was_not_learnt_from(stores: dict[str, EchoStore], tmp_path: Path, refusal: Refusal) -> None:
    """A store has seen whose masks it was drawn for, and says of whom masks are all that it was shown."""
    training, held_out = stores["training"], stores["held_out"]
    seen = {"seen": sorted(set(held_out.table["patient"]))}
    unsure = write_generated(tmp_path / "unsure.h5", novel(held_out), seen)
    assert "went into the adapter" in refusal(unsure, training, held_out)
    sure = write_generated(tmp_path / "sure.h5", novel(held_out), {**seen, "mask_seen": seen["seen"]})
    assert audit(tmp_path / "out", sure, training, held_out)["rates"]["phantom, other patients"]["frames"] == 120


def test_an_adapter_of_another_store_is_refused(stores: dict[str, EchoStore], tmp_path: Path, refusal: Refusal) -> None:
    record = {"from": [{"provenance": {"trained_on": {"store": "elsewhere.h5", "hash": "0"}}}]}
    synthetic = write_generated(tmp_path / "s.h5", novel(stores["others"]), record)
    assert "learnt from another store (elsewhere.h5)" in refusal(synthetic, stores["training"], stores["held_out"])


def test_patients_for_testing_set_no_threshold(stores: dict[str, EchoStore], tmp_path: Path, refusal: Refusal) -> None:
    synthetic = write_generated(tmp_path / "s.h5", novel(stores["others"]))
    for_testing = phantom(tmp_path / "test.h5", 1, 13)
    assert "cohort test is for testing alone" in refusal(synthetic, stores["training"], for_testing)


def test_stores_that_do_not_belong_together_are_refused(
    stores: dict[str, EchoStore], tmp_path: Path, refusal: Refusal
) -> None:
    training, held_out = stores["training"], stores["held_out"]
    synthetic = write_generated(tmp_path / "s.h5", novel(stores["others"]))
    small = phantom(tmp_path / "small.h5", 1, 6, size=32)
    assert "frames are 32x32" in refusal(synthetic, training, small)
    assert "frames are 32x32" in refusal(synthetic, small, held_out)
    tte = EchoStore(write_store(tmp_path / "tte.h5", CAMUS, patients={"train": 1}, size=64))
    assert "one label space" in refusal(synthetic, training, tte)
    assert "phantom); give a store of synthetic frames" in refusal(training.path, training, held_out)
    drawn = EchoStore(generated(held_out.path, tmp_path / "g.h5", patients=[held_out.table["patient"][0]]))
    assert "generated); give a store of real frames" in refusal(synthetic, training, drawn)
    val = tmp_path / "val.h5"
    main(["data", "subset", str(training.path), "--split", "val", "--out", str(val)])
    assert "no frame in split 'train'" in refusal(synthetic, EchoStore(val), held_out)


def test_bad_words_are_one_line(stores: dict[str, EchoStore], tmp_path: Path, refusal: Refusal) -> None:
    synthetic = write_generated(tmp_path / "s.h5", novel(stores["others"]))
    pair = stores["training"], stores["held_out"]
    assert "no share between 0 and 1" in refusal(synthetic, *pair, "--allowed=1")
    assert "no share between 0 and 1" in refusal(synthetic, *pair, "--allowed=few")
    assert "give KIND=PATH" in refusal(synthetic, *pair, "--extractor=nothing")
    assert "nowhere.h5: no such echo store" in refusal(tmp_path / "nowhere.h5", *pair)
    assert "nowhere.h5: no such echo store" in refusal(synthetic, *pair, f"--control={tmp_path / 'nowhere.h5'}")
