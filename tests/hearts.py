"""Masks of made-up hearts, and a store of them; shared by the tests of shape models."""

from pathlib import Path

import numpy as np

from tte_tee.anatomy import TEE
from tte_tee.data.sector import SectorShape
from tte_tee.data.store import FrameInfo, StoreWriter

SIZE = 32
LV, LA, RV, RA = 1, 2, 3, 4


def heart(seed: int, *, right: bool) -> tuple[np.ndarray, np.ndarray]:
    """Mask and sector: an atrium on top of a ventricle, and the right side beside them."""
    rng = np.random.default_rng(seed)
    angle = 0.7 + 0.02 * (seed // 10 % 3)
    sector = SectorShape((-1.0, 16.0), -angle, angle, 1.0, 32.0).draw((SIZE, SIZE))
    y, x = np.mgrid[:SIZE, :SIZE] + 0.5
    mask = np.zeros((SIZE, SIZE), np.uint8)
    valve, middle, width = rng.uniform(11, 14), rng.uniform(16, 18), rng.uniform(2.6, 4)
    inside = np.abs(x - middle) < width
    mask[inside & (y >= valve) & (y < valve + rng.uniform(10, 14))] = LV
    mask[inside & (y < valve) & (y >= valve - rng.uniform(4, 6))] = LA
    if right:
        beside = np.abs(x - middle + width + 4) < 2
        mask[beside & (y >= valve) & (y < valve + 8)] = RV
        mask[beside & (y < valve) & (y >= valve - 3)] = RA
    return mask * sector, sector


def write_hearts(path: Path, **given: object) -> Path:
    """Seven patients of two views and two phases; the last is split test."""
    with StoreWriter(path, TEE, licence="CC0-1.0", command="test") as store:
        for patient in range(7):
            for view in ("ME4C", "ME2C"):
                for number, phase in enumerate(("ED", "ES")):
                    mask, sector = heart(10 * patient + number, right=view == "ME4C")
                    values = {
                        "split": "train" if patient < 6 else "test",
                        "origin": "phantom",
                        "mask_source": "phantom",
                        "spacing": (3.0 + 0.1 * patient, 2.0 + 0.1 * patient),
                        **given,
                    }
                    info = FrameInfo(f"p{patient}/{view}/{phase}", f"p{patient}", view, phase=phase, **values)  # type: ignore[arg-type]
                    store.append(mask * 9, mask, sector, info)
    return path
