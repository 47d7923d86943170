"""The segmenter's training: Dice and cross-entropy on real frames, synthetic ones, or both."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tte_tee.anatomy import LabelSpace
from tte_tee.data.datamodule import Batch
from tte_tee.data.leakage import refuse_seen, seen_by_learning_from
from tte_tee.data.pictures import overlay
from tte_tee.data.segmentation import SegmentationDataModule
from tte_tee.errors import UserError
from tte_tee.evaluation.finding import write_found
from tte_tee.evaluation.segmenter import score, true_frames, write_evaluation
from tte_tee.models.adapters import GroupRow
from tte_tee.models.segmenter import (
    LoadedSegmenter,
    Segmenter,
    SegmenterConfig,
    load_segmenter,
    save_segmenter,
    take_over,
)
from tte_tee.seen import SEEN, seen_in
from tte_tee.tasks.task import Preview, Task, gathered

_PREVIEW_SIDE = 128


class HeartSegmenter(Task):
    """Finds the structures of a label space in frames.

    Validation scores the averaged weights on validation patients; the best of them are what is kept, exported,
    tested and predicted with. Logged: ``train/loss``, ``val/dice`` (mean over structures of the mean over patients),
    ``val/dice/RV`` and so on, ``learning_rate``.

    Args:
        network: shape of the network.
        pretrained: folder of a segmenter of the same network to start from; where its structures are others,
            all but the last layer is taken over.
        learning_rate: of AdamW.
        weight_decay: of AdamW.
        warmup_steps: linear warm-up before the cosine.
        seed: of initialisation; the command line sets it to ``seed_everything``.
    """

    product = "segmenter"

    def __init__(
        self,
        network: SegmenterConfig = SegmenterConfig(),
        pretrained: str | None = None,
        learning_rate: float = 5e-3,
        weight_decay: float = 0.01,
        warmup_steps: int = 20,
        seed: int = 0,
    ) -> None:
        super().__init__(learning_rate, weight_decay, warmup_steps, seed)
        self.shape, self.pretrained = network, pretrained
        self._found: dict[int, np.ndarray] = {}
        self._best: dict[str, Tensor] = {}
        self._best_dice, self._best_step = -1.0, 0
        self._best_structures: dict[str, float] = {}

    @property
    def data(self) -> SegmentationDataModule:  # type: ignore[override]
        """The DataModule of the run."""
        return self.trainer.datamodule  # type: ignore[attr-defined]

    def build(self, label_space: LabelSpace) -> None:
        """The network, from scratch or from ``pretrained``.

        Raises:
            UserError: frames do not fit the network, or ``pretrained`` does not.
        """
        if any(side % self.shape.stride for side in self.data.image_size):
            raise UserError(
                f"{self.data.path}: frames are {'x'.join(map(str, self.data.image_size))}, and the network halves them "
                f"{len(self.shape.channels) - 1} times; use fewer channels or a size that is a multiple of "
                f"{self.shape.stride}"
            )
        if max(self.data.image_size) == self.shape.stride:
            raise UserError(
                f"{self.data.path}: of frames of {'x'.join(map(str, self.data.image_size))} the network leaves one "
                "pixel, which has no variance to normalise by; use fewer channels"
            )
        from monai.losses import DeepSupervisionLoss, DiceCELoss  # half a second that other tasks need not wait

        self.segmenter = Segmenter(self.shape, label_space.structures)
        self.start: LoadedSegmenter | None = None
        if self.pretrained is not None:
            self.start = load_segmenter(self.pretrained)
            take_over(self.segmenter, self.start, self.pretrained)
        # Dice over the batch as a whole: a frame that lacks a structure says little of it by itself.
        dice = DiceCELoss(include_background=False, to_onehot_y=True, softmax=True, batch=True)
        self.loss = DeepSupervisionLoss(dice)

    def layers(self) -> list[GroupRow]:
        """The network as one group."""
        own = list(self.segmenter.parameters())
        count = sum(p.numel() for p in own)
        layers = sum(isinstance(m, torch.nn.Conv2d | torch.nn.ConvTranspose2d) for m in self.segmenter.modules())
        return [GroupRow("network", layers, layers, count, count, 1.0)]

    def remark(self) -> str:
        """What it is trained on."""
        real, synthetic = self.data.training_frames()
        patients = int(self.data.store.table["patient"].iloc[real].nunique())
        parts = [f"{len(real)} real frames of {patients} patients"] if len(real) else []
        parts += [f"{len(synthetic)} synthetic frames"] if len(synthetic) else []
        mixed = f", {self.data.ratio:g} synthetic to each real one" if len(parts) == 2 else ""
        return f"trained on {' and '.join(parts)}{mixed}"

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Dice and cross-entropy of one batch, summed over the network's levels."""
        self.log("learning_rate", self.trainer.optimizers[0].param_groups[0]["lr"])
        levels = [self._of_all_ranks(level) for level in self.segmenter.outputs(batch["image"])]
        loss = self.loss(levels, self._of_all_ranks(batch["mask"])[:, None])
        self.log("train/loss", loss, prog_bar=True, batch_size=len(batch["image"]))
        return loss

    def _of_all_ranks(self, part: Tensor) -> Tensor:
        """The global batch of which each rank has a part, so that its Dice is that of one process."""
        if self.trainer.world_size == 1:
            return part
        with warnings.catch_warnings(action="ignore", category=FutureWarning):  # of what Lightning calls in torch
            gathered = self.all_gather(part, sync_grads=part.is_floating_point())
        return gathered.flatten(0, 1)  # type: ignore[union-attr]

    def _find(self, batch: Batch) -> None:
        found = self.segmenter.find(batch["image"]).cpu().numpy()
        self._found.update(zip(batch["frame"].tolist(), found, strict=True))

    def _gathered(self) -> dict[int, np.ndarray]:
        """Masks found by all ranks since the last call, by index of the frame."""
        found, self._found = self._found, {}
        return gathered(self.trainer, found)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Finds masks; they are scored when all are there."""
        self._find(batch)

    def on_validation_epoch_end(self) -> None:
        """Scores the validation patients, and keeps the weights if they are the best so far."""
        result = score(self.data.store, self._gathered())
        summary = result.summary()
        structures = {s: v["dice"] for s, v in summary["structures"].items() if v["dice"] is not None}
        for structure, dice in structures.items():
            self.log(f"val/dice/{structure}", dice, sync_dist=True)
        dice = summary["mean_dice"] or 0.0
        self.log("val/dice", dice, prog_bar=True, sync_dist=True)
        if not self.trainer.sanity_checking and self.trainer.state.fn == "fit" and dice > self._best_dice:
            self._best_dice, self._best_step, self._best_structures = dice, self.trainer.global_step, structures
            self._best = {name: weight.detach().clone() for name, weight in self.segmenter.state_dict().items()}

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Finds masks."""
        self._find(batch)

    def on_test_start(self) -> None:
        """Refuses masks that nobody drew, and test patients whom anything that went into the segmenter has seen."""
        store = self.data.test_store
        tested = store.table["patient"].iloc[true_frames(store, "test")]
        refuse_seen(tested, self.seen(), str(store.path), "the segmenter's training or tuning")

    def on_test_epoch_end(self) -> None:
        """Scores the test patients and writes ``metrics.json`` and pictures into the run's folder."""
        found = self._gathered()
        result = score(self.data.test_store, found)
        run = self.trainer.log_dir
        structures = result.summary()["structures"].items()
        self.log_dict({f"test/dice/{s}": v["dice"] for s, v in structures if v["dice"] is not None}, sync_dist=True)
        if self.trainer.is_global_zero and run:
            write_evaluation(Path(run), self.data.test_store, found, result, {SEEN: sorted(self.seen())})

    def predict_step(self, batch: Batch, batch_idx: int) -> tuple[Tensor, Tensor]:
        """Indices ``[B]`` of the frames, and masks found, uint8 ``[B, H, W]``."""
        return batch["frame"].cpu(), self.segmenter.find(batch["image"]).cpu()

    def write_predictions(self, run: Path, predictions: Mapping[int, np.ndarray]) -> Path:
        """A store of the frames with the masks found."""
        command, record = "python -m tte_tee predict", {SEEN: sorted(self.seen())}
        return write_found(run / "predictions.h5", self.data.test_store, predictions, command, record)

    def preview(self, batch: Batch) -> Preview:
        """Frame, truth and what was found."""
        image = batch["image"][:, 0].add(1).mul(127.5).round().byte().cpu().numpy()
        sector = batch["sector"][:, 0].byte().cpu().numpy()
        truth, found = batch["mask"].byte().cpu().numpy(), self.segmenter.find(batch["image"]).cpu().numpy()
        none = np.zeros_like(truth)
        rows = [
            [overlay(i, mask, s, self.target, _PREVIEW_SIDE) for mask in masks]
            for i, s, *masks in zip(image, sector, none, truth, found, strict=True)
        ]
        return Preview(rows, ("frame", "truth", "found"), outlined=True)

    def seen(self) -> set[str]:
        """Every patient who went into this segmenter."""
        data = self.data
        seen = set(data.training_patients()) | seen_in(data.store.provenance)
        seen |= set(data.store.table["patient"][data.store.table["split"] == "val"])
        if data.synthetic_store is not None:
            seen |= seen_by_learning_from(data.synthetic_store, ("train",))
        return seen | (seen_in(self.start.record) if self.start else set())

    def data_record(self) -> dict[str, Any]:
        """What is learnt from: of split ``train`` the frames that this run takes, and the synthetic ones."""
        real, synthetic = self.data.training_frames()
        record = super().data_record()
        patients = int(self.data.store.table["patient"].iloc[real].nunique())
        record["learnt_from"]["train"] = {"patients": patients, "frames": len(real)}
        if (other := self.data.synthetic_store) is not None:
            of = {**other.as_source(), "frames": len(synthetic)}
            record["synthetic"] = {**of, "to_each_real": self.data.ratio if len(real) else None}
        return record

    def settle(self) -> str:
        """Takes the best weights on validation patients."""
        if not self._best:
            return ""
        self.segmenter.load_state_dict(self._best)
        return (
            f"the weights of step {self._best_step}, the best on validation patients (val/dice {self._best_dice:.3f})"
        )

    def export(self, run: Path, record: dict[str, Any]) -> Path:
        """The folder ``segmenter``."""
        record = {
            **record,
            "val_dice": self._best_dice if self._best else None,
            "val_structures": self._best_structures,
            "val_step": self._best_step if self._best else None,
        }
        save_segmenter(run / self.product, self.segmenter, self.target, self.data.image_size, record)
        return run / self.product

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keeps the best weights beside the latest."""
        super().on_save_checkpoint(checkpoint)
        kept = {"dice": self._best_dice, "step": self._best_step, "structures": self._best_structures}
        checkpoint["best"] = {"weights": self._best, **kept}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Goes on from the latest weights; evaluates with the best, which are averages already."""
        super().on_load_checkpoint(checkpoint)
        best = {"weights": {}, "dice": -1.0, "step": 0, "structures": {}} | checkpoint.get("best", {})
        self._best, self._best_structures = best["weights"], best["structures"]
        self._best_dice, self._best_step = best["dice"], best["step"]
        if self._best and self.trainer.state.fn != "fit":
            checkpoint["state_dict"].update({f"segmenter.{name}": weight for name, weight in self._best.items()})
            checkpoint["callbacks"] = {k: v for k, v in checkpoint.get("callbacks", {}).items() if k != "EMA"}
