"""The frames of a store that a stage can use: the facts of its table, without a network's libraries."""

import numpy as np

from tte_tee.anatomy import WITHOUT_PLANE
from tte_tee.data.store import EchoStore
from tte_tee.errors import UserError


def usable_frames(store: EchoStore, split: str | None, *, image: bool = True, plane: bool = True) -> np.ndarray:
    """Indices of one split's frames, or of all.

    Args:
        store: to look in.
        split: of the frames; None takes all.
        image: the picture is needed, not its mask alone.
        plane: a view that the generator knows is needed.

    Raises:
        UserError: the split is empty, or a frame lacks its mask or what else is needed.
    """
    indices = store.indices(split=split)
    if not len(indices):
        counts = ", ".join(f"{n} in {name}" for name, n in store.table["split"].value_counts().items())
        raise UserError(f"{store.path}: no frame in split '{split}'; it has {counts}")
    table, where = store.table.iloc[indices], f" of split '{split}'" if split else ""
    lacking = {
        "image": (table["origin"] == "mask") & image,
        "mask": table["mask_source"] == "none",
        "plane that the generator knows": table["view"].isin(WITHOUT_PLANE) & plane,
    }
    for what, frames in lacking.items():
        if frames.any():
            raise UserError(
                f"{store.path}: {frames.sum()} frames{where} have no {what} "
                f"(first: {table['key'][frames].iloc[0]}); leave them out with 'data subset'"
            )
    return indices
