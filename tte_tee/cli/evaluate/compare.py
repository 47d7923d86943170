"""``evaluate compare``: two segmenters that were judged on the same frames."""

from pathlib import Path

from tte_tee.cli.parser import Parser, command_line

_LEVEL = 0.95
_TEXT = """The difference between two segmenters, patient by patient, with an interval for each structure.

Takes the folders that 'evaluate segmenter' wrote, all on the same frames. One folder on each side: the interval
says what other patients would give with these two trainings, and nothing of another training. Three or more,
of the same seeds on both sides: it says what other patients and other seeds would give, as the report does.
A gain is a gain only where the interval excludes zero."""

_EXAMPLE = """example:
  python -m tte_tee evaluate compare --baseline runs/judged_real --arm runs/judged_mix --out runs/difference.json"""


def main(words: list[str]) -> None:
    """Runs ``evaluate compare``.

    Raises:
        UserError: a folder holds no scores, or they are not of the same frames.
    """
    parser = Parser.of("evaluate compare", _TEXT, _EXAMPLE)
    for name, what in (("baseline", "what it is measured against"), ("arm", "what is measured")):
        parser.add_argument(
            f"--{name}", type=Path, nargs="+", required=True, metavar="DIR", help=f"{what}, a seed each"
        )
    parser.add_argument("--out", type=Path, metavar="F.json", help="file to write the numbers into, too")
    options = parser.parse_args(words)

    from rich.console import Console

    from tte_tee.files import check_suffix, write_json
    from tte_tee.provenance import provenance
    from tte_tee.report.judged import FILE, contrast, contrast_table, read_judged

    if options.out:
        check_suffix(options.out, ".json")
        if options.out.name == FILE:
            parser.error(f"--out {options.out}: {FILE} is what 'evaluate segmenter' leaves; give another name")
    baseline, arm = ([read_judged(folder) for folder in side] for side in (options.baseline, options.arm))
    found = contrast(baseline, arm, level=_LEVEL)
    Console().print(contrast_table(found, seeds=len(arm), level=_LEVEL))
    if options.out:
        sides = {"baseline": baseline, "arm": arm}
        record = {
            **provenance(),
            "command": command_line("evaluate", "compare", *words),
            "store": baseline[0].record["store"],
            "segmenters": {side: [judged.record["segmenter"]["hash"] for judged in of] for side, of in sides.items()},
            "measures": {name: row.to_json() for name, row in found.items()},
        }
        write_json(options.out, record)
        print(f"left in {options.out}")
