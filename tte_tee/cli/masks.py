"""``python -m tte_tee masks``: more masks than anybody drew."""

import argparse
from functools import partial
from pathlib import Path

from tte_tee.cli.parser import Commands, Parser, command_line, subcommand

_FIT = """Learns a 2D statistical shape model of the training masks of a store, view by view.

Mean and modes of the signed distance maps of all structures, together with the sector and, where
it is known, the spacing. Only split train is read; patients of a held-out cohort are refused, and
those of cohort pool are left out unless --cohorts names it.

The folder holds shape_model.json (patients, modes, explained variance, rules), the arrays, and for
each view modes_<VIEW>.png: every mode at -2, 0 and +2 standard deviations. Look at these first."""

_FIT_EXAMPLE = """example:
  python -m tte_tee masks fit data/packed/tee.h5 --out runs/shapes_tee"""

_SAMPLE = """Draws masks from a shape model into one echo store (HDF5).

A draw must keep the rules learnt from the training masks: the structures that its view shows, each in
one piece and of a plausible size, neighbours still touching, all of it in the sector. Draws that break
a rule are counted and drawn again. Images are black: 'synthesize' makes frames of the masks.
The same model and seed give the same masks, and a larger count begins with the masks of a smaller one."""

_SAMPLE_EXAMPLE = """example:
  python -m tte_tee masks sample --model runs/shapes_tee --count 200 --seed 1 --out data/packed/ssm.h5
  python -m tte_tee synthesize --adapter runs/lora_mlp/version_0/adapter \\
      --masks data/packed/ssm.h5 --out synthetic.h5"""


_HEART = """Slices 3D hearts at the transoesophageal planes into one echo store of masks (HDF5).

Source atlas draws hearts from a population whose shapes are distributed otherwise than those of the
phantom's patients; it stands in for a statistical shape model of the whole heart. Source oracle draws
them from the patients' own population, which nobody has in earnest: a bound, never a result.
Images are black: 'synthesize' makes frames of the masks."""

_HEART_EXAMPLE = """example:
  python -m tte_tee masks heart --source atlas --hearts 100 --seed 1 --out data/packed/atlas.h5"""

_EDIT = """Changes one thing, or several in the order given, in the masks of a store: what if this heart had a
larger right ventricle, lay otherwise in the picture, or were seen through another sector?

The new store has black images; each mask keeps its patient, split, cohort and who made it, names the
mask it came from as its parent, and says in its key what was edited (KEY~dilate-RV-20~rotate+10). An
edited heart of a patient is that patient's heart still, and the provenance says so: a segmenter trained
on it is not tested on that patient. Masks in which an edit changes nothing are left out and counted.

Sizes are in percent of the structure's equivalent radius (of the disc of its area), in mm where the
spacing is known. A structure that grows takes background; its neighbours stand, but for those named after
a colon. What shrinks leaves background, what leaves the sector is cut, and what an old sector had cut
off stays unknown: a wider, deeper or turned one shows background there."""

_EDIT_EXAMPLE = """example:
  python -m tte_tee masks edit data/packed/ssm.h5 --dilate RV=20 --rotate -5 \\
      --out data/packed/rv20.h5 --picture rv20.png
  python -m tte_tee synthesize --adapter runs/lora_mlp/version_0/adapter \\
      --masks data/packed/rv20.h5 --out synthetic_rv20.h5"""


def main(words: list[str]) -> None:
    """Runs one of the commands on masks.

    Raises:
        UserError: what the user gave is wrong.
        SystemExit: help was asked for.
    """
    args = _parser().parse_args(words)
    args.run(args, command_line("masks", *words))


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="python -m tte_tee masks",
        description="Makes masks: shapes learnt from training masks, and stores of masks drawn from them.",
        epilog="Each command explains itself with --help.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_fit(commands)
    _add_sample(commands)
    _add_heart(commands)
    _add_edit(commands)
    return parser


def _add_fit(commands: Commands) -> None:
    parser = subcommand(commands, "fit", _fit, "learn a shape model from a store's training masks", _FIT, _FIT_EXAMPLE)
    parser.add_argument("store", type=Path, metavar="STORE.h5", help="echo store whose training masks are learnt from")
    parser.add_argument("--views", nargs="+", metavar="VIEW", help="views to learn (default: all that it has)")
    parser.add_argument("--cohorts", nargs="+", metavar="COHORT", help="whose masks (default: base adaptation none)")
    parser.add_argument(
        "--variance", type=float, default=0.95, metavar="SHARE", help="that the modes keep (default: 0.95)"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write, or to replace")


def _fit(args: argparse.Namespace, command: str) -> None:
    from rich.console import Console
    from rich.table import Table

    from tte_tee.data.shape_model import check_folder, fit_shape_model, save_shape_model
    from tte_tee.data.store import EchoStore
    from tte_tee.provenance import provenance

    check_folder(args.out)
    model = fit_shape_model(
        EchoStore(args.store),
        views=args.views,
        cohorts=args.cohorts,
        variance=args.variance,
        record={**provenance(), "command": command},
        progress=True,
    )
    save_shape_model(args.out, model)
    table = Table("view", "masks", "patients", "modes", "variance kept")
    for name, view in model.views.items():
        counts = (view.frames, len(view.patients), len(view.explained))
        table.add_row(name, *map(str, counts), f"{100 * sum(view.explained):.1f} %")
    Console().print(table)
    print(f"shape model {model.hash[:8]} left in {args.out}")


def _add_sample(commands: Commands) -> None:
    parser = subcommand(commands, "sample", _sample, "draw masks from a shape model", _SAMPLE, _SAMPLE_EXAMPLE)
    parser.add_argument("--model", type=Path, required=True, metavar="DIR", help="folder left by 'masks fit'")
    parser.add_argument("--count", type=int, required=True, metavar="N", help="masks, the views in turn")
    parser.add_argument("--views", nargs="+", metavar="VIEW", help="views to draw (default: all of the model)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="decides every draw (default: 0)")
    parser.add_argument("--out", type=Path, required=True, metavar="F.h5", help="store to write, or to replace")


def _sample(args: argparse.Namespace, command: str) -> None:
    from rich.console import Console
    from rich.table import Table

    from tte_tee.data.shape_model import REASONS, load_shape_model, sample_masks
    from tte_tee.provenance import provenance

    model = load_shape_model(args.model)
    tallies = sample_masks(
        model,
        args.out,
        args.count,
        views=args.views,
        seed=args.seed,
        command=command,
        record=provenance(),
        progress=True,
    )
    table = Table("view", "accepted", "rejected", "because")
    for view, tally in tallies.items():
        why = ", ".join(f"{reason} {tally.rejected[reason]}" for reason in REASONS if tally.rejected[reason])
        table.add_row(view, str(tally.accepted), str(tally.rejected.total()), why or "-")
    Console().print(table)
    print(f"{args.count} masks left in {args.out}")


def _add_heart(commands: Commands) -> None:
    parser = subcommand(commands, "heart", _heart, "slice 3D hearts of a population", _HEART, _HEART_EXAMPLE)
    parser.add_argument("--source", choices=("atlas", "oracle"), required=True, help="population of the hearts")
    parser.add_argument("--hearts", type=int, required=True, metavar="N", help="how many")
    # What is not given stays out of the namespace: HeartMasks holds the defaults.
    option = partial(parser.add_argument, default=argparse.SUPPRESS)
    option("--seed", type=int, metavar="S", help="decides every heart (default: 0)")
    option("--size", type=int, metavar="PIXELS", help="height and width (default: 64)")
    option("--angles", type=int, nargs="+", metavar="DEG", help="more planes, between 0 and 90 degrees")
    parser.add_argument("--out", type=Path, required=True, metavar="F.h5", help="store to write, or to replace")


def _heart(args: argparse.Namespace, command: str) -> None:
    from tte_tee.data.phantom import HeartMasks, write_heart_masks

    given = {name: value for name, value in vars(args).items() if name not in ("command", "run", "out")}
    if "angles" in given:
        given["angles"] = tuple(given["angles"])
    write_heart_masks(HeartMasks(**given), args.out, progress=True)
    print(f"masks left in {args.out}")


def _add_edit(commands: Commands) -> None:
    parser = subcommand(commands, "edit", _edit, "change something in masks that are there", _EDIT, _EDIT_EXAMPLE)
    parser.add_argument("store", type=Path, metavar="STORE.h5", help="echo store whose masks are edited")
    for name, metavar, text in (
        ("dilate", "S=PERCENT[:S,...]", "grow structure S by so much of its radius; neighbours after the colon yield"),
        ("shrink", "S=PERCENT", "take so much of its radius off structure S"),
        ("rotate", "DEG", "turn the heart about the probe's tip; what lies below it goes right where positive"),
        (
            "sector",
            "WHAT=VALUE",
            "angle=DEGREES of opening, depth=PERCENT of the old depth (the heart is magnified with it), or "
            "from=F.h5:NUMBER, the sector of a frame by its place in another store, from 0",
        ),
        ("view", "VIEW", "tell the generator another plane"),
    ):
        # One list for all of them, so that they are applied in the order of the command line.
        parser.add_argument(
            f"--{name}", action="append", dest="edits", type=partial(_named, name), metavar=metavar, help=text
        )
    parser.add_argument(
        "--split", choices=("train", "val", "test"), default="train", help="masks of one split (default: train)"
    )
    parser.add_argument("--picture", type=Path, metavar="P.png", help="a few masks before and after")
    parser.add_argument("--out", type=Path, required=True, metavar="EDITED.h5", help="store to write, or to replace")


def _named(option: str, text: str) -> tuple[str, str]:
    return option, text


def _edit(args: argparse.Namespace, command: str) -> None:
    from rich.console import Console
    from rich.table import Table

    from tte_tee.data.edits import before_and_after, edit_masks, parse_edit
    from tte_tee.data.pictures import write_png
    from tte_tee.data.store import EchoStore
    from tte_tee.files import check_suffix
    from tte_tee.provenance import provenance

    if args.picture:
        check_suffix(args.picture, ".png")
    store = EchoStore(args.store)
    edits = [parse_edit(option, text, store) for option, text in args.edits or ()]
    tally = edit_masks(store, args.out, edits, split=args.split, command=command, record=provenance(), progress=True)
    if args.picture:
        write_png(args.picture, before_and_after(store, EchoStore(args.out)))
    table = Table("structure", "masks that show it", "of before", "in more pieces", "area, mean change")
    for name, count in tally.before.items():
        change = sum(tally.change[name]) / count - 1
        table.add_row(name, str(tally.after[name]), str(count), str(tally.broken[name]), f"{100 * change:+.1f} %")
    Console().print(table)
    for name, count in tally.unchanged.items():
        print(f"{count} masks left out: {name} changes nothing in them")
    if tally.emptied:
        print(f"{tally.emptied} masks left out: nothing is left in them")
    print(f"{tally.written} masks left in {args.out}")
