"""A heart in, its frame out: one mask, one noise, one adapter or several."""

import time
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import default_collate

from tte_tee.anatomy import PLANES, VIEWS
from tte_tee.data.datamodule import frame_tensors
from tte_tee.models.folders import Adapter
from tte_tee.studio.heart import Heart
from tte_tee.synthesis.batches import repeatable
from tte_tee.synthesis.frames import Sampling, draw_frames

STEPS, MOST_STEPS = 8, 50
NOISE = "studio#0"
"""Key of all noise: with the seed alone it decides, so masks and adapters are compared under the same one."""

THREADS = 1  # of the CPU; more gain nothing on one small frame, and change its last bits


@dataclass(frozen=True, eq=False)  # a page's state is told apart by identity
class DrawnFrame:
    """A frame with all that decides it.

    Attributes:
        heart: whose mask it was drawn for.
        adapter: that drew it.
        sampling: solver, steps, guidance, seed.
        image: uint8 ``[H, W]``.
        seconds: that it took.
    """

    heart: Heart
    adapter: Adapter
    sampling: Sampling
    image: np.ndarray
    seconds: float


def draw(adapter: Adapter, heart: Heart, sampling: Sampling) -> DrawnFrame:
    """Draws the frame of a heart; the same three give the same frame to the bit.

    Raises:
        UserError: the network gives what is no number.
    """
    start = time.perf_counter()
    plane = VIEWS[heart.info.view].plane
    assert plane is not None  # see DRAWN_VIEWS
    tensors = frame_tensors(np.zeros_like(heart.mask), heart.mask, heart.sector)
    batch = default_collate([{**tensors, "plane": torch.tensor(PLANES.index(plane))}])
    with repeatable(THREADS):
        frames = draw_frames(adapter.denoiser, adapter.schedule, adapter.maskr2, batch, [NOISE], sampling)
    return DrawnFrame(heart, adapter, sampling, frames[0].numpy(), time.perf_counter() - start)
