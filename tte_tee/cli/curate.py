"""``data inspect``, ``verify``, ``merge``, ``split``, ``subset`` and ``card``: looking after echo stores."""

import argparse
from pathlib import Path

from tte_tee.cli.parser import Commands, positive, subcommand
from tte_tee.errors import UserError

# The words of tte_tee.data.store and tte_tee.data.curate, which import too much for --help; a test compares them.
SPLITS = ("train", "val", "test")
COHORTS = ("base", "adaptation", "pool", "test", "confirmatory", "none")
VIEWS = ("A4C", "A2C", "ME4C", "ME2C", "other")
BY = ("cohort", "view", "phase", "origin", "mask_source", "structures")
SHEET = 12  # frames

_INSPECT = """Shows what a store is and holds: licence, hash and command; frames and patients by split,
cohort, view, phase and source; how often each structure shows and how large it is.

Of a large store, pixels are read from 2,000 frames drawn at random; the table says so. --png
adds a picture: frames spread over patients and views, each beside itself with its mask."""

_VERIFY = """Checks stores from end to end: recomputes the content hash and tests every invariant, pixels
included. Ends with status 2 if one of them is broken.

Warnings do not count as broken: masks that run past the sector, or structures that a view does
not cut, may well be in the data."""

_MERGE = """Writes the frames of several stores into one, in the order given.

The stores name the same structures in the same order and have frames of one size. A key in two
of them is refused, and so is a patient whose split or cohort differs between them; a patient of
the same name is the same patient. All licences hold for the whole."""

_SPLIT = """Splits a store anew by patient, exact in number (largest remainder) and stratified: patients
whose frames show the same kinds of what --by names are dealt out in turn. Same seed, same splits.

Patients of a held-out cohort (test, confirmatory) stay in test; the shares are of the others."""

_SUBSET = """Keeps frames of a store: first those that pass every filter, then --patients of their patients,
then --frames of the frames left, spread evenly over patients, views and phases.

Choices are nested: with one seed, 5 patients are among 10, and 20 frames of the same patients
among 40. To keep what the generator can be told of, name the views: --view A4C A2C ME4C ME2C."""

_CARD = """Writes the datasheet of a store in Markdown, after Gebru et al., Datasheets for Datasets: what it
is, what it holds, how it was made, its splits and cohorts, the limits that the data show, licence
and hash. The same store gives the same card."""

_F = "F.h5"


def add_commands(commands: Commands) -> None:
    """Adds the six commands to the subparsers of ``data``; each puts its function under ``run``."""
    for command in (_add_inspect, _add_verify, _add_merge, _add_split, _add_subset, _add_card):
        command(commands)


def _example(name: str, words: str) -> str:
    return f"example:\n  python -m tte_tee data {name} {words}"


def _add_out(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, required=True, metavar="G.h5", help="store to write, or to replace")


def _add_inspect(commands: Commands) -> None:
    inspect = subcommand(
        commands,
        "inspect",
        _inspect,
        "show what a store holds",
        _INSPECT,
        _example("inspect", "data/packed/tee.h5 --png tee.png"),
    )
    inspect.add_argument("store", type=Path, metavar=_F)
    inspect.add_argument("--png", type=Path, metavar="P.png", help="picture to write: frames and their masks")
    inspect.add_argument("--frames", type=positive, metavar="N", help=f"frames on the picture (default: {SHEET})")


def _add_verify(commands: Commands) -> None:
    verify = subcommand(
        commands, "verify", _verify, "check hash and invariants", _VERIFY, _example("verify", "data/packed/*.h5")
    )
    verify.add_argument("stores", type=Path, nargs="+", metavar=_F)


def _add_merge(commands: Commands) -> None:
    example = "data/packed/tte.h5 data/packed/phantom_tte.h5 --out both.h5"
    merge = subcommand(commands, "merge", _merge, "put several stores into one", _MERGE, _example("merge", example))
    merge.add_argument("stores", type=Path, nargs="+", metavar=_F)
    _add_out(merge)


def _add_split(commands: Commands) -> None:
    example = "data/packed/tee.h5 --val 0.2 --test 0.2 --seed 1 --out resplit.h5"
    split = subcommand(commands, "split", _split, "split a store anew, by patient", _SPLIT, _example("split", example))
    split.add_argument("store", type=Path, metavar=_F)
    split.add_argument("--val", type=float, required=True, metavar="SHARE", help="share of the patients in split val")
    split.add_argument("--test", type=float, required=True, metavar="SHARE", help="share of the patients in split test")
    split.add_argument(
        "--by",
        nargs="+",
        choices=BY,
        default=["cohort", "view", "phase"],
        metavar="WHAT",
        help=f"what tells kinds of patients apart, of {', '.join(BY)} (default: cohort view phase)",
    )
    split.add_argument("--seed", type=int, default=0, metavar="S", help="decides who goes where (default: 0)")
    _add_out(split)


def _add_subset(commands: Commands) -> None:
    example = "data/packed/tee.h5 --split train --labelled --patients 5 --out five.h5"
    subset = subcommand(
        commands, "subset", _subset, "keep some patients or frames", _SUBSET, _example("subset", example)
    )
    subset.add_argument("store", type=Path, metavar=_F)
    subset.add_argument("--patients", type=positive, metavar="N", help="keep so many patients")
    subset.add_argument("--frames", type=positive, metavar="M", help="keep so many frames")
    for name, known in (("split", SPLITS), ("view", VIEWS), ("cohort", COHORTS)):
        subset.add_argument(
            f"--{name}",
            nargs="+",
            choices=known,
            default=[],
            metavar=name.upper(),
            help=f"keep frames of these {name}s, of {', '.join(known)}",
        )
    subset.add_argument("--labelled", action="store_true", help="keep frames that have a mask")
    subset.add_argument(
        "--set-cohort",
        choices=COHORTS,
        metavar="COHORT",
        help="cohort of all that comes out; nobody leaves a held-out cohort",
    )
    subset.add_argument("--seed", type=int, metavar="S", help="decides the choice (default: 0)")
    _add_out(subset)


def _add_card(commands: Commands) -> None:
    card = subcommand(
        commands, "card", _card, "write a datasheet", _CARD, _example("card", "data/packed/tee.h5 --out tee.md")
    )
    card.add_argument("store", type=Path, metavar=_F)
    card.add_argument("--out", type=Path, metavar="CARD.md", help="file to write (default: print it)")


def _inspect(options: argparse.Namespace, command: str) -> None:
    if options.frames and not options.png:
        raise UserError("--frames is about the picture; name one with --png P.png")
    from rich.console import Console

    from tte_tee.data.curate.inspect import show_store, write_sheet
    from tte_tee.data.curate.numbers import count_store
    from tte_tee.data.store import EchoStore
    from tte_tee.files import check_suffix

    if options.png:
        check_suffix(options.png, ".png")
    numbers = count_store(EchoStore(options.store))
    show_store(numbers, Console(markup=False))
    if options.png:
        write_sheet(numbers, options.png, options.frames or SHEET)
        print(f"left in {options.png}")


def _verify(options: argparse.Namespace, command: str) -> None:
    from rich.console import Console
    from rich.markup import escape

    from tte_tee.data.curate.verify import verify_store

    console, broken = Console(soft_wrap=True, highlight=False), []
    for path in options.stores:
        findings = verify_store(path, progress=True)
        errors = sum(finding.error for finding in findings)
        for finding in findings:
            kind = "[red]error  [/]" if finding.error else "[yellow]warning[/]"
            console.print(f"{kind} {escape(f'{path}: {finding}')}")
        if errors:
            broken.append(f"{path} ({errors} error{'s' * (errors > 1)})")
        else:
            console.print(f"[green]sound  [/] {escape(str(path))}")
    if broken:
        raise UserError(f"not sound: {', '.join(broken)}; make it again, or leave out what is named above")


def _merge(options: argparse.Namespace, command: str) -> None:
    from tte_tee.data.curate.merge import merge_stores

    merge_stores(options.stores, options.out, command=command, progress=True)
    _say(options.out)


def _split(options: argparse.Namespace, command: str) -> None:
    from tte_tee.data.curate.split import split_store

    split_store(
        options.store,
        options.out,
        val=options.val,
        test=options.test,
        by=options.by,
        seed=options.seed,
        command=command,
        progress=True,
    )
    _say(options.out)


def _subset(options: argparse.Namespace, command: str) -> None:
    if options.seed is not None and not (options.patients or options.frames):
        raise UserError("--seed decides which --patients or --frames are kept; give one of them, or leave it out")
    from tte_tee.data.curate.subset import Subset, write_subset

    subset = Subset(
        splits=options.split,
        views=options.view,
        cohorts=options.cohort,
        labelled=options.labelled,
        patients=options.patients,
        frames=options.frames,
        seed=options.seed or 0,
        set_cohort=options.set_cohort,
    )
    write_subset(options.store, options.out, subset, command=command, progress=True)
    _say(options.out)


def _card(options: argparse.Namespace, command: str) -> None:
    from tte_tee.data.curate.card import card
    from tte_tee.data.curate.numbers import count_store
    from tte_tee.data.store import EchoStore
    from tte_tee.files import check_suffix, write_whole

    if options.out:
        check_suffix(options.out, ".md")
    text = card(count_store(EchoStore(options.store)))
    if options.out:
        write_whole(options.out, text.encode())
        print(f"left in {options.out}")
    else:
        print(text, end="")


def _say(out: Path) -> None:
    """Shows who stands where in a store that was just written."""
    from rich.console import Console

    from tte_tee.data.curate.inspect import rich_table
    from tte_tee.data.curate.numbers import split_table
    from tte_tee.data.store import EchoStore

    Console(markup=False).print(rich_table(split_table(EchoStore(out).table)))
    print(f"left in {out}")
