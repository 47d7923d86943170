"""``python -m tte_tee data``: makes echo stores, from a folder or from the phantom."""

import argparse
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

from tte_tee.cli import curate
from tte_tee.cli.parser import Parser, command_line, subcommand
from tte_tee.errors import UserError

_PACK = """Turns the images and masks of a folder into one echo store (HDF5).

A recipe (YAML) says which files are images, where the mask of each lies, and what their names
and values mean. data/ holds recipes to start from; data/README.md explains every key.
Files that the recipe does not match are left aside and counted."""

_PACK_EXAMPLE = """example:
  python -m tte_tee data pack data/camus224.yaml --root ~/camus224 --out data/packed/camus64.h5"""

_PHANTOM = """Draws frames and masks of a heart whose anatomy is known, into one echo store (HDF5).

No download and no patient: what the pipeline is tried and tested on. The same seed gives the
same store. Domain tte looks through the chest, tee through the oesophagus."""

_PHANTOM_EXAMPLE = """example:
  python -m tte_tee data phantom --domain tee --patients 8 --seed 1 --angles 30 60 --out data/packed/tee.h5
  python -m tte_tee data phantom --cohort adaptation --out data/packed/adaptation.h5"""


def main(argv: list[str]) -> None:
    """Runs one of the commands on stores.

    Raises:
        UserError: what the user gave is wrong, or a store is not sound.
        SystemExit: help was asked for.
    """
    args = _parser().parse_args(argv)
    args.run(args, command_line("data", *argv))


def _count(text: str) -> int:
    """A whole number of 0 or more."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of 0 or more")
    return int(text)


def _phantom(args: argparse.Namespace, command: str) -> None:
    from tte_tee.data.phantom import PhantomSpec, study_spec, write_phantom

    about = ("command", "run", "out", "cohort", "workers")
    given = {name: value for name, value in vars(args).items() if name not in about}
    if "cohort" in args:
        if fixed := set(given) - {"size", "first"}:
            raise UserError(
                f"--cohort says all but --size, --first and --out; leave out --{', --'.join(sorted(fixed))}"
            )
        spec = replace(study_spec(args.cohort), **given)
    else:
        if missing := {"domain", "patients"} - set(given):
            raise UserError(f"give --{' and --'.join(sorted(missing))}, or a --cohort of the study")
        spec = PhantomSpec(**given)
    write_phantom(spec, args.out, workers=args.workers, progress=True)
    print(f"frames of {spec.patients:,} hearts left in {args.out}")


def _pack(args: argparse.Namespace, command: str) -> None:
    from tte_tee.data.pack import pack_folder

    options = {name: getattr(args, name) for name in ("skip_bad", "dry_run", "workers")}
    summary = pack_folder(args.recipe, args.root, args.out, **options, progress=True)
    for problem in summary.problems:
        print(f"left out: {problem}", file=sys.stderr)
    print(summary)


def _add_workers(parser: argparse.ArgumentParser, work: str) -> None:
    what = f"processes that {work} (default: one per CPU core); the store is the same with any number"
    parser.add_argument("--workers", type=_count, metavar="N", help=what)


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="python -m tte_tee data",
        description="Makes echo stores: the one kind of file that every other stage reads.",
        epilog="Each command explains itself with --help.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    pack = subcommand(commands, "pack", _pack, "turn a folder of images and masks into a store", _PACK, _PACK_EXAMPLE)
    pack.add_argument("recipe", type=Path, metavar="RECIPE.yaml", help="what the files mean")
    pack.add_argument("--root", type=Path, required=True, metavar="FOLDER", help="folder that holds the files")
    pack.add_argument("--out", type=Path, required=True, metavar="F.h5", help="store to write, or to replace")
    pack.add_argument(
        "--skip-bad", action="store_true", help="leave bad files out and list them; else the first one ends the pack"
    )
    pack.add_argument("--dry-run", action="store_true", help="list and check the folder, read no pixels, write nothing")
    _add_workers(pack, "read")
    phantom = subcommand(commands, "phantom", _phantom, "draw a store with known anatomy", _PHANTOM, _PHANTOM_EXAMPLE)
    # What is not given stays out of the namespace: PhantomSpec holds the defaults.
    option = partial(phantom.add_argument, default=argparse.SUPPRESS)
    option("--cohort", metavar="NAME", help="a cohort of the study: base, adaptation, pool, test or confirmatory")
    option("--domain", choices=("tte", "tee"), help="without --cohort: where the probe stands")
    option("--patients", type=int, metavar="N", help="without --cohort: number of patients")
    option("--seed", type=int, metavar="S", help="decides every draw (default: 0)")
    option("--size", type=int, metavar="PIXELS", help="height and width (default: 64)")
    option("--angles", type=int, nargs="+", metavar="DEG", help="TEE only: more planes, between 0 and 90 degrees")
    option("--first", type=int, metavar="N", help="number of the first heart: another draw of a cohort (default: 0)")
    option("--val", type=float, metavar="SHARE", help="share of the patients in split val (default: 0.15)")
    option("--test", type=float, metavar="SHARE", help="share of the patients in split test (default: 0.25)")
    phantom.add_argument("--out", type=Path, required=True, metavar="F.h5", help="store to write, or to replace")
    _add_workers(phantom, "draw")
    curate.add_commands(commands)
    return parser
