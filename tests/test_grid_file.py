"""The grid's file: what is missing or unknown there is one line."""

import copy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

sys.path.insert(0, str(Path(__file__).parents[1] / "experiments"))

from grid_file import GridError, read_grid_file

FILE = yaml.safe_load((Path(__file__).parents[1] / "experiments/grid.yaml").read_text())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda file: file["studies"]["tiny"].pop("test_store"), "study tiny: lacks 'test_store'"),
        (lambda file: file["studies"]["tiny"].update(tested_on="test"), "study tiny: 'tested_on' is unknown"),
        (lambda file: file["grids"]["smoke"].pop("device"), "grid smoke: lacks 'device'"),
        (lambda file: file["grids"]["smoke"].update(study="mine"), "grid smoke is of study 'mine'; there are camus20"),
        (lambda file: file["grids"]["smoke"]["synthesis"].pop("steps"), "synthesis of grid smoke: lacks 'steps'"),
        (lambda file: file["grids"]["smoke"]["seconds"].pop("cell"), "seconds of grid smoke: lacks 'cell'"),
        (lambda file: file["grids"]["smoke"].update(arms=["seg_real"]), "arms of grid smoke are a list"),
        (lambda file: file["grids"].pop("smoke"), "no grid 'smoke'; there are camus"),
    ],
)
def test_a_wrong_file_is_refused(change: Callable[[dict[str, Any]], None], said: str, tmp_path: Path) -> None:
    file = copy.deepcopy(FILE)
    change(file)
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump(file))
    with pytest.raises(GridError, match=said):
        read_grid_file(tmp_path / "grid.yaml", "smoke")


def test_a_file_that_is_no_yaml_is_refused(tmp_path: Path) -> None:
    (tmp_path / "grid.yaml").write_text("studies: [\n")
    for file in (tmp_path / "grid.yaml", tmp_path / "missing.yaml"):
        with pytest.raises(GridError, match=f"{file}: cannot be read: "):
            read_grid_file(file, "smoke")
