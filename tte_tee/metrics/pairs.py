"""How near a drawn frame is to the acquired frame of the same mask."""

from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure


def similarity(drawn: Tensor, acquired: Tensor) -> Tensor:
    """Structural similarity (Wang et al. 2004) of whole frames, uint8 ``[B, H, W]`` -> ``[B]``."""
    scores = structural_similarity_index_measure(
        drawn.float()[:, None], acquired.float()[:, None], data_range=255.0, reduction="none"
    )
    assert isinstance(scores, Tensor)
    return scores
