"""The filter: disobedient frames and copies go, the rest stays, and its judge knows the adaptation patients alone."""

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import generated, write_store
from legible import legible, reader

from tte_tee.anatomy import CAMUS, TEE
from tte_tee.cli import main
from tte_tee.data.store import EchoStore, StoreWriter
from tte_tee.errors import UserError
from tte_tee.evaluation.filter import COPIES, DISOBEDIENT, KEPT, Rules, choose, what_stays, write_filtered
from tte_tee.metrics.coincidence import Calibration
from tte_tee.models.segmenter import Segmenter, SegmenterConfig, save_segmenter
from tte_tee.seen import seen_in

PATIENTS = {"train": 10, "val": 4}
RULES = Rules(quantile=0.5, allowed=0.1)


@pytest.fixture(scope="module")
def adaptation(tmp_path_factory: pytest.TempPathFactory) -> EchoStore:
    folder = tmp_path_factory.mktemp("adaptation")
    return legible(
        folder / "real.h5", write_store(folder / "tee.h5", TEE, patients=PATIENTS, size=32), drawn=False, noise=9
    )


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Frames "generated" for masks of nobody."""
    folder = tmp_path_factory.mktemp("others")
    store = write_store(folder / "tee.h5", TEE, patients={"val": 6}, size=32)
    patients = [f"val{i}" for i in range(6)]
    return generated(store, folder / "drawn.h5", patients=patients, source="ssm", record={"seen": ["train0"]})


def join(path: Path, *stores: EchoStore) -> EchoStore:
    """All frames of some stores, their keys made different."""
    provenance = json.dumps(stores[0].provenance)
    with StoreWriter(path, TEE, licence="none", command="test", provenance=provenance) as writer:
        for n, store in enumerate(stores):
            for i in range(len(store)):
                info = store.info(i)
                values = {**info.__dict__, "key": f"{n}/{info.key}", "patient": f"ssm-{n}-{i}", "split": "train"}
                writer.append(*store.frame(i), type(info)(**{**values, "origin": "generated", "mask_source": "ssm"}))
    return EchoStore(path)


def test_what_disobeys_or_copies_goes(adaptation: EchoStore, others: Path, tmp_path: Path) -> None:
    obedient = legible(tmp_path / "obedient.h5", others, noise=20)
    lying = legible(tmp_path / "lying.h5", others, lie=True)
    mixed = join(tmp_path / "mixed.h5", obedient, lying, adaptation)
    filtered = choose(reader("train0", size=32), mixed, adaptation, RULES)
    parts = np.split(filtered.verdicts, [len(obedient), len(obedient) + len(lying)])
    of_training = adaptation.table["split"] == "train"
    assert (parts[0] == KEPT).mean() > 0.7
    assert set(parts[1]) == {DISOBEDIENT}
    assert set(parts[2][of_training]) == {COPIES}
    assert filtered.dice == 1
    assert all(isinstance(threshold, Calibration) for threshold in filtered.copies.values())


def test_the_store_holds_what_stays_and_says_why(adaptation: EchoStore, others: Path, tmp_path: Path) -> None:
    mixed = join(
        tmp_path / "mixed.h5",
        legible(tmp_path / "obedient.h5", others, noise=20),
        legible(tmp_path / "l.h5", others, lie=True),
    )
    segmenter = reader("train0", "val1", size=32)
    filtered = choose(segmenter, mixed, adaptation, RULES)
    write_filtered(tmp_path / "out.h5", mixed, filtered, segmenter, RULES, "filter")
    out = EchoStore(tmp_path / "out.h5")
    assert list(out.table["key"]) == list(mixed.table["key"].iloc[filtered.kept])
    assert seen_in(out.provenance) == set(adaptation.table["patient"])  # the thresholds come from all of them
    record = out.provenance["filter"]
    assert record["frames"][KEPT] == len(out) and record["frames"][DISOBEDIENT] == 12 and record["dice"] == 1
    stays = what_stays(mixed, filtered)
    assert stays.loc["LV", "frames kept"] <= len(out) < stays.loc["LV", "frames"]


def test_few_patients_leave_copies_undecided(others: Path, tmp_path: Path) -> None:
    few = legible(
        tmp_path / "few.h5", write_store(tmp_path / "t.h5", TEE, patients={"train": 2, "val": 1}, size=32), drawn=False
    )
    filtered = choose(reader(size=32), legible(tmp_path / "o.h5", others), few, RULES)
    assert set(filtered.verdicts) == {KEPT}
    assert "2 patients" in str(filtered.copies["correlation"])


def test_a_judge_of_other_patients_is_refused(adaptation: EchoStore, others: Path, tmp_path: Path) -> None:
    drawn = legible(tmp_path / "o.h5", others)
    with pytest.raises(UserError, match="the segmenter learnt from patient stranger"):
        choose(reader("train0", "stranger", size=32), drawn, adaptation, RULES)
    known = legible(tmp_path / "known.h5", generated_by_base(others, tmp_path))
    assert choose(reader("train0", "stranger", size=32), known, adaptation, RULES)


def generated_by_base(others: Path, folder: Path) -> Path:
    store = EchoStore(others)
    record = {"seen": ["stranger"], "base_seen": ["stranger"]}
    return generated(others, folder / "base.h5", patients=set(store.table["patient"]), source="ssm", record=record)


def test_what_cannot_be_filtered_is_refused(adaptation: EchoStore, others: Path, tmp_path: Path) -> None:
    lying = legible(tmp_path / "lying.h5", others, lie=True)
    with pytest.raises(UserError, match="no frame would stay: 12 of 12 are below Dice"):
        choose(reader(size=32), lying, adaptation, RULES)
    with pytest.raises(UserError, match="frames are not generated"):
        choose(reader(size=32), adaptation, adaptation, RULES)
    other = EchoStore(generated(write_store(tmp_path / "tte.h5", CAMUS), tmp_path / "drawn.h5"))
    with pytest.raises(UserError, match="the segmenter finds LV, LA, RV, RA"):
        choose(reader(), other, adaptation, RULES)
    for name in ("quantile", "allowed"):
        with pytest.raises(UserError, match=f"--{name} 0.0: a share between 0 and 1"):
            Rules(**{name: 0.0})


def test_thresholds_come_from_the_adapters_own_frames(adaptation: EchoStore, others: Path, tmp_path: Path) -> None:
    record = {"seen": ["train0"], "trained_on": {"store": "tee.h5", "hash": "0" * 64}}
    names = set(EchoStore(others).table["patient"])
    drawn = generated(others, tmp_path / "drawn.h5", patients=names, source="ssm", record=record)
    with pytest.raises(UserError, match=r"learnt from another store \(tee.h5\); give that one"):
        choose(reader(size=32), EchoStore(drawn), adaptation, RULES)


def test_validation_masks_without_a_structure_set_no_threshold(others: Path, tmp_path: Path) -> None:
    store = EchoStore(write_store(tmp_path / "tee.h5", TEE, patients=PATIENTS, size=32, blank=True))
    with StoreWriter(tmp_path / "bare.h5", TEE, licence="none", command="test") as writer:
        for i, (image, mask, sector) in enumerate(store):
            writer.append(image, mask * (store.info(i).split != "val"), sector, store.info(i))
    with pytest.raises(UserError, match="no structure in the masks of split 'val', nor found there"):
        choose(reader(size=32), legible(tmp_path / "o.h5", others), EchoStore(tmp_path / "bare.h5"), RULES)


def test_the_command_writes_a_store(
    adaptation: EchoStore, others: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_segmenter(tmp_path / "seg", Segmenter(SegmenterConfig(channels=(4, 8, 8)), TEE.structures), TEE, (32, 32), {})
    words = ["--segmenter", tmp_path / "seg", "--adaptation", adaptation.path, "--quantile", "0.01", "--out"]
    main(["filter", str(others), *map(str, words), str(tmp_path / "out.h5")])
    out = EchoStore(tmp_path / "out.h5")
    assert 0 < len(out) <= 12 and out.command.startswith("python -m tte_tee filter")
    assert f"{len(out)} of 12 frames left" in capsys.readouterr().out
    assert (tmp_path / "out.md").read_text().startswith("# out.h5")
    for read in (others, adaptation.path):
        with pytest.raises(SystemExit):
            main(["filter", str(others), *map(str, words), str(read)])
        assert "is the store that is read" in capsys.readouterr().err
