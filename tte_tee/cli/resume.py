"""Which checkpoint a training command goes on from, and whether it may."""

import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
import yaml
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from tte_tee.errors import UserError
from tte_tee.files import file_hash, first_line
from tte_tee.tasks.checkpoint import FOLDER, checkpoints, checksum_beside

_TRAINER = ("max_steps", "accumulate_grad_batches", "gradient_clip", "precision", "val_check", "limit_", "overfit")
_DECISIVE = ("seed_everything", "model", "data", "ema", "optimizer", *(f"trainer.{name}" for name in _TRAINER))
_HARMLESS = ("num_workers", "eval_batch_size")


def damage(path: Path) -> str:
    """What is wrong with a checkpoint, by the checksum beside it; empty if nothing is."""
    try:
        noted = checksum_beside(path.resolve()).read_text().split()
    except (OSError, ValueError):
        return "its checksum is missing"
    return "" if noted and noted[0] == file_hash(path) else "its checksum is wrong"


def newest_checkpoint(run: Path) -> Path | None:
    """The newest checkpoint of a run's folder that is whole, with a warning for each that is not; None without any.

    Raises:
        UserError: there are some, and all are damaged.
    """
    found = checkpoints(run / FOLDER)
    for path in found.values():
        if not (wrong := damage(path)):
            return path
        say(f"warning: {path} is damaged ({wrong}); going back to the one before")
    if found:
        raise UserError(f"{run / FOLDER}: every checkpoint in it is damaged; remove the folder to start anew")
    return None


def last_checkpoint(run: Path) -> Path:
    """What ``--ckpt_path last`` means: the run's own newest checkpoint, else that of the latest run beside it.

    Raises:
        UserError: there is none.
    """
    others = [folder.parent for folder in run.parent.glob(f"*/{FOLDER}")]
    for folder in (run, *sorted(others, key=lambda other: (other / FOLDER).stat().st_mtime, reverse=True)):
        if path := newest_checkpoint(folder):
            return path
    raise UserError(f"--ckpt_path last: no run in {run.parent} has a checkpoint; leave it out to start one")


def check_checkpoint(path: Path) -> int:
    """Refuses what Lightning could not restore; returns the step that the checkpoint was saved at.

    Raises:
        UserError: the file is missing or damaged, holds more than plain tensors and numbers, or is no checkpoint.
    """
    if not path.is_file():
        raise UserError(f"--ckpt_path {path}: no such file; runs keep theirs in checkpoints/last.ckpt")
    if checksum_beside(path.resolve()).is_file() and (wrong := damage(path)):
        raise UserError(f"--ckpt_path {path}: is damaged ({wrong}); 'last' takes the newest one that is whole")
    try:
        held = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise UserError(f"--ckpt_path {path}: not a readable checkpoint; give the last.ckpt of a run") from error
    if not isinstance(held, dict) or not {"state_dict", "pytorch-lightning_version", "global_step"} <= set(held):
        raise UserError(f"--ckpt_path {path}: not a checkpoint of a run; give its checkpoints/last.ckpt")
    return int(held["global_step"])


def check_same_run(run: Path, config: Mapping[str, Any]) -> None:
    """Refuses to go on with a run under another config.

    Raises:
        UserError: naming the first key that differs from the ``config.yaml`` of the run, or that file if it is none.
    """
    if not (run / "config.yaml").is_file():
        return
    theirs, ours = (dict(_flat(c)) for c in (_config_of(run), config))
    for key in (*ours, *theirs):
        decides = key.startswith(_DECISIVE) and not key.endswith(_HARMLESS)
        if decides and ours.get(key) != theirs.get(key):
            raise UserError(
                f"--resume auto: {run} holds a run whose {key} is {theirs.get(key)}, not {ours.get(key)}; "
                "give its config, or another --trainer.logger.init_args.version"
            )


def _config_of(run: Path) -> Any:
    path = run / "config.yaml"
    try:
        return yaml.safe_load(path.read_text())
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise UserError(f"--resume auto: {path} is no YAML ({first_line(error)}); give another version") from error


def check_world(devices: int, nodes: int) -> None:
    """Refuses to train with another number of processes than was launched.

    Raises:
        UserError: WORLD_SIZE or SLURM_NTASKS is not devices x nodes; processes would wait for each other for ever,
            or each train alone into one folder.
    """
    interactive = os.environ.get("SLURM_JOB_NAME") in ("bash", "interactive")  # where Lightning leaves Slurm alone
    for name in ("WORLD_SIZE",) if interactive else ("WORLD_SIZE", "SLURM_NTASKS"):
        launched = os.environ.get(name)
        if launched is not None and launched != str(devices * nodes):
            raise UserError(
                f"{name} is {launched}, but trainer.devices x trainer.num_nodes is {devices} x {nodes}; "
                "launch as many processes as that, or change the options"
            )


def _flat(values: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(values, Mapping) and values:
        for name, value in values.items():
            yield from _flat(value, f"{key}.{name}" if key else str(name))
    else:
        yield key, values


@rank_zero_only
def say(text: str) -> None:
    """Prints a line about the run, once for all ranks."""
    print(f"tte_tee: {text}", file=sys.stderr)
