"""What a run leaves behind: averaged weights, previews, options, folders."""

import resource
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from diffusers.training_utils import EMAModel
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger
from rich.console import Console
from torch.utils.tensorboard.summary import hparams

from tte_tee.data.pictures import contact_sheet, legend, write_png
from tte_tee.errors import UserError
from tte_tee.provenance import provenance
from tte_tee.seen import SEEN
from tte_tee.tasks.checkpoint import ends_a_step
from tte_tee.tasks.task import Task, gathered


class EMA(Callback):
    """Exponential moving average of the trained weights; evaluation and export use it.

    Args:
        decay: of the average once warmed up, as in diffusers' ``EMAModel``.
    """

    def __init__(self, decay: float = 0.999) -> None:
        if not 0 <= decay < 1:
            raise UserError(f"ema.decay: {decay}; use 0 (no average) or more, below 1")
        self.decay = decay
        self.average: EMAModel | None = None
        self._state: dict[str, Any] | None = None
        self._step = 0
        self._swapped = False

    @staticmethod
    def _trained(module: L.LightningModule) -> list[torch.nn.Parameter]:
        return [p for p in module.parameters() if p.requires_grad]

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Forgets the average of an earlier run of this callback."""
        self.average = None

    def _ensure(self, module: L.LightningModule) -> None:
        if self.average is None:
            self.average = EMAModel(self._trained(module), decay=self.decay, use_ema_warmup=True, power=0.75)
            if self._state is not None:
                self.average.load_state_dict(self._state)
                self.average.decay = self.decay  # the config's word, as for every other option
                self.average.to(module.device)
                self._state = None

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Starts the average, or goes on with the one of the checkpoint."""
        self._ensure(pl_module)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Notes the step at which training begins, or goes on."""
        self._step = trainer.global_step

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        """Takes the weights of this step into the average; between steps (accumulation) they stand still."""
        assert self.average is not None
        if trainer.global_step > self._step:
            self._step = trainer.global_step
            self.average.step(self._trained(pl_module))

    def _swap_in(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._ensure(pl_module)
        assert self.average is not None
        if not self._swapped:
            self.average.store(self._trained(pl_module))
            self.average.copy_to(self._trained(pl_module))
            self._swapped = True

    def _swap_out(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self._swapped and self.average is not None:
            self.average.restore(self._trained(pl_module))
            self._swapped = False

    on_validation_start = on_test_start = on_predict_start = _swap_in
    on_validation_end = on_test_end = on_predict_end = _swap_out

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Leaves the average in place, or what the task would rather leave behind, and says which."""
        self._swap_in(trainer, pl_module)
        assert isinstance(pl_module, Task)
        if (kept := pl_module.settle()) and trainer.is_global_zero:
            Console(stderr=True).print(f"kept: {kept}")

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Leaves the trained weights, not the average, in a module whose run broke off."""
        self._swap_out(trainer, pl_module)

    def state_dict(self) -> dict[str, Any]:
        """The average, for the checkpoint."""
        return {} if self.average is None else self.average.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keeps the average of a checkpoint until the network is there."""
        self._state = state_dict or None


class Previews(Callback):
    """Grids of what the task shows of a few fixed frames, in TensorBoard and as PNG.

    Args:
        every_n_steps: how often before the end; 0 for the end alone.
        frames: rows of the grid.
    """

    def __init__(self, every_n_steps: int = 0, frames: int = 6) -> None:
        if every_n_steps < 0 or frames < 1:
            raise UserError(f"previews: every_n_steps {every_n_steps}, frames {frames}; use 0 or more, and 1 or more")
        self.every_n_steps, self.frames = every_n_steps, frames

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Draws a grid when one is due."""
        due = self.every_n_steps and trainer.global_step % self.every_n_steps == 0
        if due and ends_a_step(trainer, batch_idx) and trainer.global_step < trainer.max_steps:
            self._draw(trainer, pl_module)

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Draws the last grid, with the weights that are left behind."""
        self._draw(trainer, pl_module)

    def _draw(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        log_dir = trainer.log_dir  # asked on every rank: it is broadcast
        if not trainer.is_global_zero or not log_dir:
            return
        assert isinstance(pl_module, Task)
        batch = pl_module.data.fixed_batch(self.frames)
        on_device = {key: value.to(pl_module.device) for key, value in batch.items()}
        with trainer.precision_plugin.forward_context():
            preview = pl_module.preview(on_device)
        sheet = contact_sheet(preview.rows, preview.titles)
        picture = np.vstack([sheet, legend(pl_module.target, "", sheet.shape[1], outlined=preview.outlined)])
        write_png(Path(log_dir) / "previews" / f"step_{trainer.global_step:06d}.png", picture)
        if isinstance(trainer.logger, TensorBoardLogger):
            trainer.logger.experiment.add_image("previews", picture, trainer.global_step, dataformats="HWC")


_ABOUT_THE_RUN = ("callbacks", "logger", "plugins")  # of the trainer, and no hyperparameters


class HyperParameters(Callback):
    """Puts the run into TensorBoard's table of hyperparameters, beside the last value of each of its curves."""

    def __init__(self) -> None:
        self.config: dict[str, Any] = {}

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Writes what TensorBoard makes its table of; curves are referred to, not written again."""
        if trainer.is_global_zero and isinstance(trainer.logger, TensorBoardLogger):
            assert isinstance(pl_module, Task)
            values = {**dict(_plain(self.config)), "parameters": pl_module.layers()[-1].trainable}
            for summary in hparams(values, dict.fromkeys(map(str, trainer.logged_metrics), 0.0)):
                trainer.logger.experiment._get_file_writer().add_summary(summary)


def _plain(config: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, float | str | bool]]:
    """What a config says, by the names of its options; lists and paths as text, what is left open not at all."""
    for key, value in config.items():
        name = before if key in ("init_args", "class_path") else f"{before}.{key}".lstrip(".")
        if isinstance(value, Mapping) and key not in _ABOUT_THE_RUN:
            yield from _plain(value, name)
        elif key == "class_path":
            yield name, value.rpartition(".")[2]
        elif value is not None and key not in _ABOUT_THE_RUN:
            yield name, value if isinstance(value, (bool, int, float, str)) else str(value)


class Export(Callback):
    """Leaves what was trained as a folder, with the record of where it comes from."""

    def __init__(self) -> None:
        self.config: dict[str, Any] = {}
        self._provenance: dict[str, Any] = {}
        self._start = self._before = 0.0

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Notes commit, versions and time of the start: what runs is the code of that moment."""
        self._provenance, self._start = provenance(), time.monotonic()

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Writes the folder into the run's own and says where."""
        log_dir = trainer.log_dir  # asked on every rank: it is broadcast
        if not trainer.is_global_zero or not log_dir:
            return
        assert isinstance(pl_module, Task)
        record = {
            **self._provenance,
            "config": self.config,
            "steps": trainer.global_step,
            "seconds": round(self._seconds(), 1),
            "peak_memory_mib": peak_memory(pl_module.device),
            "parameters": {"trained": pl_module.layers()[-1].trainable, "share": pl_module.layers()[-1].share},
            "data": pl_module.data_record(),
            SEEN: sorted(pl_module.seen()),
        }
        folder = pl_module.export(Path(log_dir), record)
        Console(stderr=True).print(f"left in [bold]{folder}[/bold]")

    def _seconds(self) -> float:
        return self._before + time.monotonic() - self._start

    def state_dict(self) -> dict[str, Any]:
        """How long the run has taken so far, for the checkpoint."""
        return {"seconds": self._seconds()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Counts on from the checkpoint."""
        self._before = state_dict["seconds"]


def peak_memory(device: torch.device) -> int:
    """Most memory held so far in MiB: of the device if it is a GPU, else of the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) // 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 2**10


class Predictions(Callback):
    """Writes what ``predict`` gives into the run's folder."""

    def __init__(self) -> None:
        self._drawn: dict[int, Any] = {}

    def on_predict_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, *_: Any) -> None:
        """Keeps the frames of a batch until all are there."""
        frames, images = outputs
        self._drawn.update(zip(frames.tolist(), images.numpy(), strict=True))

    def on_predict_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Gathers the frames of all ranks and writes them on the first."""
        assert isinstance(pl_module, Task)
        drawn, self._drawn = gathered(trainer, self._drawn), {}
        folder = Path(trainer.log_dir or trainer.default_root_dir)  # asked on every rank: it is broadcast
        if trainer.is_global_zero:
            path = pl_module.write_predictions(folder, drawn)
            Console(stderr=True).print(f"left in [bold]{path}[/bold]")
