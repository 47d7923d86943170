"""Masks before and after, side by side."""

import numpy as np

from tte_tee.data.curate.choose import evenly
from tte_tee.data.pictures import captioned, colour_mask, contact_sheet, enlarge, legend
from tte_tee.data.store import EchoStore

_SIDE, _SHOWN = 192, 6


def before_and_after(store: EchoStore, edited: EchoStore) -> np.ndarray:
    """Masks spread over an edited store beside those of ``store`` that they were made from, uint8 RGB."""
    place = {key: index for index, key in enumerate(store.table["key"])}
    rows = []
    for index in evenly(len(edited), _SHOWN):
        info = edited.info(int(index))
        pairs = ((store, place[info.parent]), (edited, int(index)))
        rows.append([_picture(*pair) for pair in pairs])
    sheet = contact_sheet(rows, ("before", "after"), scale=1)
    return np.vstack([sheet, legend(store.label_space, "", sheet.shape[1], outlined=False)])


def _picture(store: EchoStore, index: int) -> np.ndarray:
    _, mask, sector = store.frame(index)
    info = store.info(index)
    picture = enlarge(colour_mask(mask, sector, store.label_space), _SIDE, labels=True)
    return captioned(picture, [info.key, info.view])
