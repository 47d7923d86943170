"""What a labelled frame costs: the shipped base with a LoRA of rank 4 on cross-attention and Linear, on random masks.

Seconds are per frame. Twelve steps of sde-dpm++ are set against the 100 steps of DDIM that they replace, and then, one
thing changed at a time, bfloat16, LoRA beside the base's weights instead of merged into them, and guidance left out; at
last batches of one and of many frames against 16. Guidance (2) acts in the last 60 % of the time steps, there with two
evaluations in one batch.
"""

from dataclasses import replace

from ratios import Options, Reading, Row, all_against, interleaved, row, seconds
from subjects import USUAL, Drawer, drawer

from tte_tee.synthesis.frames import Sampling

SLOW, FAST = "DDIM, 100 steps", f"sde-dpm++, {USUAL.steps} steps"


def measure(options: Options) -> list[Row]:
    """Samplers and their options, then batch sizes."""
    usual, beside = drawer(options), drawer(options, merged=False)
    frames = options.pick(4, 2)

    def reading(of: Drawer, sampling: Sampling, count: int = frames) -> Reading:
        return seconds(lambda: of.draw(count, sampling), options.device, count)

    taken = interleaved(
        {
            SLOW: reading(usual, Sampling("ddim", options.pick(100, 4), 2.0, USUAL.guided_below)),
            FAST: reading(usual, USUAL),
            "the same in bf16": reading(usual, replace(USUAL, precision="bf16")),
            "the same, LoRA not merged": reading(beside, USUAL),
            "the same, not guided": reading(usual, replace(USUAL, guidance=1.0)),
        },
        options.few,
    )
    rows = [row(taken, FAST, SLOW), *(row(taken, what, FAST) for what in taken if what not in (FAST, SLOW))]
    short = replace(USUAL, steps=4)
    sizes = options.pick((1, 16, 64), (1, 2, 3))
    batches = {f"batches of {size}": reading(usual, short, size) for size in sizes}
    return rows + all_against(interleaved(batches, options.few), f"batches of {sizes[1]}")
