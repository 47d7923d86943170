"""Training by the command line: what is trained, what is left behind, that it resumes exactly, that options matter."""

import json
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from conftest import Train, make_base, write_store
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from torch.utils.data import default_collate

import tte_tee
from tte_tee.anatomy import CAMUS, TEE
from tte_tee.data.datamodule import FrameDataset
from tte_tee.data.store import EchoStore
from tte_tee.models.folders import load_adapter, load_base
from tte_tee.synthesis.frames import Sampling, draw_frames

METHODS = ("lora", "full", "scratch", "none")
WEIGHTS = "unet/diffusion_pytorch_model.safetensors"
Tensors = dict[str, torch.Tensor]


def weights_of(run: Path) -> Tensors:
    """The exported weights and matrix of an adapter's run."""
    folder = run / "adapter"
    stored = load_file(folder / ("adapter_model.safetensors" if (folder / "adapter_config.json").exists() else WEIGHTS))
    return {**stored, "matrix": torch.tensor(json.loads((folder / "maskr2.json").read_text())["matrix"])}


def same(first: Tensors, second: Tensors) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


def checkpoint_of(run: Path, name: str = "last.ckpt") -> dict[str, Any]:
    return torch.load(run / "checkpoints" / name, weights_only=True)


def scalars_of(run: Path) -> dict[str, list[float]]:
    """What a run logged, its files in the order they were written.

    TensorBoard goes by their names, which tell the second they were begun, and then a process number: tests resume
    within a second.
    """
    with TemporaryDirectory() as folder:
        for number, path in enumerate(sorted(run.glob("events*"), key=lambda path: path.stat().st_mtime_ns)):
            (Path(folder) / f"events.out.tfevents.{number:03d}").symlink_to(path.resolve())
        events = EventAccumulator(folder).Reload()
        return {tag: [event.value for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


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


def learnt_from(store: EchoStore) -> dict[str, object]:
    """What a record says of a tiny store: the test patients are no part of it."""
    return {
        "store": store.path.name,
        "hash": store.content_hash,
        "label_space": store.label_space.name,
        "licence": "CC0-1.0",
        "cohorts": ["none"],
        "learnt_from": {"train": {"patients": 4, "frames": 8}, "val": {"patients": 2, "frames": 4}},
    }


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


def test_same_seed_gives_the_same_adapter(adapt: Train, lora_run: Path, tmp_path: Path) -> None:
    assert same(weights_of(adapt(tmp_path)), weights_of(lora_run))


@pytest.mark.parametrize(
    "option",
    [
        "--seed_everything=1",
        "--model.rank=2",
        "--model.alpha=1",
        "--model.scope=[cross_attention]",
        "--model.learning_rate=0.003",
        "--model.weight_decay=5",
        "--model.warmup_steps=2",
        "--model.mask_dropout=1",
        "--model.min_snr_gamma=0.5",
        "--model.maskr2.learnable=true",
        "--model.maskr2.background=[RA]",
        "--data.batch_size=2",
        "--ema.decay=0.1",
        "--trainer.max_steps=2",
        "--trainer.accumulate_grad_batches=2",
    ],
)
def test_an_option_changes_what_is_trained(adapt: Train, lora_run: Path, tmp_path: Path, option: str) -> None:
    changed, before = weights_of(adapt(tmp_path, option)), weights_of(lora_run)
    assert not same(changed, before)
    if changed.keys() == before.keys():  # the rule alone would not do
        assert not same({**changed, "matrix": before["matrix"]}, before)


@pytest.mark.parametrize(
    "option",
    ["seed=1", "sampler=ddim", "sampler=ddpm", "sampler=unipc", "steps=3", "guidance=3"],
)
def test_a_sampling_option_changes_the_frames(
    adapt: Train, lora_run: Path, drawn: EchoStore, tmp_path: Path, option: str
) -> None:
    checkpoint = f"--ckpt_path={lora_run}/checkpoints/last.ckpt"
    run = adapt(tmp_path, checkpoint, "--model.sampling.steps=4", f"--model.sampling.{option}", command="predict")
    changed = EchoStore(run / "predictions.h5")
    assert any((a[0] != b[0]).any() for a, b in zip(changed, drawn, strict=True))


@pytest.mark.parametrize("option", ["--previews.every_n_steps=1", "--previews.frames=2"])
def test_a_preview_option_changes_the_previews(adapt: Train, lora_run: Path, tmp_path: Path, option: str) -> None:
    def pictures(run: Path) -> dict[str, tuple[int, ...]]:
        return {path.name: cv2.imread(str(path)).shape for path in (run / "previews").glob("*.png")}

    run = adapt(tmp_path, option)
    assert pictures(run) != pictures(lora_run)
    assert same(weights_of(run), weights_of(lora_run))  # looking does not change what is seen


def test_another_base_gives_another_adapter(adapt: Train, lora_run: Path, tmp_path: Path) -> None:
    run = adapt(tmp_path / "run", f"--model.base={make_base(tmp_path / 'base', seed=1)}")
    assert not same(weights_of(run), weights_of(lora_run))


def test_learnable_maskr2_is_trained_with_nothing_else_and_stored(adapt: Train, tmp_path: Path) -> None:
    run = adapt(tmp_path, "--model.maskr2.learnable=true", method="none")
    assert set(checkpoint_of(run)["state_dict"]) == {"maskr2.matrix"}
    matrix, rule = (
        load_adapter(run / "adapter").maskr2.matrix,
        torch.tensor([[1.0, 0, 0, 0], [0, 0, 1, 1], [0, 1, 0, 0]]),
    )
    assert not torch.equal(matrix, rule)
    assert torch.allclose(matrix, rule, atol=0.1)
    assert matrix[1, 2] != matrix[1, 3]  # RV and RA may drift apart


def equal_states(first: Any, second: Any) -> bool:
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(equal_states(first[key], second[key]) for key in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(equal_states, first, second))
    return first == second


@pytest.mark.parametrize(
    "options",
    [
        ["--model.maskr2.learnable=true"],
        ["--trainer.accumulate_grad_batches=2", "--data.num_workers=1"],
        ["--trainer.val_check_interval=2", "--previews.every_n_steps=2"],
    ],
    ids=["learnable", "accumulate with a worker", "with validation between"],
)
def test_a_resumed_run_ends_where_an_unbroken_one_ends(adapt: Train, tmp_path: Path, options: list[str]) -> None:
    words = [*options, "--trainer.max_steps=6", "--checkpoint.every_n_train_steps=3", "--checkpoint.keep_last=9"]
    whole = adapt(tmp_path / "whole", *words)
    (middle,) = (whole / "checkpoints").glob("*step=3.ckpt")
    resumed = adapt(tmp_path / "resumed", *words, f"--ckpt_path={middle}")
    assert same(weights_of(resumed), weights_of(whole))
    ends = [checkpoint_of(run) for run in (whole, resumed)]
    assert ends[0]["global_step"] == 6
    for key in ("state_dict", "optimizer_states", "lr_schedulers", "global_step"):
        assert equal_states(ends[0][key], ends[1][key]), key
    averages = [end["callbacks"][next(name for name in end["callbacks"] if name.startswith("EMA"))] for end in ends]
    assert averages[0]["shadow_params"] and equal_states(*averages)
    assert scalars_of(resumed)["train/loss"] == scalars_of(whole)["train/loss"][-3:]


def test_checkpoint_of_another_scope_is_refused(
    adapt: Train, lora_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        adapt(tmp_path, "--model.scope=[self_attention]", f"--ckpt_path={lora_run}/checkpoints/last.ckpt")
    assert stop.value.code == 2
    assert "checkpoint holds other trained weights" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["validate", "test"])
def test_evaluation_logs_the_loss_of_the_average(adapt: Train, lora_run: Path, tmp_path: Path, command: str) -> None:
    """The loss depends neither on the seed nor on the last step's weights, which stand beside the average."""
    checkpoint = checkpoint_of(lora_run)
    checkpoint["state_dict"] = {name: torch.zeros_like(tensor) for name, tensor in checkpoint["state_dict"].items()}
    torch.save(checkpoint, tmp_path / "zeros.ckpt")
    whole, zeros = (f"--ckpt_path={path}" for path in (lora_run / "checkpoints/last.ckpt", tmp_path / "zeros.ckpt"))
    runs = [adapt(tmp_path, *words, command=command) for words in ([whole], [whole, "--seed_everything=5"], [zeros])]
    losses = [scalars_of(run)["val/loss" if command == "validate" else "test/loss"] for run in runs]
    assert np.isfinite(losses[0]).all()
    assert losses[0] == losses[1] == losses[2]
    if command == "validate":
        assert losses[0] == pytest.approx(scalars_of(lora_run)["val/loss"][-1:])


@pytest.mark.parametrize("command", ["validate", "test", "predict"])
def test_untrained_weights_are_not_scored(
    adapt: Train, tmp_path: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        adapt(tmp_path, command=command)
    assert stop.value.code == 2
    assert "--ckpt_path" in capsys.readouterr().err


def test_the_control_is_scored_without_a_checkpoint(adapt: Train, tmp_path: Path) -> None:
    assert np.isfinite(scalars_of(adapt(tmp_path, method="none", command="test"))["test/loss"]).all()


@pytest.fixture(scope="module")
def drawn(adapt: Train, lora_run: Path, tmp_path_factory: pytest.TempPathFactory) -> EchoStore:
    """What ``predict`` leaves for the test split."""
    checkpoint = f"--ckpt_path={lora_run}/checkpoints/last.ckpt"
    run = adapt(tmp_path_factory.mktemp("drawn"), checkpoint, "--model.sampling.steps=4", command="predict")
    return EchoStore(run / "predictions.h5")


def test_predictions_are_a_store_of_the_masks(drawn: EchoStore, tee_store: Path) -> None:
    masks = EchoStore(tee_store)
    indices = masks.indices(split="test")
    assert list(drawn.table["parent"]) == list(masks.table["key"][indices])
    assert set(drawn.table["origin"]) == {"generated"}
    assert drawn.provenance["masks"]["hash"] == masks.content_hash
    assert drawn.provenance["sampling"]["steps"] == 4
    for frame, index in zip(drawn, indices, strict=True):
        image, mask, sector = masks.frame(index)
        np.testing.assert_array_equal(frame[1], mask)
        np.testing.assert_array_equal(frame[2], sector)
        assert (frame[0] != image).any() and frame[0].std() > 1


def test_predictions_follow_split_and_not_batch_size(
    adapt: Train, lora_run: Path, drawn: EchoStore, tmp_path: Path
) -> None:
    words = [f"--ckpt_path={lora_run}/checkpoints/last.ckpt", "--model.sampling.steps=4"]
    by_one = EchoStore(adapt(tmp_path, *words, "--data.eval_batch_size=1", command="predict") / "predictions.h5")
    for first, second in zip(by_one, drawn, strict=True):
        assert np.abs(first[0].astype(int) - second[0]).max() <= 2
    val = EchoStore(adapt(tmp_path, *words, "--data.predict_split=val", command="predict") / "predictions.h5")
    assert set(val.table["split"]) == {"val"}


def test_predictions_are_drawn_with_the_averaged_weights(drawn: EchoStore, lora_run: Path, tee_store: Path) -> None:
    """The exported adapter holds the average; what it draws is what ``predict`` drew."""
    adapter, dataset = load_adapter(lora_run / "adapter"), FrameDataset(EchoStore(tee_store))
    indices = dataset.store.indices(split="test")
    batch = default_collate([dataset[int(index), 0] for index in indices])
    keys = [str(index) for index in indices]
    frames = draw_frames(adapter.denoiser, adapter.schedule, adapter.maskr2, batch, keys, Sampling(steps=4))
    np.testing.assert_array_equal(frames, [frame[0] for frame in drawn])


def test_a_store_without_validation_trains(adapt: Train, tmp_path: Path) -> None:
    store = write_store(tmp_path / "f.h5", TEE, patients={"train": 2})
    often = ("--trainer.val_check_interval=1", "--checkpoint.every_n_train_steps=1", "--checkpoint.keep_last=9")
    run = adapt(tmp_path, f"--data.store={store}", *often)
    assert len(scalars_of(run)["train/loss"]) == len(list(run.glob("checkpoints/step=*.ckpt"))) == 3
    assert list((run / "previews").glob("*.png"))


@pytest.fixture(scope="module")
def base_run(train_base: Train, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_base(tmp_path_factory.mktemp("base"))


def base_weights(run: Path) -> Tensors:
    return load_file(run / "base" / WEIGHTS)


def test_a_base_is_left_with_its_provenance_and_can_be_adapted(
    base_run: Path, adapt: Train, tte_store: Path, tmp_path: Path
) -> None:
    record = json.loads((base_run / "base/base.json").read_text())["provenance"]
    assert record["data"] == learnt_from(EchoStore(tte_store))
    assert (record["steps"], record["tte_tee"]) == (3, tte_tee.__version__)
    assert base_weights(base_run)["conv_in.weight"].dtype == torch.float16
    run = adapt(tmp_path, f"--model.base={base_run / 'base'}")
    assert load_adapter(run / "adapter").record["base_hash"] == load_base(str(base_run / "base")).hash


@pytest.mark.parametrize(
    "option",
    [
        "--seed_everything=1",
        "--model.learning_rate=0.01",
        "--model.weight_decay=5",
        "--model.warmup_steps=2",
        "--model.mask_dropout=1",
        "--model.min_snr_gamma=0.5",
        "--model.prediction=epsilon",
        "--model.denoiser.conditioning=tokens",
        "--model.denoiser.conditioning=concat",
        "--model.denoiser.space_to_depth=1",
        "--model.denoiser.layers_per_block=2",
        "--model.half=false",
    ],
)
def test_an_option_changes_the_base(train_base: Train, base_run: Path, tmp_path: Path, option: str) -> None:
    assert not same(base_weights(train_base(tmp_path, option)), base_weights(base_run))


def test_same_seed_gives_the_same_base(train_base: Train, base_run: Path, tmp_path: Path) -> None:
    assert same(base_weights(train_base(tmp_path)), base_weights(base_run))


Spoil = Callable[[Path, Path], list[str]]


def small_frames(folder: Path, tte: Path) -> list[str]:
    return [f"--data.store={write_store(folder / 'f.h5', TEE, size=8)}"]


def no_train(folder: Path, tte: Path) -> list[str]:
    return [f"--data.store={write_store(folder / 'f.h5', TEE, patients={'test': 1})}"]


def garbage_checkpoint(folder: Path, tte: Path) -> list[str]:
    (folder / "g.ckpt").write_bytes(b"no checkpoint")
    return [f"--ckpt_path={folder / 'g.ckpt'}"]


def code_in_checkpoint(folder: Path, tte: Path) -> list[str]:
    torch.save({"state_dict": Path("x"), "pytorch-lightning_version": "2"}, folder / "c.ckpt")
    return [f"--ckpt_path={folder / 'c.ckpt'}"]


def foreign_checkpoint(folder: Path, tte: Path) -> list[str]:
    torch.save({"weights": torch.zeros(1)}, folder / "f.ckpt")
    return [f"--ckpt_path={folder / 'f.ckpt'}"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (small_frames, "frames are 8x8, the network takes 16x16"),
        (no_train, "no frame in split 'train'"),
        (["--data.store=nowhere.h5"], "nowhere.h5: no such echo store"),
        (["--model.base=nowhere"], "nowhere: no base folder"),
        (["--model.scope=[mlp]"], "mlp is no group of layers"),
        (["--model.scope=[]"], "is empty, so nothing would be trained"),
        (["--model.method=full"], "uses no scope"),
        (["--model.rank=0"], "a rank is 1 or more"),
        (["--model.maskr2.background=[LV_epi]"], "LV_epi is no label of the masks"),
        (["--model.maskr2.repurpose.RV=LA"], "the place of LA is not free"),
        (["--trainer.max_steps=-1"], "say how many steps"),
        (["--trainer.max_steps=0"], "0 steps train nothing"),
        (["--trainer.val_check_interval=0.5"], "trainer: "),
        (["--trainer.limit_val_batches=2.5"], "trainer: "),
        (["--trainer.strategy=foo"], "trainer: "),
        (["--ema.decay=2"], "ema.decay: 2"),
        (["--previews.frames=0"], "previews: "),
        (["--ckpt_path=nowhere.ckpt"], "nowhere.ckpt: no such file"),
        (garbage_checkpoint, "not a readable checkpoint"),
        (code_in_checkpoint, "not a readable checkpoint"),
        (foreign_checkpoint, "not a checkpoint of a run"),
        (["--model.method=none", "--model.scope=[]"], "trains nothing; set it to 0"),
        (["--model.method=bitfit"], "method"),
        (["--model.ranks=4"], "ranks"),
        (["--model.sampling.sampler=euler"], "sampler"),
    ],
)
def test_mistakes_are_told_in_one_line(
    adapt: Train, tte_store: Path, tmp_path: Path, words: Any, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        adapt(tmp_path / "out", *(words if isinstance(words, list) else words(tmp_path, tte_store)))
    assert stop.value.code == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("tte_tee fit: ")]
    assert says in line
    assert not list(tmp_path.glob("out/run/*/adapter"))


def test_a_base_is_trained_on_its_own_label_space(
    train_base: Train, tee_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        train_base(tmp_path, f"--data.store={tee_store}")
    assert stop.value.code == 2
    said = capsys.readouterr().err
    assert all(name in said for name in (*CAMUS.structures, *TEE.structures))


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
    monkeypatch.setattr("tte_tee.tasks.progress.StepLines.__init__.__defaults__", (3,))
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


def test_ema_decay_counts_on_resume_too(adapt: Train, tmp_path: Path) -> None:
    saves = ["--trainer.max_steps=6", "--checkpoint.every_n_train_steps=3", "--checkpoint.keep_last=9"]
    (middle,) = (adapt(tmp_path / "first", *saves) / "checkpoints").glob("*step=3.ckpt")
    resumed = [
        adapt(tmp_path / name, *saves, f"--ckpt_path={middle}", f"--ema.decay={decay}")
        for name, decay in (("slow", 0.999), ("none", 0.0))
    ]
    assert not same(*(weights_of(run) for run in resumed))
