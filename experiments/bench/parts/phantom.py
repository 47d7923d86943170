"""What a frame of the phantom costs (heart, probe, ultrasound, mask, and its place in a store) against one that the
network draws in ten guided steps, batches of 16, or of 2 at 224 pixels, where a network of random weights draws it.
"""

import tempfile
from pathlib import Path

from ratios import Options, Row, interleaved, row, seconds
from subjects import USUAL, drawer

from tte_tee.data.phantom import PhantomSpec, write_phantom

FRAMES_OF_A_PATIENT = 4


def measure(options: Options) -> list[Row]:
    """One row per size."""
    return [of_size(options, side, batch) for side, batch in options.pick(((64, 16), (224, 2)), ((16, 2), (32, 2)))]


def of_size(options: Options, side: int, batch: int) -> Row:
    """Phantom over network."""
    made, hearts = drawer(options, side), options.pick(10, 2)
    with tempfile.TemporaryDirectory() as name:
        spec, path = PhantomSpec("tee", hearts, size=side), Path(name) / "phantom.h5"
        phantom, drawn = f"phantom, {side}x{side}", f"network, {side}x{side}"
        rivals = {
            phantom: seconds(lambda: write_phantom(spec, path), per=hearts * FRAMES_OF_A_PATIENT),
            drawn: seconds(lambda: made.draw(batch, USUAL), options.device, batch),
        }
        measured = row(interleaved(rivals, options.few), phantom, drawn, "s a frame")
    rates = [f"{1 / value:.3g}" for value in measured.medians]
    return Row(phantom, drawn, measured.unit, measured.pairs, {"frames a second": " against ".join(rates)})
