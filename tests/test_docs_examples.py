"""The examples of docs/examples: each is short, and does what the pages say."""

import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from runpy import run_path
from types import ModuleType

import numpy as np
import pytest
import yaml
from conftest import Train, generated, write_store
from folders import RECIPE, pack, refused
from shown import EXAMPLES, PAGES, ROOT, blocks, commands
from test_docs import parses_only, with_grid, wrong  # noqa: F401

from tte_tee.anatomy import TEE
from tte_tee.cli import main
from tte_tee.data import importers
from tte_tee.data.recipe import load_recipe
from tte_tee.data.store import EchoStore
from tte_tee.errors import UserError

sys.path.insert(0, str(ROOT / "experiments"))

from grid import Grid
from grid_file import RULES
from workflow import plan

FILES = sorted(path for path in EXAMPLES.iterdir() if path.is_file())


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def example(name: str) -> ModuleType:
    """A module of the folder."""
    spec = spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    assert spec and spec.loader
    module = module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_an_example_is_short_and_shown(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) < 40
    shown = [block.text for page in PAGES for block in blocks(page)]
    assert text in shown, f"no page shows {path.name} as it stands: copy the file into the page's block"


def test_the_scope_trains_what_it_names(adapt: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = EXAMPLES / "scope.yaml"
    with pytest.raises(SystemExit) as stop:
        main(["fit", "--config", str(config), "--print_config"])
    assert not stop.value.code
    scope = yaml.safe_load(config.read_text())["model"]["init_args"]["scope"]
    run = adapt(tmp_path, f"--model.scope={scope}", "--trainer.max_steps=1")
    text = (run / "adapter/adapter_config.json").read_text()
    assert "time_emb_proj" in text and "attn2" in text and "attn1" not in text


@pytest.fixture
def npz(monkeypatch: pytest.MonkeyPatch) -> None:
    """Puts the importer where a new one belongs."""
    monkeypatch.setitem(importers.TYPES, "npz", "npz")
    monkeypatch.setitem(sys.modules, f"{importers.__name__}.npz", example("importer"))


NPZ = {key: value for key, value in RECIPE.items() if key not in ("images", "masks", "views", "phases", "split")}


@pytest.mark.usefixtures("npz")
def test_the_importer_packs_archives(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    frames = np.random.default_rng(0).integers(0, 255, (3, 32, 32), np.uint8)
    for patient in ("p1", "p2"):
        np.savez(root / f"{patient}.npz", frames=frames, masks=np.where(frames > 128, 10, 0))
    (root / "notes.txt").write_text("left aside")
    store = pack(root, {**NPZ, "type": "npz", "view": "A4C", "split": "train"})
    assert list(store.table["key"]) == [f"{p}/{n:04d}" for p in ("p1", "p2") for n in range(3)]
    assert set(store.table["patient"]) == {"p1", "p2"} and np.unique(store.frame(0)[1]).tolist() == [0, 1]


@pytest.mark.usefixtures("npz")
def test_the_importer_refuses_what_is_no_archive(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root/p1.npz").write_bytes(b"nothing")
    said = refused(tmp_path / "root", {**NPZ, "type": "npz", "view": "A4C", "split": "train"})
    assert "no arrays 'frames' and 'masks'" in said


def test_the_metric_tells_blur_from_sharpness_and_refuses_a_leak(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    metric = example("metric")
    inside = np.zeros((32, 32), bool)
    inside[8:24, 8:24] = True
    image = np.where(inside, 20, 200).astype(np.uint8)
    assert metric.sharpness(image, inside) > 2 * metric.sharpness(image // 3, inside)
    real = write_store(tmp_path / "real.h5", TEE, patients={"train": 12})
    names = sorted({f"train{n}" for n in range(12)})
    drawn = generated(real, tmp_path / "drawn.h5", patients=names)
    found = metric.compare(EchoStore(real), EchoStore(drawn))
    assert set(found) == set(TEE.structures) and not any("not estimable" in words for words in found.values())
    leak = generated(real, tmp_path / "leak.h5", patients=names, record={"seen": ["train3"]})
    with pytest.raises(UserError, match="train3"):
        metric.compare(EchoStore(real), EchoStore(leak))
    monkeypatch.setattr(sys, "argv", ["metric.py", str(real), str(drawn)])
    run_path(str(EXAMPLES / "metric.py"), run_name="__main__")
    assert capsys.readouterr().out.splitlines() == [f"{name}: {words}" for name, words in found.items()]


@pytest.mark.usefixtures("parses_only")
@pytest.mark.parametrize(("name", "arm"), [("arm", "lora_full-rank16-ssm-1to1"), ("study", "maskr2_only-ssm-1to1")])
def test_a_part_of_a_grid_is_a_grid(name: str, arm: str, tmp_path: Path) -> None:
    text = (EXAMPLES / f"{name}.yaml").read_text()
    (grid_name,) = yaml.safe_load(text)["grids"]
    grid = Grid(with_grid(text), grid_name)
    assert arm in {cell.arm for cell in grid.cells}
    assert {stage.rule for stage in grid.stages.values()} == set(RULES)
    of_rule = {stage.rule: stage.command(tmp_path) for stage in grid.stages.values()}
    assert not {rule: said for rule, text in of_rule.items() for words in commands(text) if (said := wrong(words))}
    assert f"grid {grid_name}: {len(grid.cells)} cells, 0 done" in plan(grid, tmp_path, tmp_path, jobs=2)


def test_the_recipe_of_the_tutorial_is_valid() -> None:
    recipe = load_recipe(EXAMPLES / "tee.yaml")
    assert recipe.label_space == TEE and recipe.size == 64


def test_the_batch_script_is_a_script() -> None:
    subprocess.run(["bash", "-n", EXAMPLES / "fit.sbatch"], check=True)
    assert "--resume auto" in (EXAMPLES / "fit.sbatch").read_text()
