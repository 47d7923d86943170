"""``report``: what all cells say together, on one page."""

import sys
from pathlib import Path

from tte_tee.cli.parser import Parser

_TEXT = """Makes one self-contained page of all cells in a folder (STUDY/ARM_seedN.json, searched with its folders).

It holds the primary endpoint with its interval, the paper's table beside ours, Dice by arm, rank, ratio and number
of patients, fidelity and parameters against Dice, galleries, copy rates, worst cases, time and memory, and where
every number comes from. What the cells do not allow is "not estimable" or "not yet computed", with the reason.
Cells tested on different cohorts are never compared. Beside the page stand the same numbers as .md, .csv and .json."""

_EXAMPLE = """example:
  python -m tte_tee report experiments/results --out report.html"""


def main(words: list[str]) -> None:
    """Runs ``report``.

    Raises:
        UserError: there is no cell, or what the user gave is wrong.
    """
    parser = Parser.of("report", _TEXT, _EXAMPLE)
    parser.add_argument("runs", type=Path, metavar="RUNS", help="folder that holds cells")
    parser.add_argument("--out", type=Path, required=True, metavar="R.html", help="page to write")
    options = parser.parse_args(words)

    from tte_tee.report.write import write_report

    for note in write_report(options.runs, options.out):
        print(f"note: {note}", file=sys.stderr)
    print(f"left in {options.out}")
