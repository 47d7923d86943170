"""``evaluate masks``: whether drawn frames show the masks that they were drawn for."""

from pathlib import Path

from tte_tee.cli.parser import Parser, command_line, folder

_TEXT = """Mask fidelity: Dice between the mask that a frame was drawn for and what a segmenter finds in it, for each
structure, beside that segmenter's Dice on real frames. Far below: the generator does not obey its masks, and
synthetic frames teach wrong labels. As high: it does, as far as this segmenter can tell.

The segmenter must know other patients: one that learnt from the adapter's patients, or from those of the masks,
is refused by name. Writes into --out: mask_fidelity.json (every frame) and cases_<STRUCTURE>.png, the worst and
median frames; there, 'truth' is the mask asked for."""

_EXAMPLE = """example:
  python -m tte_tee evaluate masks --synthetic synthetic.h5 --segmenter runs/seg_others/version_0/segmenter \\
      --real data/packed/tee.h5 --split val --out runs/mask_fidelity"""


def main(words: list[str]) -> None:
    """Runs ``evaluate masks``.

    Raises:
        UserError: what the user gave is wrong, or the segmenter knows a patient.
    """
    parser = Parser.of("evaluate masks", _TEXT, _EXAMPLE)
    parser.add_argument("--synthetic", type=Path, required=True, metavar="S.h5", help="store that 'synthesize' wrote")
    parser.add_argument("--segmenter", type=Path, required=True, metavar="DIR", help="folder that 'fit' left")
    parser.add_argument("--real", type=Path, required=True, metavar="R.h5", help="real frames with true masks")
    parser.add_argument("--split", default="val", help="which of the real frames (default: val)")
    parser.add_argument("--cohort", help="which of the real frames (default: any)")
    parser.add_argument("--device", default="cpu", help="where to compute (default: cpu)")
    parser.add_argument("--out", type=folder, required=True, metavar="DIR", help="folder to write into")
    options = parser.parse_args(words)

    from rich.console import Console

    from tte_tee.data.store import EchoStore
    from tte_tee.evaluation.mask_fidelity import mask_fidelity, write_mask_fidelity
    from tte_tee.models.segmenter import load_segmenter
    from tte_tee.report.scores import mask_fidelity_table

    loaded, synthetic, real = load_segmenter(options.segmenter), EchoStore(options.synthetic), EchoStore(options.real)
    chosen = {"split": options.split, "cohort": options.cohort}
    result = mask_fidelity(loaded, synthetic, real, **chosen, device=options.device)
    record = {
        "command": command_line("evaluate", "masks", *words),
        **chosen,
        "segmenter": {"hash": loaded.hash, **loaded.record},
    }
    values = write_mask_fidelity(options.out, synthetic, real, result, record)
    Console().print(mask_fidelity_table(values))
    print(f"left in {options.out}")
