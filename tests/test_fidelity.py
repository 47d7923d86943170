"""``evaluate fidelity``: floors, ceilings and N beside every number, nobody seen, and what is not estimable said so."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from conftest import write_store
from test_extractors import write_lpips, write_segmenter

from tte_tee.anatomy import CAMUS, TEE
from tte_tee.cli import main
from tte_tee.data.phantom.again import acquire_again
from tte_tee.data.store import EchoStore, FrameInfo, StoreWriter
from tte_tee.errors import UserError
from tte_tee.evaluation.fidelity import Options, compare
from tte_tee.evaluation.fidelity.estimates import position
from tte_tee.evaluation.fidelity.frames import draw_sets, other_set, real_set
from tte_tee.models.extractors import Extractor
from tte_tee.report.fidelity import _spread
from tte_tee.seen import learnt_from

Change = Callable[[np.ndarray], np.ndarray]


def same(image: np.ndarray) -> np.ndarray:
    return image


def blurred(image: np.ndarray) -> np.ndarray:
    return cv2.GaussianBlur(image, (0, 0), 2) // 2 + 60


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 patients of two frames, 32x32."""
    return write_store(tmp_path_factory.mktemp("real") / "real.h5", TEE, patients={"train": 24}, size=32)


@pytest.fixture(scope="module")
def extractors(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("extractors")
    return [f"segmenter={write_segmenter(folder / 'seg')}", f"lpips_alexnet={write_lpips(folder / 'l.npz')}"]


def drawn(source: Path, path: Path, change: Change = same, record: dict[str, Any] | None = None, **fields: str) -> Path:
    """A store of frames "drawn" for the masks of another: its own, changed."""
    store = EchoStore(source)
    text = json.dumps({"seen": ["nobody-here"]} if record is None else record)
    with StoreWriter(path, store.label_space, licence="none", command="test", provenance=text) as writer:
        for i, (image, mask, sector) in enumerate(store):
            info = store.info(i)
            changed = {"origin": "generated", "parent": info.key, "key": f"{info.key}#0.0", **fields}
            writer.append(change(image), mask, sector, FrameInfo(**{**info.__dict__, **changed}))
    return path


def run(out: Path, real: Path, synthetic: Path, extractors: list[str], *words: str) -> dict[str, Any]:
    small = ["--draws", "2", "--kid-subset", "10", "--kid-subsets", "5"]
    stores = ["--real", str(real), "--synthetic", str(synthetic)]
    eyes = ["--extractor", *extractors] if extractors else []
    main(["evaluate", "fidelity", *stores, *eyes, "--out", str(out), *small, *words])
    return json.loads((out / "fidelity.json").read_text())


def rows(record: dict[str, Any]) -> dict[tuple[str, str, str], dict[str, Any]]:
    return {(r["group"].split()[0], r["measure"].split(" (")[0], r.get("structure", "")): r for r in record["rows"]}


@pytest.fixture(scope="module")
def record(real: Path, extractors: list[str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Blurred frames, with TTE as the ceiling."""
    folder = tmp_path_factory.mktemp("fidelity")
    ceiling = write_store(folder / "tte.h5", CAMUS, patients={"test": 20}, size=32)
    synthetic = drawn(real, folder / "s.h5", blurred)
    return run(folder / "out", real, synthetic, extractors, "--ceiling", str(ceiling)) | {"folder": folder / "out"}


def test_every_number_has_n_floor_and_ceiling(record: dict[str, Any]) -> None:
    assert record["frames"] == 24  # half of the real frames
    for row in record["rows"]:
        for role in ("synthetic", "floor", "ceiling", "position"):
            estimate = row[role]
            if "not_estimable" not in estimate and role != "position":
                assert estimate["n"] == (48 if row["group"] == "pairs" else 24)
                assert estimate["low"] <= estimate["mean"] <= estimate["high"]
    assert {name: part["frames"] for name, part in record["stores"].items()} == {
        "real": 48,
        "synthetic": 48,
        "ceiling": 40,
    }
    assert record["stores"]["real"]["hash"] and record["options"]["seed"] == 0 and record["commit"]


def test_blurred_frames_are_further_away_than_the_floor(record: dict[str, Any]) -> None:
    found = rows(record)
    for group in ("segmenter", "lpips_alexnet"):
        kid, coverage = found[group, "KID", ""], found[group, "coverage", ""]
        assert kid["synthetic"]["mean"] > kid["floor"]["high"]
        assert coverage["synthetic"]["mean"] < coverage["floor"]["low"]
        assert kid["subset"] == 10 and kid["subsets"] == 5 and kid["floor"]["subset_sd"] > 0
        assert (found[group, "precision", ""]["k"], coverage["k"]) == (3, 5)
    grey = found["texture", "grey level", "LV"]
    assert grey["synthetic"]["mean"] > 2 * grey["floor"]["mean"]
    assert len(grey["quantiles"]["real"]) == 5


def test_what_cannot_be_estimated_is_said_with_its_reason(record: dict[str, Any]) -> None:
    found = rows(record)
    gaussian = {r["measure"]: r for r in record["rows"] if "features" in r}
    assert set(gaussian) == {"Fréchet distance (segmenter)", "Fréchet distance (lpips_alexnet)"}
    assert "mean" in gaussian["Fréchet distance (segmenter)"]["synthetic"]  # 24 frames, 16 features
    reason = "24 frames for 256 features; 257 or more give a covariance"
    assert gaussian["Fréchet distance (lpips_alexnet)"]["floor"] == {"not_estimable": reason}
    assert "have a value" in found["texture", "mean", "RV"]["ceiling"]["not_estimable"]  # TTE masks hold none
    assert "was drawn for the mask" in found["pairs", "SSIM", ""]["ceiling"]["not_estimable"]
    assert "none of the phantom's" in found["pairs", "SSIM", ""]["floor"]["not_estimable"]
    assert found["pairs", "SSIM", ""]["position"]["not_estimable"]


def test_a_folder_of_json_and_pictures(record: dict[str, Any], real: Path, extractors: list[str]) -> None:
    folder = record["folder"]
    assert {path.name for path in folder.iterdir()} == {"fidelity.json", "texture.png", "features.png"}
    for name in ("texture.png", "features.png"):
        assert cv2.imread(str(folder / name)).std() > 5
    values = json.loads((folder / "fidelity.json").read_text())
    assert "--real" in values.pop("command")
    text = json.dumps(values)
    assert str(real.parent) not in text and extractors[0].partition("=")[2] not in text
    assert {e["name"]: len(e["version"]) for e in record["extractors"].values()} == {
        "segmenter": 64,
        "lpips_alexnet": 64,
    }


@pytest.mark.parametrize(("mean", "sd", "shown"), [(14.12, 9.6, "14.1 ± 10"), (0.00631, 0.0091, "0.00631 ± 0.009")])
def test_a_large_spread_is_written_out(mean: float, sd: float, shown: str) -> None:
    assert _spread({"mean": mean, "sd": sd}) == shown


def test_the_table_shows_numbers_and_reasons(
    real: Path, extractors: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(tmp_path / "out", real, drawn(real, tmp_path / "s.h5"), extractors[:1], "--kid-subset", "25")
    shown = capsys.readouterr().out
    assert "N = 24 of each, 2 splits of 24 real patients" in " ".join(shown.split())
    assert "not estimable: 24 frames, a subset takes 25" in shown
    assert "coverage" in shown and "FID" not in shown


def test_equal_frames_are_at_the_floor(real: Path, extractors: list[str], tmp_path: Path) -> None:
    found = rows(run(tmp_path / "out", real, drawn(real, tmp_path / "s.h5"), extractors))
    kid = found["segmenter", "KID", ""]
    # The synthetic frames are those of the patients outside of the reference: the floor's own.
    assert kid["synthetic"]["mean"] == kid["floor"]["mean"]
    assert found["pairs", "SSIM", ""]["synthetic"]["mean"] == pytest.approx(1)
    assert found["pairs", "LPIPS", ""]["synthetic"]["mean"] == pytest.approx(0, abs=1e-6)
    assert kid["ceiling"] == {"not_estimable": "no --ceiling"}


@pytest.mark.parametrize(
    "words", [("--seed", "1"), ("--frames", "20"), ("--draws", "3"), ("--kid-subsets", "7"), ("--kid-subset", "12")]
)
def test_options_change_the_numbers(
    words: tuple[str, ...], record: dict[str, Any], real: Path, extractors: list[str], tmp_path: Path
) -> None:
    other = run(tmp_path / "out", real, drawn(real, tmp_path / "s.h5", blurred), extractors[:1], *words)
    again = run(tmp_path / "again", real, tmp_path / "s.h5", extractors[:1], *words)
    assert other["rows"] == again["rows"]
    key = ("segmenter", "KID", "")
    assert rows(other)[key]["floor"] != rows(record)[key]["floor"]


def test_patients_who_were_seen_are_refused(real: Path, extractors: list[str], tmp_path: Path) -> None:
    leaking = drawn(real, tmp_path / "s.h5", record={"adapter": {"seen": ["train3", "elsewhere"]}})
    with pytest.raises(SystemExit):
        run(tmp_path / "out", real, leaking, extractors)
    assert not (tmp_path / "out").exists()
    record = run(tmp_path / "out", real, leaking, extractors, "--allow-seen")
    assert any("1 of 24 real patients went into the synthetic frames" in note for note in record["notes"])


def test_patients_whom_the_extractor_has_seen_are_refused(
    real: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_segmenter(tmp_path / "seg")
    values = json.loads((folder / "segmenter.json").read_text())
    values["provenance"]["seen"] = ["train5"]
    (folder / "segmenter.json").write_text(json.dumps(values))
    with pytest.raises(SystemExit) as stop:
        run(tmp_path / "out", real, drawn(real, tmp_path / "s.h5"), [f"segmenter={folder}"])
    assert stop.value.code == 2
    assert "train5 went into extractor segmenter" in capsys.readouterr().err


def test_a_mask_is_no_leak(real: Path, extractors: list[str], tmp_path: Path) -> None:
    shown = drawn(real, tmp_path / "s.h5", record={"seen": ["train3", "elsewhere"], "mask_seen": ["train3"]})
    assert not run(tmp_path / "out", real, shown, extractors[:1])["notes"]
    both = {"from": [{"seen": ["a", "b"], "mask_seen": ["a"]}, {"seen": ["a"]}], "other": {"seen": ["c"]}}
    assert learnt_from(both) == {"a", "b", "c"}  # one part learnt from whom the other only drew a mask of


def test_a_store_that_does_not_say_whom_it_knows(real: Path, extractors: list[str], tmp_path: Path) -> None:
    (note,) = run(tmp_path / "out", real, drawn(real, tmp_path / "s.h5", record={}), extractors[:1])["notes"]
    assert "does not say from whom it learnt" in note


def test_views_that_differ_are_named(real: Path, extractors: list[str], tmp_path: Path) -> None:
    (note, _) = run(tmp_path / "out", real, drawn(real, tmp_path / "s.h5", view="ME4C"), extractors[:1])["notes"]
    assert note.startswith("ME2C: 50 % of the real frames, 0 % of the synthetic")


def test_one_patient_has_no_floor(extractors: list[str], tmp_path: Path) -> None:
    lone = write_store(tmp_path / "one.h5", TEE, patients={"train": 1}, size=32)
    found = rows(run(tmp_path / "out", lone, drawn(lone, tmp_path / "s.h5"), extractors[:1]))
    assert "one real patient" in found["segmenter", "coverage", ""]["floor"]["not_estimable"]
    assert "2 frames" in found["segmenter", "coverage", ""]["synthetic"]["not_estimable"]


def test_one_patient_whom_the_adapter_knows_is_a_demonstration(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No extractor, no floor, no spread over patients: the distances alone, and it says what they are."""
    lone = tmp_path / "one.h5"
    words = ["--domain", "tee", "--patients", "1", "--angles", "30", "45", "60", "--size", "32", "--out", str(lone)]
    main(["data", "phantom", *words])
    (patient,) = set(EchoStore(lone).table["patient"])
    synthetic = drawn(lone, tmp_path / "s.h5", blurred, record={"seen": [patient]})
    with pytest.raises(SystemExit):
        run(tmp_path / "refused", lone, synthetic, [])
    control = ("--ceiling", str(drawn(lone, tmp_path / "c.h5")))
    record = run(tmp_path / "out", lone, synthetic, [], "--allow-seen", *control)
    shown = " ".join(capsys.readouterr().out.split())
    assert "N = 10 of each, 2 draws of one real patient (mean ± SD over draws" in shown
    assert "note: one real patient: a demonstration; no floor, no interval" in shown
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"fidelity.json", "texture.png"}
    found = rows(record)
    assert found["texture", "grey level", "LV"]["synthetic"]["mean"] > 10
    assert found["texture", "grey level", "LV"]["ceiling"]["mean"] == 0
    assert "one real patient" in found["texture", "grey level", "LV"]["floor"]["not_estimable"]
    pairs = found["pairs", "SSIM", ""]
    assert set(pairs["synthetic"]) == set(pairs["floor"]) == {"mean", "n"}
    assert pairs["position"] == {"not_estimable": "one patient: the floor has no spread"}


def test_no_draw_shows_a_patient_of_its_reference(real: Path, tmp_path: Path) -> None:
    one = real_set(EchoStore(real), None, None)
    other = other_set(EchoStore(drawn(real, tmp_path / "s.h5")), one, same_labels=True)
    draws = draw_sets(one, other, None, draws=4, most=None, seed=0)
    assert len({tuple(d.reference) for d in draws.draws}) == 4
    for draw in draws.draws:
        assert draw.floor is not None
        assert len(draw.reference) == len(draw.floor) == len(draw.synthetic) == draws.frames == 24
        reference = set(one.patients[draw.reference])
        assert not reference & set(one.patients[draw.floor]) and not reference & set(other.patients[draw.synthetic])


def test_patients_whose_masks_were_drawn_stay_out_where_others_are_enough(real: Path, tmp_path: Path) -> None:
    one = real_set(EchoStore(real), None, None)
    few = tmp_path / "few.h5"
    main(["data", "subset", str(drawn(real, tmp_path / "s.h5")), "--frames", "12", "--out", str(few)])
    other = other_set(EchoStore(few), one, same_labels=True)
    draws = draw_sets(one, other, None, draws=3, most=None, seed=0)
    assert draws.frames == 12 and draws.patients == 24 - len(set(other.patients))


def test_the_phantom_is_acquired_again(extractors: list[str], tmp_path: Path) -> None:
    path = tmp_path / "p.h5"
    main(["data", "phantom", "--domain", "tee", "--patients", "6", "--seed", "5", "--size", "32", "--out", str(path)])
    store = EchoStore(path)
    assert np.array_equal(acquire_again(store, 3, 0), store.frame(3)[0])
    assert not np.array_equal(acquire_again(store, 3, 1), store.frame(3)[0])
    found = rows(run(tmp_path / "out", path, drawn(path, tmp_path / "s.h5", blurred), extractors))
    for measure, better in (("SSIM", 1), ("LPIPS", -1)):
        row = found["pairs", measure, ""]
        assert row["floor"]["n"] == row["synthetic"]["n"] == 24
        assert better * row["floor"]["mean"] > better * row["synthetic"]["mean"]
    changed = tmp_path / "changed.h5"
    with StoreWriter(changed, TEE, licence="none", command="test") as writer:
        image, mask, sector = store.frame(0)
        writer.append(image, mask[::-1], sector, store.info(0))
    with pytest.raises(UserError, match="not what this version of the phantom draws"):
        acquire_again(EchoStore(changed), 0, 1)


def test_a_key_of_another_store_makes_no_pair(real: Path, extractors: list[str], tmp_path: Path) -> None:
    other = tmp_path / "s.h5"
    store = EchoStore(real)
    with StoreWriter(other, TEE, licence="none", command="test", provenance='{"seen": ["x"]}') as writer:
        for i, (image, mask, sector) in enumerate(store):
            info = store.info(i)
            changed = {"origin": "generated", "parent": info.key, "patient": f"other{i}"}
            writer.append(image, mask[:, ::-1], sector, FrameInfo(**{**info.__dict__, **changed}))
    found = rows(run(tmp_path / "out", real, other, extractors[:1]))
    assert "was drawn for the mask" in found["pairs", "SSIM", ""]["synthetic"]["not_estimable"]


def toy(name: str) -> Extractor:
    return Extractor(name, "0" * 64, {}, lambda frames: torch.from_numpy(frames).float().mean(2)[:, :4])


def test_fid_is_the_name_of_inceptions_distance_alone(real: Path, tmp_path: Path) -> None:
    one = real_set(EchoStore(real), None, None)
    other = other_set(EchoStore(drawn(real, tmp_path / "s.h5", blurred)), one, same_labels=True)
    record = compare(one, other, None, [toy("inception_v3"), toy("dinov2")], Options(draws=2, kid_subset=5))
    assert [r["measure"] for r in record["rows"] if "features" in r] == ["FID", "Fréchet distance (dinov2)"]


def estimate(mean: float) -> dict[str, float]:
    return {"mean": mean, "low": mean - 0.1, "high": mean + 0.1}


def test_position_between_floor_and_ceiling() -> None:
    roles = {"synthetic": estimate(2), "floor": estimate(1), "ceiling": estimate(5)}
    assert position(roles, higher=False) == {"share": 0.25}
    assert "better than the floor" in position(roles, higher=True)["not_estimable"]
    assert "told apart" in position(roles | {"ceiling": estimate(1.05)}, higher=False)["not_estimable"]
    assert "floor is not" in position(roles | {"floor": {"not_estimable": "x"}}, higher=False)["not_estimable"]


def test_mistakes_give_one_line(
    real: Path, extractors: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    synthetic = drawn(real, tmp_path / "s.h5")
    large = write_store(tmp_path / "large.h5", TEE, size=48)
    tte = write_store(tmp_path / "tte.h5", CAMUS, size=32)
    (tmp_path / "file").write_text("")
    cases = [
        ((real, large, extractors), "pack them at one size"),
        ((real, tte, extractors), "give stores of one label space"),
        ((synthetic, synthetic, extractors), "--real takes real ones"),
        ((real, synthetic, ["vgg=x"]), "KIND is segmenter"),
        ((real, synthetic, extractors, "--split", "val"), "no frame in split 'val'"),
        ((real, synthetic, extractors, "--cohort", "pool"), "no frame of cohort 'pool'"),
        ((real, synthetic, extractors, "--seed", "-1"), "whole number of 0 or more"),
        ((real, synthetic, extractors, "--kid-subset", "1"), "2 or more"),
        ((real, synthetic, extractors, "--out", str(tmp_path / "file")), "is a file"),
    ]
    for given, expected in cases:
        with pytest.raises(SystemExit) as stop:
            run(tmp_path / "out", *given)
        line = capsys.readouterr().err.strip()
        assert stop.value.code == 2 and expected in line and "\n" not in line, line
    assert not (tmp_path / "out").exists()
