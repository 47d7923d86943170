"""``filter``: leave out synthetic frames that do not show their masks, or that copy."""

import argparse
from functools import partial
from pathlib import Path

from tte_tee.cli.parser import Parser, command_line

_TEXT = """Keeps the frames of a synthetic store that show their masks and copy nothing.

A frame is left out where a segmenter finds its mask worse than it finds the masks of all but --quantile of the
real validation frames, or where it is more like a training frame than all but --allowed of the training frames
are like those of another patient. The segmenter must have learnt from the adaptation patients alone ('fit' with
seg_real.yaml does): a filter that knew more patients than the adapter would bring them into the synthetic set,
so it is refused by name.

What is left out is not a random part: look at the table of what stays, per structure, before using it."""

_EXAMPLE = """example:
  python -m tte_tee filter synthetic.h5 --segmenter runs/seg_real/version_0/segmenter \\
      --adaptation data/packed/tee.h5 --out filtered.h5"""


def main(words: list[str]) -> None:
    """Runs ``filter``.

    Raises:
        UserError: what the user gave is wrong, the segmenter knows other patients, or nothing would stay.
    """
    parser = Parser.of("filter", _TEXT, _EXAMPLE)
    parser.add_argument("store", type=Path, metavar="S.h5", help="store that 'synthesize' wrote")
    parser.add_argument("--segmenter", type=Path, required=True, metavar="DIR", help="folder that 'fit' left")
    parser.add_argument(
        "--adaptation", type=Path, required=True, metavar="A.h5", help="frames that the adapter learnt from"
    )
    # What is not given stays out of the namespace: Rules holds the defaults.
    option = partial(parser.add_argument, type=float, default=argparse.SUPPRESS, metavar="Q")
    option("--quantile", help="of real frames (default 0.1)")
    option("--allowed", help="of training frames (default 0.01)")
    parser.add_argument("--device", default="cpu", help="where to compute (default: cpu)")
    parser.add_argument("--out", type=Path, required=True, metavar="F.h5", help="store to write")
    options = parser.parse_args(words)

    from rich.console import Console

    from tte_tee.data.curate.copying import check_out
    from tte_tee.data.store import EchoStore
    from tte_tee.evaluation.filter import Rules, choose, what_stays, write_filtered
    from tte_tee.models.segmenter import load_segmenter
    from tte_tee.report.scores import filter_table

    rules = Rules(**{name: value for name, value in vars(options).items() if name in ("quantile", "allowed")})
    loaded, store = load_segmenter(options.segmenter), EchoStore(options.store)
    adaptation = EchoStore(options.adaptation)
    check_out(options.out, store, adaptation)
    filtered = choose(loaded, store, adaptation, rules, options.device)
    command = command_line("filter", *words)
    write_filtered(options.out, store, filtered, loaded, rules, command)
    Console().print(filter_table(filtered.to_json(), what_stays(store, filtered).to_dict("index")))
    print(f"{len(filtered.kept)} of {len(store)} frames left in {options.out}")
