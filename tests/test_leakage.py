"""Nobody who is tested on has been seen: planted leaks of every kind, each refused by name."""

import json
from pathlib import Path

import h5py
import pytest
from conftest import Train, generated, make_base, write_store

from tte_tee.anatomy import CAMUS, TEE
from tte_tee.cli import main
from tte_tee.data.leakage import patients_of_masks, refuse_seen, seen_by_learning_from
from tte_tee.data.segmentation import SegmentationDataModule
from tte_tee.data.store import EchoStore, FrameInfo, StoreWriter
from tte_tee.errors import UserError
from tte_tee.seen import learnt_beyond_base, learnt_from, seen_in


def leaking(path: Path, real: Path, patients: tuple[str, ...], seen: tuple[str, ...], source: str = "phantom") -> str:
    """A store of generated frames of the masks of some patients, by an adapter that has seen others."""
    record = {"adapter": {"provenance": {"seen": list(seen)}}}
    return str(generated(real, path, patients=patients, source=source, record=record))


def refused(real: Path, mixed: str, **options: object) -> str:
    module = SegmentationDataModule(str(real), mixed, 1.0, **options)  # type: ignore[arg-type]
    with pytest.raises(UserError) as caught:
        module.setup("fit")
    return str(caught.value)


def test_seen_is_the_union_of_a_record() -> None:
    record = {"seen": ["a"], "from": [{"seen": ["b"]}, {"deep": {"seen": ["c"]}}], "patients": ["d"], "n": 1}
    assert seen_in(record) == {"a", "b", "c"}
    assert seen_in(None) == seen_in({}) == set()


@pytest.mark.parametrize("names", [None, "train0", {"train0": 1}])
def test_a_record_that_hides_whom_it_has_seen_is_refused(names: object) -> None:
    for asked in (seen_in, learnt_from):
        with pytest.raises(UserError, match="'seen' is no list of patients"):
            asked({"adapter": [{"seen": names}]})


def test_learning_is_seeing_train_and_val_patients_and_the_past(tee_store: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.h5"
    copy.write_bytes(tee_store.read_bytes())
    with h5py.File(copy, "a") as file:
        file.attrs["provenance"] = json.dumps({"from": [{"seen": ["elsewhere"]}]})
    seen = seen_by_learning_from(EchoStore(copy))
    assert "elsewhere" in seen
    assert {name for name in seen if name.startswith("test")} == set()
    assert {"train0", "val0"} <= seen


def test_a_leak_is_named() -> None:
    with pytest.raises(UserError, match=r"f\.h5: patient b, c, d and more went into the adapter"):
        refuse_seen("abcde", {"b", "c", "d", "e"}, "f.h5", "the adapter")
    refuse_seen("ab", {"c"}, "f.h5", "the adapter")


def test_whom_one_base_knew_another_adapter_may_have_learnt_from() -> None:
    adapter = {"adapter": {"seen": ["p"], "base_seen": []}}
    other = {"adapter": {"seen": ["p", "q"], "base_seen": ["p"]}}
    assert learnt_beyond_base(other) == {"q"}
    assert learnt_beyond_base({"from": [adapter, other]}) == {"p", "q"}


@pytest.mark.parametrize("source", ["phantom", "ssm"])  # whose frame it is counts, whoever drew its mask
def test_masks_of_a_test_patient(tee_store: Path, tmp_path: Path, source: str) -> None:
    mixed = leaking(tmp_path / "s.h5", tee_store, ("train0", "test0"), (), source)
    assert "test0" in refused(tee_store, mixed)


@pytest.mark.parametrize("source", ["phantom", "ssm"])  # whose frame it is counts, whoever drew its mask
def test_masks_of_a_validation_patient(tee_store: Path, tmp_path: Path, source: str) -> None:
    mixed = leaking(tmp_path / "s.h5", tee_store, ("train0", "val0"), (), source)
    assert "val0" in refused(tee_store, mixed)


def test_an_adapter_or_shape_model_that_saw_a_test_patient(tee_store: Path, tmp_path: Path) -> None:
    mixed = leaking(tmp_path / "s.h5", tee_store, ("train0",), ("train0", "test1"), "ssm")
    said = refused(tee_store, mixed)
    assert "test1" in said and "adapter, base or masks" in said


def test_masks_of_more_patients_than_the_real_arm_has(tee_store: Path, tmp_path: Path) -> None:
    chosen = SegmentationDataModule(str(tee_store), patients=2).training_patients()
    (other, *_) = sorted({f"train{n}" for n in range(4)} - set(chosen))
    mixed = leaking(tmp_path / "s.h5", tee_store, (chosen[0], other), ())
    assert other in refused(tee_store, mixed, patients=2)


def test_an_adapter_of_more_patients_than_the_real_arm_has(tee_store: Path, tmp_path: Path) -> None:
    chosen = SegmentationDataModule(str(tee_store), patients=2).training_patients()
    (other, *_) = sorted({f"train{n}" for n in range(4)} - set(chosen))
    mixed = leaking(tmp_path / "s.h5", tee_store, (chosen[0],), (*chosen, other))
    said = refused(tee_store, mixed, patients=2)
    assert other in said and "refit adapter and shape model" in said
    record = {"adapter": {"seen": [*chosen, "val0", "of-the-base"], "base_seen": ["of-the-base"]}}
    fine = generated(tee_store, tmp_path / "fine.h5", patients=(chosen[0],), record=record)
    SegmentationDataModule(str(tee_store), str(fine), 1.0, patients=2).setup("fit")


def test_an_adapter_of_patients_that_the_real_arm_has_not(tee_store: Path, tmp_path: Path) -> None:
    mixed = leaking(tmp_path / "s.h5", tee_store, ("train0",), ("train0", "somebody-else"), "ssm")
    assert "learnt from patient somebody-else" in refused(tee_store, mixed)


def test_a_test_store_of_training_patients(tee_store: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.h5"
    store = EchoStore(tee_store)
    with StoreWriter(other, TEE, licence="none", command="test") as writer:
        for i in store.indices(split="train")[:2]:
            writer.append(*store.frame(i), FrameInfo(**{**store.info(i).__dict__, "split": "test"}))
    with pytest.raises(UserError, match="train0 is tested on, and trained or validated on"):
        SegmentationDataModule(str(tee_store), test=str(other)).setup("test")


def test_base_adapter_and_frames_pass_on_whom_they_have_seen(adapt: Train, tee_store: Path, tmp_path: Path) -> None:
    base = make_base(tmp_path / "base")
    values = json.loads((base / "base.json").read_text())
    values["provenance"]["seen"] = ["tte-1"]
    (base / "base.json").write_text(json.dumps(values))
    run = adapt(tmp_path / "runs", f"--model.base={base}")
    record = json.loads((run / "adapter/adapter.json").read_text())
    assert record["seen"] == ["train0", "train1", "train2", "train3", "tte-1", "val0", "val1"]
    assert record["base_seen"] == ["tte-1"]
    words = ["--adapter", str(run / "adapter"), "--masks", str(tee_store), "--split", "test", "--steps", "1"]
    main(["synthesize", *words, "--out", str(tmp_path / "s.h5")])
    drawn = EchoStore(tmp_path / "s.h5").provenance
    assert seen_in(drawn) == {*record["seen"], "test0", "test1"}
    assert seen_in(drawn, "base_seen") == {"tte-1"}
    assert learnt_from(drawn) == set(record["seen"])


def test_a_network_from_scratch_has_not_seen_what_the_base_has(adapt: Train, tmp_path: Path) -> None:
    base = make_base(tmp_path / "base")
    values = json.loads((base / "base.json").read_text())
    values["provenance"]["seen"] = ["tte-1"]
    (base / "base.json").write_text(json.dumps(values))
    run = adapt(tmp_path / "runs", f"--model.base={base}", method="scratch")
    assert "tte-1" not in json.loads((run / "adapter/adapter.json").read_text())["seen"]


def test_a_shape_model_passes_on_whom_it_has_seen(tmp_path: Path) -> None:
    main(["data", "phantom", "--domain", "tte", "--patients", "8", "--size", "32", "--out", str(tmp_path / "p.h5")])
    main(["masks", "fit", str(tmp_path / "p.h5"), "--out", str(tmp_path / "model")])
    words = ["--model", str(tmp_path / "model"), "--count", "2", "--out", str(tmp_path / "m.h5")]
    main(["masks", "sample", *words])
    store = EchoStore(tmp_path / "p.h5")
    learnt = set(store.table["patient"][store.table["split"] == "train"])
    assert seen_in(EchoStore(tmp_path / "m.h5").provenance) == learnt


def test_the_shipped_base_names_its_patients() -> None:
    from tte_tee.models.folders import load_base

    seen = seen_in(load_base("shipped").record)
    assert len(seen) == 480
    assert all(name.startswith("phantom-tte-s1-") for name in seen)


def test_copies_of_stores_keep_whom_they_have_seen(tee_store: Path, tmp_path: Path) -> None:
    mixed = leaking(tmp_path / "s.h5", tee_store, ("train0",), ("test1",))
    main(["data", "subset", mixed, "--frames", "1", "--out", str(tmp_path / "one.h5")])
    assert "test1" in refused(tee_store, str(tmp_path / "one.h5"))


def test_the_label_spaces_must_agree(tee_store: Path, tmp_path: Path) -> None:
    other = write_store(tmp_path / "tte.h5", CAMUS)
    mixed = leaking(tmp_path / "s.h5", other, ("train0",), ())
    assert "masks hold LV, LV_epi, LA" in refused(tee_store, mixed)


def test_a_heart_that_a_segmenter_found_is_the_patients(tee_store: Path, tmp_path: Path) -> None:
    mixed = leaking(tmp_path / "s.h5", tee_store, ("train0", "test0"), (), "segmenter")
    store = EchoStore(mixed)
    assert patients_of_masks(store, store.indices()) == {"train0", "test0"}
    assert "test0" in refused(tee_store, mixed)


def test_an_edited_heart_of_a_validation_patient_is_not_trained_on(tee_store: Path, tmp_path: Path) -> None:
    edited = tmp_path / "e.h5"
    main(["masks", "edit", str(tee_store), "--rotate=5", "--split=val", "--out", str(edited)])
    store = EchoStore(edited)
    mixed = tmp_path / "s.h5"
    generated(edited, mixed, patients=set(store.table["patient"]), record=store.provenance)
    assert "val0" in refused(tee_store, str(mixed))
