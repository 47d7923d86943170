"""Every config that is shipped: it parses, and it trains, tests and draws."""

from pathlib import Path

import pytest
import yaml
from conftest import TINY_DENOISER, train

from tte_tee.cli import main
from tte_tee.data.store import EchoStore

CONFIGS = sorted((Path(__file__).parents[1] / "lightning_configs").glob("*.yaml"))
named = pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)


def test_there_are_configs() -> None:
    assert {"base_tte", "lora_mlp", "scratch"} <= {path.stem for path in CONFIGS}


@named
def test_config_parses_as_it_is(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["fit", "--config", str(config), "--print_config"])
    assert not stop.value.code
    printed, written = yaml.safe_load(capsys.readouterr().out), yaml.safe_load(config.read_text())
    assert printed["model"]["class_path"].endswith(written["model"]["class_path"])
    for key, value in written["model"]["init_args"].items():
        if not isinstance(value, dict):
            assert printed["model"]["init_args"][key] == value
    assert printed["trainer"]["max_steps"] == written["trainer"]["max_steps"]
    assert printed["trainer"]["logger"]["init_args"]["name"] == config.stem


@named
def test_config_trains_tests_and_draws(
    config: Path, tiny_base: Path, tte_store: Path, tee_store: Path, tmp_path: Path
) -> None:
    values = yaml.safe_load(config.read_text())
    is_base = values["model"]["class_path"] == "TTEDiffusion"
    words = [
        f"--config={config}",
        *(TINY_DENOISER if is_base else [f"--model.base={tiny_base}"]),
        "--model.sampling.steps=2",
        "--data=EchoDataModule",
        f"--data.store={tte_store if is_base else tee_store}",
        f"--trainer.max_steps={min(2, values['trainer']['max_steps'])}",
        "--trainer.precision=32-true",
    ]
    run = train("fit", tmp_path, *words)
    assert (run / ("base" if is_base else "adapter")).is_dir()
    assert list((run / "previews").glob("*.png"))
    checkpoint = [f"--ckpt_path={path}" for path in run.glob("checkpoints/last.ckpt")]
    assert len(checkpoint) == (values["trainer"]["max_steps"] > 0)
    train("test", tmp_path, *words, *checkpoint)
    drawn = EchoStore(train("predict", tmp_path, *words, *checkpoint) / "predictions.h5")
    assert len(drawn) == 4
