"""``segment``: let a segmenter find structures in new frames."""

from pathlib import Path

from tte_tee.cli.parser import Parser, command_line, folder
from tte_tee.errors import UserError

_TEXT = """Finds structures in frames: pictures (PNG), folders of pictures, DICOM files, or one echo store.

Pictures and DICOM files give, for every frame, NAME_mask.png (ids of the label space, at the frame's own size: 0 is
background, and the numbers are said at the end) and NAME_overlay.png. Their sector is estimated, which costs a
little accuracy where it is cut too small: look at the outline in the overlay, or give it by --sector. What lies
outside is not looked at, nor shown, and a DICOM file whose sector is unsure is refused. A store gives found.h5, the
frames with the masks found, which may run a little past the sector where the segmenter was trained on masks that do."""

_EXAMPLE = """example:
  python -m tte_tee segment frame.png --segmenter runs/seg_real/version_0/segmenter --out found"""


def main(words: list[str]) -> None:
    """Runs ``segment``.

    Raises:
        UserError: what the user gave is wrong.
    """
    parser = Parser.of("segment", _TEXT, _EXAMPLE)
    help_of_input = "PNGs, folders of PNGs and DICOM files, or one store"
    parser.add_argument("input", type=Path, nargs="+", metavar="INPUT", help=help_of_input)
    parser.add_argument("--segmenter", type=Path, required=True, metavar="DIR", help="folder that 'fit' left")
    parser.add_argument("--sector", type=Path, metavar="S.png", help="sector of every frame: 0 outside of it")
    parser.add_argument("--device", default="cpu", help="where to compute (default: cpu)")
    parser.add_argument("--out", type=folder, required=True, metavar="DIR", help="folder to write into")
    options = parser.parse_args(words)
    if missing := [path for path in options.input if not path.exists()]:
        raise UserError(f"{missing[0]}: no such file or folder")
    stores = [path for path in options.input if path.suffix == ".h5"]
    if stores and (len(options.input) > 1 or options.sector):
        raise UserError(f"{stores[0]}: a store is segmented by itself, and knows its sectors; leave the rest out")

    from tte_tee.data.importers.files import read_gray
    from tte_tee.evaluation.segment import segment_files, segment_store
    from tte_tee.models.segmenter import load_segmenter

    loaded = load_segmenter(options.segmenter)
    if stores:
        count = segment_store(loaded, stores[0], options.out, options.device, command_line("segment", *words))
    else:
        sector = read_gray(options.sector) if options.sector else None
        count = segment_files(loaded, options.input, options.out, options.device, sector)
    ids = ", ".join(f"{number} {structure}" for structure, number in loaded.label_space.ids.items())
    print(f"masks of {count} frame{'s' * (count != 1)} left in {options.out} ({ids})")
