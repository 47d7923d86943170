"""Masks drawn from a shape model: they keep its rules, repeat by their seed, and say where they come from."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hearts import LA, heart, write_hearts

from tte_tee.anatomy import CAMUS, TEE
from tte_tee.cli import main
from tte_tee.data.shape_model import ShapeModel, fit_shape_model
from tte_tee.data.shape_model.sample import ATTEMPTS, sample_masks
from tte_tee.data.store import EchoStore, FrameInfo, StoreWriter
from tte_tee.errors import UserError
from tte_tee.seen import seen_in


def frames(path: Path) -> list[tuple[np.ndarray, ...]]:
    return list(EchoStore(path))


def test_draws_are_valid_and_differ(shape_model: ShapeModel, tmp_path: Path) -> None:
    tallies = sample_masks(shape_model, tmp_path / "m.h5", 20, seed=3)
    drawn = EchoStore(tmp_path / "m.h5")
    assert {view: tally.accepted for view, tally in tallies.items()} == {"ME4C": 10, "ME2C": 10}
    seen = set()
    for index, (image, mask, sector) in enumerate(drawn):
        view = drawn.table["view"][index]
        assert shape_model.views[view].rules.broken(mask, sector, TEE) is None
        assert not image.any()
        seen.add(mask.tobytes())
    assert len(seen) > 15
    info = drawn.info(1)
    assert (info.view, info.origin, info.mask_source, info.split) == ("ME2C", "mask", "ssm", "train")
    assert (info.phase, info.cohort, info.seed) == ("unknown", "none", 3)
    assert info.patient == f"ssm-{shape_model.hash[:8]}-s3-ME2C-0000"
    assert drawn.table["patient"].is_unique
    record = drawn.provenance["shape_model"]
    assert record["hash"] == shape_model.hash
    assert record["rejected"] == {view: dict(tally.rejected) for view, tally in tallies.items()}


def test_spacing_is_drawn_where_training_knows_it(shape_model: ShapeModel, tmp_path: Path) -> None:
    sample_masks(shape_model, tmp_path / "m.h5", 10)
    table = EchoStore(tmp_path / "m.h5").table
    assert table["spacing_y"].between(2.5, 4.5).all() and table["spacing_y"].nunique() > 5
    assert np.allclose(table["spacing_y"] - table["spacing_x"], 1.0, atol=0.3)
    unknown = fit_shape_model(EchoStore(write_hearts(tmp_path / "unknown.h5", spacing=None)))
    sample_masks(unknown, tmp_path / "m.h5", 4)
    assert EchoStore(tmp_path / "m.h5").table["spacing_y"].isna().all()


def test_a_larger_count_begins_with_the_same_masks(shape_model: ShapeModel, tmp_path: Path) -> None:
    sample_masks(shape_model, tmp_path / "few.h5", 5, seed=1)
    sample_masks(shape_model, tmp_path / "many.h5", 9, seed=1)
    few, many = EchoStore(tmp_path / "few.h5"), EchoStore(tmp_path / "many.h5")
    assert list(few.table["key"]) == list(many.table["key"][:5])
    assert all(np.array_equal(few.frame(i), many.frame(i)) for i in range(5))
    sample_masks(shape_model, tmp_path / "other.h5", 5, seed=2)
    assert not np.array_equal(EchoStore(tmp_path / "other.h5").frame(0)[1], few.frame(0)[1])


def test_fewer_views_change_no_mask(shape_model: ShapeModel, tmp_path: Path) -> None:
    sample_masks(shape_model, tmp_path / "both.h5", 6)
    sample_masks(shape_model, tmp_path / "one.h5", 3, views=["ME2C"])
    both, one = EchoStore(tmp_path / "both.h5"), EchoStore(tmp_path / "one.h5")
    assert [i.tobytes() for i in np.stack([f[1] for f in one])] == [both.frame(i)[1].tobytes() for i in (1, 3, 5)]


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"count": 0}, "at least 1"),
        ({"count": 10**10}, "a store takes 10,000,000"),
        ({"seed": -1}, "negative"),
        ({"seed": 2**63}, "too large"),
        ({"views": ["A4C"]}, "has ME4C, ME2C"),
    ],
)
def test_what_cannot_be_drawn(shape_model: ShapeModel, tmp_path: Path, given: dict, line: str) -> None:
    with pytest.raises(UserError, match=line):
        sample_masks(shape_model, tmp_path / "m.h5", **{"count": 1, **given})


def test_draws_that_are_all_rejected_end(tmp_path: Path, shape_model: ShapeModel) -> None:
    rules = replace(shape_model.views["ME2C"].rules, sector=(0.99, 1.0))
    strict = replace(shape_model, views={"ME2C": replace(shape_model.views["ME2C"], rules=rules)})
    with pytest.raises(UserError, match=rf"ME2C: {ATTEMPTS} draws in a row were rejected, \d+ as 'sector' \(has a"):
        sample_masks(strict, tmp_path / "m.h5", 1)
    assert not (tmp_path / "m.h5").exists()


def test_command_line(hearts: EchoStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["masks", "fit", str(hearts.path), "--out", str(tmp_path / "m")])
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


def test_drawn_masks_know_the_patients_of_the_views_whatever_the_record_says(
    shape_model: ShapeModel, tmp_path: Path
) -> None:
    sample_masks(replace(shape_model, record={}), tmp_path / "m.h5", 1)
    learnt = set().union(*(view.patients for view in shape_model.views.values()))
    assert learnt and seen_in(EchoStore(tmp_path / "m.h5").provenance) == learnt
