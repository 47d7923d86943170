"""The stores of a copy audit, and whether they belong together."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tte_tee.data.alike import refuse_other_kind, refuse_other_origin
from tte_tee.data.leakage import refuse_seen, seen_by_learning_from
from tte_tee.data.store import HELD_OUT, REAL_ORIGINS, EchoStore
from tte_tee.errors import UserError
from tte_tee.seen import learnt_from


@dataclass(frozen=True)
class AuditedStores:
    """The stores of an audit.

    Attributes:
        synthetic: frames to be judged.
        training: its split ``train`` is what the adapter learnt from.
        held_out: real frames of patients whom the adapter has not seen, or None: then nothing sets a threshold.
        control: frames that the same adapter drew for masks of ``held_out``, or None.
    """

    synthetic: EchoStore
    training: EchoStore
    held_out: EchoStore | None = None
    control: EchoStore | None = None

    def verified(self) -> bool:
        """Whether the synthetic store records that its adapter learnt from this training store."""
        return _recorded(self.synthetic, "trained_on", "hash") == {self.training.content_hash}

    def learnt_from(self) -> set[str]:
        """Patients who went into the adapter or its base; those who only lent a mask are not among them."""
        return learnt_from(self.synthetic.provenance) | seen_by_learning_from(self.training)

    def check(self) -> None:
        """Refuses stores that do not belong together.

        Raises:
            UserError: sizes or label spaces differ, frames are generated that should be real or the reverse,
                the adapter learnt from another store, a held-out patient was seen or is for testing alone, or
                there are control frames and no held-out ones.
        """
        for store in (self.training, self.held_out, self.control):
            if store is not None:
                refuse_other_kind(self.synthetic, store)
        _refuse_other_than_synthetic(self.synthetic)
        for store in (self.training, self.held_out):
            if store is not None:
                refuse_other_origin(store, store.indices(), REAL_ORIGINS, "give a store of real frames alone")
        if not len(self.training.indices(split="train")):
            raise UserError(f"{self.training.path}: no frame in split 'train'; give the store the adapter learnt from")
        refuse_other_training(self.synthetic, self.training)
        if self.held_out is not None:
            self._check_held_out(self.held_out)
        if self.control:
            self._check_control(self.control)

    def _check_held_out(self, held_out: EchoStore) -> None:
        table = held_out.table
        if kept := sorted(set(table["cohort"]) & set(HELD_OUT)):
            raise UserError(
                f"{held_out.path}: cohort {kept[0]} is for testing alone and sets no threshold; "
                "give frames of another cohort, such as pool"
            )
        what = f"the adapter or base behind {self.synthetic.path.name}"
        refuse_seen(table["patient"], self.learnt_from(), str(held_out.path), what)

    def _check_control(self, control: EchoStore) -> None:
        if self.held_out is None:
            raise UserError(f"{control.path}: control frames go with the real ones of their masks; give --held-out")
        _refuse_other_than_synthetic(control)
        ours, theirs = (_recorded(store, "adapter", "hash") for store in (self.synthetic, control))
        if len(ours) != 1 or ours != theirs:
            raise UserError(f"{control.path}: not drawn by the one adapter behind {self.synthetic.path}; draw it anew")
        if strange := sorted(set(control.table["patient"]) - set(self.held_out.table["patient"])):
            raise UserError(
                f"{control.path}: patient {strange[0]} has no frame in {self.held_out.path}; "
                "draw control frames for the masks of that store"
            )


def refuse_other_training(synthetic: EchoStore, training: EchoStore) -> None:
    """Refuses a training store that is not the one the synthetic store records; one that records none is trusted.

    Raises:
        UserError: naming the store that is recorded.
    """
    if _recorded(synthetic, "trained_on", "hash") - {training.content_hash}:
        names = ", ".join(sorted(_recorded(synthetic, "trained_on", "store")))
        raise UserError(
            f"{training.path}: the adapter behind {synthetic.path} learnt from another store ({names}); give that one"
        )


def _refuse_other_than_synthetic(store: EchoStore) -> None:
    refuse_other_origin(store, store.indices(), ("generated",), "give a store of synthetic frames alone")


def _recorded(store: EchoStore, name: str, field: str) -> set[str]:
    """Every ``record[name][field]``, however deep in a store's provenance."""

    def search(record: Any) -> Iterator[str]:
        if isinstance(record, dict):
            part = record.get(name)
            if isinstance(part, dict) and field in part:
                yield str(part[field])
            record = list(record.values())
        if isinstance(record, list):
            for value in record:
                yield from search(value)

    return set(search(store.provenance))
