"""A frame of the phantom acquired again: the same slice by the same machine with other speckle, so the same mask."""

import re

import numpy as np

from tte_tee.data.phantom.frame import DOMAINS, acquire, draw_patient
from tte_tee.data.phantom.planes import acquisition_seed
from tte_tee.data.store import EchoStore, FrameInfo
from tte_tee.errors import UserError

_PATIENT = re.compile(r"phantom-(?P<domain>\w+)-s(?P<seed>\d+)-(?P<number>\d+)")


def acquire_again(store: EchoStore, index: int, take: int) -> np.ndarray:
    """The picture of a phantom's frame with other scatterers and noise, uint8 ``[H, W]``.

    Args:
        store: that holds the frame.
        index: of the frame.
        take: which scatterers; 0 gives the frame itself.

    Raises:
        UserError: the frame is not the phantom's, or this version of the phantom draws another mask for it.
    """
    info, mask = store.info(index), store.frame(index)[1]
    named, (rows, columns) = _PATIENT.fullmatch(info.patient), store.image_size
    if info.origin != "phantom" or not named or named["domain"] not in DOMAINS or rows != columns:
        raise UserError(f"frame '{info.key}' is none of the phantom's, which alone is acquired twice with one mask")
    who: tuple[str, int, int] = (named["domain"], int(named["seed"]), int(named["number"]))
    angle = _angle(info, who)
    if angle is not None:
        frame = acquire(draw_patient(*who), who[0], angle, info.phase, info.seed, rows, take)
        if np.array_equal(frame.mask, mask):
            return frame.image
    raise UserError(f"frame '{info.key}' is not what this version of the phantom draws")


def _angle(info: FrameInfo, who: tuple[str, int, int]) -> int | None:
    """The plane whose acquisition has the frame's seed, degrees."""
    given = (a for a in range(91) if acquisition_seed(*who, a) == info.seed)
    return next(given, None)
