"""What a cell looks like: the parts that the report reads, and where a record departs from it."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

SCHEMA = 1


@dataclass(frozen=True)
class Maybe:
    """May be null or absent."""

    shape: Any


@dataclass(frozen=True)
class Each:
    """Names of any kind, values of one shape; with ``least`` of them or more."""

    shape: Any
    least: int = 0


@dataclass(frozen=True)
class Number:
    """Finite, between two ends."""

    low: float = -math.inf
    high: float = math.inf


_WORD, _COUNT = Maybe(str), Maybe(Number(0))
_SHARE = Number(0, 1)
_DICE = {"dice": Maybe(_SHARE)}
_ROLE = Maybe({"mean": Maybe(Number())})
_STORE = {"name": _WORD, "hash": str}
_RATE = {"not_estimable": str}, dict.fromkeys(("share", "low", "high"), _SHARE)
_SIDE = {"summary": {"structures": Each(_DICE)}}
_SYNTHESIS = {
    "masks": str,
    "ratio": Maybe((Number(), str)),
    "guidance": Maybe(Number()),
    "steps": _COUNT,
    "frames": _COUNT,
    "seconds": _COUNT,
    "peak_memory_mib": _COUNT,
}
_ADAPTER = {
    "config": _WORD,
    "method": _WORD,
    "scope": Maybe([str]),
    "rank": _COUNT,
    "learnable": Maybe(bool),
    "trained": Number(0),
    "share": _SHARE,
    "steps": _COUNT,
    "seconds": _COUNT,
    "peak_memory_mib": _COUNT,
    "val_loss": Maybe(Number()),
}
_SEGMENTATION = {
    "summary": {"structures": Each(dict, least=1)},
    "patients": Each(
        {
            "structures": Each({"dice": _SHARE}),
            "global_dice": Maybe(_SHARE),
            "class_weighted_dice": Maybe(_SHARE),
        },
        least=1,
    ),
}
_FIDELITY = {
    "rows": [{"group": str, "measure": str, "better": _WORD, "synthetic": _ROLE, "floor": _ROLE, "ceiling": _ROLE}],
    "stores": Maybe(Each(_STORE)),
}
_COPIES = {
    "rates": Each(Each((Number(0), *_RATE))),
    "thresholds": Each({"false_alarms": Maybe(_RATE)}),
}
_CELL = {
    "study": str,
    "arm": str,
    "label": _WORD,
    "seed": int,
    "tested_on": str,
    "patients": _COUNT,
    "adapter": Maybe(_ADAPTER),
    "synthesis": Maybe(_SYNTHESIS),
    "segmenter": Maybe(dict.fromkeys(("steps", "seconds", "peak_memory_mib"), _COUNT)),
    "segmentation": _SEGMENTATION,
    "validation": Maybe({"dice": Maybe(_SHARE), "structures": Maybe(Each(Maybe(_SHARE)))}),
    "mask_fidelity": Maybe({"synthetic": _SIDE, "real": Maybe(_SIDE)}),
    "fidelity": Maybe(_FIDELITY),
    "copies": Maybe(_COPIES),
    "store": _STORE,
    "provenance": Maybe(
        {"commit": _WORD, "versions": Maybe(Each(str)), "time": _WORD, "commands": Maybe([str]), "key": _WORD}
    ),
}

_SCORES = {
    **_SEGMENTATION,
    "store": _STORE,
    "rules": {"id": str},
    "cases": [{"key": str, "patient": str}],
    "segmenter": {"hash": str},
}


def misfit(record: Any) -> str | None:
    """Why a record is no cell, or None where it is one."""
    if not isinstance(record, dict) or "arm" not in record:
        return "no cell"
    if record.get("schema") != SCHEMA:
        older = "an older shape, without schema" if record.get("schema") is None else f"schema {record['schema']}"
        return f"{older}; this report reads schema {SCHEMA}"
    return _misfit(record, _CELL, "") or _of_ratio(record.get("synthesis"))


def misfit_of_scores(record: Any) -> str | None:
    """Why a record is not what ``evaluate segmenter`` writes, as far as it is read here; None where it is."""
    if trouble := _misfit(record, _SCORES, ""):
        return trouble
    if uncounted := record["patients"].keys() ^ {case["patient"] for case in record["cases"]}:
        return f"patient {sorted(uncounted)[0]} is not in both of 'patients' and 'cases'"
    return None


def _of_ratio(synthesis: Mapping[str, Any] | None) -> str | None:
    """A word is allowed, as JSON has none but a word for infinity."""
    ratio = (synthesis or {}).get("ratio")
    good = ratio is None or ratio == "inf" or (not isinstance(ratio, str) and ratio > 0)
    return None if good else f"synthesis.ratio is {ratio!r}; a positive number, or null for synthetic frames alone"


def _misfit(value: Any, shape: Any, where: str) -> str | None:
    if isinstance(shape, Maybe):
        return None if value is None else _misfit(value, shape.shape, where)
    if isinstance(shape, tuple):
        found = [_misfit(value, one, where) for one in shape]
        return found[-1] if None not in found else None
    if isinstance(shape, Number):
        return _no_number(value, shape, where)
    if isinstance(shape, list):
        parts = ((item, shape[0], f"{where}[{n}]") for n, item in _items(value))
        return _first(parts, value, list, where)
    if isinstance(shape, Each):
        if isinstance(value, dict) and len(value) < shape.least:
            return f"{where} is empty"
        parts = ((item, shape.shape, f"{where}.{name}") for name, item in _items(value))
        return _first(parts, value, dict, where)
    if isinstance(shape, dict):
        parts = ((value.get(name), own, f"{where}.{name}".lstrip(".")) for name, own in shape.items())
        return _first(parts, value, dict, where)
    if not isinstance(value, shape) or (shape is int and isinstance(value, bool)):
        return f"{where} is {_shown(value)}"
    return None


def _first(parts: Iterable[tuple[Any, Any, str]], value: Any, kind: type, where: str) -> str | None:
    """The first misfit of a container's parts, or that it is no such container."""
    if not isinstance(value, kind):
        return f"{where} is {_shown(value)}"
    return next((found for part in parts if (found := _misfit(*part))), None)


def _items(value: Any) -> Iterable[tuple[Any, Any]]:
    return value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()


def _no_number(value: Any, shape: Number, where: str) -> str | None:
    if isinstance(value, int | float) and not isinstance(value, bool):
        if math.isfinite(value) and shape.low <= value <= shape.high:
            return None
    elif value is None:
        return f"{where} is missing"
    ends = f" between {shape.low:g} and {shape.high:g}" if math.isfinite(shape.high) else ""
    return f"{where} is {_shown(value)}; a number{ends} is meant"


def _shown(value: Any) -> str:
    if value is None:
        return "missing"
    return repr(value) if isinstance(value, int | float) else f"a {type(value).__name__}"
