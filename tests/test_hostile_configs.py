"""Hostile checkpoints, configs and recipes: they run no code, fetch nothing, and end."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from conftest import Train
from traps import Trap

from tte_tee.cli import main
from tte_tee.errors import UserError

TRAINING = ("fit", "validate", "test", "predict")


Ends = Callable[..., str]


@pytest.fixture
def ends(capsys: pytest.CaptureFixture[str], mark: Path) -> Ends:
    """Runs a command that must be refused in one line, and run no code of the input's."""

    def run(call: Callable[[], object]) -> str:
        with pytest.raises(SystemExit) as stop:
            call()
        assert stop.value.code == 2
        said = capsys.readouterr().err
        assert "Traceback" not in said and said.startswith("tte_tee ") and said.count("\n") == 1, said
        assert not mark.exists()
        return said

    return run


@pytest.mark.parametrize("command", TRAINING)
@pytest.mark.parametrize("kind", ["pickle", "torch", "checkpoint"])
def test_a_checkpoint_with_code_is_refused(
    adapt: Train, tmp_path: Path, mark: Path, ends: Ends, command: str, kind: str
) -> None:
    path = tmp_path / "last.ckpt"
    if kind == "pickle":
        path.write_bytes(pickle.dumps(Trap(mark)))
    else:
        held = {"state_dict": {}, "pytorch-lightning_version": "2", "x": Trap(mark)}
        torch.save(held if kind == "checkpoint" else Trap(mark), path)
    words = (f"--ckpt_path={path}", "--weights_only=false")
    assert "not a readable checkpoint" in ends(lambda: adapt(tmp_path, *words, command=command))


def as_config(path: Path, config: dict[str, Any]) -> Path:
    path.write_text(yaml.safe_dump(config))
    return path


@pytest.mark.parametrize(
    "config",
    [
        lambda name: {"model": {"class_path": name}},
        lambda name: {"data": name},
        lambda name: {"trainer": {"callbacks": [{"class_path": name}]}},
        lambda name: {"trainer": {"logger": {"class_path": name}}},
        lambda name: {"optimizer": {"class_path": name}},
        lambda name: {"trainer": {"callbacks": {"class_path": "LambdaCallback", "init_args": {"on_fit_start": name}}}},
        lambda name: {"allow_code": True, "model": name},
    ],
)
def test_a_config_imports_no_foreign_code(
    config: Callable[[str], dict], tmp_path: Path, foreign: str, ends: Ends
) -> None:
    path = as_config(tmp_path / "c.yaml", config(foreign))
    for command in TRAINING:
        said = ends(lambda command=command: main([command, f"--config={path}"]))
        assert f"{foreign} is no code of tte_tee, lightning, torch.optim" in said or "allow_code" in said


@pytest.mark.parametrize("option", ["--model", "--data", "--model.class_path", "--trainer.logger", "--optimizer"])
@pytest.mark.parametrize("name", ["os.system", "subprocess.Popen", "torch.hub.load", "builtins.eval"])
def test_an_option_imports_no_foreign_code(option: str, name: str, ends: Ends) -> None:
    assert "--allow-code" in ends(lambda: main(["fit", f"{option}={name}"]))


def test_foreign_code_runs_where_it_is_allowed(
    adapt: Train, tmp_path: Path, foreign: str, mark: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from jsonargparse import _common

    monkeypatch.setitem(_common.parsing_settings, "import_path_verdicts", {})  # as in a process that has just begun
    config = as_config(tmp_path / "c.yaml", {"trainer": {"callbacks": [{"class_path": foreign}]}})
    assert (adapt(tmp_path, f"--config={config}", "--allow-code") / "adapter").is_dir()
    assert mark.exists()


@pytest.mark.parametrize("command", TRAINING)
def test_help_says_what_a_config_may_name(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([command, "--help"])
    assert "--allow-code" in capsys.readouterr().out


@pytest.mark.parametrize(
    "text",
    [
        "model: !!python/object/apply:os.system [touch it_ran]",
        "a: " + "[" * 5000 + "]" * 5000,
        "a: " + "{a: " * 2000 + "1" + "}" * 2000,
        "a: &a [x, x]\n"
        + "".join(f"{n}: &{n} [{', '.join(['*' + p] * 9)}]\n" for p, n in zip("abcdefg", "bcdefgh", strict=True)),
        "\0",
        "model: {class_path: [TEEAdapter]}",
    ],
    ids=["tag", "lists", "mappings", "aliases", "null", "list"],
)
def test_a_config_that_is_no_config_is_one_line(text: str, tmp_path: Path, ends: Ends) -> None:
    (tmp_path / "c.yaml").write_text(text)
    ends(lambda: main(["fit", f"--config={tmp_path / 'c.yaml'}"]))


def test_a_config_that_is_no_text_is_one_line(tmp_path: Path, ends: Ends) -> None:
    (tmp_path / "c.yaml").write_bytes(b"seed_everything: \xdf\xff")
    assert "no UTF-8 text" in ends(lambda: main(["fit", f"--config={tmp_path / 'c.yaml'}"]))


def test_no_config_comes_from_the_network(ends: Ends) -> None:
    assert "does not exist" in ends(lambda: main(["fit", "--config=https://127.0.0.1:9/c.yaml"]))


@pytest.mark.parametrize("text", ["[" * 3000 + "]" * 3000, "a: &a [x]\nb: [" + "*a, " * 50 + "]"], ids=["deep", "many"])
def test_a_recipe_that_unfolds_without_end_is_refused(root: Path, text: str) -> None:
    from tte_tee.data.pack import pack_folder

    (root / "recipe.yaml").write_text(text)
    with pytest.raises(UserError, match="nested deeper than 64 levels, or has more than 20 aliases"):
        pack_folder(root / "recipe.yaml", root, root.parent / "f.h5", workers=0)
