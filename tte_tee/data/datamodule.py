"""DataModules: an echo store in, batches with fixed keys out.

A batch is a dict:

========== ================ ==================================================================
key        shape            meaning
========== ================ ==================================================================
``image``  float [B,1,H,W]  grey levels in [-1, 1]
``mask``   int64 [B,H,W]    ids of the store's label space, 0 background
``sector`` float [B,1,H,W]  1 inside the sector
``plane``  int64 [B]        index into :data:`anatomy.PLANES`, -1 for a view without one
``frame``  int64 [B]        index of the frame in the store
``draw``   int64 [B]        how often this run drew the frame before (0 when evaluating)
========== ================ ==================================================================
"""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate
from torch.utils.data.distributed import DistributedSampler

from tte_tee.anatomy import PLANES, VIEWS, LabelSpace
from tte_tee.data.augment import Augmentation
from tte_tee.data.curate.choose import evenly
from tte_tee.data.mixing import FrameStream
from tte_tee.data.phantom import PHANTOM_VERSION, PhantomSpec, write_phantom
from tte_tee.data.phantom.version import is_of_this_version
from tte_tee.data.store import SPLITS, EchoStore
from tte_tee.data.usable import usable_frames
from tte_tee.errors import UserError

Batch = dict[str, Tensor]
_OUT = " --out "  # of a command line; what follows is a name


class FrameDataset(Dataset[Batch]):
    """Frames of a store as tensors; asked by ``(index of the frame, draw)``.

    Args:
        store: of the frames.
        augmentation: keyed by seed, frame and draw; none when left out.
        seed: of the augmentation.
    """

    def __init__(self, store: EchoStore, augmentation: Augmentation = Augmentation("none"), seed: int = 0) -> None:
        self.store, self.augmentation, self.seed = store, augmentation, seed
        index = {view.name: PLANES.index(view.plane) if view.plane else -1 for view in VIEWS.values()}
        self._planes = [index[view] for view in store.table["view"]]

    def __getitem__(self, key: tuple[int, int]) -> Batch:
        index, draw = key
        return {
            **frame_tensors(*self.augmentation(*self.store.frame(index), (self.seed, index, draw))),
            "plane": torch.tensor(self._planes[index]),
            "frame": torch.tensor(index),
            "draw": torch.tensor(draw),
        }

    def __len__(self) -> int:
        return len(self.store)


def frame_tensors(image: np.ndarray, mask: np.ndarray, sector: np.ndarray) -> Batch:
    """``image``, ``mask`` and ``sector`` of a batch, from uint8 ``[H, W]`` each."""
    return {
        "image": torch.from_numpy(image).float().div(127.5).sub(1.0)[None],
        "mask": torch.from_numpy(mask).long(),
        "sector": torch.from_numpy(sector).float()[None],
    }


class Keyed(Dataset[Batch]):
    """A dataset asked by position."""

    def __init__(self, dataset: Dataset[Batch], keys: Sequence[Any]) -> None:
        self.dataset, self.keys = dataset, keys

    def __getitem__(self, position: int) -> Batch:
        return self.dataset[self.keys[position]]

    def __len__(self) -> int:
        return len(self.keys)


def once_through(
    dataset: Dataset[Batch], keys: Sequence[Any], batch_size: int, trainer: L.Trainer
) -> DataLoader[Batch]:
    """Goes through a dataset once in the order of the keys, each rank through its share.

    Ranks get equally many frames, however few there are, so that none waits for another; what that
    takes twice, ``tasks.task.gathered`` counts once.
    """
    keyed = Keyed(dataset, keys)
    ranks, rank = trainer.world_size, trainer.global_rank
    share: DistributedSampler[Batch] = DistributedSampler(keyed, num_replicas=ranks, rank=rank, shuffle=False)
    return DataLoader(keyed, sampler=share, batch_size=batch_size)


def whole_run(trainer: L.Trainer) -> dict[str, int]:
    """What a :class:`mixing.Row` needs to know of a run: ``steps``, ``first_step``, ``world_size``, ``rank``.

    Raises:
        UserError: the run has no end.
    """
    if trainer.max_steps < 0:
        raise UserError("trainer.max_steps: say how many steps to train (runs are counted in steps, not epochs)")
    return {
        "steps": trainer.max_steps * trainer.accumulate_grad_batches,
        "first_step": trainer.global_step * trainer.accumulate_grad_batches,
        "world_size": trainer.world_size,
        "rank": trainer.global_rank,
    }


def check_loading(batch_size: int, eval_batch_size: int, num_workers: int, seed: int) -> None:
    """Refuses numbers that no loader can work with.

    Raises:
        UserError: a batch holds less than 1 frame, or workers or seed are below 0.
    """
    if min(batch_size, eval_batch_size) < 1 or num_workers < 0 or seed < 0:
        raise UserError(
            f"data: batch_size {batch_size}, eval_batch_size {eval_batch_size}, num_workers {num_workers}, "
            f"seed {seed}; batches hold 1 frame or more, workers and seed are 0 or more"
        )


class EchoDataModule(L.LightningDataModule):
    """Batches from one echo store, by its own splits.

    Args:
        store: the HDF5 file.
        batch_size: frames per step and rank.
        seed: of the order of training frames.
        num_workers: processes that read ahead; a store of small frames needs none.
        predict_split: whose masks ``predict`` draws frames for.
        eval_batch_size: frames per step in validation, test and prediction.
        augmentation: of the training frames: ``none``, ``standard`` or ``strong``.
    """

    def __init__(
        self,
        store: str,
        batch_size: int = 16,
        seed: int = 0,
        num_workers: int = 0,
        predict_split: str = "test",
        eval_batch_size: int = 32,
        augmentation: str = "none",
    ) -> None:
        super().__init__()
        check_loading(batch_size, eval_batch_size, num_workers, seed)
        if predict_split not in SPLITS:
            raise UserError(f"data.predict_split: '{predict_split}' is not one of {', '.join(SPLITS)}")
        self.path = Path(store)
        self.batch_size, self.eval_batch_size, self.seed = batch_size, eval_batch_size, seed
        self.num_workers, self.predict_split = num_workers, predict_split
        self.augmentation = Augmentation(augmentation)

    @cached_property
    def store(self) -> EchoStore:
        """The store, opened when first asked for."""
        return EchoStore(self.path)

    @property
    def label_space(self) -> LabelSpace:
        """What the masks mean."""
        return self.store.label_space

    @property
    def image_size(self) -> tuple[int, int]:
        """Rows and columns of every frame."""
        return self.store.image_size

    def frames(self, split: str, *, image: bool = True) -> np.ndarray:
        """:func:`usable_frames` of this store."""
        return usable_frames(self.store, split, image=image)

    def train_dataloader(self) -> DataLoader[Batch]:
        """``trainer.max_steps`` batches in the order of :class:`FrameStream`."""
        trainer = self.trainer
        assert trainer is not None
        run = whole_run(trainer)
        stream = FrameStream(self.frames("train"), seed=self.seed, batch_size=self.batch_size, **run)
        dataset = FrameDataset(self.store, self.augmentation, self.seed)
        return DataLoader(dataset, sampler=stream, batch_size=self.batch_size, num_workers=self.num_workers)

    def val_dataloader(self) -> DataLoader[Batch] | list[DataLoader[Batch]]:
        """Validation frames in the order of the file; nothing for a store without any."""
        if not len(self.store.indices(split="val")):
            return []
        return self._ordered("val")

    def test_dataloader(self) -> DataLoader[Batch]:
        """Test frames in the order of the file."""
        return self._ordered("test")

    def predict_dataloader(self) -> DataLoader[Batch]:
        """Frames of ``predict_split`` in the order of the file."""
        return self._ordered(self.predict_split, image=False)

    def _ordered(self, split: str, *, image: bool = True) -> DataLoader[Batch]:
        keys = [(int(i), 0) for i in self.frames(split, image=image)]
        assert self.trainer is not None
        return once_through(FrameDataset(self.store), keys, self.eval_batch_size, self.trainer)

    def fixed_batch(self, size: int) -> Batch:
        """The same few frames every time: spread over the validation split, else over training."""
        split = "val" if len(self.store.indices(split="val")) else "train"
        indices = self.frames(split)
        chosen = indices[evenly(len(indices), size)]
        dataset = FrameDataset(self.store)
        return default_collate([dataset[int(i), 0] for i in chosen])


class PhantomDataModule(EchoDataModule):
    """An :class:`EchoDataModule` that makes its phantom store when the file is not there.

    Args:
        store: where the phantom is kept between runs.
        domain: ``tte`` or ``tee``.
        patients: hearts in all, training, validation and test together.
        phantom_seed: of the hearts.
        size: of a frame in pixels.
        val: share of the hearts in the validation split.
        test: share of the hearts in the test split.
        batch_size, seed, num_workers, predict_split, eval_batch_size, augmentation: as in EchoDataModule.
    """

    def __init__(
        self,
        store: str = "data/phantom_tee.h5",
        domain: str = "tee",
        patients: int = 30,
        phantom_seed: int = 2,
        size: int = 64,
        val: float = 0.15,
        test: float = 0.25,
        batch_size: int = 16,
        seed: int = 0,
        num_workers: int = 0,
        predict_split: str = "test",
        eval_batch_size: int = 32,
        augmentation: str = "none",
    ) -> None:
        super().__init__(store, batch_size, seed, num_workers, predict_split, eval_batch_size, augmentation)
        self.spec = PhantomSpec(domain=domain, patients=patients, seed=phantom_seed, size=size, val=val, test=test)

    def prepare_data(self) -> None:
        """Images the phantom once, on one process.

        Raises:
            UserError: the file is there, but holds something else than this phantom.
        """
        if self.path.exists():
            self._check_phantom(EchoStore(self.path))
        else:
            write_phantom(self.spec, self.path, progress=True)

    def _check_phantom(self, store: EchoStore) -> None:
        """Refuses another phantom, or one of another version; under which name it was made says nothing."""
        advice = "remove the file or name another with --data.store"
        wanted = self.spec.command(self.path.name)
        if store.command.partition(_OUT)[0] != wanted.partition(_OUT)[0]:
            raise UserError(f"{self.path}: was made by '{store.command}', the config asks for '{wanted}'; {advice}")
        if not is_of_this_version(store.provenance):
            raise UserError(
                f"{self.path}: was drawn by another version of the phantom than {PHANTOM_VERSION}, which the config "
                f"asks for; {advice}"
            )
