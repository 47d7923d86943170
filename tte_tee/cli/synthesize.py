"""``synthesize``: draw labelled frames for a store of masks."""

import argparse

from tte_tee.cli.parser import Parser, command_line, positive

EXAMPLE = """\
examples:
  python -m tte_tee synthesize --adapter runs/lora_mlp/version_0/adapter \\
      --masks data/phantom_tee.h5 --split test --samples-per-mask 2 --out synthetic.h5

The result is an echo store: every frame with the mask it was drawn for, the original labels
included, and in its provenance the adapter, the base, the masks and the sampling.

Batches are kept beside S.h5, in S.h5.parts-..., until that is whole: a command that was killed
goes on where it was when it is given again with the same options, and parts of other options are
never taken up.

Over several nodes, each process draws a shard; when all have ended, one more command merges them.
A launcher says which shard a process draws ('auto': torchrun, srun), or I/N does, I from 0:

  srun --ntasks 8 python -m tte_tee synthesize ... --out S.h5 --shard auto
  python -m tte_tee synthesize ... --out S.h5 --merge 8

With the same --batch-size, --threads, hardware and libraries, a frame is the same to the bit, however
many processes and shards draw; another batch size or number of threads changes it by 2 grey levels
of 256 at most (with --precision 32).
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
        choices=("sde-dpm++", "dpm++", "ddim", "ddpm", "unipc"),
        default="sde-dpm++",
        help="solver (default sde-dpm++: DPM-Solver++ 2M with noise in every step; dpm++ is the same without)",
    )
    parser.add_argument(
        "--steps", type=positive, default=12, help="of the solver; a guided one takes two evaluations (default 12)"
    )
    parser.add_argument(
        "--guidance", type=float, default=1.0, help="classifier-free guidance on the mask; 1 leaves it out (default 1)"
    )
    parser.add_argument(
        "--guided-below",
        type=float,
        default=0.8,
        metavar="SHARE",
        help="share of the time steps, from the clean end, in which guidance acts; in the rest brightness is decided, "
        "and it would make all frames bright (default 0.8)",
    )
    parser.add_argument(
        "--precision",
        choices=("32", "bf16"),
        default="32",
        help="of the network; bf16 takes little more than half the time (default 32)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of every draw (default 0)")
    parser.add_argument(
        "--batch-size", type=positive, default=16, metavar="N", help="frames drawn at once (default 16)"
    )
    parser.add_argument("--threads", type=positive, default=1, metavar="N", help="CPU threads per process (default 1)")
    parser.add_argument(
        "--processes",
        type=positive,
        metavar="N",
        help="processes that draw (default: as many as fill the CPU cores, or one per GPU; one with --shard)",
    )
    several = parser.add_mutually_exclusive_group()
    several.add_argument(
        "--shard", metavar="I/N", help="draw a share of the batches alone; 'auto': as the launcher says"
    )
    several.add_argument("--merge", type=positive, metavar="N", help="draw nothing; write S.h5 from what N shards drew")
    parser.add_argument("--base", metavar="DIR", help="the adapter's base, if it moved ('shipped': the package's own)")
    parser.add_argument("--device", default="cpu", help="torch device; 'cuda' takes all GPUs (default cpu)")
    return parser


def main(words: list[str]) -> None:
    """Parses and runs; torch is imported only once the options are right."""
    options = _parser().parse_args(words)
    from tte_tee.synthesis.frames import Sampling
    from tte_tee.synthesis.generate import synthesize
    from tte_tee.synthesis.shards import parse_shard

    shard = parse_shard(options.shard) if options.shard else None
    left = synthesize(
        options.adapter,
        options.masks,
        options.out,
        sampling=Sampling(
            options.sampler, options.steps, options.guidance, options.guided_below, options.seed, options.precision
        ),
        samples_per_mask=options.samples_per_mask,
        split=options.split,
        base=options.base,
        batch_size=options.batch_size,
        threads=options.threads,
        device=options.device,
        processes=options.processes,
        shard=shard,
        merge=options.merge,
        command=command_line("synthesize", *words),
    )
    if shard:
        print(f"shard {shard} left in {left}; once all are drawn, the same command with --merge {shard.count} ends it")
    else:
        print(f"left in {left}")
