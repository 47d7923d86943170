"""``segmenter=DIR``: the project's own segmenter, trained on echo, so that its features are of hearts."""

from pathlib import Path

import cv2
import numpy as np
from torch import Tensor

from tte_tee.models.extractors.extractor import Extractor
from tte_tee.models.segmenter import as_input, load_segmenter


def load(folder: Path, device: str) -> Extractor:
    """Mean and deviation over space of the deepest layer of a segmenter that ``fit`` left in ``folder``.

    Raises:
        UserError: the folder is no segmenter.
    """
    loaded = load_segmenter(folder)
    network = loaded.segmenter.to(device)
    rows, columns = loaded.image_size

    def compute(frames: np.ndarray) -> Tensor:
        sized = [cv2.resize(frame, (columns, rows), interpolation=cv2.INTER_AREA) for frame in frames]
        return network.features(as_input(np.stack(sized)).to(device))

    prepared = f"grey levels to [-1, 1], {rows}x{columns} by area"
    return Extractor("segmenter", loaded.hash, loaded.record, compute, prepared)
