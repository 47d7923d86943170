"""What a run shows while it goes on: the table of trained layers, a bar, or lines where there is no terminal."""

from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback, RichProgressBar
from rich.console import Console
from rich.table import Table

from tte_tee.tasks.checkpoint import ends_a_step
from tte_tee.tasks.task import Task

_EVERY = 25  # steps from line to line of a log file


class ParameterTable(Callback):
    """Prints, before training, which groups of layers are trained and what they weigh."""

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Prints the table and the remark, and says when there will be no val/loss."""
        if not trainer.is_global_zero:
            return
        assert isinstance(pl_module, Task)
        table = Table(title="What is trained")
        for heading in ("group", "layers", "trained", "parameters", "trainable", "share"):
            table.add_column(heading, justify="left" if heading == "group" else "right")
        rows = pl_module.layers()
        for row in rows:
            numbers = (f"{n:,}" for n in (row.layers, row.trained, row.parameters, row.trainable))
            table.add_row(row.group, *numbers, f"{row.share:.2%}", end_section=row in rows[-2:-1])
        console = Console(stderr=True)
        console.print(table)
        console.print(pl_module.remark())
        if not len(pl_module.data.store.indices(split="val")):
            console.print(f"{pl_module.data.path} has no split val: there will be no val/loss")


class StepLines(Callback):
    """A line now and then, and at the end, where no terminal shows a progress bar, as in a log file."""

    def __init__(self) -> None:
        self.console = Console(stderr=True)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Prints step and losses when it is time."""
        step = trainer.global_step
        due = ends_a_step(trainer, batch_idx) and (step % _EVERY == 0 or step == trainer.max_steps)
        if self.console.is_terminal or not trainer.is_global_zero or not due:
            return
        losses = (f"{name} {value:.4f}" for name, value in trainer.progress_bar_metrics.items() if "loss" in name)
        self.console.print(f"step {step}/{trainer.max_steps}", *losses)


class StepBar(RichProgressBar):
    """Lightning's bar without epochs, for a run is counted in steps, and without the number of its folder."""

    def _get_train_description(self, current_epoch: int) -> str:
        return f"{'training':{len(self.validation_description)}}"

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Takes the bar away before what is left behind is said, which would stand in the middle of it."""
        super().on_train_end(trainer, pl_module)
        self._stop_progress()

    def get_metrics(self, trainer: L.Trainer, pl_module: L.LightningModule) -> Any:
        """What is shown beside the bar."""
        return {name: value for name, value in super().get_metrics(trainer, pl_module).items() if name != "v_num"}
