"""Training by the command line: what is trained, and what a run leaves behind."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from conftest import Train, write_store
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from trained import WEIGHTS, checkpoint_of, learnt_from, scalars_of, weights_of

import tte_tee
from tte_tee.anatomy import TEE
from tte_tee.data.store import EchoStore
from tte_tee.models.folders import load_adapter, load_base

METHODS = ("lora", "full", "scratch", "none")


@pytest.fixture(scope="module")
def runs(adapt: Train, lora_run: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A finished run of each method."""
    folder = tmp_path_factory.mktemp("runs")
    steps = {"none": "--trainer.max_steps=0"}
    others = {m: adapt(folder / m, steps.get(m, "--trainer.max_steps=3"), method=m) for m in METHODS if m != "lora"}
    return {"lora": lora_run, **others}


@pytest.mark.parametrize("method", METHODS)
def test_every_method_leaves_an_adapter_that_loads(runs: dict[str, Path], tiny_base: Path, method: str) -> None:
    loaded, base = load_adapter(runs[method] / "adapter"), load_base(str(tiny_base))
    assert (loaded.record["method"], loaded.target) == (method, TEE)
    assert loaded.maskr2.mask_map.place == {"LV": "LV", "LA": "LA", "RV": "LV_epi", "RA": "LV_epi"}
    given = (torch.zeros(1, 1, 16, 16), torch.tensor([10]), torch.ones(1, 4, 16, 16), torch.tensor([0]))
    unchanged = torch.equal(loaded.denoiser(*given), base.denoiser.eval()(*given))
    assert unchanged == (method == "none")


def test_scratch_starts_far_from_the_base_and_full_starts_at_it(runs: dict[str, Path], tiny_base: Path) -> None:
    base = load_file(tiny_base / WEIGHTS)

    def distance(method: str) -> float:
        return max(
            (tensor - base[key]).abs().max().item() for key, tensor in weights_of(runs[method]).items() if key in base
        )

    assert 0 < distance("full") < 0.05 < distance("scratch")


@pytest.mark.parametrize("method", METHODS)
def test_checkpoint_holds_what_was_trained_and_no_more(runs: dict[str, Path], tiny_base: Path, method: str) -> None:
    if method == "none":
        assert not list(runs[method].glob("checkpoints/*"))
        return
    held = set(checkpoint_of(runs[method])["state_dict"])
    plain = {f"denoiser.unet.{name}" for name in load_file(tiny_base / WEIGHTS)}
    if method == "lora":
        exported = [name for name in weights_of(runs[method]) if ".lora_" in name]
        assert held == {f"denoiser.unet.{name.removesuffix('.weight')}.default.weight" for name in exported}
    else:
        assert held == plain


@pytest.mark.parametrize("method", METHODS)
def test_provenance_travels_with_the_adapter(
    runs: dict[str, Path], tiny_base: Path, tee_store: Path, method: str
) -> None:
    record = json.loads((runs[method] / "adapter/adapter.json").read_text())
    assert record["tte_tee"] == tte_tee.__version__
    assert {"torch", "diffusers", "peft", "lightning"} <= set(record["versions"])
    assert record["commit"] and record["time"].endswith("+00:00")
    assert (record["base"], record["base_hash"]) == (str(tiny_base), load_base(str(tiny_base)).hash)
    assert record["steps"] == (0 if method == "none" else 3)
    assert record["data"] == learnt_from(EchoStore(tee_store))
    assert record["config"]["seed_everything"] == 0
    assert record["config"]["model"]["init_args"]["method"] == method
    assert record["config"]["data"]["init_args"]["store"] == str(tee_store)


@pytest.mark.parametrize("method", METHODS)
def test_the_last_preview_is_a_picture_for_every_row(runs: dict[str, Path], method: str) -> None:
    (path,) = (runs[method] / "previews").glob("*.png")
    assert path.name == ("step_000000.png" if method == "none" else "step_000003.png")
    assert cv2.imread(str(path)).std() > 10


def test_losses_are_logged(lora_run: Path) -> None:
    scalars = scalars_of(lora_run)
    assert len(scalars["train/loss"]) == 3
    assert len(scalars["val/loss"]) >= 1
    assert scalars["learning_rate"] == pytest.approx([0.01, 0.0075, 0.0025])  # a cosine to zero
    assert np.isfinite(scalars["train/loss"] + scalars["val/loss"]).all()


def test_a_run_stands_in_tensorboards_table_of_hyperparameters(lora_run: Path) -> None:
    events = EventAccumulator(str(lora_run)).Reload()
    start = HParamsPluginData.FromString(events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content)
    values = start.session_start_info.hparams
    assert values["model"].string_value == "TEEAdapter"
    assert (values["model.rank"].number_value, values["seed_everything"].number_value) == (4, 0)
    assert (
        values["parameters"].number_value
        == json.loads((lora_run / "adapter/adapter.json").read_text())["parameters"]["trained"]
    )
    assert not [name for name in values if "callbacks" in name or "logger" in name]
    table = HParamsPluginData.FromString(events.SummaryMetadata("_hparams_/experiment").plugin_data.content)
    assert {"train/loss", "val/loss"} <= {info.name.tag for info in table.experiment.metric_infos}


def test_training_lowers_the_loss(adapt: Train, tmp_path: Path) -> None:
    options = ("--trainer.max_steps=40", "--trainer.val_check_interval=1", "--data.batch_size=8")
    losses = scalars_of(adapt(tmp_path, *options, method="full"))["val/loss"]  # of the same noise each time
    assert losses[-1] < 0.9 * losses[0]


def test_run_shows_what_is_trained(adapt: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = adapt(tmp_path, "--model.scope=[self_attention]")
    shown = capsys.readouterr().err
    assert "RV + RA -> LV_epi" in shown
    (row,) = [line for line in shown.splitlines() if "self_attention" in line]
    trainable = sum(tensor.numel() for name, tensor in weights_of(run).items() if name != "matrix")
    assert f"{trainable:,}" in row


def test_a_store_without_validation_trains(adapt: Train, tmp_path: Path) -> None:
    store = write_store(tmp_path / "f.h5", TEE, patients={"train": 2})
    often = ("--trainer.val_check_interval=1", "--checkpoint.every_n_train_steps=1", "--checkpoint.keep_last=9")
    run = adapt(tmp_path, f"--data.store={store}", *often)
    assert len(scalars_of(run)["train/loss"]) == len(list(run.glob("checkpoints/step=*.ckpt"))) == 3
    assert list((run / "previews").glob("*.png"))


def test_last_checkpoint_is_the_end_of_the_run(adapt: Train, tmp_path: Path) -> None:
    run = adapt(tmp_path, "--trainer.max_steps=5", "--checkpoint.every_n_train_steps=3")
    assert checkpoint_of(run)["global_step"] == 5


def test_record_says_how_long_and_how_large_the_run_was(lora_run: Path) -> None:
    record = json.loads((lora_run / "adapter/adapter.json").read_text())
    assert 0 < record["seconds"] < 600
    assert 100 < record["peak_memory_mib"] < 100_000


def test_a_log_file_gets_a_line_now_and_then(
    adapt: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tte_tee.tasks.progress._EVERY", 3)
    adapt(tmp_path, "--trainer.max_steps=4", "--trainer.accumulate_grad_batches=2")
    assert [line.split()[1] for line in capsys.readouterr().err.splitlines() if line.startswith("step ")] == [
        "3/4",
        "4/4",
    ]


def test_an_adapter_folder_can_be_shared(lora_run: Path) -> None:
    """Readable like any other file, and without a path of the machine that made it, but for the base's."""
    folder = lora_run / "adapter"
    (lora_run / "plain").touch()
    assert {path.stat().st_mode for path in folder.iterdir()} == {(lora_run / "plain").stat().st_mode}
    assert {p.name for p in folder.iterdir()} == {
        "README.md",
        "adapter.json",
        "adapter_config.json",
        "adapter_model.safetensors",
        "maskr2.json",
    }
