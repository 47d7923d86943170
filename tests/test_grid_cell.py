"""The file of a cell: whom it was tested on, its pictures, and the way to it, command by command without a workflow."""

import json
import shlex
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import generated

from tte_tee.anatomy import TEE
from tte_tee.cli import main as tte_tee
from tte_tee.data.store import FrameInfo, StoreWriter
from tte_tee.report.shape import misfit

sys.path.insert(0, str(Path(__file__).parents[1] / "experiments"))

import cell as gathering
from grid import HERE, Grid, load_grid
from grid_file import read_grid_file


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parents[1])


@pytest.mark.parametrize(("cohorts", "found"), [(["none"], "test"), (["pool"], "pool"), (["pool", "none"], "test")])
def test_a_cell_says_whom_it_was_tested_on(cohorts: list[str], found: str, tmp_path: Path) -> None:
    cell = load_grid("smoke").cell("seg_real", 0)
    store = next(stage for stage in cell.parts["evaluate"].inputs if stage.rule == "store")
    path = store.folder(tmp_path) / store.writes
    path.parent.mkdir(parents=True)
    with StoreWriter(path, TEE, licence="none", command="test", provenance="{}") as writer:
        for number, cohort in enumerate(cohorts):
            info = FrameInfo(
                key=cohort,
                patient=f"p{number}",
                view="ME4C",
                split="test",
                origin="phantom",
                mask_source="phantom",
                cohort=cohort,
            )
            writer.append(*np.ones((3, 8, 8), np.uint8), info)
    assert gathering.cohort_or_split(cell, tmp_path, "test") == found


def test_a_segmenter_that_learnt_in_two_trainings_cost_both(tmp_path: Path) -> None:
    file = read_grid_file(HERE / "grid.yaml", "smoke")
    file["grids"]["smoke"]["arms"] = [{"adapter": "lora_mlp", "masks": "real", "ratio": [1, 2], "first": [False, True]}]
    both, one = (Grid(file, "smoke").cell(f"lora_mlp-real-1to2{end}", 0).parts["segment"] for end in ("-first", ""))
    made = [both, *(stage for stage in both.inputs if stage.rule == "segment"), one]
    assert len(made) == 3
    for number, stage in enumerate(made, 1):
        path = stage.folder(tmp_path) / "version_0/segmenter/segmenter.json"
        path.parent.mkdir(parents=True)
        cost = {"steps": 100 * number, "seconds": float(number), "peak_memory_mib": 10 * number}
        path.write_text(json.dumps({"provenance": cost}))
    assert gathering.training(both, tmp_path) == {"steps": 300, "seconds": 3.0, "peak_memory_mib": 20}
    assert gathering.training(one, tmp_path) == {"steps": 300, "seconds": 3.0, "peak_memory_mib": 30}


def test_a_cell_keeps_its_pictures_small(tee_store: Path, tmp_path: Path) -> None:
    parts = load_grid("smoke").cell("lora_mlp-ssm-1to1", 0).parts
    store = parts["synthesise"].folder(tmp_path) / "synthetic.h5"
    preview = parts["adapt"].folder(tmp_path) / "version_0/previews/step_000004.png"
    for path in (store, preview):
        path.parent.mkdir(parents=True)
    generated(tee_store, store)
    cv2.imwrite(str(preview), np.zeros((8, 8), np.uint8))
    gathering.copy_pictures(parts, tmp_path, tmp_path / "beside", "RV")
    assert {path.name for path in (tmp_path / "beside").iterdir()} == {"drawn.webp", "gallery.webp"}
    assert cv2.imread(str(tmp_path / "beside/drawn.webp")).std() > 5


@pytest.mark.slow
def test_the_commands_of_a_cell_leave_what_its_file_is_made_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grid, work, results = load_grid("smoke"), tmp_path / "work", tmp_path / "results"
    cell = grid.cell("lora_mlp-ssm-1to1", 0)
    for stage in cell.stages():
        stage.folder(work).mkdir(parents=True)
        words = shlex.split(stage.command(work, grid.device))
        assert words[:3] == ["python", "-m", "tte_tee"]
        tte_tee(words[3:])
    about = ["--grid=smoke", f"--arm={cell.arm}", "--seed=0", f"--work={work}", f"--results={results}"]
    monkeypatch.setattr(sys, "argv", ["cell.py", *about])
    gathering.main()
    record = json.loads(cell.result(results).read_text())
    assert misfit(record) is None
    assert (record["tested_on"], record["provenance"]["key"]) == ("test", cell.key)
    assert all(record[part] for part in ("adapter", "synthesis", "mask_fidelity", "fidelity", "copies"))
    pictures = {path.stem for path in cell.result(results).with_suffix("").iterdir()}
    assert pictures >= {"drawn", "gallery", "ssm", "worst", "features"}
