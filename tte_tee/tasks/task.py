"""What every task shares: optimiser and schedule, the data's label space, what a checkpoint holds."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import lightning as L
import numpy as np
import torch
from diffusers.optimization import get_cosine_schedule_with_warmup
from torch import Tensor

from tte_tee.anatomy import LabelSpace
from tte_tee.data.datamodule import Batch, EchoDataModule
from tte_tee.data.leakage import seen_by_learning_from
from tte_tee.errors import SharedError, UserError
from tte_tee.models.adapters import GroupRow
from tte_tee.models.diffusion import generator_for

Found = TypeVar("Found")

_CALMER = "try a smaller --model.learning_rate, --trainer.gradient_clip_val 1, or --trainer.precision 32"


@dataclass(frozen=True)
class Preview:
    """Rows of pictures, uint8 ``[H, W, 3]`` each, under column titles; ``outlined`` sectors are edges, not shapes."""

    rows: list[list[np.ndarray]]
    titles: tuple[str, ...]
    outlined: bool = False


def gathered(trainer: L.Trainer, found: Mapping[int, Found]) -> dict[int, Found]:
    """What all ranks found, by index of the frame in rising order.

    Ranks evaluate equally many frames, some of them twice if need be; here each counts once.
    """
    parts: list[Mapping[int, Found]] = [found] * trainer.world_size
    if trainer.world_size > 1:
        torch.distributed.all_gather_object(parts, found)
    every = {index: what for part in parts for index, what in part.items()}
    return {index: every[index] for index in sorted(every)}


class Task(L.LightningModule):
    """A network that is built once the data is known, trained by AdamW over a cosine, and left in a folder.

    Attributes:
        product: name of that folder in the run's own; where it stands, the run is finished.

    Args:
        learning_rate: of AdamW.
        weight_decay: of AdamW.
        warmup_steps: linear warm-up before the cosine.
        seed: of initialisation and of every draw.

    Raises:
        UserError: a number is out of its range.
    """

    product: ClassVar[str]

    def __init__(self, learning_rate: float, weight_decay: float, warmup_steps: int, seed: int) -> None:
        super().__init__()
        if min(learning_rate, weight_decay, warmup_steps) < 0:
            raise UserError(
                f"model: learning_rate {learning_rate}, weight_decay {weight_decay}, warmup_steps {warmup_steps}; "
                "none may be negative"
            )
        self.learning_rate, self.weight_decay, self.warmup_steps = learning_rate, weight_decay, warmup_steps
        self.seed = seed
        self._built = False

    @property
    def data(self) -> EchoDataModule:
        """The DataModule of the run."""
        return self.trainer.datamodule  # type: ignore[attr-defined]

    def resolved(self) -> dict[str, Any]:
        """Options that were left open, as they were taken; for records."""
        return {}

    def build(self, label_space: LabelSpace) -> None:
        """Makes the network for masks of ``label_space``."""
        raise NotImplementedError

    def configure_model(self) -> None:
        """Builds the network once the data's label space is known."""
        if not self._built:
            self.target = self.data.label_space
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(self.seed)
                self.build(self.data.label_space)
            self._built = True

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Keys what the network itself draws (dropout), so that a run that went on draws the same."""
        torch.manual_seed(generator_for("network", self.seed, batch_idx, self.global_rank).initial_seed())

    def layers(self) -> list[GroupRow]:
        """What is trained, a row per group of layers, the last one their total."""
        raise NotImplementedError

    def remark(self) -> str:
        """What else to say before training."""
        raise NotImplementedError

    def preview(self, batch: Batch) -> Preview:
        """What the network makes of a batch, to be looked at."""
        raise NotImplementedError

    def data_record(self) -> dict[str, Any]:
        """What is learnt from, in names and numbers; who, :meth:`seen` says."""
        store = self.data.store
        table = store.table[store.table["split"].isin(("train", "val"))]
        splits = {
            str(split): {"patients": int(part["patient"].nunique()), "frames": len(part)}
            for split, part in table.groupby("split")
        }
        return {
            **store.as_source(),
            "label_space": store.label_space.name,
            "licence": store.licence,
            "cohorts": sorted(set(table["cohort"])),
            "learnt_from": splits,
        }

    def seen(self) -> set[str]:
        """Every patient who went into what is trained."""
        return seen_by_learning_from(self.data.store)

    def settle(self) -> str:
        """Takes the weights that are left behind, where they are not the averaged ones; returns which, in words."""
        return ""

    def export(self, run: Path, record: dict[str, Any]) -> Path:
        """Leaves what was trained in ``run / product``, with the record of where it comes from."""
        raise NotImplementedError

    def write_predictions(self, run: Path, predictions: Mapping[int, np.ndarray]) -> Path:
        """Writes what ``predict`` gave, uint8 ``[H, W]`` by index of the frame."""
        raise NotImplementedError

    def configure_optimizers(self) -> Any:
        """AdamW on what is trainable, with linear warm-up and a cosine to zero; None without any.

        Raises:
            UserError: there is nothing to train and yet steps to take, or the other way round.
        """
        trainable = [p for p in self.parameters() if p.requires_grad]
        if not trainable:
            if self.trainer.max_steps:
                raise UserError("trainer.max_steps: this method trains nothing; set it to 0")
            return None
        if not self.trainer.max_steps:
            raise UserError("trainer.max_steps: 0 steps train nothing; use more, or method 'none'")
        optimizer = torch.optim.AdamW(trainable, lr=self.learning_rate, weight_decay=self.weight_decay)
        scheduler = get_cosine_schedule_with_warmup(optimizer, self.warmup_steps, self.trainer.max_steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_before_backward(self, loss: Tensor) -> None:
        """Stops at the first loss that is no number, on whichever rank, before it reaches the weights.

        Raises:
            SharedError: saying at which step, and what to try.
        """
        total = self.trainer.strategy.reduce(loss.detach().clone(), reduce_op="sum")
        if not torch.isfinite(total):
            raise SharedError(f"the loss is {total.item()} at step {self.trainer.global_step + 1}; {_CALMER}")

    def on_train_end(self) -> None:
        """Stops before weights are exported that are no numbers: no loss follows the last step."""
        self._check_weights()

    def _check_weights(self) -> None:
        for name, parameter in self.named_parameters():
            if parameter.requires_grad and not torch.isfinite(parameter).all():
                raise SharedError(f"weight {name} is no finite number at step {self.trainer.global_step}; {_CALMER}")

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keeps what was trained; frozen weights stay in the base, where they came from.

        Raises:
            SharedError: a weight is no finite number; the checkpoint before this one stays.
        """
        self._check_weights()
        trained = {name for name, parameter in self.named_parameters() if parameter.requires_grad}
        checkpoint["state_dict"] = {k: v for k, v in checkpoint["state_dict"].items() if k in trained}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Completes a checkpoint with the frozen weights already in place.

        Raises:
            UserError: what it trained is not what this config trains.
        """
        trained = {name: parameter.shape for name, parameter in self.named_parameters() if parameter.requires_grad}
        held = {name: weight.shape for name, weight in checkpoint["state_dict"].items()}
        if held != trained:
            other = sum(held.get(name) != shape for name, shape in trained.items())
            raise UserError(
                f"ckpt_path: the checkpoint holds other trained weights than this config trains ({len(held)} tensors "
                f"against {len(trained)}, of which {other} are missing or of another shape); use the config of its run"
            )
        checkpoint["state_dict"] = {**self.state_dict(), **checkpoint["state_dict"]}
