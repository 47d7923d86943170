"""What LoRA saves while training, and what it cannot: an optimiser step of the compact network (batches of 16, rank 4)
and its peak memory (weights, gradients, optimiser, activations; of each rival in processes of its own, libraries left
out), each scope against all weights. The profile in between bounds it: the forward pass alone, and forward and backward
to the input with every weight frozen, which no scope whose first adapted layer stands at the input (conv_in, where the
mask enters) can stay below. What LoRA leaves out is the gradients of the frozen weights and their optimiser; what it
adds is its own products, forward and backward. "To the tokens" is the same bound for a network whose mask enters by
cross-attention alone, whose first level therefore needs no backward pass.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from memory import fresh_process, step_memory
from networks import loss_of, shape, trained, training_step
from ratios import Options, Row, all_against, interleaved, seconds

from tte_tee.models.adapters import GROUPS
from tte_tee.models.denoiser import Denoiser, DenoiserConfig

FULL = "all weights"
SCOPES: dict[str, tuple[str, ...]] = {
    "LoRA {CA, SA}": ("cross_attention", "self_attention"),
    "LoRA {CA, Linear}": ("cross_attention", "feed_forward", "time_embedding"),
    "LoRA {CA, Conv}": ("cross_attention", "convolution"),
    "LoRA, all groups": GROUPS,
    FULL: (),
}


def measure(options: Options) -> list[Row]:
    """Steps and their profile, then memory."""
    config, device, frames = shape(options), options.device, options.pick(16, 2)
    steps = {name: training_step(trained(config, scope, device), frames, device) for name, scope in SCOPES.items()}
    rivals = {**steps, **profile(config, frames, device)}
    rows = all_against(
        interleaved({name: seconds(rival, device) for name, rival in rivals.items()}, options.rounds), FULL
    )
    scopes = SCOPES if not options.quick else {name: SCOPES[name] for name in ("LoRA {CA, SA}", FULL)}
    peaks = {name: partial(fresh_process, step_memory, config, scope, frames, device) for name, scope in scopes.items()}
    memory = all_against(interleaved(peaks, options.pick(3, 2), warm_up=False), FULL, "MiB")
    return rows + [replace(row, what=f"{row.what}: memory") for row in memory]


def profile(config: DenoiserConfig, frames: int, device: str) -> dict[str, Callable[[], object]]:
    """Parts of a step: what stays whichever weights are frozen."""

    def frozen(of: DenoiserConfig) -> Denoiser:
        return Denoiser(of).to(device).train().requires_grad_(False)

    forward = loss_of(frozen(config), frames, device)
    to_input = loss_of(frozen(config), frames, device, input_gradient=True)
    entering = frozen(replace(config, conditioning="tokens"))
    entering.unet.encoder_hid_proj.requires_grad_(True)
    to_tokens = loss_of(entering, frames, device)
    everything = loss_of(trained(config, (), device), frames, device)

    def only_forward() -> None:
        with torch.no_grad():
            forward()

    return {
        "forward alone": only_forward,
        "forward, backward to the input": lambda: to_input().backward(),
        "forward, backward to the tokens": lambda: to_tokens().backward(),
        "all weights, without the optimiser": lambda: everything().backward(),
    }
