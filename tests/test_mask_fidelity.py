"""Mask fidelity: obedient frames score as real ones do, others lower; a segmenter of the same patients is refused."""

import json
from pathlib import Path

import pytest
import torch
from conftest import generated, write_store
from legible import legible, reader

from tte_tee.anatomy import CAMUS, TEE
from tte_tee.cli import main
from tte_tee.data.store import EchoStore
from tte_tee.errors import UserError
from tte_tee.evaluation.mask_fidelity import behind, mask_fidelity
from tte_tee.models.segmenter import Segmenter, SegmenterConfig, save_segmenter


@pytest.fixture
def real(tee_store: Path, tmp_path: Path) -> EchoStore:
    return legible(tmp_path / "real.h5", tee_store, drawn=False)


def test_obedient_frames_score_as_real_ones_and_others_lower(tee_store: Path, real: EchoStore, tmp_path: Path) -> None:
    drawn = generated(tee_store, tmp_path / "drawn.h5")
    obedient = mask_fidelity(reader(), legible(tmp_path / "a.h5", drawn), real, split="test")
    lying = mask_fidelity(reader(), legible(tmp_path / "b.h5", drawn, lie=True), real, split="test")
    assert obedient.drawn.summary()["mean_dice"] == obedient.real.summary()["mean_dice"] == 1
    assert lying.drawn.summary()["mean_dice"] < 0.6
    assert lying.real.summary() == obedient.real.summary()
    assert obedient.drawn.summary()["frames"] == 4


@pytest.mark.parametrize(
    ("record", "refused"),
    [
        ({}, False),
        ({"seen": ["x"]}, True),
        ({"seen": ["x"], "base_seen": ["x"]}, False),
        ({"adapter": {"seen": ["x", "y"], "base_seen": ["y"]}}, True),
    ],
)
def test_a_segmenter_of_the_adapters_patients_is_refused(
    record: dict[str, object], refused: bool, tee_store: Path, real: EchoStore, tmp_path: Path
) -> None:
    drawn = EchoStore(generated(tee_store, tmp_path / "drawn.h5", record=record))
    if refused:
        with pytest.raises(UserError, match="patient x went into the segmenter"):
            mask_fidelity(reader("x"), drawn, real, split="test")
    else:
        assert mask_fidelity(reader("x"), drawn, real, split="test")


def test_a_segmenter_of_the_masks_patients_is_refused(tee_store: Path, real: EchoStore, tmp_path: Path) -> None:
    own = EchoStore(generated(tee_store, tmp_path / "own.h5"))
    with pytest.raises(UserError, match="patient train0 went into the segmenter"):
        mask_fidelity(reader("train0"), own, real, split="test")
    sampled = EchoStore(generated(tee_store, tmp_path / "sampled.h5", source="ssm"))
    assert behind(sampled, sampled.indices()) == set()
    assert mask_fidelity(reader("train0"), sampled, real, split="test")
    with pytest.raises(UserError, match="patient test0 went into the segmenter"):
        mask_fidelity(reader("test0"), sampled, real, split="test")


def test_what_does_not_fit_is_refused(tee_store: Path, real: EchoStore, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="16 frames are not generated"):
        mask_fidelity(reader(), EchoStore(tee_store), real, split="test")
    other = EchoStore(generated(write_store(tmp_path / "tte.h5", CAMUS), tmp_path / "drawn.h5"))
    with pytest.raises(UserError, match="the segmenter finds LV, LA, RV, RA"):
        mask_fidelity(reader(), other, real, split="test")


def test_the_command_writes_scores_and_pictures(
    tee_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    drawn = generated(tee_store, tmp_path / "drawn.h5")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        save_segmenter(
            tmp_path / "seg", Segmenter(SegmenterConfig(channels=(4, 8, 8)), TEE.structures), TEE, (16, 16), {}
        )
    words = ["--segmenter", tmp_path / "seg", "--real", tee_store, "--out", tmp_path / "o"]
    main(["evaluate", "masks", "--synthetic", str(drawn), *map(str, words)])
    values = json.loads((tmp_path / "o/mask_fidelity.json").read_text())
    assert values["synthetic"]["hash"] == EchoStore(drawn).content_hash
    assert values["split"] == "val" and values["real"]["summary"]["patients"] == 2
    assert len(values["synthetic"]["cases"]) == 4 * 4
    assert (tmp_path / "o/cases_RV.png").is_file()
    assert "4 drawn frames" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("what", ["segmenter", "masks", "fidelity", "copies"])
def test_a_file_in_the_place_of_the_folder_is_told_at_once(
    what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "o").write_text("mine")
    with pytest.raises(SystemExit):
        main(["evaluate", what, "--out", str(tmp_path / "o")])
    assert "is a file; name a folder" in capsys.readouterr().err
    assert (tmp_path / "o").read_text() == "mine"
