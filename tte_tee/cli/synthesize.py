"""``synthesize``: draw labelled frames for a store of masks."""

import argparse
import sys
from dataclasses import fields
from functools import partial
from typing import Any

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
    # What is not given stays out of the namespace: Sampling and Work hold the defaults, and say what is refused.
    option = partial(parser.add_argument, default=argparse.SUPPRESS)
    option("--samples-per-mask", type=positive, metavar="N", help="frames per mask (default 1)")
    option(
        "--sampler",
        metavar="NAME",
        help="solver: sde-dpm++, dpm++, ddim, ddpm or unipc (default sde-dpm++: DPM-Solver++ 2M with noise in every "
        "step; dpm++ is the same without)",
    )
    option("--steps", type=positive, help="of the solver; a guided one takes two evaluations (default 12)")
    option("--guidance", type=float, help="classifier-free guidance on the mask; 1 leaves it out (default 1)")
    option(
        "--guided-below",
        type=float,
        metavar="SHARE",
        help="share of the time steps, from the clean end, in which guidance acts; in the rest brightness is decided, "
        "and it would make all frames bright (default 0.8)",
    )
    option(
        "--precision",
        metavar="32|bf16",
        help="of the network; bf16 takes little more than half the time (default 32)",
    )
    option(
        "--gain",
        metavar="training|drawn",
        help="brightness: all frames together as bright as those that the adapter learnt from, the darkest as the "
        "darkest, or as they were drawn, which is brighter and more alike (default training)",
    )
    option("--seed", type=int, help="of every draw (default 0)")
    option("--batch-size", type=positive, metavar="N", help="frames drawn at once (default 16)")
    option("--threads", type=positive, metavar="N", help="CPU threads per process (default 1)")
    option(
        "--processes",
        type=positive,
        metavar="N",
        help="processes that draw (default: as many as fill the CPU cores, or one per GPU; one with --shard)",
    )
    several = partial(parser.add_mutually_exclusive_group().add_argument, default=argparse.SUPPRESS)
    several("--shard", metavar="I/N", help="draw a share of the batches alone; 'auto': as the launcher says")
    several("--merge", type=positive, metavar="N", help="draw nothing; write S.h5 from what N shards drew")
    parser.add_argument("--base", metavar="DIR", help="the adapter's base, if it moved ('shipped': the package's own)")
    option("--device", help="torch device; 'cuda' takes all GPUs (default cpu)")
    return parser


def _taken(given: dict[str, Any], kind: type) -> dict[str, Any]:
    """Takes out of what was given all that is a field of a dataclass."""
    return {field.name: given.pop(field.name) for field in fields(kind) if field.name in given}


def main(words: list[str]) -> None:
    """Parses and runs; torch is imported only once the options are right."""
    options = _parser().parse_args(words)
    from tte_tee.models.devices import named_device, slow_bf16
    from tte_tee.synthesis.batches import Work
    from tte_tee.synthesis.frames import Sampling
    from tte_tee.synthesis.generate import synthesize
    from tte_tee.synthesis.shards import parse_shard

    given = vars(options)
    if "shard" in given:
        given["shard"] = parse_shard(given["shard"])
    sampling = Sampling(**_taken(given, Sampling))
    work = Work(**_taken(given, Work))
    half = sampling.precision == "bf16" and not work.merge
    if half and (slow := slow_bf16(named_device(work.device, reach=False), "--precision 32")):
        print(f"tte_tee synthesize: {slow}", file=sys.stderr)
    left = synthesize(**given, sampling=sampling, work=work, command=command_line("synthesize", *words))
    if shard := work.shard:
        print(f"shard {shard} left in {left}; once all are drawn, the same command with --merge {shard.count} ends it")
    else:
        print(f"left in {left}")
