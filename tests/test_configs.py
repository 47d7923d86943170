"""Every config that is shipped: it parses, and it trains, tests and draws."""

from pathlib import Path

import pytest
import yaml
from conftest import TINY_DENOISER, generated, train

from tte_tee.anatomy import CAMUS
from tte_tee.cli import main
from tte_tee.data.store import EchoStore
from tte_tee.models.segmenter import Segmenter, SegmenterConfig, save_segmenter

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


def tiny_words(values: dict, tiny_base: Path, tte_store: Path, tee_store: Path, tmp_path: Path) -> list[str]:
    """What makes the run of a config small."""
    kind, data = values["model"]["class_path"], values["data"]["init_args"]
    if kind == "HeartSegmenter":
        words = ["--model.network.channels=[4, 8, 8]", f"--data.real={tee_store}", "--trainer.val_check_interval=2"]
        if "test" in data:
            words.append(f"--data.test={tee_store}")
        if "synthetic" in data:
            words.append(f"--data.synthetic={generated(tee_store, tmp_path / 'synthetic.h5')}")
        if "pretrained" in values["model"]["init_args"]:
            start = Segmenter(SegmenterConfig(channels=(4, 8, 8)), CAMUS.structures)
            save_segmenter(tmp_path / "start", start, CAMUS, (16, 16), {})
            words.append(f"--model.pretrained={tmp_path / 'start'}")
        return words
    is_base = kind == "TTEDiffusion"
    return [
        *(TINY_DENOISER if is_base else [f"--model.base={tiny_base}"]),
        "--model.sampling.steps=2",
        "--data=EchoDataModule",
        f"--data.store={tte_store if is_base else tee_store}",
    ]


@named
def test_config_trains_tests_and_predicts(
    config: Path, tiny_base: Path, tte_store: Path, tee_store: Path, tmp_path: Path
) -> None:
    values = yaml.safe_load(config.read_text())
    words = [
        f"--config={config}",
        *tiny_words(values, tiny_base, tte_store, tee_store, tmp_path),
        f"--trainer.max_steps={min(2, values['trainer']['max_steps'])}",
        "--trainer.precision=32-true",
    ]
    run = train("fit", tmp_path, *words)
    left = {"TTEDiffusion": "base", "TEEAdapter": "adapter", "HeartSegmenter": "segmenter"}
    assert (run / left[values["model"]["class_path"]]).is_dir()
    assert list((run / "previews").glob("*.png"))
    checkpoint = [f"--ckpt_path={path}" for path in run.glob("checkpoints/last.ckpt")]
    assert len(checkpoint) == (values["trainer"]["max_steps"] > 0)
    train("test", tmp_path, *words, *checkpoint)
    drawn = EchoStore(train("predict", tmp_path, *words, *checkpoint) / "predictions.h5")
    assert len(drawn) == 4


def test_ratios_are_what_the_configs_are_called() -> None:
    for config in CONFIGS:
        if config.stem.startswith("seg_mix_"):
            ratio = yaml.safe_load(config.read_text())["data"]["init_args"]["ratio"]
            assert config.stem == f"seg_mix_1to{ratio:g}"


def test_arms_of_the_segmenter_differ_in_data_and_start_alone() -> None:
    arms = [yaml.safe_load(config.read_text()) for config in CONFIGS if config.stem.startswith("seg_")]
    arms = [arm for arm in arms if arm["trainer"]["logger"]["init_args"]["name"] not in ("seg_tte", "seg_others")]
    for arm in arms:
        arm["trainer"]["logger"]["init_args"].pop("name")
        arm["model"]["init_args"].pop("pretrained", None)
    assert len(arms) == 9
    assert all(arm[key] == arms[0][key] for arm in arms for key in ("model", "trainer", "seed_everything"))
