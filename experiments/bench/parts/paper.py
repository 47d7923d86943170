"""The paper's size against the compact network: one optimiser step of all weights in batches of 4, and its peak memory
(in processes of their own, libraries left out). The network of base_tte_paper.yaml works on 128x128; beside it stands
the compact one as it is used, on 64x64, and on 128x128, network against network.
"""

from dataclasses import replace
from functools import partial
from pathlib import Path

import yaml
from memory import fresh_process, step_memory
from networks import TINY, shape, trained, training_step
from ratios import Options, Row, interleaved, row, seconds

from tte_tee.models.denoiser import DenoiserConfig

CONFIG = Path(__file__).parents[3] / "lightning_configs/base_tte_paper.yaml"


def measure(options: Options) -> list[Row]:
    """Steps, then memory; what is compared with both is the paper's size."""
    device, frames = options.device, options.pick(4, 2)
    paper = options.pick(paper_config(), replace(TINY, channels=(16, 16), image_size=32))
    configs = {
        "paper's size": paper,
        "compact, as used": shape(options),
        "compact, on frames of the paper's size": shape(options, paper.image_size),
    }
    work = {name: training_step(trained(config, (), device), frames, device) for name, config in configs.items()}
    steps = interleaved({name: seconds(step, device) for name, step in work.items()}, options.few)
    peaks = {name: partial(fresh_process, step_memory, config, (), frames, device) for name, config in configs.items()}
    memory = interleaved(peaks, options.pick(3, 2), warm_up=False)
    ours, *others = configs
    of_memory = [replace(row(memory, ours, other, "MiB"), what=f"{ours}: memory") for other in others]
    return [*(row(steps, ours, other, "s a step") for other in others), *of_memory]


def paper_config() -> DenoiserConfig:
    """The network of the config."""
    values = yaml.safe_load(CONFIG.read_text())["model"]["init_args"]["denoiser"]
    return DenoiserConfig(**{key: tuple(v) if isinstance(v, list) else v for key, v in values.items()})
