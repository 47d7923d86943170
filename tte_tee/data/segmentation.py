"""Batches for the segmenter: a real store, mixed with a synthetic one or not.

A batch is a dict:

============= ================ ==================================================================
key           shape            meaning
============= ================ ==================================================================
``image``     float [B,1,H,W]  grey levels in [-1, 1]; -1 outside of the sector
``mask``      int64 [B,H,W]    ids of the label space, 0 background
``sector``    float [B,1,H,W]  1 inside the sector
``frame``     int64 [B]        index of the frame in its store
``draw``      int64 [B]        how often this run drew the frame before (0 when evaluating)
``synthetic`` bool [B]         whether its store is the synthetic one
============= ================ ==================================================================
"""

import math
from collections.abc import Collection, Sequence
from functools import cached_property
from pathlib import Path

import lightning as L
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, default_collate

from tte_tee.anatomy import LabelSpace
from tte_tee.data.alike import refuse_other_kind, refuse_other_origin
from tte_tee.data.augment import Augmentation
from tte_tee.data.curate.choose import evenly, seeded_order
from tte_tee.data.datamodule import Batch, check_loading, frame_tensors, once_through, whole_run
from tte_tee.data.leakage import refuse_telling
from tte_tee.data.mixing import REAL, SYNTHETIC, MixedStream, check_ratio
from tte_tee.data.store import REAL_ORIGINS, EchoStore
from tte_tee.data.usable import usable_frames
from tte_tee.errors import UserError


class SegmentationDataset(Dataset[Batch]):
    """Labelled frames as tensors; asked by ``(source, index of the frame, draw)``.

    The segmenter sees the sector alone, whether a frame is augmented or not, in training and in tests.

    Args:
        stores: by source, real before synthetic.
        augmentation: keyed by seed, source, frame and draw.
        seed: of the augmentation.
    """

    def __init__(self, stores: Sequence[EchoStore], augmentation: Augmentation, seed: int) -> None:
        self.stores, self.augmentation, self.seed = stores, augmentation, seed

    def __getitem__(self, key: tuple[int, int, int]) -> Batch:
        source, index, draw = key
        image, mask, sector = self.stores[source].frame(index)
        frame = self.augmentation(image * sector, mask, sector, (self.seed, source, index, draw))
        return {
            **frame_tensors(*frame),
            "frame": torch.tensor(index),
            "draw": torch.tensor(draw),
            "synthetic": torch.tensor(source == SYNTHETIC),
        }


class SegmentationDataModule(L.LightningDataModule):
    """Trains on split ``train`` of a real and of a synthetic store, evaluates on real frames alone.

    Arms that differ in the stores, the ratio or the number of patients take equally many steps
    (``trainer.max_steps``), and a real frame meets the same augmentation in each of them.

    Args:
        real: store of real (or phantom) frames: splits ``train`` and ``val``, and ``test`` unless
            ``test`` is given.
        synthetic: store of generated frames, of which only split ``train`` is used.
        ratio: synthetic frames per real frame; 0 for real alone, ``.inf`` for synthetic alone.
        augmentation: of the training frames: ``none``, ``standard`` or ``strong``.
        test: store of real frames whose split ``test`` is tested on instead.
        patients: train on so many of the real store's patients, chosen by ``patient_seed``; fewer
            are always among more.
        patient_seed: of that choice.
        batch_size: frames per step and rank.
        seed: of the order of training frames and of the augmentation.
        num_workers: processes that read ahead and augment.
        eval_batch_size: frames per step in validation and test.

    Raises:
        UserError: a number is out of range, or ratio and synthetic store do not go together.
    """

    def __init__(
        self,
        real: str,
        synthetic: str | None = None,
        ratio: float = 0.0,
        augmentation: str = "standard",
        test: str | None = None,
        patients: int | None = None,
        patient_seed: int = 0,
        batch_size: int = 16,
        seed: int = 0,
        num_workers: int = 0,
        eval_batch_size: int = 32,
    ) -> None:
        super().__init__()
        check_loading(batch_size, eval_batch_size, num_workers, seed)
        check_ratio(ratio)
        if patient_seed < 0:
            raise UserError(f"data.patient_seed {patient_seed}: is 0 or more")
        if synthetic is None and ratio > 0:
            raise UserError(f"data.ratio {ratio} asks for synthetic frames; name their store by data.synthetic")
        if synthetic is not None and ratio == 0:
            raise UserError(f"data.synthetic {synthetic}: would not be used; give data.ratio, or leave the store out")
        self.path = Path(real)
        self.synthetic_path = Path(synthetic) if synthetic is not None else None
        self.test_path = Path(test) if test is not None else self.path
        self.ratio, self.augmentation = ratio, Augmentation(augmentation)
        self.patients, self.patient_seed = patients, patient_seed
        self.batch_size, self.eval_batch_size = batch_size, eval_batch_size
        self.seed, self.num_workers = seed, num_workers

    @cached_property
    def store(self) -> EchoStore:
        """The real store, opened when first asked for."""
        return EchoStore(self.path)

    @cached_property
    def synthetic_store(self) -> EchoStore | None:
        """The synthetic store, if there is one; it fits the real one."""
        return self._fitting(self.synthetic_path) if self.synthetic_path else None

    @cached_property
    def test_store(self) -> EchoStore:
        """The store that is tested on; it fits the real one."""
        return self.store if self.test_path == self.path else self._fitting(self.test_path)

    @property
    def label_space(self) -> LabelSpace:
        """What the masks mean."""
        return self.store.label_space

    @property
    def image_size(self) -> tuple[int, int]:
        """Rows and columns of every frame."""
        return self.store.image_size

    def _fitting(self, path: Path) -> EchoStore:
        store = EchoStore(path)
        refuse_other_kind(self.store, store)
        return store

    def training_patients(self) -> list[str]:
        """Patients of the real store's split ``train`` that this run may learn from."""
        table = self.store.table
        everyone = sorted(set(table["patient"][table["split"] == "train"]))
        return everyone if self.patients is None else choose_patients(everyone, self.patients, self.patient_seed)

    def training_frames(self) -> tuple[np.ndarray, np.ndarray]:
        """Indices of the real and of the synthetic frames that are trained on.

        Raises:
            UserError: a split is empty, a frame lacks its image or its mask, a store is not what
                it is given for, or a synthetic frame would tell of a patient that this run may
                not learn from.
        """
        patients = self.training_patients()
        real = synthetic = np.empty(0, int)
        if not math.isinf(self.ratio):
            real = _real_frames(self.store, "train")
            real = real[self.store.table["patient"].iloc[real].isin(patients)]
        if self.synthetic_store is not None:
            synthetic = _synthetic_frames(self.synthetic_store)
            self._check_leak(self.synthetic_store, synthetic, patients)
        return real, synthetic

    def evaluation_frames(self, split: str) -> np.ndarray:
        """Indices of split ``val`` in the real store, or of split ``test`` in the store that is tested on.

        Raises:
            UserError: the split is empty, a frame lacks its image or its mask or was generated, or
                a patient of another store's test is in the real store's training or validation.
        """
        if split == "val":
            return _real_frames(self.store, "val")
        frames = _real_frames(self.test_store, "test")
        seen = self.store.table["patient"][self.store.table["split"] != "test"]
        tested = self.test_store.table["patient"].iloc[frames]
        if known := sorted(set(tested) & set(seen)):
            raise UserError(
                f"{self.test_path}: patient {', '.join(known[:3])} is tested on, and trained or validated on in "
                f"{self.path}; give a test store of other patients"
            )
        return frames

    def _check_leak(self, store: EchoStore, frames: np.ndarray, patients: Collection[str]) -> None:
        evaluated = self.store.table["patient"][self.store.table["split"] != "train"]
        tested = self.test_store.table["patient"][self.test_store.table["split"] == "test"]
        refuse_telling(store, frames, self.path, trained=patients, evaluated=evaluated, tested=tested)

    def setup(self, stage: str) -> None:
        """Refuses what cannot be run before anything is run."""
        if stage == "fit":
            self.training_frames()
        if stage in ("fit", "validate"):
            self.evaluation_frames("val")
        if stage == "test":
            self.evaluation_frames("test")

    def train_dataloader(self) -> DataLoader[Batch]:
        """``trainer.max_steps`` batches in the order of :class:`MixedStream`."""
        trainer = self.trainer
        assert trainer is not None
        run = whole_run(trainer)
        real, synthetic = self.training_frames()
        stream = MixedStream(real, synthetic, self.ratio, seed=self.seed, batch_size=self.batch_size, **run)
        stores = [self.store] if self.synthetic_store is None else [self.store, self.synthetic_store]
        dataset = SegmentationDataset(stores, self.augmentation, self.seed)
        return DataLoader(dataset, sampler=stream, batch_size=self.batch_size, num_workers=self.num_workers)

    def val_dataloader(self) -> DataLoader[Batch]:
        """The real store's validation frames in the order of the file, as they are."""
        return self._ordered(self.store, "val")

    def test_dataloader(self) -> DataLoader[Batch]:
        """Test frames in the order of their file, as they are."""
        return self._ordered(self.test_store, "test")

    def predict_dataloader(self) -> DataLoader[Batch]:
        """The frames of :meth:`test_dataloader`."""
        return self.test_dataloader()

    def fixed_batch(self, size: int) -> Batch:
        """The same few validation frames every time."""
        frames = self.evaluation_frames("val")
        chosen = frames[evenly(len(frames), size)]
        dataset = SegmentationDataset([self.store], Augmentation("none"), self.seed)
        return default_collate([dataset[REAL, int(i), 0] for i in chosen])

    def _ordered(self, store: EchoStore, split: str) -> DataLoader[Batch]:
        keys = [(REAL, int(index), 0) for index in self.evaluation_frames(split)]
        dataset = SegmentationDataset([store], Augmentation("none"), self.seed)
        assert self.trainer is not None
        return once_through(dataset, keys, self.eval_batch_size, self.trainer)


def choose_patients(patients: Collection[str], count: int, seed: int) -> list[str]:
    """The first ``count`` in the seeded order, by which ``data subset --patients`` chooses too; sorted.

    Raises:
        UserError: there are not so many patients, or fewer than 1 is asked for.
    """
    if not 1 <= count <= len(patients):
        raise UserError(f"data.patients {count}: the real store has {len(patients)} patients to train on")
    return sorted(seeded_order(patients, seed)[:count])


def _real_frames(store: EchoStore, split: str) -> np.ndarray:
    frames = usable_frames(store, split, plane=False)
    advice = "synthetic frames go into data.synthetic, and are never evaluated on"
    refuse_other_origin(store, frames, REAL_ORIGINS, advice)
    return frames


def _synthetic_frames(store: EchoStore) -> np.ndarray:
    frames = usable_frames(store, "train", plane=False)
    refuse_other_origin(store, frames, ("generated",), "data.synthetic takes a store that 'synthesize' made")
    return frames
