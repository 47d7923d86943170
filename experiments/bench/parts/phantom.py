"""What a frame of the phantom costs (heart, probe, ultrasound, mask, and its place in a store) against one that the
network draws in twelve steps, batches of 16, or of 2 at 224 pixels, where a network of random weights draws it; then
`data phantom` as a command, its start included, by all cores against one process.
"""

import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from ratios import Options, Row, interleaved, row, seconds
from subjects import USUAL, drawer

from tte_tee.data.phantom import PhantomSpec, write_phantom

FRAMES_OF_A_PATIENT = 4


def measure(options: Options) -> list[Row]:
    """Two rows per size."""
    rows = []
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "phantom.h5"
        for side, batch, hearts in options.pick(((64, 16, 200), (224, 2, 60)), ((16, 2, 4), (32, 2, 4))):
            rows += [over_network(options, side, batch, path), by_all_cores(options, side, hearts, path)]
    return [rated(each) for each in rows]


def over_network(options: Options, side: int, batch: int, path: Path) -> Row:
    """A frame of either."""
    made, spec = drawer(options, side), PhantomSpec("tee", options.pick(10, 2), size=side)
    phantom, drawn = f"phantom, {side}x{side}", f"network, {side}x{side}"
    rivals = {
        phantom: seconds(lambda: write_phantom(spec, path), per=spec.patients * FRAMES_OF_A_PATIENT),
        drawn: seconds(lambda: made.draw(batch, USUAL), options.device, batch),
    }
    return row(interleaved(rivals, options.few), phantom, drawn, "s a frame")


def by_all_cores(options: Options, side: int, hearts: int, path: Path) -> Row:
    """The command with as many processes as there are cores, and with none but its own."""
    words = f"-m tte_tee data phantom --domain tee --patients {hearts} --size {side} --out {path}".split()

    def write(*more: str) -> None:
        subprocess.run([sys.executable, *words, *more], check=True, capture_output=True)

    all_cores, one = (f"data phantom, {side}x{side}, {who}" for who in ("all cores", "one process"))
    frames = hearts * FRAMES_OF_A_PATIENT
    rivals = {all_cores: seconds(write, per=frames), one: seconds(lambda: write("--workers", "0"), per=frames)}
    return row(interleaved(rivals, options.pick(3, 2)), all_cores, one, "s a frame")


def rated(measured: Row) -> Row:
    """With frames a second."""
    return replace(measured, columns={"frames a second": " against ".join(f"{1 / v:.3g}" for v in measured.medians)})
