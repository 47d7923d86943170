"""``evaluate copies``: synthetic frames against those their adapter learnt from."""

import argparse
from pathlib import Path

from tte_tee.cli.parser import Parser, command_line, folder

_TEXT = """Finds, for each synthetic frame, the training frame that it is likest to, and says whether that is a copy.

Frames of other patients than the mask's are compared by correlation inside the sector (smoothed, over mirror
images and shifts of a pixel of 64; gain and offset cancel) and, with --extractor, by features. A frame drawn for a
training patient's own mask is compared with that patient's frames by texture: what is left when each structure's
mean grey level is taken off. Thresholds are those that real frames of patients whom the adapter has not seen
(--held-out) seldom pass; with --control, texture's is set by frames that the same adapter drew for the masks
of those patients, which is the better reference. Without --held-out, or with too few patients, there is no
threshold: shares of copies are not estimable, it says so, and copies.csv still holds the likest frame of each.

Writes into --out: copies.json (shares by whose masks were used, thresholds and what they rest on), copies.csv
(one row per synthetic frame) and worst.png (the likest pairs)."""

_EXAMPLE = """example:
  python -m tte_tee evaluate copies --synthetic synthetic.h5 --trained-on data/phantom/adaptation.h5 \\
      --held-out data/phantom/pool.h5 --extractor segmenter=runs/seg_real/version_0/segmenter --out runs/copies"""


def main(words: list[str]) -> None:
    """Runs ``evaluate copies``.

    Raises:
        UserError: what the user gave is wrong, or a held-out patient was seen.
    """
    parser = Parser.of("evaluate copies", _TEXT, _EXAMPLE)
    parser.add_argument("--synthetic", type=Path, required=True, metavar="S.h5", help="generated frames")
    parser.add_argument("--trained-on", type=Path, required=True, metavar="A.h5", help="what the adapter learnt from")
    parser.add_argument("--held-out", type=Path, metavar="R.h5", help="real frames it has not seen")
    parser.add_argument("--control", type=Path, metavar="C.h5", help="frames it drew for the masks of --held-out")
    parser.add_argument("--extractor", metavar="KIND=PATH", help="network whose features are compared, too")
    allowed = "of false alarms per measure (default: 0.01)"
    parser.add_argument("--allowed", type=_share, default=argparse.SUPPRESS, metavar="SHARE", help=allowed)
    parser.add_argument("--device", default="cpu", help="where to compute features (default: cpu)")
    parser.add_argument("--out", type=folder, required=True, metavar="DIR", help="folder to write into")
    options = parser.parse_args(words)

    from rich.console import Console

    from tte_tee.data.store import EchoStore
    from tte_tee.evaluation.copies import AuditedStores, audit
    from tte_tee.models.extractors import load_extractor
    from tte_tee.report.copies import copies_table

    stores = AuditedStores(
        synthetic=EchoStore(options.synthetic),
        training=EchoStore(options.trained_on),
        held_out=EchoStore(options.held_out) if options.held_out else None,
        control=EchoStore(options.control) if options.control else None,
    )
    extractor = load_extractor(options.extractor, options.device) if options.extractor else None
    given = {"allowed": options.allowed} if "allowed" in options else {}
    command = command_line("evaluate", "copies", *words)
    Console().print(copies_table(audit(stores, extractor, options.out, **given, command=command)))
    print(f"left in {options.out}")


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = 0.0
    if not 0 < share < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no share between 0 and 1")
    return share
