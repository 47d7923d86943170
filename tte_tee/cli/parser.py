"""An argparse parser whose complaints are one line, and what it reads numbers with."""

import argparse
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, Self

from tte_tee.errors import UserError

Commands = Any  # argparse names the type of add_subparsers' result with an underscore


def positive(text: str) -> int:
    """A whole number of 1 or more, as the ``type`` of an option."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of 1 or more")
    return int(text)


def folder(text: str) -> Path:
    """A folder to write into, there or not yet, as the ``type`` of an option."""
    if Path(text).exists() and not Path(text).is_dir():
        raise argparse.ArgumentTypeError(f"{text} is a file; name a folder")
    return Path(text)


def command_line(*words: str) -> str:
    """What was asked for as it is recorded: a line that a shell takes."""
    return shlex.join(["python", "-m", "tte_tee", *words])


class Parser(argparse.ArgumentParser):
    """Says what is wrong without the usage that argparse prints first; so do its subcommands."""

    @classmethod
    def of(cls, command: str, text: str, example: str) -> Self:
        """The parser of a command: what it does before its options, an example after them."""
        return cls(
            prog=f"python -m tte_tee {command}",
            description=text,
            epilog=example,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    def error(self, message: str) -> NoReturn:
        """Refuses the command line.

        Raises:
            UserError: always.
        """
        raise UserError(f"{message}; '{self.prog} --help' says more")


def subcommand(
    commands: Commands, name: str, run: Callable[..., None], summary: str, text: str, example: str
) -> argparse.ArgumentParser:
    """The parser of a command of a command, which puts its function under ``run``."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=summary, description=text, epilog=example, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.set_defaults(run=run)
    return parser
