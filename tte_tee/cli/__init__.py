"""The command line: which subcommand, and one line for every mistake of the user's or fault of the machine.

Nothing heavy is imported before the subcommand is known, so ``--help`` is quick.
"""

import os
import select
import signal
import sys
from collections.abc import Callable, Sequence
from importlib import import_module

from tte_tee import __version__
from tte_tee.cli.ending import end_on, ended
from tte_tee.cli.faults import quiet_threads, told
from tte_tee.errors import UserError

HELP = """\
usage: python -m tte_tee COMMAND ...

Adapt a diffusion model of transthoracic echo (TTE) to transoesophageal echo (TEE)
with LoRA and MaskR2, and generate labelled synthetic TEE.

data
  data phantom    make a phantom: hearts that nobody owns, imaged by two probes
  data pack       turn a folder of images and masks into an echo store
  data inspect    show what a store holds, in tables and as a picture
  data verify     check a store's hash and every invariant
  data merge      put several stores into one
  data split      split a store anew, by patient
  data subset     keep some patients or frames of a store
  data card       write the datasheet of a store

masks
  masks fit       learn a statistical shape model of a store's training masks
  masks sample    draw masks from a shape model
  masks heart     slice 3D hearts of an atlas population
  masks edit      change something in masks: a structure's size, the sector, the view

training (Lightning: every key of the config is also an option)
  fit             train a base, an adapter or a segmenter
  validate        score a checkpoint on the validation split
  test            score a checkpoint on the test split
  predict         draw frames for the masks of the config's data, or find masks in its frames

generation
  synthesize      draw labelled frames for any store of masks with an adapter
  filter          leave out synthetic frames that do not show their masks, or that copy
  studio          paint masks on a local page and see their synthetic frames

evidence
  segment             find structures in pictures, DICOM files or stores
  evaluate segmenter  score a segmenter on frames with true masks: metrics.json, cases, agreement
  evaluate compare    the difference between two segmenters on the same frames, with intervals
  evaluate masks      does a segmenter of other patients find the masks that frames were drawn for?
  evaluate fidelity   how near synthetic frames are to real ones, between floor and ceiling
  evaluate copies     how near each synthetic frame is to those the adapter learnt from
  report              all results of a folder on one page, with intervals

export
  export diffusers  write a base, or an adapter merged into its base, for plain diffusers
  export adapter    write a LoRA for plain peft
  export nnunet     write labelled frames as a raw data set of nnU-Net v2
  export png        write a store as PNG folders, with a recipe that packs them again

examples
  python -m tte_tee fit --config lightning_configs/lora_mlp.yaml
  python -m tte_tee fit --config lightning_configs/lora_mlp.yaml --model.rank 8
  python -m tte_tee fit --config lightning_configs/lora_mlp.yaml --print_config
  python -m tte_tee synthesize --adapter runs/lora_mlp/version_0/adapter \\
      --masks data/phantom_tee.h5 --out synthetic.h5

python -m tte_tee COMMAND --help says more of each.
"""
TRAINING = ("fit", "validate", "test", "predict")
COMMANDS = {
    "data": "data:main",
    "masks": "masks:main",
    "evaluate": "evaluate:main",
    "segment": "segment:main",
    "synthesize": "synthesize:main",
    "filter": "filter:main",
    "studio": "studio:main",
    "report": "report:main",
    "export": "export:main",
}
"""Command -> module of this package and the function that runs it; imported when it is asked for."""


def main(argv: Sequence[str] | None = None) -> None:
    """Runs one command; exits with status 2 and one line when the user gave something wrong or the machine failed."""
    try:
        _main(list(sys.argv[1:] if argv is None else argv))
        sys.stdout.flush()
    except BrokenPipeError:
        if not _nobody_reads():
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # where goes what Python still holds
        sys.exit(1)  # as rich does


def _nobody_reads() -> bool:
    """Whether stdout is a pipe that was closed, as by ``head``."""
    waits = select.poll()
    waits.register(sys.stdout, select.POLLOUT)
    return any(event & select.POLLERR for _, event in waits.poll(0))


def _main(words: list[str]) -> None:
    if not words or words[0] in ("-h", "--help"):
        print(HELP, end="")
        return
    if words[0] == "--version":
        print(f"tte_tee {__version__}")
        return
    try:
        _check_words(words)
        with quiet_threads():
            _run(words[0], words[1:])
    except SystemExit:
        ended()
        raise
    except KeyboardInterrupt:
        print(f"tte_tee {_named(words)}: interrupted", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        line = told(error)
        if line is None:
            raise
        print(f"tte_tee {_named(words)}: {line}", file=sys.stderr)
        sys.exit(2)


def _named(words: Sequence[str]) -> str:
    """The command of a command line, both words of ``data pack`` and the like."""
    return " ".join(words[:2]) if f"  {' '.join(words[:2])} " in HELP else words[0]


def _check_words(words: Sequence[str]) -> None:
    """Refuses what no store could record of the command."""
    for word in words:
        try:
            word.encode()
        except UnicodeEncodeError as error:
            raise UserError(f"{word!a} is not UTF-8; rename what it names, or type it anew") from error


def _run(command: str, words: list[str]) -> None:
    if command == "fit":  # until its first step there is nothing to save, and the same command starts it again
        end_on(signal.SIGUSR1, signal.SIGTERM, status=os.EX_TEMPFAIL)
    if command in TRAINING:
        _imported("train:main")([command, *words])
        return
    if command not in COMMANDS:
        raise UserError(f"unknown command; 'python -m tte_tee --help' lists {', '.join((*TRAINING, *COMMANDS))}")
    end_on(signal.SIGTERM, status=128 + signal.SIGTERM)
    _imported(COMMANDS[command])(words)


def _imported(place: str) -> Callable[[list[str]], None]:
    """The function ``module:name`` of this package."""
    module, name = place.split(":")
    function: Callable[[list[str]], None] = getattr(import_module(f"{__name__}.{module}"), name)
    return function
