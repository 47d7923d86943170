"""Options of training: each changes the run, and a run repeats and resumes exactly."""

import json
from pathlib import Path

import cv2
import pytest
import torch
from conftest import Train, make_base
from safetensors.torch import load_file
from trained import WEIGHTS, Tensors, checkpoint_of, equal_states, learnt_from, same, scalars_of, weights_of

import tte_tee
from tte_tee.data.store import EchoStore
from tte_tee.models.folders import load_adapter, load_base


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


def test_ema_decay_counts_on_resume_too(adapt: Train, tmp_path: Path) -> None:
    saves = ["--trainer.max_steps=6", "--checkpoint.every_n_train_steps=3", "--checkpoint.keep_last=9"]
    (middle,) = (adapt(tmp_path / "first", *saves) / "checkpoints").glob("*step=3.ckpt")
    resumed = [
        adapt(tmp_path / name, *saves, f"--ckpt_path={middle}", f"--ema.decay={decay}")
        for name, decay in (("slow", 0.999), ("none", 0.0))
    ]
    assert not same(*(weights_of(run) for run in resumed))
