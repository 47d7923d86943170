"""A frame beside one of Semantic Diffusion Models (Wang et al., arXiv 2207.00050), on which Echo from Noise builds
(Stojanovski et al., ASMUS 2023): the same resolution, random weights, one run. The peer is MONAI's SPADE U-Net in the
shape that their code gives at 64x64: 256, 512, 768 and 1,024 channels, two residual blocks a level, attention at 32, 16
and 8 pixels with heads of 64; it takes 1,000 steps, not guided. Ours takes 12, guided in the last 60 % of the time
steps. One evaluation of either is measured; the cost of a frame is **extrapolated**, evaluations times the cost of one.
"""

from collections.abc import Callable

import torch
from monai.networks.nets import SPADEDiffusionModelUNet
from networks import TINY, loss_of, shape
from ratios import Options, Row, interleaved, row, seconds
from subjects import USUAL

from tte_tee.anatomy import TEE
from tte_tee.models.denoiser import Denoiser
from tte_tee.models.diffusion import TRAIN_STEPS

OURS, PEER = "ours", "SPADE U-Net, 256 channels"
EVALUATIONS = USUAL.evaluations


def measure(options: Options) -> list[Row]:
    """One evaluation, then a frame by it."""
    device, frames = options.device, options.pick(4, 2)
    networks = {OURS: Denoiser(shape(options)).to(device).eval(), PEER: spade(options).to(device).eval()}
    work = {OURS: loss_of(networks[OURS], frames, device), PEER: evaluation(networks[PEER], options, frames)}
    with torch.no_grad():
        taken = interleaved({name: seconds(rival, device, frames) for name, rival in work.items()}, options.few)
    millions = [sum(p.numel() for p in networks[name].parameters()) / 1e6 for name in (OURS, PEER)]
    sizes = "{:.2f} M against {:.2f} M".format(*millions)
    one = row(taken, OURS, PEER)
    frame = [(a * EVALUATIONS, b * TRAIN_STEPS) for a, b in one.pairs]
    steps, evaluations = f"{USUAL.steps} against {TRAIN_STEPS:,}", f"{EVALUATIONS} against {TRAIN_STEPS:,}"
    return [
        Row(f"{OURS}, one evaluation", PEER, "s a frame", one.pairs, {"parameters": sizes}),
        Row(f"{OURS}, a frame", PEER, "s, extrapolated", frame, {"steps": steps, "evaluations": evaluations}),
    ]


def spade(options: Options) -> SPADEDiffusionModelUNet:
    """The peer, told the mask as one image per structure and background."""
    return SPADEDiffusionModelUNet(
        2,
        in_channels=1,
        out_channels=2,  # the mean and the variance, which it learns
        label_nc=len(TEE.structures) + 1,
        num_res_blocks=options.pick(2, 1),
        channels=options.pick((256, 512, 768, 1024), TINY.channels),
        attention_levels=options.pick((False, True, True, True), TINY.attention),
        num_head_channels=options.pick(64, 4),
        norm_num_groups=options.pick(32, TINY.norm_groups),
    )


def evaluation(network: SPADEDiffusionModelUNet, options: Options, frames: int) -> Callable[[], torch.Tensor]:
    """One evaluation of a batch."""
    side, device = shape(options).image_size, options.device
    noisy, mask = torch.randn(frames, 1, side, side), torch.rand(frames, len(TEE.structures) + 1, side, side)
    words = [tensor.to(device) for tensor in (noisy, torch.arange(frames), mask)]
    return lambda: network(*words)
