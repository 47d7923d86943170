"""Who has been seen: the patients that an artefact was made from, followed through every record.

Stores, bases, adapters, shape models and segmenters note under ``seen`` the patients whose frames or
masks they learnt from or were tuned on. A record holds the records of what went into it, so the union
of every ``seen`` in it is everybody.
"""

from typing import Any

from tte_tee.errors import UserError
from tte_tee.files import without_folders

SEEN = "seen"
BASE_SEEN = "base_seen"
"""Those of ``seen`` whom the base knew before it was adapted: a study of few patients may know them."""
MASK_SEEN = "mask_seen"
"""Those of ``seen`` of whom only masks were shown, to draw frames for: nothing was learnt from their pictures."""


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
    return _seen_less(record, MASK_SEEN)


def learnt_beyond_base(record: Any) -> set[str]:
    """Those of :func:`seen_in` but those whom the base knew before it was adapted, wherever each of them stands.

    Whom both a base and its adapter learnt from is taken for the base's.
    """
    return _seen_less(record, BASE_SEEN)


def _seen_less(record: Any, key: str) -> set[str]:
    """Union over records of ``seen`` less ``key``: whom one artefact excuses, another may have learnt from."""
    if isinstance(record, dict):
        own = _names(record, SEEN) - _names(record, key)
        return own.union(*(_seen_less(value, key) for name, value in record.items() if name not in (SEEN, key)))
    if isinstance(record, list):
        return set[str]().union(*(_seen_less(value, key) for value in record))
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
