"""``python -m tte_tee export``: networks, adapters and frames for other programs."""

import argparse
from pathlib import Path
from typing import Any

from tte_tee.cli.parser import Parser, positive, subcommand
from tte_tee.errors import UserError

_DIFFUSERS = """Writes a network that plain diffusers loads: a base as it is, or with --adapter what the adapter
makes of its base (LoRA merged; weights of its own as they are).

The folder has unet/ and scheduler/, base.json (shape and provenance), with --adapter maskr2.json (labels of the
masks to channels), and README.md, which says in words how masks become the input. It is a base folder here, too,
and an exported base keeps its weights to the byte, so that its adapters know it."""

_DIFFUSERS_EXAMPLE = """examples:
  python -m tte_tee export diffusers --base shipped --out exported/base
  python -m tte_tee export diffusers --adapter runs/lora_mlp/version_0/adapter --out exported/tee"""

_ADAPTER = """Writes a LoRA in PEFT's format, for peft.PeftModel.from_pretrained(unet, FOLDER) on its base, which
'export diffusers --base' writes. The adapter is checked against its base first; names of this machine's folders
are left out. README.md says in words how masks become the input.

Adapters of method full, scratch and none are no LoRA, and refused: 'export diffusers' writes their networks."""

_ADAPTER_EXAMPLE = """example:
  python -m tte_tee export adapter --adapter runs/lora_mlp/version_0/adapter --out exported/adapter"""

_NNUNET = """Writes the labelled frames of stores as a raw data set of nnU-Net v2: DatasetNNN_NAME with imagesTr,
labelsTr, imagesTs, labelsTs, dataset.json, and splits_final.json, one fold by patient after the stores' splits.

Files are NIfTI, with millimetres, where the spacing of every frame is known, and PNG otherwise. Images are black
outside of the sector, as the segmenters here see them. Label ids stay. frames.csv says which frame a case is.

Several stores make one data set. Frames that 'synthesize' drew train only (those of other splits are left out);
they are refused where their adapter, base or masks have seen a test patient, were drawn for the masks of a
patient who validates or tests, or learnt from others than those trained on."""

_NNUNET_EXAMPLE = """examples:
  python -m tte_tee export nnunet --store data/packed/tee.h5 --out nnUNet_raw --id 501 --name TEE
  python -m tte_tee export nnunet --store data/packed/tee.h5 synthetic.h5 --out nnUNet_raw --id 502 --name TEEmix"""

_PNG = """Writes a store as PNG folders: images, masks (label ids as grey levels) and sectors (0 and 255), and
frames.csv, a row per frame with all that the store says of it.

recipe.yaml beside them is for 'data pack', which gives back pixels, labels, patients, views, phases and splits.
There is none where it would give back something else: of generated frames and of masks without pictures, say.
The card says why, and what a store says beyond a recipe's reach."""

_PNG_EXAMPLE = """example:
  python -m tte_tee export png --store data/packed/tee.h5 --out exported/tee
  python -m tte_tee data pack exported/tee/recipe.yaml --root exported/tee --out again.h5"""


def main(words: list[str]) -> None:
    """Runs one of the exports.

    Raises:
        UserError: what the user gave is wrong, or cannot be exported.
        SystemExit: help was asked for.
    """
    options = _parser().parse_args(words)
    options.run(options)


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="python -m tte_tee export",
        description="Writes networks, adapters and frames in the formats of other programs.",
        epilog="Each command explains itself with --help.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="FORMAT")
    folder: dict[str, Any] = {"type": Path, "required": True, "metavar": "FOLDER", "help": "folder to write, not there"}

    network = subcommand(commands, "diffusers", _diffusers, "a network for diffusers", _DIFFUSERS, _DIFFUSERS_EXAMPLE)
    network.add_argument("--base", metavar="B", help="folder of a base, or 'shipped'; with --adapter, if it moved")
    network.add_argument("--adapter", type=Path, metavar="A", help="folder left by a fit of TEEAdapter")
    network.add_argument("--out", **folder)

    adapter = subcommand(commands, "adapter", _adapter, "a LoRA for peft", _ADAPTER, _ADAPTER_EXAMPLE)
    adapter.add_argument("--adapter", type=Path, required=True, metavar="A", help="folder left by a fit of TEEAdapter")
    adapter.add_argument("--base", metavar="B", help="the adapter's base, if it moved ('shipped': the package's own)")
    adapter.add_argument("--out", **folder)

    nnunet = subcommand(commands, "nnunet", _nnunet, "frames for nnU-Net v2", _NNUNET, _NNUNET_EXAMPLE)
    nnunet.add_argument("--store", type=Path, nargs="+", required=True, metavar="S.h5", help="stores of one kind")
    nnunet.add_argument("--out", type=Path, required=True, metavar="nnUNet_raw", help="folder of raw data sets")
    nnunet.add_argument("--id", type=positive, required=True, metavar="N", help="number of the data set, 1 to 999")
    nnunet.add_argument("--name", required=True, metavar="NAME", help="name of the data set")

    pictures = subcommand(commands, "png", _png, "frames as PNG folders", _PNG, _PNG_EXAMPLE)
    pictures.add_argument("--store", type=Path, required=True, metavar="S.h5", help="echo store")
    pictures.add_argument("--out", **folder)
    return parser


def _diffusers(options: argparse.Namespace) -> None:
    if options.base is None and options.adapter is None:
        raise UserError("say what to export: --base B, or --adapter A")
    from tte_tee.models.exports import export_adapted, export_base

    if options.adapter is None:
        export_base(options.base, options.out)
    else:
        export_adapted(options.adapter, options.out, options.base)
    print(f"left in {options.out}")


def _adapter(options: argparse.Namespace) -> None:
    from tte_tee.models.exports import export_adapter

    export_adapter(options.adapter, options.out, options.base)
    print(f"left in {options.out}")


def _nnunet(options: argparse.Namespace) -> None:
    from tte_tee.data.exporters.nnunet import export_nnunet

    made = export_nnunet(options.store, options.out, options.id, options.name, progress=True)
    print(", ".join(f"{split} {count}" for split, count in made.frames.items()) + f" frames, as {made.ending}")
    if made.left_out:
        print(f"{made.left_out} generated frames are not of split train, and left out")
    print(f"left in {made.folder}")


def _png(options: argparse.Namespace) -> None:
    from tte_tee.data.exporters.png import export_png

    reason = export_png(options.store, options.out, progress=True)
    if reason:
        print(f"no recipe: {reason}")
    print(f"left in {options.out}")
