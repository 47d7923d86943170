"""Words of the command line -> edits, checked before any mask is read."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tte_tee.anatomy import VIEWS, LabelSpace
from tte_tee.data.alike import refuse_other_size
from tte_tee.data.edits.operations import (
    MaskFrame,
    dilate,
    open_sector,
    rotate,
    set_depth,
    shrink,
    take_sector,
    tell_view,
)
from tte_tee.data.store import EchoStore
from tte_tee.errors import UserError
from tte_tee.seen import SEEN, seen_in

_SUFFIX = ".h5"


@dataclass(frozen=True)
class Edit:
    """One edit, ready to be applied.

    Attributes:
        name: what it adds to a frame's key, as ``dilate-RV-20``.
        apply: the edit.
        record: for the provenance; JSON.
        structure: that it is about, or empty.
        reads: another store that it takes from, which must not be written over.
    """

    name: str
    apply: Callable[[MaskFrame], MaskFrame]
    record: Mapping[str, Any]
    structure: str = ""
    reads: EchoStore | None = None


def parse_edit(kind: str, text: str, store: EchoStore) -> Edit:
    """The edit that an option asks for.

    Args:
        kind: one of :data:`KINDS`.
        text: the option's value.
        store: whose masks are edited.

    Raises:
        UserError: the value cannot be read, names what is not there, or is absurd.
    """
    return KINDS[kind](text, store)


def _dilate(text: str, store: EchoStore) -> Edit:
    text, _, words = text.partition(":")
    structure, percent = _structure_and_percent("dilate", text, store.label_space, 100)
    yielding = tuple(words.split(",")) if words else ()
    ids = store.label_space.ids
    for name in yielding:
        _known("dilate", name, store.label_space)
        if name == structure:
            raise UserError(f"--dilate {text}:{words}: {name} cannot yield to itself; name its neighbours")
    over = f"-over-{'-'.join(yielding)}" if yielding else ""
    places = tuple(ids[name] for name in yielding)
    return Edit(
        f"dilate-{structure}-{percent:g}{over}",
        partial(dilate, label=ids[structure], percent=percent, yielding=places),
        {"edit": "dilate", "structure": structure, "percent_of_radius": percent, "yielding": list(yielding)},
        structure,
    )


def _shrink(text: str, store: EchoStore) -> Edit:
    structure, percent = _structure_and_percent("shrink", text, store.label_space, 95)
    return Edit(
        f"shrink-{structure}-{percent:g}",
        partial(shrink, label=store.label_space.ids[structure], percent=percent),
        {"edit": "shrink", "structure": structure, "percent_of_radius": percent},
        structure,
    )


def _rotate(text: str, store: EchoStore) -> Edit:
    degrees = _number("rotate", text, text, -90, 90)
    if not degrees:
        raise UserError("--rotate 0: changes nothing; give degrees, positive turns what lies below the tip right")
    return Edit(f"rotate{degrees:+g}", partial(rotate, degrees=degrees), {"edit": "rotate", "degrees": degrees})


def _sector(text: str, store: EchoStore) -> Edit:
    what, _, value = text.partition("=")
    if what == "angle":
        degrees = _number("sector", text, value, 10, 150)
        record = {"edit": "sector", "opening_degrees": degrees}
        return Edit(f"sector-angle-{degrees:g}", partial(open_sector, degrees=degrees), record)
    if what == "depth":
        percent = _number("sector", text, value, 50, 200)
        if percent == 100:
            raise UserError("--sector depth=100: changes nothing; below 100 is shallower, above is deeper")
        record = {"edit": "sector", "percent_of_depth": percent}
        return Edit(f"sector-depth-{percent:g}", partial(set_depth, percent=percent), record)
    if what == "from":
        return _sector_of_another(text, value, store)
    raise UserError(f"--sector {text}: say angle=DEGREES, depth=PERCENT or from=F.h5:NUMBER")


def _sector_of_another(text: str, value: str, store: EchoStore) -> Edit:
    """The sector of a frame by its place in another store: a key may name a patient, and would stand in every key."""
    path, suffix, number = value.rpartition(f"{_SUFFIX}:")
    if not suffix or not number.isdecimal():
        raise UserError(f"--sector {text}: say from=F.h5:NUMBER, the frame's place in that store, counted from 0")
    other, index = EchoStore(path + _SUFFIX), int(number)
    if index >= len(other):
        raise UserError(f"--sector {text}: {other.path} has frames 0 to {len(other) - 1}")
    refuse_other_size(store, other)
    info, (_, _, sector) = other.info(index), other.frame(index)
    source = {
        **other.as_source(),
        "frame": index,
        SEEN: sorted({info.patient} | seen_in(other.provenance)),
    }
    return Edit(
        f"sector-of-{Path(path).name}-{index}",
        partial(take_sector, sector=sector, confidence=info.sector_confidence),
        {"edit": "sector", "from": source},
        reads=other,
    )


def _view(text: str, store: EchoStore) -> Edit:
    known = [name for name, view in VIEWS.items() if view.plane is not None]
    if text not in known:
        raise UserError(f"--view {text}: the generator knows {', '.join(known)}")
    return Edit(f"view-{text}", partial(_tell_plane, view=text), {"edit": "view", "view": text})


def _tell_plane(frame: MaskFrame, view: str) -> MaskFrame:
    """Leaves a frame alone whose plane is that of the view already: the generator is told of the plane."""
    return frame if VIEWS[frame.view].plane == VIEWS[view].plane else tell_view(frame, view)


def _structure_and_percent(option: str, text: str, space: LabelSpace, most: float) -> tuple[str, float]:
    structure, equals, value = text.partition("=")
    if not equals:
        raise UserError(f"--{option} {text}: say STRUCTURE=PERCENT of its equivalent radius, as RV=20")
    _known(option, structure, space)
    percent = _number(option, text, value, 0, most)
    if not percent:
        raise UserError(f"--{option} {text}: 0 percent changes nothing")
    return structure, percent


def _known(option: str, structure: str, space: LabelSpace) -> None:
    if structure not in space.structures:
        raise UserError(
            f"--{option}: '{structure}' is no structure of label space '{space.name}' ({', '.join(space.structures)})"
        )


def _number(option: str, text: str, value: str, least: float, most: float) -> float:
    try:
        number = float(value)
    except ValueError as error:
        raise UserError(f"--{option} {text}: '{value}' is no number") from error
    if not (math.isfinite(number) and least <= number <= most):
        raise UserError(f"--{option} {text}: use {least:g} to {most:g}")
    return number


KINDS: dict[str, Callable[[str, EchoStore], Edit]] = {
    "dilate": _dilate,
    "shrink": _shrink,
    "rotate": _rotate,
    "sector": _sector,
    "view": _view,
}
"""Option of the command line -> what reads its value."""
