"""Cells of a folder: what is taken, what is left out and said, what is refused."""

import json
import math

import cells as made
import pytest

from tte_tee.cli import main
from tte_tee.errors import UserError
from tte_tee.report.cells import by_test_set, read_cells


def test_cells_are_found_in_all_folders_by_study_cohort_and_store(tmp_path):
    made.study(tmp_path / "a", 1)
    made.write(tmp_path / "b", made.cell("seg_real", 0, 0, tested_on="confirmatory"))
    made.write(tmp_path / "c", made.cell("seg_real", 0, 0, study="camus"))
    made.write(tmp_path / "d", made.cell("seg_real", 7, 0, store={"name": "other.h5", "hash": "c" * 64}))
    (tmp_path / "a" / "metrics.json").write_text("{")
    cells, notes = read_cells(tmp_path)
    assert notes == []
    cohorts = [(c.study, c.tested_on, c.store[:8], len(c.arms)) for c in by_test_set(cells)]
    assert cohorts == [
        ("camus", "test", "test.h5 ", 1),
        ("phantom", "confirmatory", "test.h5 ", 1),
        ("phantom", "test", "other.h5", 1),
        ("phantom", "test", "test.h5 ", 4),
    ]


def test_what_is_recorded_of_the_drawing_is_part_of_the_setting_and_what_came_of_it_is_not(tmp_path):
    for seed, changes in enumerate(({}, {"frames": 64, "seconds": 9.0}, {"guided_below": 1.0})):
        made.write(tmp_path, made.cell("lora", seed, 0, synthesis={**made.SYNTHESIS, **changes}))
    usual, again, otherwise = (cell.setting for cell in read_cells(tmp_path)[0])
    assert usual == again != otherwise


@pytest.mark.parametrize("cohort", ["val", "pool"])
def test_patients_that_served_to_choose_are_development(tmp_path, cohort):
    made.study(tmp_path, 1, tested_on=cohort)
    (found,) = by_test_set(read_cells(tmp_path)[0])
    assert found.development
    assert found.title == f"phantom, {cohort} (development)"


def _broken(record):
    return {
        "schema": {**record, "schema": 2},
        "seed": {**record, "seed": "0"},
        "study": {name: value for name, value in record.items() if name != "study"},
        "structures is empty": {**record, "segmentation": {"summary": {"structures": {}}, "patients": {}}},
        "dice is 1.2": {**record, "segmentation": _with_dice(record, 1.2)},
        "dice is nan": {**record, "segmentation": _with_dice(record, math.nan)},
        "trained": {**record, "adapter": {"config": "lora_mlp"}},
        "ratio": {**record, "synthesis": {"masks": "ssm", "ratio": -1}},
        "fidelity.rows[0].group": {**record, "fidelity": {"rows": [{"measure": "KID"}]}},
        "copies.rates": {**record, "copies": {"rates": [], "thresholds": {}}},
        "adapter is a str": {**record, "adapter": "lora"},
        "no cell": {"seed": 1},
    }


def _with_dice(record, value):
    segmentation = json.loads(json.dumps(record["segmentation"]))
    segmentation["patients"]["p03"]["structures"]["RV"]["dice"] = value
    return segmentation


@pytest.mark.parametrize("said", list(_broken({"segmentation": made.cell("x", 0, 0)["segmentation"]})))
def test_a_file_that_is_no_cell_is_left_out_and_said(tmp_path, said):
    made.study(tmp_path, 1)
    record = made.cell("lora_broken", 3, 0)
    (tmp_path / "lora_broken_seed3.json").write_text(json.dumps(_broken(record)[said]))
    cells, (note,) = read_cells(tmp_path)
    assert len(cells) == 4
    assert note.startswith("lora_broken_seed3.json left out: ")
    assert said in note


def test_files_that_are_none_for_one_reason_are_one_line(tmp_path):
    made.study(tmp_path, 1)
    for seed in range(3):
        (tmp_path / f"old_seed{seed}.json").write_text(json.dumps({"arm": "old", "seed": seed}))
    _, notes = read_cells(tmp_path)
    assert notes == ["old_seed0.json and 2 more left out: an older shape, without schema; this report reads schema 1"]


def test_a_truncated_file_is_left_out_and_the_page_says_so(tmp_path, capsys):
    made.study(tmp_path, 1)
    path = made.write(tmp_path, made.cell("seg_real", 1, 0))
    path.write_text(path.read_text()[:100])
    main(["report", str(tmp_path), "--out", str(tmp_path / "r.html")])
    said = "phantom/seg_real_seed1.json left out: cannot be read"
    assert said in capsys.readouterr().err
    assert said in (tmp_path / "r.html").read_text()


def test_nesting_without_end_is_left_out_too(tmp_path):
    made.study(tmp_path, 1)
    (tmp_path / "deep_seed0.json").write_text("[" * 200_000)
    _, (note,) = read_cells(tmp_path)
    assert note.startswith("deep_seed0.json left out: cannot be read: ")


def test_a_store_is_its_content_whatever_its_file_is_called(tmp_path):
    made.study(tmp_path, 1)
    made.write(tmp_path, made.cell("seg_real", 1, 0, store={"name": "renamed.h5", "hash": "a" * 64}))
    made.write(tmp_path, made.cell("seg_real", 2, 0, store={"name": "test.h5", "hash": "a" * 12 + "b" * 52}))
    both, other = by_test_set(read_cells(tmp_path)[0])
    assert set(both.arms["seg_real"]) == {0, 1} and both.store == f"test.h5 {'a' * 12}"
    assert set(other.arms["seg_real"]) == {2}


def test_two_cells_of_one_arm_and_seed_are_refused_by_name(tmp_path):
    made.study(tmp_path, 1)
    made.write(tmp_path / "again", made.cell("seg_real", 0, 0))
    with pytest.raises(UserError, match=r"again/phantom/seg_real_seed0.json and phantom/seg_real_seed0.json"):
        by_test_set(read_cells(tmp_path)[0])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["missing", "--out", "r.html"], "no such folder"),
        ([".", "--out", "r.html"], "holds no cell"),
        ([".", "--out", "r.txt"], ".html file"),
        (["."], "--out"),
    ],
)
def test_a_mistake_is_one_line(tmp_path, monkeypatch, capsys, words, said):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        main(["report", *words])
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
