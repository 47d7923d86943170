"""Which frames and patients to take: seeded, spread evenly, and nested."""

from collections import Counter, defaultdict, deque
from collections.abc import Iterable

import numpy as np
import pandas as pd

from tte_tee.data.splits import unit_hash

_Queues = dict[tuple[str, str], deque[int]]


def seeded_key(purpose: str, name: str, seed: int) -> tuple[float, str]:
    """What seeded orders sort by.

    Two purposes have nothing in common: patients of a low number in one are not those of a low number
    in the other, nor those that a recipe split off by their hash.
    """
    return unit_hash(f"{purpose} {name}", seed), name


def seeded_order(names: Iterable[str], seed: int) -> list[str]:
    """The different ``names`` in an order that depends on each name and the seed alone.

    The first five are the first five of the first ten, and stay in order when others come or go.
    """
    return sorted(set(names), key=lambda name: seeded_key("choose", name, seed))


def evenly(count: int, size: int) -> np.ndarray:
    """``size`` of ``count`` positions from the first to the last, or all where there are fewer; int ``[N]``."""
    return np.linspace(0, count - 1, min(size, count)).round().astype(int)


def spread(table: pd.DataFrame, count: int, seed: int) -> np.ndarray:
    """``count`` rows of a table of frames, spread evenly over patients, views and phases.

    Patients take turns. Each gives a frame of the view of which least was taken, of the patient
    first and of all then, and within it of the least taken phase; among equals the seed decides.
    What is taken first does not depend on ``count``: fewer frames are contained in more.

    Returns:
        positions of the rows, ascending; all of them where there are no more than ``count``.
    """
    queues = _by_patient(table, seed)
    turns = [(patient, queues[patient]) for patient in seeded_order(table["patient"], seed)]
    taken: Counter[tuple[str, ...]] = Counter()
    chosen: list[int] = []
    while turns and len(chosen) < count:
        for patient, waiting in turns[: count - len(chosen)]:
            chosen.append(_take(patient, waiting, taken))
        turns = [(patient, waiting) for patient, waiting in turns if waiting]
    return np.sort(np.array(chosen, dtype=int))


def _by_patient(table: pd.DataFrame, seed: int) -> dict[str, _Queues]:
    """Patient -> (view, phase) -> positions of the frames in seeded order."""
    queues: dict[str, _Queues] = defaultdict(lambda: defaultdict(deque))
    columns = (table[name].tolist() for name in ("key", "patient", "view", "phase"))
    for position, (_, patient, view, phase) in sorted(
        enumerate(zip(*columns, strict=True)), key=lambda row: seeded_key("choose", row[1][0], seed)
    ):
        queues[patient][view, phase].append(position)
    return queues


def _take(patient: str, waiting: _Queues, taken: Counter[tuple[str, ...]]) -> int:
    """Takes the next frame of a patient, and counts it."""

    def had(group: tuple[str, str]) -> tuple[int, ...]:
        view, phase = group
        return (
            taken[patient, view, ""],
            taken[view, ""],
            taken[patient, view, phase],
            taken[view, phase],
        )

    group = min(waiting, key=had)
    position = waiting[group].popleft()
    if not waiting[group]:
        del waiting[group]
    view, phase = group
    taken.update([(patient, view, ""), (view, ""), (patient, view, phase), (view, phase)])
    return position
