"""``evaluate fidelity``: how near synthetic frames are to real ones."""

from pathlib import Path

from tte_tee.cli.parser import Parser, command_line, folder, positive

_TEXT = """Says how near a set of synthetic frames is to real frames, each number beside its floor and its ceiling.

Measures: KID, Frechet distance (FID where the extractor is InceptionV3), precision, recall, density and coverage in
the features of each --extractor, if there is one; Wasserstein-1 distances of grey levels and speckle inside each
structure; SSIM and LPIPS between a synthetic frame and the real frame that has its mask.

Floor: real frames against real frames of other patients. Ceiling: the frames of --ceiling (of TTE, or drawn by the
base before it was adapted) against the same. All sets have as many frames, in --draws splits of the real patients.
What that many frames do not give is said to be not estimable, and why. One real patient gives no floor; where the
synthetic frames learnt from that patient, too, --allow-seen makes a demonstration of it, and the record says so.

Writes into --out: fidelity.json, texture.png, and features.png (the sets in two dimensions, where there is an
extractor). A real patient from whom the synthetic frames or an extractor learnt is refused by name.

extractors:
  segmenter=DIR            a segmenter that 'fit' left
  mobilenet_v2=FILE.pth    torchvision's weights (mobilenet_v2-b0353104.pth)
  lpips_alexnet=FILE.npz   AlexNet and the heads of LPIPS 0.1; adds LPIPS
  inception_v3=FILE.pt     inception-2015-12-05.pt of StyleGAN2-ADA and clean-fid
  dinov2=DIR               config.json and model.safetensors of a DINOv2"""

_EXAMPLE = """example:
  python -m tte_tee evaluate fidelity --real data/phantom/pool.h5 --synthetic synthetic.h5 \\
      --ceiling data/phantom/base.h5 --extractor segmenter=runs/seg_real/version_0/segmenter --out runs/fidelity"""


def main(words: list[str]) -> None:
    """Runs ``evaluate fidelity``.

    Raises:
        UserError: what the user gave is wrong, or a patient was seen.
    """
    parser = Parser.of("evaluate fidelity", _TEXT, _EXAMPLE)
    parser.add_argument("--real", type=Path, required=True, metavar="R.h5", help="real frames with masks")
    parser.add_argument("--synthetic", type=Path, required=True, metavar="S.h5", help="what is judged")
    parser.add_argument("--ceiling", type=Path, metavar="C.h5", help="frames that should be further away")
    parser.add_argument(
        "--extractor", nargs="+", action="extend", default=[], metavar="KIND=PATH", help="in whose features"
    )
    parser.add_argument("--split", help="of the real frames (default: any)")
    parser.add_argument("--cohort", help="of the real frames (default: any)")
    parser.add_argument("--frames", type=positive, metavar="N", help="at most so many per set (default: all there are)")
    parser.add_argument(
        "--draws", type=positive, default=5, metavar="N", help="splits of the real patients (default: 5)"
    )
    parser.add_argument(
        "--kid-subset", type=positive, default=100, metavar="N", help="frames per subset (default: 100)"
    )
    parser.add_argument("--kid-subsets", type=positive, default=50, metavar="N", help="subsets (default: 50)")
    parser.add_argument("--seed", type=int, default=0, help="of every draw (default: 0)")
    parser.add_argument("--allow-seen", action="store_true", help="take real patients who were seen, and say so")
    parser.add_argument("--device", default="cpu", help="where to compute (default: cpu)")
    parser.add_argument("--out", type=folder, required=True, metavar="DIR", help="folder to write into")
    given = parser.parse_args(words)

    from rich.console import Console

    from tte_tee.data.store import EchoStore
    from tte_tee.evaluation.fidelity import Options, compare
    from tte_tee.evaluation.fidelity.frames import other_set, real_set
    from tte_tee.files import write_json
    from tte_tee.models.extractors import load_extractor
    from tte_tee.report.fidelity import fidelity_tables
    from tte_tee.report.fidelity_pictures import write_features, write_texture

    options = Options(
        given.draws, given.frames, given.kid_subset, given.kid_subsets, given.seed, allow_seen=given.allow_seen
    )
    real = real_set(EchoStore(given.real), given.split, given.cohort)
    synthetic = other_set(EchoStore(given.synthetic), real, same_labels=True)
    ceiling = other_set(EchoStore(given.ceiling), real, same_labels=False) if given.ceiling else None
    extractors = [load_extractor(word, given.device) for word in given.extractor]
    record = {
        "command": command_line("evaluate", "fidelity", *words),
        "split": given.split,
        "cohort": given.cohort,
        **compare(real, synthetic, ceiling, extractors, options),
    }
    write_json(given.out / "fidelity.json", record)
    write_texture(given.out / "texture.png", record)
    if extractors:
        write_features(given.out / "features.png", record)
    Console().print(*fidelity_tables(record))
    print(f"left in {given.out}")
