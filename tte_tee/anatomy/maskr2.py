r"""MaskR² = Reduce + Repurpose: how the labels of one modality take the places of another's.

A base was trained on masks of a source label space X. Masks of a target label space Y are to
drive it. Every structure of X is a place (a channel of the condition) that Y may use:

* *Identity*: a structure in both keeps its place.
* *Reduce*: structures of Y outside X that have too few places merge into a super-class.
* *Repurpose*: each (super-)class of Y outside X takes the place of a structure in X outside Y, whose meaning
  the adapter then relearns.

Source: arXiv 2508.13077, section on MaskR². Rules are declared, completed where they leave one
answer, and refused where they leave several or none. The unmerged mask stays with its frame: it
is the segmentation label.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tte_tee.errors import UserError


@dataclass(frozen=True)
class MaskMap:
    """A solved rule: the place that each target structure takes.

    Attributes:
        source: structures of the base, in the order of its channels.
        target: structures of the masks, in the order of their ids.
        place: for each target structure a source structure, or None for background.
    """

    source: tuple[str, ...]
    target: tuple[str, ...]
    place: Mapping[str, str | None]

    def matrix(self) -> list[list[float]]:
        """``[len(source)][len(target)]``, 1 where a target structure takes a place, else 0."""
        return [[1.0 if self.place[t] == s else 0.0 for t in self.target] for s in self.source]

    def describe(self) -> str:
        """One line: ``LV -> LV, LA -> LA, RV + RA -> LV_epi, tissue -> background``."""
        by_place: dict[str | None, list[str]] = {}
        for structure in self.target:
            by_place.setdefault(self.place[structure], []).append(structure)
        return ", ".join(f"{' + '.join(names)} -> {place or 'background'}" for place, names in by_place.items())


def identity(structures: Sequence[str]) -> MaskMap:
    """Every structure in its own place: what a base does with masks of its own label space."""
    return MaskMap(tuple(structures), tuple(structures), {s: s for s in structures})


def solve(
    source: Sequence[str],
    target: Sequence[str],
    *,
    reduce: Mapping[str, Sequence[str]] | None = None,
    repurpose: Mapping[str, str] | None = None,
    background: Sequence[str] = (),
) -> MaskMap:
    """Completes MaskR² rules into a :class:`MaskMap`, or refuses them.

    Args:
        source: X, structures of the base.
        target: Y, structures of the masks.
        reduce: super-class -> the structures of Y outside X that merge into it.
        repurpose: (super-)class of Y outside X -> the structure of X outside Y whose place it takes.
        background: structures of Y outside X that the generator is not told of.

    What is left out is filled in only where one answer is left: a single class without a place
    takes a single free place, and several classes without a place merge when just one is free.

    Raises:
        UserError: the rules contradict themselves or the label spaces, are ambiguous, or there
            is no place left; the message names the labels.
    """
    reduce, repurpose = dict(reduce or {}), dict(repurpose or {})
    _check_names(source, target, reduce, repurpose, background)

    merged = {member: name for name, members in reduce.items() for member in members}
    open_structures = [t for t in target if t not in source and t not in background]
    class_of = {t: merged.get(t, t) for t in open_structures}
    classes = list(dict.fromkeys(class_of.values()))
    stray = [name for name in repurpose if name not in classes]
    if stray:
        raise UserError(
            f"maskr2.repurpose: {', '.join(stray)} is no class without a place; those are {_names(classes)} "
            "(labels found in both spaces keep their own)"
        )
    free = [s for s in source if s not in target and s not in repurpose.values()]
    waiting = [c for c in classes if c not in repurpose]
    taken = {**repurpose, **_only_answer(waiting, free)}

    place: dict[str, str | None] = dict.fromkeys(target)
    place.update({t: t for t in target if t in source})
    place.update({t: taken[class_of[t]] for t in open_structures})
    return MaskMap(tuple(source), tuple(target), place)


def _only_answer(waiting: list[str], free: list[str]) -> dict[str, str]:
    """The one way to give every waiting class a free place."""
    if not waiting:
        return {}
    if not free:
        raise UserError(
            f"maskr2: no place is left for {_names(waiting)}; merge them into another class (reduce) "
            "or name them under background"
        )
    if len(free) == 1:
        return dict.fromkeys(waiting, free[0])
    raise UserError(
        f"maskr2: {_names(waiting)} could take the places of {_names(free)} in several ways; say which under repurpose"
    )


def _check_names(
    source: Sequence[str],
    target: Sequence[str],
    reduce: Mapping[str, Sequence[str]],
    repurpose: Mapping[str, str],
    background: Sequence[str],
) -> None:
    members = [m for group in reduce.values() for m in group]
    mentioned = {"reduce": members, "background": list(background)}
    for rule, names in mentioned.items():
        unknown = [n for n in names if n not in target]
        if unknown:
            raise UserError(f"maskr2.{rule}: {_names(unknown)} is no label of the masks ({_names(target)})")
        shared = [n for n in names if n in source]
        if shared:
            raise UserError(
                f"maskr2.{rule}: {_names(shared)} stands in both label spaces and keeps its own place; leave it out"
            )
    twice = sorted({n for n in (*members, *background) if (*members, *background).count(n) > 1})
    if twice:
        raise UserError(f"maskr2: {_names(twice)} stands in two rules; each label goes to one place")
    clash = [n for n in reduce if n in source or (n in target and n not in reduce[n])]
    if clash:
        raise UserError(f"maskr2.reduce: super-class {_names(clash)} has the name of a label; give it another")
    wrong = [p for p in repurpose.values() if p not in source or p in target]
    if wrong:
        raise UserError(
            f"maskr2.repurpose: the place of {_names(wrong)} is not free; free are "
            f"{_names([s for s in source if s not in target])}"
        )
    doubled = sorted({p for p in repurpose.values() if list(repurpose.values()).count(p) > 1})
    if doubled:
        raise UserError(
            f"maskr2.repurpose: {_names(doubled)} is given to two classes; merge them under reduce if that is meant"
        )


def _names(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"
