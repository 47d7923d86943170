"""``fit``, ``validate``, ``test`` and ``predict`` on Lightning's CLI."""

import logging
import re
import warnings
from pathlib import Path
from typing import Any, NoReturn

import lightning as L
import torch
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from tte_tee.cli import TRAINING
from tte_tee.cli.code import ALLOWED, FLAG, HELP, plain_configs, refuse_foreign_code
from tte_tee.cli.faults import told
from tte_tee.data.datamodule import EchoDataModule, PhantomDataModule
from tte_tee.data.segmentation import SegmentationDataModule
from tte_tee.errors import UserError
from tte_tee.tasks.adapter import TEEAdapter
from tte_tee.tasks.callbacks import EMA, Checkpoint, Export, ParameterTable, Predictions, Previews, StepLines
from tte_tee.tasks.checkpoint_file import WholeCheckpoints
from tte_tee.tasks.diffusion import TTEDiffusion
from tte_tee.tasks.segmenter import HeartSegmenter
from tte_tee.tasks.task import Task

__all__ = [
    "EchoDataModule",
    "HeartSegmenter",
    "PhantomDataModule",
    "SegmentationDataModule",
    "TEEAdapter",
    "TTEDiffusion",
    "main",
]


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

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Adds ``ema``, ``previews`` and ``checkpoint``, and hands the seed to model and data."""
        parser.add_lightning_class_args(EMA, "ema")
        parser.add_lightning_class_args(Previews, "previews")
        parser.add_lightning_class_args(Checkpoint, "checkpoint")
        parser.set_defaults({"checkpoint.save_last": True, "checkpoint.save_top_k": 0})
        parser.link_arguments("seed_everything", "model.init_args.seed")
        parser.link_arguments("seed_everything", "data.init_args.seed")

    def _parse_ckpt_path(self) -> None:
        """Leaves the checkpoint alone: what a run is comes from its config, and the file is checked below."""

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parses; a config that is no text, or that nests without end, is the user's mistake."""
        try:
            super().parse_arguments(parser, args)
        except (UnicodeDecodeError, RecursionError) as error:
            raise UserError(f"--config: no UTF-8 text of a config ({str(error).splitlines()[0]})") from error

    def before_instantiate_classes(self) -> None:
        """Refuses to score a network with random weights."""
        config = self.config[self.subcommand]
        untrained = config.model.init_args.get("method") == "none"
        if self.subcommand != "fit" and not untrained and not config.get("ckpt_path"):
            raise UserError("give --ckpt_path, a checkpoint of this config's run; else untrained weights would be used")
        if config.get("ckpt_path"):
            check_checkpoint(Path(config.ckpt_path))
        config["weights_only"] = True  # a checkpoint is data, never code

    def instantiate_trainer(self, **kwargs: Any) -> L.Trainer:
        """The trainer; the exported folder records the config."""
        try:
            trainer = super().instantiate_trainer(**kwargs)
        except (MisconfigurationException, ValueError, TypeError, RuntimeError) as error:
            raise UserError(f"trainer: {str(error).splitlines()[0]}") from error
        trainer.strategy.checkpoint_io = WholeCheckpoints()
        subcommand = self.config[self.subcommand]
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, Export):
                callback.config = {key: subcommand[key].as_dict() for key in ("model", "data", "trainer")}
                callback.config["seed_everything"] = subcommand["seed_everything"]
        return trainer

    def _run_subcommand(self, subcommand: str) -> None:
        """Runs it; where ``fit`` breaks off by no defect of ours, says what of it is left."""
        try:
            super()._run_subcommand(subcommand)
        except Exception as error:
            line = told(error)
            if line is None or subcommand != "fit":
                raise
            raise UserError(f"{line}{kept(self.trainer, self.config[subcommand].get('ckpt_path'))}") from error


def kept(trainer: L.Trainer, resumed: str | None) -> str:
    """What a run that broke off has left, and how to go on from there."""
    last = Path(getattr(trainer.checkpoint_callback, "dirpath", None) or ".") / "last.ckpt"
    found = str(last) if last.is_file() else resumed
    if found:
        return f"; kept: {found}, go on with --ckpt_path {found}"
    return f"; none of its {trainer.global_step} steps is kept" if trainer.global_step else ""


def check_checkpoint(path: Path) -> None:
    """Refuses what Lightning could not restore, before anything is built.

    Raises:
        UserError: the file is missing, holds more than plain tensors and numbers, or is no checkpoint.
    """
    if not path.is_file():
        raise UserError(f"--ckpt_path {path}: no such file; runs keep theirs in checkpoints/last.ckpt")
    try:
        held = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise UserError(f"--ckpt_path {path}: not a readable checkpoint; give the last.ckpt of a run") from error
    if not isinstance(held, dict) or not {"state_dict", "pytorch-lightning_version"} <= set(held):
        raise UserError(f"--ckpt_path {path}: not a checkpoint of a run; give its checkpoints/last.ckpt")


def main(words: list[str]) -> None:
    """Runs one Lightning subcommand.

    Raises:
        UserError: what the user gave does not fit together.
    """
    _quiet()
    plain_configs()
    if FLAG not in words:
        refuse_foreign_code()
    try:
        _run([word for word in words if word != FLAG])
    except MisconfigurationException as error:
        raise UserError(f"trainer: {str(error).splitlines()[0]}") from error


def _run(words: list[str]) -> None:
    CLI(
        Task,
        L.LightningDataModule,
        parser_class=Parser,
        parser_kwargs={"prog": "python -m tte_tee", **{name: {"description": HELP} for name in TRAINING}},
        subclass_mode_model=True,
        subclass_mode_data=True,
        seed_everything_default=0,
        save_config_kwargs={"overwrite": True},
        trainer_defaults={
            "callbacks": [ParameterTable(), StepLines(), Predictions(), Export()],
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
