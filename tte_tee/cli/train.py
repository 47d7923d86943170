"""``fit``, ``validate``, ``test`` and ``predict`` on Lightning's CLI."""

import logging
import os
import re
import shutil
import sys
import threading
import time
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, NoReturn

import lightning as L
import yaml
from jsonargparse import Namespace
from lightning.fabric.plugins.environments import SLURMEnvironment, TorchElasticEnvironment
from lightning.pytorch.callbacks import Callback, ProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from torch.multiprocessing.spawn import ProcessExitedException

from tte_tee.cli import TRAINING
from tte_tee.cli.code import ALLOWED, FLAG, HELP, plain_configs, refuse_foreign_code
from tte_tee.cli.faults import told
from tte_tee.cli.resume import check_checkpoint, check_same_run, check_world, last_checkpoint, newest_checkpoint, say
from tte_tee.data.datamodule import EchoDataModule, PhantomDataModule
from tte_tee.data.segmentation import SegmentationDataModule
from tte_tee.errors import SharedError, UserError
from tte_tee.models.devices import slow_bf16
from tte_tee.tasks.adapter import TEEAdapter
from tte_tee.tasks.callbacks import EMA, Export, HyperParameters, Predictions, Previews
from tte_tee.tasks.checkpoint import FOLDER, INTERRUPTED, LAST, Checkpoint, Preemption, checkpoints
from tte_tee.tasks.diffusion import TTEDiffusion
from tte_tee.tasks.progress import ParameterTable, StepBar, StepLines
from tte_tee.tasks.segmenter import HeartSegmenter
from tte_tee.tasks.task import Task
from tte_tee.tasks.whole import WholeCheckpoints, WholeConfig

__all__ = [
    "EchoDataModule",
    "HeartSegmenter",
    "PhantomDataModule",
    "SegmentationDataModule",
    "TEEAdapter",
    "TTEDiffusion",
    "main",
]


RESUME = (
    "auto: go on with the run in the folder that --trainer.logger.init_args.version names, start it if it is not "
    "there, and do nothing if it is finished. USR1 or TERM ends a run after its step with a checkpoint and exit "
    "status 75 (EX_TEMPFAIL): give the same command again. So does Ctrl-C, with status 130."
)
_LAUNCHER = "TTE_TEE_LAUNCHER"  # variable of the environment that ranks inherit: process id of the first
HINT = "; 'fit --help' and '--print_config' show what there is"


class Parser(LightningArgumentParser):
    """Says what is wrong with an option in one line, where jsonargparse prints every option there is."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Refuses the command line.

        Raises:
            UserError: always.
        """
        raise UserError(one_line(message)) from ex


def one_line(message: str) -> str:
    """The part of a message of jsonargparse that speaks of the user's words.

    Where a value fits none of several types it lists one complaint per type; "not None" is never
    the one that helps. A message of a nested key arrives here twice.
    """
    if foreign := re.search(r"Importing '([^']+)' is not allowed", message):
        return f"{foreign[1]} is no code of {', '.join(ALLOWED)}; where you trust it, {FLAG} runs it"
    head, _, complaints = message.replace(HINT, "").partition("Errors:")
    lines = [line.strip(" -") for line in (complaints or head).splitlines()]
    lines = [line for line in lines if line and not line.startswith(("Given value", "Expected a <class 'NoneType'>"))]
    key = re.match(r'Parser key "([^"]+)":', head)
    text = " ".join(lines).removeprefix(key[0] if key else "").strip()
    return f"{key[1] if key else 'options'}: {text}{HINT}"


class CLI(LightningCLI):
    """Lightning's CLI with this project's callbacks as keys of the config."""

    finished: Path | None = None
    """The run's folder, where ``--resume auto`` finds nothing left to do."""
    fresh: Path | None = None
    """The run's folder, where this command is the first to write into it."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Adds ``ema``, ``previews``, ``checkpoint`` and ``resume``, and hands the seed to model and data."""
        parser.add_lightning_class_args(EMA, "ema")
        parser.add_lightning_class_args(Previews, "previews")
        parser.add_lightning_class_args(Checkpoint, "checkpoint")
        parser.add_argument("--resume", type=Literal["never", "auto"], default="never", help=RESUME)
        parser.link_arguments("seed_everything", "model.init_args.seed")
        parser.link_arguments("seed_everything", "data.init_args.seed")

    def _parse_ckpt_path(self) -> None:
        """Leaves the checkpoint alone: what a run is comes from its config, and the file is checked below."""

    @property
    def _own(self) -> Namespace:
        return self.config[self.subcommand]

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parses; a config that is no text, or that nests without end, is the user's mistake."""
        try:
            super().parse_arguments(parser, args)
        except (UnicodeDecodeError, RecursionError) as error:
            raise UserError(f"--config: no UTF-8 text of a config ({str(error).splitlines()[0]})") from error

    def before_instantiate_classes(self) -> None:
        """Refuses to score a network with random weights, and a resume that cannot find its run."""
        config = self._own
        untrained = config.model.init_args.get("method") == "none"
        if self.subcommand != "fit" and not untrained and not config.get("ckpt_path"):
            raise UserError("give --ckpt_path, a checkpoint of this config's run; else untrained weights would be used")
        if config.get("ckpt_path") not in (None, "last"):
            check_checkpoint(Path(config.ckpt_path))
        if self.subcommand == "fit" and config.resume == "auto":
            if config.get("ckpt_path"):
                raise UserError("--resume auto finds its checkpoint itself; leave out --ckpt_path")
            if config.get("trainer.logger.init_args.version") is None:
                raise UserError("--resume auto needs a folder that stays: give --trainer.logger.init_args.version too")
        config["weights_only"] = True  # a checkpoint is data, never code

    def instantiate_trainer(self, **kwargs: Any) -> L.Trainer:
        """The trainer; the exported folder records the config."""
        try:
            own = self._get(self.config_init, "trainer")
            plugins = [*(own.get("plugins") or []), *_of_slurm()]
            barred = any(isinstance(callback, ProgressBar) for callback in own.get("callbacks") or [])
            if own.get("enable_progress_bar") is not False and not barred:
                self.trainer_defaults = {**self.trainer_defaults, "callbacks": [*_callbacks(), StepBar()]}
            trainer = super().instantiate_trainer(plugins=plugins or None, **kwargs)
        except (MisconfigurationException, ValueError, TypeError, RuntimeError) as error:
            raise UserError(f"trainer: {str(error).splitlines()[0]}") from error
        check_world(trainer.num_devices, trainer.num_nodes)
        half = str(trainer.precision).startswith("bf16")
        if half and (slow := slow_bf16(trainer.strategy.root_device, "--trainer.precision 32-true")):
            say(slow)
        trainer.strategy.checkpoint_io = WholeCheckpoints()
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, (Export, HyperParameters)):
                callback.config = {key: self._own[key].as_dict() for key in ("model", "data", "trainer")}
                callback.config["model"]["init_args"].update(self.model.resolved())
                callback.config["seed_everything"] = self._own["seed_everything"]
        self._go_on(trainer, Path(trainer.log_dir or trainer.default_root_dir))
        return trainer

    def _go_on(self, trainer: L.Trainer, run: Path) -> None:
        """Chooses the checkpoint to go on from, if any, and takes back what the curve says of later steps."""
        self.fresh = None if run.exists() else run
        arguments = self.config_init[self.subcommand]
        if arguments.get("ckpt_path") == "last":
            arguments["ckpt_path"] = str(last_checkpoint(run))
        if self.subcommand != "fit":
            return
        if arguments["resume"] == "auto":
            check_same_run(run, yaml.safe_load(self._parser(self.subcommand).dump(self._own, skip_none=False)))
            if (run / self.model.product).is_dir():
                self.finished = run
                return
            newest = newest_checkpoint(run)
            arguments["ckpt_path"] = str(newest) if newest else None
            assert isinstance(trainer.checkpoint_callback, Checkpoint)
            trainer.checkpoint_callback.same_run = True
        elif not arguments.get("ckpt_path") and checkpoints(run / FOLDER):
            raise UserError(f"{run}: holds a run already; give --resume auto to go on, or another version")
        if isinstance(trainer.logger, TensorBoardLogger):
            start = arguments.get("ckpt_path")
            trainer.logger._kwargs["purge_step"] = check_checkpoint(Path(start)) if start else 0

    def _run_subcommand(self, subcommand: str) -> None:
        """Runs it, unless that has been done; where ``fit`` breaks off by no defect of ours, says what is left."""
        if self.finished:
            print(f"tte_tee fit: {self.finished} holds a finished run; nothing to do", file=sys.stderr)
            return
        try:
            super()._run_subcommand(subcommand)
        except Exception as error:
            line = told(error)
            if line is not None and subcommand != "fit":
                self._take_back()
            if line is None or subcommand != "fit":
                raise
            if isinstance(error, SharedError) and not self.trainer.is_global_zero:
                sys.exit(0)  # Lightning kills the first rank, which says it, when it sees another fail
            said = kept(self.trainer, self._own.get("ckpt_path"))
            self._take_back()
            raise UserError(f"{line}{said}") from error
        except SystemExit as stop:
            if stop.code != 1 or not self.trainer.is_global_zero:  # 1: what Lightning makes of Ctrl-C, without a word
                raise
            left = kept(self.trainer, self._own.get("ckpt_path")) if subcommand == "fit" else ""
            print(f"tte_tee {subcommand}: interrupted{left}", file=sys.stderr)
            sys.exit(INTERRUPTED)

    def _take_back(self) -> None:
        """Removes the folder of a run that was refused before its first step, so that its number is free again."""
        run = self.fresh
        if run is None or self.trainer.global_step or not self.trainer.is_global_zero or not run.is_dir():
            return
        if all(path.name.startswith(("events.out", "config.yaml", "hparams.yaml")) for path in run.iterdir()):
            shutil.rmtree(run)
            with suppress(OSError):
                run.parent.rmdir()  # if it holds no other run


def kept(trainer: L.Trainer, resumed: str | None) -> str:
    """What a run that broke off has left, and how to go on from there."""
    saved = trainer.checkpoint_callback
    last = saved.folder / LAST if isinstance(saved, Checkpoint) else Path(LAST)
    found = str(last) if last.is_file() else resumed
    if found:
        return f"; kept: {found}, go on with --ckpt_path {found}"
    return f"; none of its {trainer.global_step} steps is kept" if trainer.global_step else ""


def _end_with_launcher() -> None:
    """Ends a rank when the process that launched it is gone, for which it would wait half an hour."""
    launcher = os.environ.get(_LAUNCHER)
    os.environ[_LAUNCHER] = str(os.getpid())

    def watch() -> None:
        while str(os.getppid()) == launcher:
            time.sleep(1)
        os._exit(1)

    if launcher and "LOCAL_RANK" in os.environ:
        threading.Thread(target=watch, daemon=True).start()


def _of_slurm() -> list[SLURMEnvironment]:
    """Slurm without Lightning's requeueing, whose signal handler saves in the middle of a step."""
    ours = SLURMEnvironment.detect() and not TorchElasticEnvironment.detect()
    return [SLURMEnvironment(auto_requeue=False)] if ours else []


def main(words: list[str]) -> None:
    """Runs one Lightning subcommand.

    Raises:
        UserError: what the user gave does not fit together.
    """
    _quiet()
    _end_with_launcher()
    plain_configs()
    if FLAG not in words:
        refuse_foreign_code()
    try:
        _run([word for word in words if word != FLAG])
    except MisconfigurationException as error:
        raise UserError(f"trainer: {str(error).splitlines()[0]}") from error
    except ProcessExitedException as error:
        if error.exit_code != os.EX_TEMPFAIL:
            raise
        sys.exit(error.exit_code)  # a rank that was forked from here made way


def _callbacks() -> list[Callback]:
    return [ParameterTable(), StepLines(), Predictions(), HyperParameters(), Export(), Preemption()]


def _run(words: list[str]) -> None:
    CLI(
        Task,
        L.LightningDataModule,
        parser_class=Parser,
        parser_kwargs={"prog": "python -m tte_tee", **{name: {"description": HELP} for name in TRAINING}},
        subclass_mode_model=True,
        subclass_mode_data=True,
        seed_everything_default=0,
        save_config_callback=WholeConfig,
        save_config_kwargs={"save_to_log_dir": False},
        trainer_defaults={
            "callbacks": _callbacks(),
            "max_epochs": -1,
            "check_val_every_n_epoch": None,
            "log_every_n_steps": 10,
            "enable_model_summary": False,
        },
        args=words,
    )


def _quiet() -> None:
    """Silences advice that no user of this command can follow."""
    for name in ("pytorch.utilities.rank_zero", "fabric.utilities.seed"):
        logging.getLogger(f"lightning.{name}").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*this fit will run with no optimizer.*")  # method none
    warnings.filterwarnings("ignore", message="Total length of .* across ranks is zero")  # max_steps 0
    warnings.filterwarnings("ignore", message="You're resuming from a checkpoint.*not resumable")  # FrameStream is
    warnings.filterwarnings("ignore", message="The dirpath has changed")  # each command has a folder of its own
    warnings.filterwarnings("ignore", message="Using `DistributedSampler` with the dataloaders")
    warnings.filterwarnings("ignore", message=".*LeafSpec.*")
    warnings.filterwarnings("ignore", message=".*__array__.*copy keyword.*")
    warnings.filterwarnings("ignore", message="LightningCLI's args parameter.*")
