"""``synthesize``: draw labelled frames for a store of masks."""

import argparse
import shlex

from tte_tee.cli.parser import Parser, positive

EXAMPLE = """\
example:
  python -m tte_tee synthesize --adapter runs/lora_mlp/version_0/adapter \\
      --masks data/phantom_tee.h5 --split test --samples-per-mask 2 --out synthetic.h5

The result is an echo store: every frame with the mask it was drawn for, the original labels
included, and in its provenance the adapter, the base, the masks and the sampling. The same
adapter, masks and seed give the same frames.
"""


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="python -m tte_tee synthesize",
        description="Draw labelled frames for every mask of an echo store with an adapter.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--adapter", required=True, metavar="DIR", help="folder left by a fit of TEEAdapter")
    parser.add_argument(
        "--masks", required=True, metavar="F.h5", help="echo store whose masks, sectors and views are used"
    )
    parser.add_argument("--out", required=True, metavar="S.h5", help="echo store to write")
    parser.add_argument("--split", choices=("train", "val", "test"), help="masks of one split alone (default: all)")
    parser.add_argument("--samples-per-mask", type=positive, default=1, metavar="N", help="frames per mask (default 1)")
    parser.add_argument(
        "--sampler",
        choices=("dpm++", "ddim", "ddpm", "unipc"),
        default="dpm++",
        help="solver (default dpm++: DPM-Solver++ 2M)",
    )
    parser.add_argument("--steps", type=positive, default=20, help="network evaluations per frame (default 20)")
    parser.add_argument(
        "--guidance", type=float, default=1.0, help="classifier-free guidance on the mask; 1 leaves it out (default 1)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of every draw (default 0)")
    parser.add_argument(
        "--batch-size", type=positive, default=16, metavar="N", help="frames drawn at once (default 16)"
    )
    parser.add_argument("--base", metavar="DIR", help="the adapter's base, if it moved ('shipped': the package's own)")
    parser.add_argument("--device", default="cpu", help="torch device (default cpu)")
    return parser


def main(words: list[str]) -> None:
    """Parses and runs; torch is imported only once the options are right."""
    options = _parser().parse_args(words)
    from tte_tee.synthesis.frames import Sampling
    from tte_tee.synthesis.generate import synthesize

    synthesize(
        options.adapter,
        options.masks,
        options.out,
        sampling=Sampling(options.sampler, options.steps, options.guidance, options.seed),
        samples_per_mask=options.samples_per_mask,
        split=options.split,
        base=options.base,
        batch_size=options.batch_size,
        device=options.device,
        command=shlex.join(["python", "-m", "tte_tee", "synthesize", *words]),
    )
    print(f"left in {options.out}")
