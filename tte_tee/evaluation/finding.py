"""Finding masks in frames with a segmenter, and stores of what was found."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from tte_tee.data.curate.copying import record_of
from tte_tee.data.store import EchoStore, StoreWriter
from tte_tee.errors import UserError
from tte_tee.models.devices import named_device
from tte_tee.models.segmenter import LoadedSegmenter, as_input
from tte_tee.provenance import provenance

Found = Mapping[int, np.ndarray]
"""Index of a frame in its store -> ids uint8 ``[H, W]``."""

_BATCH = 32


def find_masks(loaded: LoadedSegmenter, images: np.ndarray, sectors: np.ndarray, device: str = "cpu") -> np.ndarray:
    """Masks of frames of any one size, at that size.

    Frames are brought to the size the segmenter was trained at, and its logits back, so that what is
    scored has the resolution of the frames.

    Args:
        loaded: the segmenter.
        images: uint8 ``[B, H, W]``.
        sectors: 0 or 1 ``[B, H, W]``; the segmenter sees nothing outside, as in training.
        device: where to compute.

    Returns:
        ids uint8 ``[B, H, W]``.

    Raises:
        UserError: there is no such device.
    """
    place, (rows, columns) = named_device(device), loaded.image_size
    seen = [
        cv2.resize(i * s, (columns, rows), interpolation=cv2.INTER_AREA) for i, s in zip(images, sectors, strict=True)
    ]
    with torch.no_grad():
        logits = loaded.segmenter.to(place)(as_input(np.stack(seen)).to(place))
        if logits.shape[-2:] != images.shape[-2:]:
            logits = torch.nn.functional.interpolate(logits, images.shape[-2:], mode="bilinear", align_corners=False)
        return logits.argmax(1).byte().cpu().numpy()


def find_in_store(
    loaded: LoadedSegmenter, store: EchoStore, indices: np.ndarray, device: str = "cpu"
) -> dict[int, np.ndarray]:
    """Masks of some frames of a store, at the store's resolution."""
    found: dict[int, np.ndarray] = {}
    for start in range(0, len(indices), _BATCH):
        part = [int(i) for i in indices[start : start + _BATCH]]
        images, _, sectors = map(np.stack, zip(*(store.frame(i) for i in part), strict=True))
        found.update(zip(part, find_masks(loaded, images, sectors, device), strict=True))
    return found


def check_labels(loaded: LoadedSegmenter, store: EchoStore) -> None:
    """Refuses a store of another label space than the segmenter's.

    Raises:
        UserError: naming both.
    """
    if store.label_space.structures != loaded.label_space.structures:
        raise UserError(
            f"{store.path}: masks hold {', '.join(store.label_space.structures)}, the segmenter finds "
            f"{', '.join(loaded.label_space.structures)}; give a store of its label space"
        )


def write_found(path: Path, store: EchoStore, found: Found, command: str, record: Mapping[str, Any]) -> Path:
    """Writes frames of a store with the masks that a segmenter found in them; who went into either stays known."""
    text = json.dumps({**provenance(), **record, "frames": record_of(store)})
    with StoreWriter(path, store.label_space, licence=store.licence, command=command, provenance=text) as writer:
        for index in sorted(found):
            image, _, sector = store.frame(index)
            writer.append(image, found[index], sector, replace(store.info(index), mask_source="segmenter"))
    return path
