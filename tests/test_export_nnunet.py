"""Raw data sets of nnU-Net: the rules that nnU-Net's own check asserts, and that nobody leaks."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import SimpleITK
import yaml
from conftest import generated, write_store

from tte_tee.anatomy import TEE
from tte_tee.cli import main
from tte_tee.data.exporters import nnunet
from tte_tee.data.pack import pack_folder
from tte_tee.data.store import EchoStore, FrameInfo, StoreWriter


def changed(store: Path, out: Path, change: Callable[[FrameInfo], FrameInfo]) -> Path:
    """A store with something else said of its frames."""
    read = EchoStore(store)
    with StoreWriter(out, read.label_space, licence="none", command=f"made --out {out.resolve()}") as writer:
        for index, frame in enumerate(read):
            writer.append(*frame, change(read.info(index)))
    return out


def export(tmp_path: Path, *stores: Path, number: int = 501, name: str = "TEE") -> Path:
    """The folder of the data set."""
    words = ["--store", *map(str, stores), f"--out={tmp_path / 'raw'}", f"--id={number}", f"--name={name}"]
    main(["export", "nnunet", *words])
    return tmp_path / f"raw/Dataset{number:03d}_{name}"


def refused(capsys: pytest.CaptureFixture[str], tmp_path: Path, *stores: Path, **options: Any) -> str:
    with pytest.raises(SystemExit) as stop:
        export(tmp_path, *stores, **options)
    assert stop.value.code == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    return said


def read(path: Path) -> tuple[np.ndarray, tuple[float, ...]]:
    """As nnU-Net's SimpleITKIO and NaturalImage2DIO read it: ``[H, W]``, and spacing (columns, rows)."""
    image = SimpleITK.ReadImage(str(path))
    return SimpleITK.GetArrayFromImage(image), image.GetSpacing()


@pytest.mark.parametrize("known", [True, False])
def test_the_layout_is_the_one_that_nnunet_checks(known: bool, tee_store: Path, tmp_path: Path) -> None:
    store = tee_store
    if not known:  # of one frame is enough: nnU-Net has one format per data set
        first = EchoStore(tee_store).info(0).key
        store = changed(
            tee_store, tmp_path / "s.h5", lambda info: replace(info, spacing=None if info.key == first else (2.0, 1.5))
        )
    folder, ending = export(tmp_path, store), ".nii.gz" if known else ".png"
    dataset = json.loads((folder / "dataset.json").read_text())
    assert dataset["channel_names"] == {"0": "ultrasound"} and dataset["file_ending"] == ending
    assert dataset["labels"] == {"background": 0, "LV": 1, "LA": 2, "RV": 3, "RA": 4}
    assert dataset["overwrite_image_reader_writer"] == ("SimpleITKIO" if known else "NaturalImage2DIO")
    table = pd.read_csv(folder / "frames.csv", index_col="case")
    for part, splits in (("Tr", ("train", "val")), ("Ts", ("test",))):
        cases = set(table.index[table["split"].isin(splits)])
        assert {path.name for path in (folder / f"images{part}").iterdir()} == {f"{c}_0000{ending}" for c in cases}
        assert {path.name for path in (folder / f"labels{part}").iterdir()} == {f"{c}{ending}" for c in cases}
    assert dataset["numTraining"] == 12 == len(list((folder / "labelsTr").iterdir()))
    source = EchoStore(store)
    for case, row in table.iterrows():
        image, mask, sector = source.frame(list(source.table["key"]).index(row["key"]))
        part = "Ts" if row["split"] == "test" else "Tr"
        (pixels, spacing), (labels, of_labels) = (
            read(folder / f"{kind}{part}/{case}{tail}{ending}") for kind, tail in (("images", "_0000"), ("labels", ""))
        )
        assert (pixels == image * sector).all() and (labels == mask).all() and pixels.dtype == np.uint8
        assert spacing == of_labels == ((1.5, 2.0) if known else (1.0, 1.0))
    assert ("Spacing (mm per pixel) is in the files" in (folder / "README.md").read_text()) == known


def test_the_split_is_the_stores_and_by_patient(tee_store: Path, tmp_path: Path) -> None:
    folder = export(tmp_path, tee_store)
    (fold,) = json.loads((folder / "splits_final.json").read_text())
    patients = pd.read_csv(folder / "frames.csv", index_col="case")["patient"]
    assert set(patients[fold["train"]]) == {f"train{n}" for n in range(4)}
    assert set(patients[fold["val"]]) == {"val0", "val1"}
    assert len(fold["train"]) == 8 and len(fold["val"]) == 4


@pytest.mark.parametrize("known", [True, False])
def test_what_is_exported_packs_again(known: bool, tee_store: Path, tmp_path: Path) -> None:
    store = changed(tee_store, tmp_path / "s.h5", lambda i: replace(i, spacing=(2.0, 1.5) if known else None))
    folder = export(tmp_path, store)
    recipe = {
        **{"type": "nnunet", "name": "again", "licence": "none", "cases": r"(?P<patient>TEE_\d+)", "view": "other"},
        **{"label_space": "tee", "labels": {0: "background", 1: "LV", 2: "LA", 3: "RV", 4: "RA"}, "size": 16},
        **{"sector": {"apex": [0, 8], "edges": [-80, 80], "radii": [0, 60]}},
        **{"split": {"group": "folder", "splits": {"Tr": "train", "Ts": "test"}}},
        "spacing": "from files" if known else "unknown",
    }
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(recipe))
    pack_folder(tmp_path / "r.yaml", folder, tmp_path / "again.h5", workers=0)
    again, before = EchoStore(tmp_path / "again.h5"), EchoStore(store)
    assert len(again) == len(before)
    for index, patient in enumerate(again.table["patient"]):
        image, mask, sector = before.frame(int(patient[-6:]) - 1)
        assert (again.frame(index)[0] == image * sector).all() and (again.frame(index)[1] == mask).all()
        assert again.info(index).spacing == ((2.0, 1.5) if known else None)


def test_generated_frames_train_only(tee_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    drawn = generated(tee_store, tmp_path / "g.h5", record={"seen": ["train0", "val0"]})
    folder = export(tmp_path, tee_store, drawn)
    assert capsys.readouterr().out.startswith("train 12, val 4, test 4 frames, as .nii.gz\n")
    table = pd.read_csv(folder / "frames.csv", index_col="case")
    (fold,) = json.loads((folder / "splits_final.json").read_text())
    assert set(table.index[table["origin"] == "generated"]) < set(fold["train"])
    record = json.loads((folder / "provenance.json").read_text())
    assert [part["store"] for part in record["from"]] == ["tee.h5", "g.h5"]
    assert record["from"][1]["provenance"]["seen"] == ["train0", "val0"]
    assert "| trains | 12 | 4 | 4 |" in (folder / "README.md").read_text()


def test_generated_frames_of_other_splits_are_left_out(
    tee_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    drawn = changed(tee_store, tmp_path / "g.h5", lambda info: replace(info, origin="generated"))
    export(tmp_path, tee_store, drawn)
    said = capsys.readouterr().out
    assert "train 16, val 4, test 4" in said and "8 generated frames are not of split train" in said
    none = generated(tee_store, tmp_path / "n.h5", patients=["val0"])
    none = changed(none, tmp_path / "v.h5", lambda info: replace(info, split="val"))
    assert "none of its generated frames is of split 'train'" in refused(capsys, tmp_path, tee_store, none, number=502)


@pytest.mark.parametrize(
    ("patients", "record", "says"),
    [
        (["train0"], {"seen": ["test1"]}, "patient test1 went into"),
        (["train0"], {"adapter": {"seen": ["test0"], "base_seen": ["test0"]}}, "patient test0 went into"),
        (["train0"], {"seen": ["stranger"]}, "learnt from patient stranger"),
        (["train0", "val0"], {}, "2 frames were made from patients who are not among the 4"),
        (["test0"], {}, "2 frames were made from patients"),
    ],
)
def test_frames_that_tell_of_others_are_refused(
    patients: list[str],
    record: dict[str, Any],
    says: str,
    tee_store: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    drawn = generated(tee_store, tmp_path / "g.h5", patients=patients, record=record)
    assert says in refused(capsys, tmp_path, tee_store, drawn)
    assert not (tmp_path / "raw").exists()


def test_masks_of_a_segmenter_that_knew_a_test_patient_are_refused(
    tee_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    read, known = EchoStore(tee_store), json.dumps({"segmenter": {"seen": ["test1"]}})
    with StoreWriter(tmp_path / "s.h5", read.label_space, licence="none", command="x", provenance=known) as writer:
        for index, frame in enumerate(read):
            writer.append(*frame, replace(read.info(index), mask_source="segmenter"))
    assert "test1" in refused(capsys, tmp_path, tmp_path / "s.h5")


def test_what_cannot_be_exported_is_one_line(
    tee_store: Path, tte_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    unlabelled = changed(tee_store, tmp_path / "u.h5", lambda info: replace(info, mask_source="none"))
    training = write_store(tmp_path / "t.h5", TEE, patients={"train": 2})
    twin = changed(tee_store, tmp_path / "w.h5", lambda info: replace(info, split="train", key=f"{info.key}'"))
    for stores, says in (
        ([tmp_path / "nowhere.h5"], "no such echo store"),
        ([unlabelled], "have no mask"),
        ([training], "no real frame in split 'val'"),
        ([tee_store, tte_store], "masks hold LV, LV_epi, LA"),
        ([tee_store, tee_store], "is given twice"),
        ([tee_store, twin], "more than one split"),
    ):
        assert says in refused(capsys, tmp_path, *stores), says
    assert "1 to 999" in refused(capsys, tmp_path, tee_store, number=1000)
    assert "use letters" in refused(capsys, tmp_path, tee_store, name="a/b")
    assert not (tmp_path / "raw").exists()
    export(tmp_path, tee_store)
    assert "is there already" in refused(capsys, tmp_path, tee_store)
    assert "Dataset501_TEE" in refused(capsys, tmp_path, tee_store, name="other")


def test_the_same_stores_give_the_same_bytes_and_no_place(tee_store: Path, tmp_path: Path) -> None:
    store = changed(tee_store, tmp_path / "s.h5", lambda info: info)
    first, second = (export(tmp_path / name, store) for name in ("a", "b"))
    files = sorted(path.relative_to(first) for path in first.rglob("*") if path.is_file())
    assert len(files) == 2 * 16 + 5
    assert all((first / file).read_bytes() == (second / file).read_bytes() for file in files)
    assert str(tmp_path) not in "".join((first / file).read_text() for file in files if file.suffix != ".gz")


def test_a_failure_leaves_nothing(tee_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(nnunet, "_describe", fail)
    with pytest.raises(SystemExit):
        export(tmp_path, tee_store)
    assert not list((tmp_path / "raw").iterdir())
