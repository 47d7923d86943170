"""``evaluate segmenter``: score a segmenter on a store."""

from pathlib import Path

from tte_tee.cli.parser import Parser, command_line, folder

_TEXT = """Scores a segmenter on frames of a store whose masks are known.

Writes into --out: metrics.json (every case; per patient, frames averaged within the patient; per structure;
clinical measures), cases_<STRUCTURE>.png (worst and median cases), agreement_<MEASURE>.png (Bland-Altman) and
CLAIM.md (a checklist after CLAIM 2024, filled in as far as the records go).
A patient who went into the segmenter - its frames, its validation, the adapter or shape model behind its
synthetic frames - is refused by name."""

_EXAMPLE = """example:
  python -m tte_tee evaluate segmenter --segmenter runs/seg_real/version_0/segmenter --store data/packed/test.h5 \\
      --split test --out runs/seg_real/version_0/test"""


def main(words: list[str]) -> None:
    """Runs ``evaluate segmenter``.

    Raises:
        UserError: what the user gave is wrong, or a patient was seen.
    """
    parser = Parser.of("evaluate segmenter", _TEXT, _EXAMPLE)
    parser.add_argument("--segmenter", type=Path, required=True, metavar="DIR", help="folder that 'fit' left")
    parser.add_argument("--store", type=Path, required=True, metavar="F.h5", help="frames with true masks")
    parser.add_argument("--split", default="test", help="which of them (default: test)")
    parser.add_argument("--cohort", help="which of them (default: any)")
    parser.add_argument("--device", default="cpu", help="where to compute (default: cpu)")
    parser.add_argument("--out", type=folder, required=True, metavar="DIR", help="folder to write into")
    options = parser.parse_args(words)

    from rich.console import Console

    from tte_tee.data.store import EchoStore
    from tte_tee.evaluation.finding import find_in_store
    from tte_tee.evaluation.segmenter import frames_to_score, score, write_evaluation
    from tte_tee.models.segmenter import load_segmenter
    from tte_tee.report.bland_altman import write_bland_altman
    from tte_tee.report.claim import write_claim
    from tte_tee.report.scores import score_table

    loaded, store = load_segmenter(options.segmenter), EchoStore(options.store)
    indices = frames_to_score(loaded, store, options.split, options.cohort)
    found = find_in_store(loaded, store, indices, options.device)
    result = score(store, found)
    record = {
        "command": command_line("evaluate", "segmenter", *words),
        "split": options.split,
        "cohort": options.cohort,
        "segmenter": {"hash": loaded.hash, **loaded.record},
    }
    values = write_evaluation(options.out, store, found, result, record)
    for measure, agreement in values["clinical"]["agreement"].items():
        if "bias" in agreement:
            name = measure.replace("/", "_").replace(" ", "_")
            write_bland_altman(options.out / f"agreement_{name}.png", agreement, measure, agreement["unit"])
    write_claim(options.out, options.segmenter)
    Console().print(score_table(values))
    print(f"left in {options.out}")
