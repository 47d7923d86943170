"""Batches for the segmenter: real and synthetic frames, few patients, and what is refused."""

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import write_store

from tte_tee.anatomy import CAMUS, TEE
from tte_tee.data.curate.subset import Subset
from tte_tee.data.segmentation import SegmentationDataModule, choose_patients
from tte_tee.data.store import EchoStore, FrameInfo, StoreWriter
from tte_tee.errors import UserError

Change = Callable[[FrameInfo], FrameInfo | None]


def rewrite(source: Path, path: Path, change: Change) -> Path:
    """The store with its frames' columns changed; a frame of None is left out."""
    store = EchoStore(source)
    with StoreWriter(path, store.label_space, licence="CC0-1.0", command="test") as writer:
        for index, frame in enumerate(store):
            if (info := change(store.info(index))) is not None:
                writer.append(*frame, info)
    return path


def generated(info: FrameInfo) -> FrameInfo | None:
    """As the synthesis would write it, for the masks of split train."""
    kept = replace(info, key=f"{info.key}#0.0", parent=info.key, origin="generated")
    return kept if info.split == "train" else None


@pytest.fixture(scope="module")
def synthetic(tee_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return rewrite(tee_store, tmp_path_factory.mktemp("synthetic") / "synthetic.h5", generated)


def module(real: Path, synthetic: Path | None = None, **options: object) -> SegmentationDataModule:
    trainer = {"max_steps": 6, "global_step": 0, "accumulate_grad_batches": 1, "world_size": 1, "global_rank": 0}
    given = {name: options.pop(name) for name in list(options) if name in trainer}
    paths = {"real": str(real), "synthetic": str(synthetic) if synthetic else None}
    data = SegmentationDataModule(**paths, **{"batch_size": 4, "ratio": 1.0 if synthetic else 0.0, **options})
    data.trainer = SimpleNamespace(**{**trainer, **given})
    return data


def drawn(data: SegmentationDataModule) -> list[tuple[bool, int, int]]:
    batches = list(data.train_dataloader())
    columns = [torch.cat([batch[key] for batch in batches]).tolist() for key in ("synthetic", "frame", "draw")]
    return list(zip(*columns, strict=True))


def test_batches_hold_what_the_table_promises(tee_store: Path, synthetic: Path) -> None:
    data = module(tee_store, synthetic, augmentation="none")
    batch = next(iter(data.train_dataloader()))
    shapes = {key: (tuple(value.shape), value.dtype) for key, value in batch.items()}
    frame, count = ((4, 1, 16, 16), torch.float32), ((4,), torch.int64)
    assert shapes == {
        "image": frame,
        "mask": ((4, 16, 16), torch.int64),
        "sector": frame,
        "frame": count,
        "draw": count,
        "synthetic": ((4,), torch.bool),
    }
    for n, (index, of_synthetic) in enumerate(zip(batch["frame"].tolist(), batch["synthetic"].tolist(), strict=True)):
        image, mask, sector = EchoStore(synthetic if of_synthetic else tee_store).frame(index)
        np.testing.assert_allclose(batch["image"][n, 0], image * sector / 127.5 - 1, atol=1e-6)
        np.testing.assert_array_equal(batch["mask"][n], mask)


def test_nothing_is_seen_outside_of_the_sector(tee_store: Path, tmp_path: Path) -> None:
    bright = tmp_path / "bright.h5"
    with StoreWriter(bright, TEE, licence="CC0-1.0", command="test") as writer:
        store = EchoStore(tee_store)
        for index, (_, mask, sector) in enumerate(store):
            writer.append(np.full_like(mask, 255), mask, sector, store.info(index))
    data = module(bright)
    for loader in (data.train_dataloader(), data.val_dataloader(), data.test_dataloader()):
        for batch in loader:
            assert (batch["image"][batch["sector"] == 0] == -1).all()


@pytest.mark.parametrize(("ratio", "share"), [(0.0, 0), (0.5, 4), (2.0, 16), (math.inf, 8)])
def test_an_epoch_has_its_share_of_synthetic_frames(tee_store: Path, synthetic: Path, ratio: float, share: int) -> None:
    real = 0 if math.isinf(ratio) else 8
    steps = 3 * (real + share) // 4
    data = module(tee_store, synthetic if ratio else None, ratio=ratio, max_steps=steps)
    keys = drawn(data)
    assert [sum(of_synthetic for of_synthetic, _, _ in keys), len(keys)] == [3 * share, 3 * (real + share)]
    assert {frame for of_synthetic, frame, _ in keys if not of_synthetic} == set(range(8) if real else ())


@pytest.mark.parametrize("num_workers", [0, 2])
def test_workers_ranks_and_resuming_change_no_frame(tee_store: Path, synthetic: Path, num_workers: int) -> None:
    def images(**options: int) -> torch.Tensor:
        options = {"num_workers": num_workers, **options}
        loader = module(tee_store, synthetic, augmentation="strong", **options).train_dataloader()
        return torch.stack([batch["image"] for batch in loader])

    whole = images()
    torch.testing.assert_close(images(num_workers=0), whole, rtol=0, atol=0)
    torch.testing.assert_close(images(global_step=4), whole[4:], rtol=0, atol=0)
    parts = [images(batch_size=2, world_size=2, global_rank=rank) for rank in range(2)]
    torch.testing.assert_close(torch.cat(parts, 1), whole, rtol=0, atol=0)


def test_a_real_frame_meets_one_augmentation_in_every_arm(tee_store: Path, synthetic: Path) -> None:
    def real_images(ratio: float) -> list[torch.Tensor]:
        data = module(tee_store, synthetic if ratio else None, ratio=ratio, max_steps=12)
        return [batch["image"][n] for batch in data.train_dataloader() for n in range(4) if not batch["synthetic"][n]][
            :16
        ]

    for first, second in zip(real_images(0.0), real_images(2.0), strict=True):
        torch.testing.assert_close(first, second, rtol=0, atol=0)


def test_augmentation_seed_and_draw_change_the_image(tee_store: Path) -> None:
    def images(**options: object) -> dict[tuple[int, int], bytes]:
        batches = module(tee_store, max_steps=4, **options).train_dataloader()
        return {
            (int(b["frame"][n]), int(b["draw"][n])): b["image"][n].numpy().tobytes() for b in batches for n in range(4)
        }

    default = images()
    for options in ({"augmentation": "none"}, {"augmentation": "strong"}, {"seed": 1}):
        other = images(**options)
        assert all(default[key] != other[key] for key in default)
    assert default[0, 0] != default[0, 1]


def test_evaluation_is_in_order_and_never_augmented(tee_store: Path, synthetic: Path) -> None:
    data = module(tee_store, synthetic, eval_batch_size=3)
    for split, loader in (("val", data.val_dataloader()), ("test", data.test_dataloader())):
        batches = list(loader)
        indices = torch.cat([batch["frame"] for batch in batches]).tolist()
        assert indices == EchoStore(tee_store).indices(split=split).tolist()
        assert not torch.cat([batch["synthetic"] for batch in batches]).any()
        image, _, sector = EchoStore(tee_store).frame(indices[0])
        np.testing.assert_allclose(batches[0]["image"][0, 0], image * sector / 127.5 - 1, atol=1e-6)


def test_a_test_store_of_its_own_is_tested_on(tee_store: Path, tmp_path: Path) -> None:
    def renamed(info: FrameInfo) -> FrameInfo:
        return replace(info, patient=f"other-{info.patient}")

    other = rewrite(tee_store, tmp_path / "other.h5", renamed)
    data = module(tee_store, test=str(other))
    assert data.test_dataloader().dataset.dataset.stores[0].path == other
    train_alone = rewrite(tee_store, tmp_path / "seen.h5", lambda info: replace(info, split="test"))
    with pytest.raises(UserError, match=r"seen\.h5: patient train0.* is tested on, and trained or validated on"):
        module(tee_store, test=str(train_alone)).test_dataloader()


def test_few_patients_are_nested_and_go_by_their_seed(tee_store: Path) -> None:
    chosen = [set(module(tee_store, patients=count).training_patients()) for count in (1, 2, 3, 4)]
    assert [len(patients) for patients in chosen] == [1, 2, 3, 4]
    assert all(few < more for few, more in pairwise(chosen))
    assert len({tuple(choose_patients([f"p{n}" for n in range(9)], 2, seed)) for seed in range(9)}) > 3
    data = module(tee_store, patients=2)
    patients = EchoStore(tee_store).table["patient"]
    assert {patients[frame] for _, frame, _ in drawn(data)} == chosen[1]
    assert len(data.evaluation_frames("val")) == 4


@pytest.mark.parametrize("seed", range(4))
def test_few_patients_are_those_of_a_subset(tee_store: Path, seed: int) -> None:
    store = EchoStore(tee_store)
    kept = Subset(splits=("train",), patients=2, seed=seed).kept(store)
    chosen = module(tee_store, patients=2, patient_seed=seed).training_patients()
    assert set(store.table["patient"].iloc[kept]) == set(chosen)


@pytest.mark.parametrize("count", [0, 5])
def test_patients_that_are_not_there_are_refused(tee_store: Path, count: int) -> None:
    with pytest.raises(UserError, match=f"data.patients {count}: the real store has 4 patients"):
        module(tee_store, patients=count).setup("fit")


def test_synthetic_frames_of_patients_beyond_the_few_are_refused(
    tee_store: Path, synthetic: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"6 frames were made from patients who are not among the 1 trained on"):
        module(tee_store, synthetic, patients=1).setup("fit")
    (only,) = module(tee_store, patients=1).training_patients()
    fitting = rewrite(synthetic, tmp_path / "f.h5", lambda info: info if info.patient == only else None)
    module(tee_store, fitting, patients=1).setup("fit")
    nobody = rewrite(synthetic, tmp_path / "n.h5", lambda info: replace(info, mask_source="ssm", patient="shape"))
    module(tee_store, nobody, patients=1).setup("fit")


@pytest.mark.parametrize("mask_source", ["phantom", "annotated", "ssm"])
@pytest.mark.parametrize("patient", ["val0", "test1", "stranger"])
def test_synthetic_frames_of_patients_not_trained_on_are_refused(
    tee_store: Path, synthetic: Path, tmp_path: Path, mask_source: str, patient: str
) -> None:
    leaking = rewrite(
        synthetic, tmp_path / "l.h5", lambda info: replace(info, mask_source=mask_source, patient=patient)
    )
    if (mask_source, patient) == ("ssm", "stranger"):
        module(tee_store, leaking).setup("fit")
        return
    with pytest.raises(UserError, match=rf"l\.h5: 8 frames were made from patients .*first: {patient}"):
        module(tee_store, leaking).setup("fit")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda info: replace(info, origin="generated"),
            r"generated\); synthetic frames go into data\.synthetic",
        ),
        (lambda info: replace(info, origin="mask"), "8 frames of split 'train' have no image"),
        (lambda info: replace(info, mask_source="none"), "8 frames of split 'train' have no mask"),
        (lambda info: info if info.split != "train" else None, "no frame in split 'train'"),
        (lambda info: info if info.split != "val" else None, "no frame in split 'val'"),
    ],
)
def test_real_stores_that_do_not_do_are_refused(tee_store: Path, tmp_path: Path, change: Change, message: str) -> None:
    with pytest.raises(UserError, match=message):
        module(rewrite(tee_store, tmp_path / "r.h5", change)).setup("fit")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda info: replace(info, origin="phantom"), r"8 frames are not generated \(first: .*, phantom\)"),
        (lambda info: replace(info, split="val"), "no frame in split 'train'; it has 8 in val"),
        (lambda info: replace(info, mask_source="none"), "have no mask"),
    ],
)
def test_synthetic_stores_that_do_not_do_are_refused(
    tee_store: Path, synthetic: Path, tmp_path: Path, change: Change, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        module(tee_store, rewrite(synthetic, tmp_path / "s.h5", change)).setup("fit")


def test_stores_that_do_not_fit_are_refused(tee_store: Path, tte_store: Path, tmp_path: Path) -> None:
    small = write_store(tmp_path / "small.h5", TEE, size=8)
    for other, message in ((tte_store, "give stores of one label space"), (small, "frames are 8x8, those of .* 16x16")):
        with pytest.raises(UserError, match=message):
            module(tee_store, other).setup("fit")
        with pytest.raises(UserError, match=message):
            module(tee_store, test=str(other)).setup("test")
    assert EchoStore(tte_store).label_space == CAMUS


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ratio": 1.0}, r"data\.ratio 1\.0 asks for synthetic frames"),
        ({"synthetic": "s.h5"}, r"data\.synthetic s\.h5: would not be used"),
        ({"ratio": -1.0, "synthetic": "s.h5"}, "ratio -1.0"),
        ({"ratio": math.nan}, "ratio nan"),
        ({"augmentation": "weak"}, "augmentation 'weak'"),
        ({"batch_size": 0}, "batch_size 0"),
        ({"patient_seed": -1}, r"data\.patient_seed -1"),
    ],
)
def test_options_that_do_not_go_together_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        SegmentationDataModule("r.h5", **options)
