"""Feature extractors: what fidelity and copies are measured in, each a kind with weights that somebody else trained."""

from importlib import import_module
from pathlib import Path

from tte_tee.errors import UserError
from tte_tee.models.devices import named_device
from tte_tee.models.extractors.extractor import Extractor

__all__ = ["KINDS", "Extractor", "load_extractor"]

KINDS = {
    "segmenter": "segmenter",
    "mobilenet_v2": "mobilenet",
    "lpips_alexnet": "lpips",
    "inception_v3": "inception",
    "dinov2": "dinov2",
}
"""Kind -> the module of this package whose ``load(path, device)`` gives it."""


def load_extractor(word: str, device: str = "cpu") -> Extractor:
    """The extractor that ``KIND=PATH`` names.

    Args:
        word: ``segmenter=DIR``, a folder that ``fit`` left; ``mobilenet_v2=FILE.pth``; ``lpips_alexnet=FILE.npz``;
            ``inception_v3=FILE.pt``; ``dinov2=DIR``. The module of each says what its file must hold.
        device: where to compute.

    Raises:
        UserError: there is no such kind or device, or its weights cannot be read.
    """
    kind, _, path = word.partition("=")
    if kind not in KINDS or not path:
        raise UserError(f"extractor '{word}': give KIND=PATH, where KIND is {', '.join(KINDS)}")
    named_device(device)
    loaded: Extractor = import_module(f"{__name__}.{KINDS[kind]}").load(Path(path), device)
    return loaded
