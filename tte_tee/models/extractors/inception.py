"""``inception_v3=FILE.pt``: the InceptionV3 in which FID is defined (Heusel et al., NeurIPS 2017).

Accepted is the TorchScript file ``inception-2015-12-05.pt`` that StyleGAN2-ADA and clean-fid use, a port of the
TensorFlow graph of that date; weights of torchvision's InceptionV3 give other numbers and are refused.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tte_tee.files import file_hash
from tte_tee.models.extractors.extractor import Extractor, reading

_WIDTH = 2048


def load(path: Path, device: str) -> Extractor:
    """The pooled features, ``[B, 2048]``.

    Raises:
        UserError: the file is missing, is no TorchScript, or gives other features.
    """
    wanted = "the TorchScript file inception-2015-12-05.pt"
    with reading("inception_v3", path, wanted):
        network = torch.jit.load(str(path), map_location=device).eval()

        def compute(frames: np.ndarray) -> Tensor:
            grey = torch.from_numpy(frames)[:, None]
            return network(grey.expand(-1, 3, -1, -1).contiguous().to(device), return_features=True)

        with torch.no_grad():
            given = compute(np.zeros((1, 64, 64), np.uint8))
        if given.shape != (1, _WIDTH):
            raise ValueError(f"gives {tuple(given.shape)}, not {_WIDTH} features of a frame")
    prepared = "grey in three channels, uint8; the file itself resizes to 299x299 and normalises"
    return Extractor("inception_v3", file_hash(path), {"file": "inception-2015-12-05"}, compute, prepared)
