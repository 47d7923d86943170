"""How bright synthetic frames are as a whole: as the frames that their adapter learnt from.

Adapters of few patients draw frames that are too bright, and hardly any of the darkest; that alone makes most of their
distance from acquired frames (``experiments/results/hybrids``). On a scanner, brightness is a knob: gain shifts the
grey levels of log-compressed echoes, whatever the heart.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from scipy.optimize import brentq

from tte_tee.data.store import EchoStore
from tte_tee.errors import UserError

Gain = Literal["training", "drawn"]
GAIN = "gain"
"""Key of an adapter's record: percentiles 0 to 100 of the training frames' :func:`brightness`."""
WHITE = 255


def brightness(frame: np.ndarray, sector: np.ndarray) -> float:
    """Mean grey level inside the sector, which is ``[H, W]`` as the frame is."""
    return float(frame[sector > 0].mean())


def gain_levels(store: EchoStore, indices: Sequence[int] | np.ndarray) -> list[float]:
    """Percentiles 0, 1, ... 100 of the brightness of those frames."""
    frames = (store.frame(int(index)) for index in indices)
    levels = [brightness(image, sector) for image, _, sector in frames]
    return [round(float(level), 2) for level in np.percentile(levels, range(101))]


def recorded_levels(record: Mapping[str, Any], adapter: object) -> np.ndarray | None:
    """The percentiles in an adapter's record; None for one that trained nothing and has seen no frame.

    Raises:
        UserError: they are missing, or are no grey levels in order.
    """
    if record["method"] == "none":
        return None
    if GAIN not in record:
        raise UserError(
            f"{adapter}: does not say how bright the frames were that it learnt from; adapt anew, or draw with "
            "--gain drawn"
        )
    try:
        levels = np.asarray(record[GAIN], np.float64)
    except (TypeError, ValueError):
        levels = np.empty(0)
    if levels.shape != (101,) or not (np.diff(levels) >= 0).all() or levels[0] < 0 or levels[-1] > WHITE:
        raise UserError(f"{adapter}: not a readable adapter ('{GAIN}' is to be 101 grey levels in order)")
    return levels


def matched_levels(drawn: Sequence[float], levels: np.ndarray) -> np.ndarray:
    """Each drawn frame's brightness to be: the darkest gets that of the darkest training frames, and so on.

    Ranks, and not chance, decide, so that frames change as little as may be: a dark frame made bright is fog.

    Args:
        drawn: brightness of all frames of a synthesis.
        levels: percentiles 0 to 100 of the training frames.

    Returns:
        grey levels, as many as were drawn; ties go by their order.
    """
    ranks = np.argsort(np.argsort(drawn, kind="stable"), kind="stable")
    return np.interp((ranks + 0.5) / len(ranks) * 100, np.arange(101), levels)


def set_gain(frame: np.ndarray, sector: np.ndarray, level: float) -> np.ndarray:
    """The frame with one offset to all grey levels of its sector, by which their mean becomes ``level``.

    Args:
        frame: uint8 ``[H, W]``.
        sector: of the same shape.
        level: grey level, 0 to 255. What the offset moves beyond black or white is cut off there.

    Returns:
        uint8 ``[H, W]``, black outside the sector.
    """
    inside = sector > 0
    grey = frame[inside].astype(np.float64)

    def too_bright(offset: float) -> float:
        return float((grey + offset).clip(0, WHITE).mean() - level)

    offset = brentq(too_bright, -WHITE, WHITE)
    result = np.zeros_like(frame)
    result[inside] = np.rint((grey + offset).clip(0, WHITE))
    return result
