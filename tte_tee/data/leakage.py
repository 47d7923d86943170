"""Who has been seen: the patients that an artefact was made from, followed through every provenance.

Stores, bases, adapters, shape models and segmenters note under ``seen`` the patients whose frames or
masks they learnt from or were tuned on. A record holds the records of what went into it, so the union
of every ``seen`` in it is everybody.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tte_tee.data.store import EchoStore
from tte_tee.errors import UserError
from tte_tee.files import without_folders

SEEN = "seen"
BASE_SEEN = "base_seen"
"""Those of ``seen`` whom the base knew before it was adapted: a study of few patients may know them."""
MASK_SEEN = "mask_seen"
"""Those of ``seen`` of whom only masks were shown, to draw frames for: nothing was learnt from their pictures."""

OF_A_PATIENT = ("annotated", "phantom", "segmenter")
"""Sources of masks that show a patient's own heart, drawn or found; the others draw hearts of nobody."""


def seen_in(record: Any, key: str = SEEN) -> set[str]:
    """Union of every ``seen`` (or other ``key``) in a record (plain JSON).

    Raises:
        UserError: one is no list.
    """
    if isinstance(record, dict):
        own = _names(record, key)
        return own.union(*(seen_in(value, key) for name, value in record.items() if name != key))
    if isinstance(record, list):
        return set[str]().union(*(seen_in(value, key) for value in record))
    return set()


def learnt_from(record: Any) -> set[str]:
    """Those of :func:`seen_in` from whom something was learnt: all but ``mask_seen``, wherever each of them stands."""
    if isinstance(record, dict):
        own = _names(record, SEEN) - _names(record, MASK_SEEN)
        return own.union(*(learnt_from(value) for name, value in record.items() if name not in (SEEN, MASK_SEEN)))
    if isinstance(record, list):
        return set[str]().union(*(learnt_from(value) for value in record))
    return set()


def _names(record: dict[str, Any], key: str) -> set[str]:
    """The patients that a record lists; anything but a list may hide some, and is refused."""
    names = record.get(key, [])
    if not isinstance(names, list):
        raise UserError(f"provenance: '{key}' is no list of patients ({names!r:.40}); make the artefact anew")
    return {str(name) for name in names}


def published(record: Any, *, named: bool = True) -> Any:
    """A record (plain JSON) that names no folder of this machine.

    Names of patients stay, so that leaks are found; unless ``named``, their number stands there, and no time.
    """
    if isinstance(record, dict):
        return {
            name: _patients(value, named) if name in (SEEN, BASE_SEEN, MASK_SEEN) else published(value, named=named)
            for name, value in record.items()
            if named or name != "time"
        }
    if isinstance(record, list):
        return [published(value, named=named) for value in record]
    return without_folders(record) if isinstance(record, str) else record


def _patients(names: list[str], named: bool) -> list[str] | str:
    return names if named else f"{len(names)} patients"


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


def learnt_beyond_base(record: Mapping[str, Any]) -> set[str]:
    """Everybody whom an artefact knows but those whom its base knew before it was adapted."""
    return seen_in(record) - seen_in(record, BASE_SEEN)


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
