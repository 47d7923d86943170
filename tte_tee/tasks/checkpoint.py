"""What a run survives by: checkpoints that are whole, and a stop between two steps when it is asked to make way."""

import os
import re
import shutil
import signal
import threading
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.callbacks import Checkpoint as CheckpointCallback
from rich.console import Console

from tte_tee.errors import SharedError, UserError
from tte_tee.files import file_hash, sync_to_disk, write_whole
from tte_tee.tasks.task import Task

FOLDER, LAST = "checkpoints", "last.ckpt"
MAKE_WAY = (signal.SIGUSR1, signal.SIGTERM, signal.SIGINT)
INTERRUPTED = 128 + signal.SIGINT
_NAME = re.compile(r"step=(\d+)\.ckpt")


def checkpoints(folder: Path) -> dict[int, Path]:
    """Checkpoints of a folder by step, the newest first."""
    steps = {int(found[1]): path for path in folder.glob("step=*.ckpt") if (found := _NAME.fullmatch(path.name))}
    return dict(sorted(steps.items(), reverse=True))


def checksum_beside(checkpoint: Path) -> Path:
    """Where the SHA-256 of a checkpoint stands, for ``sha256sum --check`` too."""
    return checkpoint.with_name(f"{checkpoint.name}.sha256")


def ends_a_step(trainer: L.Trainer, batch_idx: int) -> bool:
    """Whether an optimiser step ends with this batch; under accumulation most do not."""
    return (batch_idx + 1) % trainer.accumulate_grad_batches == 0


class Checkpoint(CheckpointCallback):
    """Keeps a run as ``step=N.ckpt``, now and then and at its end; ``last.ckpt`` points to the newest.

    A checkpoint gets its name when all of it is on the disk, and when the curve of its step is: the
    loggers learn of a step after the callbacks do, so it is named before the next batch. Where
    validation falls on its step, validation comes first: what it found (the best weights so far)
    would be lost to a run that goes on from there.

    Attributes:
        same_run: refuses a checkpoint that other data or another number of processes made.

    Args:
        every_n_train_steps: how often to save.
        keep_last: how many to keep; should the newest be damaged, a run goes on from the one before.
    """

    def __init__(self, every_n_train_steps: int = 100, keep_last: int = 2) -> None:
        if min(every_n_train_steps, keep_last) < 1:
            raise UserError(
                f"checkpoint: every_n_train_steps {every_n_train_steps}, keep_last {keep_last}; use 1 or more"
            )
        self.every_n_train_steps, self.keep_last = every_n_train_steps, keep_last
        self.folder = Path(FOLDER)
        self.same_run = False
        self._due = False
        self._nameless: Path | None = None

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Notes the run's folder."""
        self.folder = Path(trainer.log_dir or trainer.default_root_dir) / FOLDER  # asked on every rank: it is broadcast

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Removes what a killed run left half."""
        if not trainer.is_global_zero:
            return
        assert isinstance(pl_module, Task)
        run = self.folder.parent
        for path in (*self.folder.glob("*.tmp*"), *run.glob("previews/*.png.tmp-*")):
            _remove(path)
        for folder in run.glob(f".{pl_module.product}.tmp-*"):
            shutil.rmtree(folder)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Removes damaged checkpoints beyond the one that is gone on from."""
        if trainer.is_global_zero:
            for path in [path for step, path in checkpoints(self.folder).items() if step > trainer.global_step]:
                _remove(path)

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Notes what decides a run and no config says."""
        checkpoint["made_by"] = _made_by(trainer, pl_module)

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Refuses what would end elsewhere than an undisturbed run.

        Raises:
            SharedError: naming what differs.
        """
        theirs = checkpoint.get("made_by", {})
        for what, ours in _made_by(trainer, pl_module).items() if self.same_run else ():
            if theirs.get(what, ours) != ours:
                raise SharedError(
                    f"--resume auto: {self.folder.parent} was trained with {what} {theirs[what]}, not {ours}; "
                    "put it back as it was, or start anew with another --trainer.logger.init_args.version"
                )

    def save_this_step(self) -> None:
        """Asks for a checkpoint of the step that is ending, whether it is time for one or not."""
        self._due = True

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Saves when it is time, unless the validation of this step is still to come."""
        self._due |= ends_a_step(trainer, batch_idx) and trainer.global_step % self.every_n_train_steps == 0
        every = trainer.val_check_batch
        validates = any(trainer.num_val_batches) and every and (trainer.fit_loop.total_batch_idx + 1) % every == 0
        if self._due and not validates:
            self._save(trainer)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Makes up for a save that waited."""
        if self._due:
            self._save(trainer)
            self.give_name(trainer)

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Names the checkpoint of the step before, whose curve the loggers have by now."""
        self.give_name(trainer)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Saves the end of the run."""
        if trainer.global_step and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            self._save(trainer)
            self.give_name(trainer)

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Names what was saved whole before the next batch could not be read, or would not train."""
        with suppress(OSError, UserError):  # the disk may be what failed; the error at hand says so
            self.give_name(trainer)

    def _save(self, trainer: L.Trainer) -> None:
        self._due = False
        nameless = self.folder / f"step={trainer.global_step}.ckpt.tmp"
        try:
            trainer.save_checkpoint(nameless, weights_only=False)  # the optimiser too
        except OSError as error:
            raise UserError(f"{self.folder}: cannot write there ({error.strerror or error})") from error
        self._nameless = nameless

    def give_name(self, trainer: L.Trainer) -> None:
        """Gives the checkpoint that was saved last its name, and removes the oldest."""
        whole, self._nameless = self._nameless, None
        if whole is None or not trainer.is_global_zero:
            return
        for logger in trainer.loggers:
            logger.save()
        named = whole.with_suffix("")
        write_whole(checksum_beside(named), f"{file_hash(whole)}  {named.name}\n".encode())
        for path in (whole, checksum_beside(named)):
            sync_to_disk(path)
        whole.replace(named)
        link = self.folder / f"{LAST}.tmp"
        link.symlink_to(named.name)
        link.replace(self.folder / LAST)
        sync_to_disk(self.folder)
        for path in list(checkpoints(self.folder).values())[self.keep_last :]:
            _remove(path)


def _made_by(trainer: L.Trainer, module: L.LightningModule) -> dict[str, int | str]:
    assert isinstance(module, Task)
    data = module.data_record()
    hashes = {held["store"]: held["hash"][:12] for held in (data, data.get("synthetic")) if held}
    return {
        "processes": trainer.world_size,
        "data": ", ".join(f"{store} ({content})" for store, content in hashes.items()),
    }


def _remove(checkpoint: Path) -> None:
    checkpoint.unlink()
    checksum_beside(checkpoint).unlink(missing_ok=True)


class Preemption(Callback):
    """Saves and ends the run after the current step when USR1 or TERM arrives, with exit status 75 (EX_TEMPFAIL).

    The handler only sets a flag, for a checkpoint that a signal handler writes may hold half a step;
    ranks stop together, whichever of them was told. A second signal changes nothing. So it is with Ctrl-C, but
    that a second one ends the run at once, and that its status is 130: who pressed it wants no requeueing.
    """

    def __init__(self) -> None:
        self._told = ""
        self._stops = False

    def _listen(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        # In place of Lightning's handlers, which communicate between ranks; its teardown restores the user's.
        if threading.current_thread() is threading.main_thread():
            for number in MAKE_WAY:
                signal.signal(number, self._note)

    on_sanity_check_start = on_train_start = _listen

    def _note(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT:
            signal.signal(number, signal.default_int_handler)
        self._told = signal.Signals(number).name

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Asks for a checkpoint of this step when any rank was told to stop."""
        if ends_a_step(trainer, batch_idx) and trainer.strategy.reduce_boolean_decision(bool(self._told), all=False):
            assert isinstance(trainer.checkpoint_callback, Checkpoint)
            trainer.checkpoint_callback.save_this_step()
            self._stops = True

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Ends the run once the checkpoint has its name.

        Raises:
            SystemExit: 75 or 130 on the first rank, whose status is the command's; 0 on the others, for Lightning
                kills the first when it sees another fail.
        """
        if not self._stops:
            return
        checkpoint = trainer.checkpoint_callback
        assert isinstance(checkpoint, Checkpoint)
        checkpoint.give_name(trainer)
        if not trainer.is_global_zero:
            raise SystemExit(0)
        version = checkpoint.folder.parent.name.removeprefix("version_")
        Console(stderr=True, soft_wrap=True).print(
            f"stopped by {self._told or 'a signal to another rank'} after step {trainer.global_step}; the same command "
            f"with --trainer.logger.init_args.version {version} --resume auto goes on, or any with --ckpt_path "
            f"{checkpoint.folder / LAST}"
        )
        raise SystemExit(INTERRUPTED if self._told == signal.SIGINT.name else os.EX_TEMPFAIL)
