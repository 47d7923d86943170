"""``dinov2=DIR``: DINOv2 (Oquab et al., TMLR 2024) from a local Hugging Face folder."""

from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from tte_tee.files import file_hash
from tte_tee.models.extractors.extractor import IMAGENET, Extractor, as_imagenet, reading


def load(folder: Path, device: str) -> Extractor:
    """The class token after the last norm, ``[B, D]``.

    Raises:
        UserError: the folder is missing, holds another network, or lacks weights.
    """
    from transformers import Dinov2Model

    with reading("dinov2", folder, "a folder with config.json and model.safetensors of a DINOv2"):
        loaded: Any = Dinov2Model.from_pretrained(
            str(folder), local_files_only=True, use_safetensors=True, output_loading_info=True
        )
        network, told = loaded
        if network.config.model_type != "dinov2" or told["missing_keys"]:
            raise ValueError("is no DINOv2, or lacks weights")
    network.eval().to(device)

    def compute(frames: np.ndarray) -> Tensor:
        return network(as_imagenet(frames).to(device)).last_hidden_state[:, 0]

    return Extractor("dinov2", file_hash(folder / "model.safetensors"), {"format": "huggingface"}, compute, IMAGENET)
