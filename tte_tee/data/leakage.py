"""Leaks that stores could bring: patients of frames and masks who are tested on and have been seen, refused by name."""

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

import numpy as np

from tte_tee.data.store import EchoStore
from tte_tee.errors import UserError
from tte_tee.seen import learnt_beyond_base, seen_in

OF_A_PATIENT = ("annotated", "phantom", "segmenter")
"""Sources of masks that show a patient's own heart, drawn or found; the others draw hearts of nobody."""


def patients_of_masks(store: EchoStore, indices: Sequence[int] | np.ndarray) -> set[str]:
    """Patients whose own hearts some frames' masks show."""
    table = store.table.iloc[list(indices)]
    return set(table["patient"][table["mask_source"].isin(OF_A_PATIENT)])


def seen_by_learning_from(store: EchoStore, splits: Collection[str] = ("train", "val")) -> set[str]:
    """Everybody whom one knows after learning from these splits of a store: its patients and its provenance's."""
    table = store.table
    return set(table["patient"][table["split"].isin(splits)]) | seen_in(store.provenance)


def refuse_seen(patients: Iterable[str], seen: Collection[str], where: str, what: str) -> None:
    """Refuses to test on patients who were seen.

    Args:
        patients: to be tested on.
        seen: by whatever is tested.
        where: they stand, for the message.
        what: has seen them, for the message.

    Raises:
        UserError: naming the first few.
    """
    if known := sorted(set(patients) & set(seen)):
        raise UserError(
            f"{where}: patient {', '.join(known[:3])}{' and more' if len(known) > 3 else ''} "
            f"went into {what}; test on patients whom nothing has seen"
        )


def refuse_telling(
    synthetic: EchoStore,
    frames: Sequence[int] | np.ndarray,
    real: Path,
    *,
    trained: Collection[str],
    evaluated: Iterable[str],
    tested: Iterable[str],
) -> None:
    """Refuses synthetic training frames that tell of patients whom a run may not learn from.

    Args:
        synthetic: store of the frames.
        frames: indices in it.
        real: store that is trained on beside it, for messages.
        trained: patients of ``real`` who may be learnt from.
        evaluated: patients who validate or test. An adapter may have been tuned on those who validate, but no
            frame may be drawn for their masks.
        tested: patients who test; nobody may have seen them.

    Raises:
        UserError: the provenance knows a tested patient, or has learnt from anybody else than these; or a
            frame was made from a patient who is not trained on.
    """
    table, evaluated, tested = synthetic.table.iloc[list(frames)], set(evaluated), set(tested)
    hidden = ~table["patient"].isin(trained) & table["mask_source"].isin(OF_A_PATIENT)
    hidden |= table["patient"].isin(evaluated | tested)
    where = f"{synthetic.path} (its adapter, base or masks)"
    refuse_seen(tested, seen_in(synthetic.provenance), where, "the frames")
    if known := sorted(learnt_beyond_base(synthetic.provenance) - {*trained, *evaluated}):
        raise UserError(
            f"{where}: learnt from patient {', '.join(known[:3])}, who is not among the {len(trained)} trained on "
            f"in {real}; refit adapter and shape model on those patients alone"
        )
    if hidden.any():
        names = sorted(set(table["patient"][hidden]))
        raise UserError(
            f"{synthetic.path}: {hidden.sum()} frames were made from patients who are not among the {len(trained)} "
            f"trained on in {real} (first: {', '.join(names[:3])}); synthesise from those patients alone"
        )
