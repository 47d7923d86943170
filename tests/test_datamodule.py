"""Batches: fixed keys, an order of training that survives resuming and ranks, splits as the store says."""

from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
import torch
from conftest import write_store
from hypothesis import given
from hypothesis import strategies as st

from tte_tee.anatomy import PLANES, TEE
from tte_tee.data.datamodule import EchoDataModule, PhantomDataModule
from tte_tee.data.mixing import FrameStream
from tte_tee.data.store import EchoStore
from tte_tee.errors import UserError


def stream(count: int = 7, **options: int) -> list[tuple[int, int]]:
    options = {"seed": 0, "batch_size": 2, "steps": 14, **options}
    return list(FrameStream(np.arange(count) + 100, **options))


@given(count=st.integers(1, 9), batch_size=st.integers(1, 12), seed=st.integers(0, 99))
def test_every_frame_stands_once_in_every_pass(count: int, batch_size: int, seed: int) -> None:
    steps = -(-3 * count // batch_size)
    row = stream(count, batch_size=batch_size, steps=steps, seed=seed)
    assert len(row) == steps * batch_size
    for draw in range(3):
        part = row[draw * count : (draw + 1) * count]
        assert sorted(frame for frame, _ in part) == list(range(100, 100 + count))
        assert {number for _, number in part} == {draw}


@given(ranks=st.integers(1, 4), batch_size=st.integers(1, 5), first=st.integers(0, 5))
def test_ranks_share_the_batches_of_one_process(ranks: int, batch_size: int, first: int) -> None:
    alone = stream(batch_size=batch_size * ranks, steps=6, first_step=first)
    parts = [
        stream(batch_size=batch_size, steps=6, first_step=first, world_size=ranks, rank=rank) for rank in range(ranks)
    ]
    for step in range(6 - first):
        own = slice(step * batch_size, (step + 1) * batch_size)
        whole = alone[step * batch_size * ranks : (step + 1) * batch_size * ranks]
        assert [key for part in parts for key in part[own]] == whole


@given(first=st.integers(0, 14))
def test_a_resumed_row_goes_on_where_it_stopped(first: int) -> None:
    assert stream(first_step=first) == stream()[2 * first :]


def test_batch_size_does_not_change_the_row() -> None:
    assert stream(batch_size=4, steps=7) == stream(batch_size=2, steps=14)


def test_passes_and_seeds_have_orders_of_their_own() -> None:
    row = [frame for frame, _ in stream(30, batch_size=30, steps=2)]
    other = [frame for frame, _ in stream(30, batch_size=30, steps=2, seed=1)]
    assert row[:30] != row[30:]
    assert row[:30] != other[:30]


def module(store: Path, **options: object) -> EchoDataModule:
    trainer = {"max_steps": 5, "global_step": 0, "accumulate_grad_batches": 1, "world_size": 1, "global_rank": 0}
    given = {name: options.pop(name) for name in list(options) if name in trainer}
    data = EchoDataModule(str(store), **{"batch_size": 3, **options})
    data.trainer = SimpleNamespace(**{**trainer, **given})
    return data


def test_batches_hold_what_the_table_promises(tee_store: Path) -> None:
    store, (batch, *_) = EchoStore(tee_store), module(tee_store).train_dataloader()
    shapes = {key: (tuple(value.shape), value.dtype) for key, value in batch.items()}
    frame, mask, flag = ((3, 1, 16, 16), torch.float32), ((3, 16, 16), torch.int64), ((3,), torch.int64)
    assert shapes == {"image": frame, "mask": mask, "sector": frame, "plane": flag, "frame": flag, "draw": flag}
    for n, index in enumerate(batch["frame"].tolist()):
        image, labels, sector = store.frame(index)
        np.testing.assert_allclose(batch["image"][n, 0], image / 127.5 - 1, atol=1e-6)
        np.testing.assert_array_equal(batch["mask"][n], labels)
        np.testing.assert_array_equal(batch["sector"][n, 0], sector)
        assert PLANES[batch["plane"][n]] == {"ME4C": "four_chamber", "ME2C": "two_chamber"}[store.table["view"][index]]


def keys_of(loader) -> list[tuple[int, int]]:
    return [key for batch in loader for key in zip(batch["frame"].tolist(), batch["draw"].tolist(), strict=True)]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_training_draws_train_frames_for_exactly_its_steps(tee_store: Path, num_workers: int) -> None:
    keys = keys_of(module(tee_store, num_workers=num_workers).train_dataloader())
    assert len(keys) == 5 * 3
    assert {frame for frame, _ in keys} == set(EchoStore(tee_store).indices(split="train"))
    assert keys == keys_of(module(tee_store).train_dataloader())


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_resumed_run_draws_the_rest(tee_store: Path, accumulate: int) -> None:
    whole = keys_of(module(tee_store, accumulate_grad_batches=accumulate).train_dataloader())
    rest = keys_of(module(tee_store, accumulate_grad_batches=accumulate, global_step=2).train_dataloader())
    assert rest == whole[2 * accumulate * 3 :]


@pytest.mark.parametrize(
    ("loader", "split"), [("val_dataloader", "val"), ("test_dataloader", "test"), ("predict_dataloader", "train")]
)
def test_evaluation_goes_through_its_split_in_order(tee_store: Path, loader: str, split: str) -> None:
    data = module(tee_store, predict_split="train", eval_batch_size=3)
    batches = list(getattr(data, loader)())
    assert len(batches[0]["frame"]) == 3
    assert keys_of(batches) == [(i, 0) for i in EchoStore(tee_store).indices(split=split)]


@pytest.mark.parametrize("loader", ["train_dataloader", "test_dataloader", "predict_dataloader"])
def test_a_missing_split_is_named(tmp_path: Path, loader: str) -> None:
    store = write_store(tmp_path / "f.h5", TEE, patients={"val": 2})
    with pytest.raises(UserError, match=r"f\.h5: no frame in split '(train|test)'.*val"):
        getattr(module(store), loader)()


def test_a_store_without_validation_has_no_validation(tmp_path: Path) -> None:
    store = write_store(tmp_path / "f.h5", TEE, patients={"train": 2})
    assert not len(module(store).val_dataloader())
    assert set(module(store).fixed_batch(9)["frame"].tolist()) == {0, 1, 2, 3}


def test_the_fixed_batch_is_the_same_each_time(tee_store: Path) -> None:
    first, again = (module(tee_store, seed=seed).fixed_batch(2) for seed in (0, 1))
    assert all(torch.equal(first[key], again[key]) for key in first)
    val = EchoStore(tee_store).indices(split="val")
    assert first["frame"].tolist() == [val[0], val[-1]]


def test_endless_training_is_refused(tee_store: Path) -> None:
    with pytest.raises(UserError, match=r"trainer\.max_steps"):
        module(tee_store, max_steps=-1).train_dataloader()


def test_label_space_and_size_are_the_stores(tee_store: Path) -> None:
    assert (module(tee_store).label_space, module(tee_store).image_size) == (TEE, (16, 16))


def test_phantom_is_made_once_and_then_kept(tmp_path: Path) -> None:
    options = {"store": str(tmp_path / "f.h5"), "domain": "tee", "patients": 3, "size": 16}
    data = PhantomDataModule(**options)
    data.prepare_data()
    made, time = data.store.content_hash, (tmp_path / "f.h5").stat().st_mtime_ns
    PhantomDataModule(**options).prepare_data()
    assert (tmp_path / "f.h5").stat().st_mtime_ns == time
    assert (data.label_space, data.image_size, data.store.content_hash) == (TEE, (16, 16), made)
    other = PhantomDataModule(**{**options, "store": str(tmp_path / "g.h5"), "phantom_seed": 9})
    other.prepare_data()
    assert other.store.content_hash != made


def test_a_phantom_of_another_config_is_not_used_in_silence(tmp_path):
    path = tmp_path / "phantom.h5"
    PhantomDataModule(store=str(path), patients=3, size=16).prepare_data()
    PhantomDataModule(store=str(path), patients=3, size=16).prepare_data()
    with pytest.raises(UserError, match=r"patients 3.*patients 4"):
        PhantomDataModule(store=str(path), patients=4, size=16).prepare_data()


def test_a_phantom_goes_by_its_command_and_version_and_not_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / "phantom.h5"
    PhantomDataModule(store=str(path), patients=3, size=16).prepare_data()
    PhantomDataModule(store=str(path.rename(tmp_path / "renamed.h5")), patients=3, size=16).prepare_data()
    with h5py.File(tmp_path / "renamed.h5", "a") as file:
        file.attrs["provenance"] = file.attrs["provenance"].replace('"version": "1"', '"version": "0"')
    with pytest.raises(UserError, match="another version of the phantom than 1"):
        PhantomDataModule(store=str(tmp_path / "renamed.h5"), patients=3, size=16).prepare_data()


def test_training_frames_are_augmented_by_seed_frame_and_draw_and_no_others(tee_store: Path) -> None:
    def batches(loader: str, augmentation: str, seed: int = 0, workers: int = 0) -> list[torch.Tensor]:
        data = EchoDataModule(str(tee_store), batch_size=4, seed=seed, num_workers=workers, augmentation=augmentation)
        data.trainer = SimpleNamespace(  # type: ignore[assignment]
            max_steps=4, accumulate_grad_batches=1, global_step=0, world_size=1, global_rank=0
        )
        return [torch.cat([batch["image"], batch["mask"][:, None]], 1) for batch in getattr(data, loader)()]

    plain, moved = batches("train_dataloader", "none"), batches("train_dataloader", "standard")
    assert not any(torch.equal(a, b) for a, b in zip(plain, moved, strict=True))
    again = batches("train_dataloader", "standard", workers=1)
    assert all(torch.equal(a, b) for a, b in zip(moved, again, strict=True))
    for loader in ("val_dataloader", "test_dataloader"):
        assert all(
            torch.equal(*pair) for pair in zip(batches(loader, "none"), batches(loader, "standard"), strict=True)
        )
    with pytest.raises(UserError, match="augmentation 'wild' is not one of none, standard, strong"):
        EchoDataModule(str(tee_store), augmentation="wild")
