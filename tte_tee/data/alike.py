"""Stores that are used together: their frames are of one size, and their masks mean the same."""

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
