"""Stores that are used together: frames of one size, masks of one meaning, pictures made as they should be."""

from collections.abc import Collection, Sequence

import numpy as np

from tte_tee.data.store import EchoStore
from tte_tee.errors import UserError


def refuse_other_size(store: EchoStore, other: EchoStore) -> None:
    """Refuses ``other`` where its frames are of another size than those of ``store``.

    Raises:
        UserError: naming both sizes.
    """
    if other.image_size != store.image_size:
        sizes = ["x".join(map(str, each.image_size)) for each in (other, store)]
        raise UserError(f"{other.path}: frames are {sizes[0]}, those of {store.path} {sizes[1]}; pack them at one size")


def refuse_other_labels(store: EchoStore, other: EchoStore) -> None:
    """Refuses ``other`` where its masks name other structures than those of ``store``, or in another order.

    Raises:
        UserError: naming both.
    """
    if other.label_space.structures != store.label_space.structures:
        spaces = [", ".join(each.label_space.structures) for each in (other, store)]
        raise UserError(
            f"{other.path}: masks hold {spaces[0]}, those of {store.path} {spaces[1]}; give stores of one label space"
        )


def refuse_other_kind(store: EchoStore, other: EchoStore) -> None:
    """Refuses another size or label space.

    Raises:
        UserError: naming both.
    """
    refuse_other_labels(store, other)
    refuse_other_size(store, other)


def refuse_other_origin(
    store: EchoStore, indices: Sequence[int] | np.ndarray, origins: Collection[str], advice: str
) -> None:
    """Refuses frames of another origin than some.

    Args:
        store: of the frames.
        indices: in it.
        origins: that are taken.
        advice: what to do, for the message.

    Raises:
        UserError: saying how many there are, and which is the first.
    """
    table = store.table.iloc[list(indices)]
    others = table[~table["origin"].isin(origins)]
    if len(others):
        first = f"{others['key'].iloc[0]}, {others['origin'].iloc[0]}"
        raise UserError(f"{store.path}: {len(others)} frames are not {' or '.join(origins)} (first: {first}); {advice}")
