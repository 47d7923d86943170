"""Evaluation and prediction by the command line: with the averaged weights, whatever seed and batch."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Train, write_store
from torch.utils.data import default_collate
from trained import checkpoint_of, scalars_of

from tte_tee.anatomy import TEE
from tte_tee.data.datamodule import FrameDataset
from tte_tee.data.store import EchoStore
from tte_tee.files import file_hash
from tte_tee.models.folders import load_adapter
from tte_tee.synthesis.frames import Sampling, draw_frames


@pytest.fixture(scope="module")
def drawn(adapt: Train, lora_run: Path, tmp_path_factory: pytest.TempPathFactory) -> EchoStore:
    """What ``predict`` leaves for the test split."""
    checkpoint = f"--ckpt_path={lora_run}/checkpoints/last.ckpt"
    run = adapt(tmp_path_factory.mktemp("drawn"), checkpoint, "--model.sampling.steps=4", command="predict")
    return EchoStore(run / "predictions.h5")


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


def test_the_control_is_scored_without_a_checkpoint(adapt: Train, tmp_path: Path) -> None:
    assert np.isfinite(scalars_of(adapt(tmp_path, method="none", command="test"))["test/loss"]).all()


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


def test_predictions_say_what_drew_them_and_what_it_learnt_from(
    adapt: Train, lora_run: Path, drawn: EchoStore, tmp_path: Path
) -> None:
    record = json.loads((lora_run / "adapter/adapter.json").read_text())
    checkpoint = lora_run / "checkpoints/last.ckpt"
    assert drawn.provenance["checkpoint"] == {
        "hash": file_hash(checkpoint),
        "base_hash": record["base_hash"],
        "method": "lora",
    }
    assert drawn.provenance["trained_on"] == record["data"]
    masks = write_store(tmp_path / "others.h5", TEE, patients={"test": 1})
    words = (f"--ckpt_path={checkpoint}", "--model.sampling.steps=1", f"--data.store={masks}")
    other = EchoStore(adapt(tmp_path, *words, command="predict") / "predictions.h5")
    assert other.provenance["trained_on"] == record["data"]
    assert other.provenance["masks"]["hash"] == EchoStore(masks).content_hash


def test_the_control_predicts_without_a_checkpoint(adapt: Train, tmp_path: Path) -> None:
    run = adapt(tmp_path, "--model.sampling.steps=1", method="none", command="predict")
    record = EchoStore(run / "predictions.h5").provenance
    assert (record["checkpoint"]["hash"], record["checkpoint"]["method"], record["trained_on"]) == (None, "none", None)


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
    keys = [f"{dataset.store.table['key'][index]}#0" for index in indices]  # the noise of synthesize
    frames = draw_frames(adapter.denoiser, adapter.schedule, adapter.maskr2, batch, keys, Sampling(steps=4))
    np.testing.assert_allclose(frames.int(), [frame[0] for frame in drawn], atol=2)  # the adapter's LoRA is merged
