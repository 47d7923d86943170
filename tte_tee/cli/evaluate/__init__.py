"""``evaluate``: what a segmenter, synthetic frames and their masks are worth."""

from importlib import import_module

from tte_tee.errors import UserError

HELP = """\
usage: python -m tte_tee evaluate WHAT ...

  evaluate segmenter   score a segmenter on frames with true masks: Dice, distances, agreement
  evaluate compare     the difference between two segmenters on the same frames, with an interval
  evaluate masks       mask fidelity: does a segmenter of other patients find the masks that frames were drawn for?
  evaluate fidelity    how near a set of synthetic frames is to real ones: KID, Frechet distance, speckle, ...
  evaluate copies      how near each synthetic frame is to those the adapter learnt from

python -m tte_tee evaluate WHAT --help says more of each.
"""
COMMANDS = ("segmenter", "compare", "masks", "fidelity", "copies")


def main(words: list[str]) -> None:
    """Runs one of the evaluations, each a module of this package.

    Raises:
        UserError: what the user gave is wrong.
    """
    if words[:1] in (["-h"], ["--help"]):
        print(HELP, end="")
    elif not words or words[0] not in COMMANDS:
        raise UserError(f"say what to evaluate: {', '.join(COMMANDS)}; 'python -m tte_tee evaluate --help' says more")
    else:
        import_module(f"{__name__}.{words[0]}").main(words[1:])
