"""Frames that spell their masks, and a segmenter that reads them: obedience without training."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from conftest import draw_frame
from torch import Tensor, nn

from tte_tee.anatomy import TEE
from tte_tee.data.store import EchoStore, StoreWriter
from tte_tee.models.segmenter import LoadedSegmenter

LEVEL = 50


class Reader(nn.Module):
    """Reads the mask off frames whose grey level is LEVEL times the id."""

    def forward(self, image: Tensor) -> Tensor:
        ids = image.add(1).mul(127.5 / LEVEL)
        return -(ids - torch.arange(5).view(1, 5, 1, 1)).abs()


def reader(*seen: str, size: int = 16) -> LoadedSegmenter:
    return LoadedSegmenter(Reader(), TEE, (size, size), {"seen": list(seen)}, "0" * 64)  # type: ignore[arg-type]


def legible(path: Path, source: Path, *, lie: bool = False, drawn: bool = True, noise: int = 0) -> EchoStore:
    """A store whose frames spell their masks or, where it lies, the masks of other frames.

    ``noise`` grey levels at most are added, so that no two frames are alike outside of their masks.
    """
    store = EchoStore(source)
    rng = np.random.default_rng(len(path.name) + lie)
    with StoreWriter(path, TEE, licence="none", command="test", provenance=json.dumps(store.provenance)) as writer:
        for i in range(len(store)):
            _, mask, sector = store.frame(i)
            shown = draw_frame(4, 900 + i, len(mask))[1] if lie else mask
            image = shown * np.uint8(LEVEL) + rng.integers(0, noise + 1, mask.shape).astype(np.uint8)
            info = store.info(i)
            writer.append(image, mask, sector * 0 + 1, replace(info, origin="generated") if drawn else info)
    return EchoStore(path)
