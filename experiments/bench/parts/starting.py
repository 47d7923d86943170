"""How long nothing happens, as processes: `python -m tte_tee --help` against a Python that does nothing, and `fit` of
lora_mlp.yaml, on a store that is there, to the end of its first step, against the bare imports that it cannot do
without (torch, lightning, diffusers, peft).
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from networks import shape
from ratios import Options, Row, interleaved, row, seconds
from subjects import base_in

from tte_tee.data.phantom import PhantomSpec, write_phantom

ROOT = Path(__file__).parents[3]
NOTHING, HELP = "python -c pass", "python -m tte_tee --help"
IMPORTS, FIRST_STEP = "import torch, lightning, diffusers, peft", "fit, to its first step"
STOPPING_FIT = """
import os, sys
from tte_tee.cli import main
from tte_tee.tasks.diffusion import DiffusionTask
DiffusionTask.on_train_batch_end = lambda *_: os._exit(0)
main(sys.argv[1:])
"""


def measure(options: Options) -> list[Row]:
    """Four processes by turns."""
    with tempfile.TemporaryDirectory() as name:
        commands = {
            HELP: ["-m", "tte_tee", "--help"],
            NOTHING: ["-c", "pass"],
            FIRST_STEP: ["-c", STOPPING_FIT, *fit_words(options, Path(name))],
            IMPORTS: ["-c", IMPORTS],
        }
        rivals = {name: seconds(lambda words=words: process(words)) for name, words in commands.items()}
        taken = interleaved(rivals, options.few)
    return [row(taken, HELP, NOTHING), row(taken, FIRST_STEP, IMPORTS)]


def process(words: list[str]) -> None:
    """A Python of its own, which must end well."""
    subprocess.run([sys.executable, *words], check=True, capture_output=True, cwd=ROOT)


def fit_words(options: Options, folder: Path) -> list[str]:
    """The main job on a store and a base that are there."""
    store = folder / "tee.h5"
    write_phantom(PhantomSpec("tee", options.pick(33, 8), seed=2, size=shape(options).image_size), store)
    accelerator = "gpu" if options.device.startswith("cuda") else "cpu"
    return [
        "fit",
        "--config=lightning_configs/lora_mlp.yaml",
        f"--model.base={base_in(options, folder)}",
        "--data=EchoDataModule",
        f"--data.store={store}",
        f"--trainer.accelerator={accelerator}",
        "--trainer.devices=1",
        f"--trainer.logger.init_args.save_dir={folder}",
    ]
