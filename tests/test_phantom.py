"""The phantom: deterministic, anatomically ordered, and different under its two probes."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from tte_tee.anatomy import CAMUS, TEE
from tte_tee.cli import main
from tte_tee.data.phantom import STUDY, PhantomSpec, write_phantom
from tte_tee.data.phantom.frame import Frame, acquire, derived_seed, draw_heart, draw_patient
from tte_tee.data.store import EchoStore
from tte_tee.errors import UserError

PATIENTS = 6


def _store(folder: Path, domain: str, **changes: object) -> EchoStore:
    path = folder / f"{domain}.h5"
    write_phantom(PhantomSpec(domain, **{"patients": PATIENTS, "size": 48, **changes}), path)
    return EchoStore(path)


@pytest.fixture(scope="module")
def tte(tmp_path_factory: pytest.TempPathFactory) -> EchoStore:
    return _store(tmp_path_factory.mktemp("tte"), "tte")


@pytest.fixture(scope="module")
def tee(tmp_path_factory: pytest.TempPathFactory) -> EchoStore:
    return _store(tmp_path_factory.mktemp("tee"), "tee", angles=(30, 60))


def _areas(store: EchoStore, label: int) -> np.ndarray:
    return np.array([(mask == label).sum() for _, mask, _ in store])


@pytest.mark.parametrize("domain", ["tte", "tee"])
def test_same_arguments_same_content(domain: str, tmp_path: Path) -> None:
    first, again, other = (_store(tmp_path / str(i), domain, patients=2, seed=i // 2) for i in range(3))
    assert again.content_hash == first.content_hash
    assert again.table.equals(first.table)
    assert other.content_hash != first.content_hash


def test_any_number_of_processes_writes_the_same_store(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["data", "phantom", "--domain=tee", "--patients=5", "--size=32"]
    for workers in (0, 2):
        main([*words, f"--workers={workers}", f"--out={tmp_path / f'{workers}.h5'}"])
        assert f"frames of 5 hearts left in {tmp_path / f'{workers}.h5'}" in capsys.readouterr().out
    alone, two = (EchoStore(tmp_path / f"{workers}.h5") for workers in (0, 2))
    assert alone.content_hash == two.content_hash
    assert alone.table.equals(two.table)


def test_a_heart_depends_on_domain_seed_and_index() -> None:
    first = draw_heart("tee", 0, 0).lv_length
    assert first == draw_heart("tee", 0, 0).lv_length
    others = [draw_heart("tte", 0, 0), draw_heart("tee", 1, 0), draw_heart("tee", 0, 1)]
    assert len({first, *(heart.lv_length for heart in others)}) == 4


def test_a_population_begins_with_the_same_hearts_whatever_its_size(tee: EchoStore, tmp_path: Path) -> None:
    fewer = _store(tmp_path, "tee", patients=2, angles=(30, 60))
    for index in range(len(fewer)):
        np.testing.assert_array_equal(fewer.frame(index)[0], tee.frame(index)[0])


def test_seeds_have_no_patient_in_common(tee: EchoStore, tmp_path: Path) -> None:
    other = _store(tmp_path, "tee", patients=2, seed=2)
    assert not set(other.table["patient"]) & set(tee.table["patient"])
    assert other.table["patient"][0] == "phantom-tee-s2-0000"
    assert other.table["key"][0] == "phantom-tee-s2-0000/ME4C/ED"


def test_patients_are_split_in_order(tte: EchoStore) -> None:
    by_patient = tte.table.groupby("patient")["split"].unique()
    assert all(len(splits) == 1 for splits in by_patient)
    assert [splits[0] for splits in by_patient] == ["train"] * 3 + ["val"] + ["test"] * 2


def test_columns_and_provenance(tee: EchoStore) -> None:
    row = tee.table.iloc[2]
    assert (row["view"], row["study"], row["phase"], row["origin"]) == ("ME4C", "me-030", "ED", "phantom")
    assert tee.table["key"][2] == "phantom-tee-s0-0000/me-030/ED"
    assert list(tee.table["view"][:8:2]) == ["ME4C", "ME4C", "ME2C", "ME2C"]
    assert (tee.table["seed"] >= 0).all()
    assert tee.licence == "CC0-1.0 (synthetic)"
    assert tee.command == (
        "python -m tte_tee data phantom --domain tee --patients 6 --seed 0 --size 48 --angles 30 60 --out tee.h5"
    )


def test_a_frame_is_a_function_of_its_heart_and_seed(tee: EchoStore) -> None:
    row = tee.table.iloc[1]
    frame = acquire(draw_patient("tee", 0, 0), "tee", 0, row["phase"], int(row["seed"]), 48)
    np.testing.assert_array_equal(frame.image, tee.frame(1)[0])
    np.testing.assert_array_equal(frame.mask, tee.frame(1)[1])


def test_every_structure_that_a_view_shows_is_there(tte: EchoStore, tee: EchoStore) -> None:
    assert tte.label_space == CAMUS
    assert tee.label_space == TEE
    for label in CAMUS.ids.values():
        assert np.mean(_areas(tte, label) > 20) > 0.9
    for structure, label in TEE.ids.items():
        areas = _areas(tee, label)
        assert np.mean(areas[tee.table["study"] == "me-000"] > 4) > 0.8
        present = np.mean(areas[tee.table["study"] == "me-090"] > 4)
        assert present == 1 if structure in ("LV", "LA") else present < 0.1


@pytest.mark.parametrize(("domain", "nearer", "farther"), [("tte", "LV", "LA"), ("tee", "LA", "LV")])
def test_the_probe_stands_at_its_window(domain: str, nearer: str, farther: str, request: pytest.FixtureRequest) -> None:
    store: EchoStore = request.getfixturevalue(domain)
    ids = store.label_space.ids
    for _, mask, _ in store:
        assert np.nonzero(mask == ids[nearer])[0].mean() < np.nonzero(mask == ids[farther])[0].mean()


def test_the_right_heart_is_on_the_left_of_the_picture(tee: EchoStore) -> None:
    ids = tee.label_space.ids
    for index in np.flatnonzero(tee.table["study"] == "me-000"):
        mask = tee.frame(index)[1]
        if (mask == ids["RV"]).any():
            assert np.nonzero(mask == ids["RV"])[1].mean() < np.nonzero(mask == ids["LV"])[1].mean()


@pytest.mark.parametrize("domain", ["tte", "tee"])
def test_the_left_ventricle_contracts(domain: str, request: pytest.FixtureRequest) -> None:
    store: EchoStore = request.getfixturevalue(domain)
    areas = _areas(store, store.label_space.ids["LV"])
    phases = store.table["phase"].to_numpy()
    assert (areas[phases == "ES"] < areas[phases == "ED"]).all()


@pytest.mark.parametrize("domain", ["tte", "tee"])
def test_nothing_lies_outside_the_sector(domain: str, request: pytest.FixtureRequest) -> None:
    store: EchoStore = request.getfixturevalue(domain)
    for image, mask, sector in store:
        assert set(np.unique(sector)) == {0, 1}
        assert not image[sector == 0].any()
        assert not mask[sector == 0].any()
        assert image[sector == 1].std() > 10


def test_pixels_have_a_size(tte: EchoStore, tee: EchoStore) -> None:
    for store in (tte, tee):
        height = store.table["spacing_y"] * 48
        assert height.between(119, 201).all()
        assert (store.table["spacing_x"] / store.table["spacing_y"]).between(0.95, 1.5).all()


def test_spacing_follows_size_and_the_mask_does_not(tmp_path: Path) -> None:
    small, large = (_store(tmp_path / str(size), "tee", patients=1, size=size) for size in (32, 96))
    assert large.image_size == (96, 96)
    np.testing.assert_allclose(small.table["spacing_y"], 3 * large.table["spacing_y"], rtol=1e-5)
    np.testing.assert_array_equal(small.frame(0)[1], large.frame(0)[1][1::3, 1::3])


def _acquisitions(domain: str) -> list[Frame]:
    return [
        acquire(draw_patient(domain, 5, i), domain, 0, "ED", derived_seed(domain, 5, i), 224) for i in range(PATIENTS)
    ]


def _grain(frame: Frame, lag: int = 3) -> float:
    """Correlation of the speckle of bright tissue across ``lag`` columns."""
    image = frame.image.astype(np.float32)
    speckle = image - cv2.GaussianBlur(image, (0, 0), 4)
    tissue = (frame.mask == 0) & (cv2.blur(image, (9, 9)) > 60) & (cv2.erode(frame.sector, np.ones((9, 9))) > 0)
    both = tissue[:, :-lag] & tissue[:, lag:]
    return float(np.corrcoef(speckle[:, :-lag][both], speckle[:, lag:][both])[0, 1])


def test_transthoracic_pictures_are_hazier_and_coarser() -> None:
    tte, tee = _acquisitions("tte"), _acquisitions("tee")
    blood = [np.median([frame.image[frame.mask == 1].mean() for frame in frames]) for frames in (tte, tee)]
    assert blood[0] > 1.5 * blood[1]
    coarse, fine = (np.median([_grain(frame) for frame in frames]) for frames in (tte, tee))
    assert coarse > 1.15 * fine


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"domain": "mri"}, "tte or tee"),
        ({"patients": 0}, "at least 1"),
        ({"seed": -1}, "negative"),
        ({"size": 15}, "16 to 4096"),
        ({"size": 10**6}, "16 to 4096"),
        ({"val": float("nan")}, "train"),
        ({"angles": (0,)}, "between 0 and 90"),
        ({"angles": (90,)}, "between 0 and 90"),
        ({"angles": (30, 30)}, "each once"),
        ({"domain": "tte", "angles": (30,)}, "domain tee"),
        ({"val": 0.6, "test": 0.4}, "train"),
        ({"val": -0.1}, "train"),
        ({"val": 0.45, "test": 0.5}, "leave none of 3 patients for train"),
    ],
)
def test_bad_arguments_are_refused(arguments: dict[str, object], says: str) -> None:
    with pytest.raises(UserError, match=says) as error:
        PhantomSpec(**{"domain": "tee", "patients": 3, **arguments})
    assert "\n" not in str(error.value)


def test_a_seed_is_one_cohorts(tmp_path: Path) -> None:
    for cohort, spec in STUDY.items():
        assert spec.cohort == cohort
    assert PhantomSpec("tee", 3, seed=11).cohort == "adaptation"
    assert PhantomSpec("tte", 3, seed=11).cohort == "none"
    held_out = _store(tmp_path, "tee", patients=2, seed=14, val=0.5)
    assert set(held_out.table["cohort"]) == {"confirmatory"}
    assert set(held_out.table["split"]) == {"test"}


def test_the_adaptation_cohort_has_160_frames_of_20_patients_of_whom_4_validate() -> None:
    spec = STUDY["adaptation"]
    assert spec.patients * 2 * (2 + len(spec.angles)) == 160
    assert [spec.split(i) for i in range(20)] == ["train"] * 16 + ["val"] * 4
    assert {STUDY[name].patients for name in ("test", "confirmatory")} == {60}


def test_the_command_line_knows_the_cohorts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(STUDY, "test", replace(STUDY["test"], patients=1))
    main(["data", "phantom", "--cohort", "test", "--size", "16", "--out", str(tmp_path / "f.h5")])
    store = EchoStore(tmp_path / "f.h5")
    assert set(store.table["cohort"]) == {"test"}
    assert store.image_size == (16, 16)
    assert len(store) == 8


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--cohort", "mine"], "cohort 'mine' is unknown"),
        (["--cohort", "pool", "--seed", "3"], "leave out --seed"),
        (["--domain", "tee"], "give --patients"),
    ],
)
def test_cohorts_are_whole(words: list[str], says: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        main(["data", "phantom", *words, "--out", str(tmp_path / "f.h5")])
    assert says in capsys.readouterr().err


def test_a_population_can_be_drawn_from_in_parts(tee: EchoStore, tmp_path: Path) -> None:
    part = _store(tmp_path, "tee", patients=2, angles=(30, 60), first=3)
    assert list(part.table["key"]) == list(tee.table["key"][24:40])
    for index in range(len(part)):
        np.testing.assert_array_equal(part.frame(index)[0], tee.frame(24 + index)[0])
    assert part.command.endswith("--angles 30 60 --first 3 --out tee.h5")
