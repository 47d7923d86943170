"""``segment``: let a segmenter find structures in new frames."""

from pathlib import Path

from tte_tee.cli.parser import Parser, folder
from tte_tee.errors import UserError

_TEXT = """Finds structures in frames: one picture (PNG), a folder of pictures, a DICOM file or an echo store.

Pictures and DICOM files give, for every frame, NAME_mask.png (ids of the label space, at the frame's own size)
and NAME_overlay.png. Their sector is estimated; what lies outside is not looked at, nor shown, and a DICOM file
whose sector is unsure is refused. A store gives found.h5, the frames with the masks found, which may run a little
past the sector where the segmenter was trained on masks that do."""

_EXAMPLE = """example:
  python -m tte_tee segment frame.png --segmenter runs/seg_real/version_0/segmenter --out found"""


def main(words: list[str]) -> None:
    """Runs ``segment``.

    Raises:
        UserError: what the user gave is wrong.
    """
    parser = Parser.of("segment", _TEXT, _EXAMPLE)
    parser.add_argument("input", type=Path, metavar="INPUT", help="PNG, folder of PNGs, DICOM file or store")
    parser.add_argument("--segmenter", type=Path, required=True, metavar="DIR", help="folder that 'fit' left")
    parser.add_argument("--device", default="cpu", help="where to compute (default: cpu)")
    parser.add_argument("--out", type=folder, required=True, metavar="DIR", help="folder to write into")
    options = parser.parse_args(words)
    if not options.input.exists():
        raise UserError(f"{options.input}: no such file or folder")

    from tte_tee.models.segmenter import load_segmenter
    from tte_tee.tasks.segment import segment_files, segment_store

    loaded = load_segmenter(options.segmenter)
    if options.input.suffix == ".h5":
        command = f"python -m tte_tee segment {options.input.name} --segmenter DIR --out DIR"
        count = segment_store(loaded, options.input, options.out, options.device, command)
    else:
        count = segment_files(loaded, options.input, options.out, options.device)
    print(f"masks of {count} frames left in {options.out}")
