"""What a frame of the phantom costs (heart, probe, ultrasound, mask, and its place in a store) against one that the
network draws in twelve steps, batches of 16, or of 2 at 224 pixels, where a network of random weights draws it; and by
all cores, as `data phantom` works, against one process, the start of the processes included.
"""

import tempfile
from dataclasses import replace
from pathlib import Path

from ratios import Options, Row, interleaved, row, seconds
from subjects import USUAL, drawer

from tte_tee.data.phantom import PhantomSpec, write_phantom

FRAMES_OF_A_PATIENT = 4


def measure(options: Options) -> list[Row]:
    """Two rows per size."""
    sizes = options.pick(((64, 16, 100), (224, 2, 40)), ((16, 2, 4), (32, 2, 4)))
    return [row for size in sizes for row in of_size(options, *size)]


def of_size(options: Options, side: int, batch: int, hearts: int) -> list[Row]:
    """Phantom over network, and all cores over one."""
    made = drawer(options, side)
    with tempfile.TemporaryDirectory() as name:
        spec, path = PhantomSpec("tee", hearts, size=side), Path(name) / "phantom.h5"
        frames = hearts * FRAMES_OF_A_PATIENT
        phantom, drawn = (f"{what}, {side}x{side}" for what in ("phantom", "network"))
        rivals = {
            phantom: seconds(lambda: write_phantom(spec, path), per=frames),
            f"{phantom}, by all cores": seconds(lambda: write_phantom(spec, path, workers=None), per=frames),
            drawn: seconds(lambda: made.draw(batch, USUAL), options.device, batch),
        }
        taken = interleaved(rivals, options.few)
    return [rated(row(taken, *pair, "s a frame")) for pair in ((phantom, drawn), (f"{phantom}, by all cores", phantom))]


def rated(measured: Row) -> Row:
    """With frames a second."""
    return replace(measured, columns={"frames a second": " against ".join(f"{1 / v:.3g}" for v in measured.medians)})
