"""``studio``: a local page on which a mask is painted and its synthetic frame is seen."""

import argparse
from importlib.util import find_spec
from pathlib import Path

from tte_tee.cli.parser import Parser, command_line
from tte_tee.errors import UserError

_TEXT = """Opens a web page on this machine: paint a heart, or move the modes of a shape model, and see the frame
that an adapter draws of it; with several adapters, their frames of one mask and one noise side by side.

Without any option the adapter that 'make fit' leaves draws, or, where there is none yet, the shipped base through
MaskR2 alone. The page needs no network, asks for nothing from it, and only this machine sees it."""

_EXAMPLE = """example:
  python -m tte_tee studio --adapter runs/study/version_0/adapter --segmenter runs/seg_others/version_0/segmenter \\
      --trained-on data/phantom/adaptation.h5

Frames that are saved go to an echo store that every other command reads (--out)."""


def main(words: list[str]) -> None:
    """Opens the page and serves it until it is interrupted.

    Raises:
        UserError: what the user gave is wrong, or Gradio is not installed.
    """
    options = _parser().parse_args(words)
    if find_spec("gradio") is None:
        raise UserError("the page needs Gradio: pip install 'tte_tee[demo]', or in the source tree 'make demo'")
    from tte_tee.studio.start import WORK, open_studio

    studio = open_studio(
        options.adapter,
        segmenter=options.segmenter,
        shapes=options.shapes,
        trained_on=options.trained_on,
        out=options.out or WORK / "saved.h5",
        command=command_line("studio", *words),
    )
    from tte_tee.studio.serve import service

    with service(studio, options.host, options.port) as page:
        if not page.private:
            print(f"--host {options.host}: whoever reaches this machine can use the page; it asks for no password")
        print(f"open {page.url} in a browser; Ctrl-C ends it", flush=True)
        page.run()


def _parser() -> argparse.ArgumentParser:
    parser = Parser.of("studio", _TEXT, _EXAMPLE)
    parser.add_argument("--adapter", nargs="+", default=[], metavar="DIR", help="folders left by fits of TEEAdapter")
    parser.add_argument("--segmenter", metavar="DIR", help="looks for the masks in the frames; of other patients")
    parser.add_argument("--shapes", metavar="DIR", help="folder left by 'masks fit' (default: of the phantom)")
    parser.add_argument(
        "--trained-on", metavar="STORE.h5", help="what the adapters learnt from, for the nearest training frame"
    )
    parser.add_argument(
        "--out", type=Path, metavar="S.h5", help="store of the frames that are saved (default runs/studio/saved.h5)"
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to serve on (default 127.0.0.1: this machine)")
    parser.add_argument("--port", type=_port, default=7860, help="to serve on (default 7860)")
    return parser


def _port(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) < 2**16:
        raise argparse.ArgumentTypeError(f"{text!r} is no port; use 1 to 65535")
    return int(text)
