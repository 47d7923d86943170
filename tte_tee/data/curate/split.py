"""Splitting a store anew, by patient."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from tte_tee.data.curate.choose import seeded_key
from tte_tee.data.curate.copying import Selection, check_out, copy_frames
from tte_tee.data.store import HELD_OUT, SPLITS, EchoStore, check_table
from tte_tee.errors import UserError

BY = ("cohort", "view", "phase", "origin", "mask_source", "structures")
"""What patients can be told apart by, so that every split gets its share of each kind."""


def split_store(
    path: Path,
    out: Path,
    *,
    val: float,
    test: float,
    by: Sequence[str],
    seed: int,
    command: str,
    progress: bool = False,
) -> None:
    """Writes the store ``path`` with new splits as ``out``, see :func:`assign_splits`.

    Patients of held-out cohorts stay in ``test``, on top of the shares, which are of the others.

    Raises:
        UserError: the shares leave nothing to train, or every patient is held out.
    """
    if not (val >= 0 and test >= 0 and val + test < 1):
        raise UserError(f"--val {val:g} --test {test:g}: give shares of 0 or more that leave some for train")
    store = EchoStore(path)
    check_out(out, store)
    free = store.table[~store.table["cohort"].isin(HELD_OUT)]
    if not len(free):
        raise UserError(f"{path}: every patient is of a held-out cohort, which is in split test alone")
    kinds = patient_kinds(store, by)
    splits = assign_splits(
        {patient: kinds[patient] for patient in free["patient"].unique()}, {"val": val, "test": test}, seed
    )
    check_table(store.table.assign(split=store.table["patient"].map(splits).fillna("test")), str(out))
    copy_frames(
        out,
        [Selection(store, store.indices(), lambda info: replace(info, split=splits.get(info.patient, "test")))],
        command=command,
        rule={"made_by": "split", "val": val, "test": test, "by": list(by), "seed": seed},
        progress=progress,
    )


def patient_kinds(store: EchoStore, by: Sequence[str]) -> dict[str, str]:
    """What the frames of each patient show together, in words: equal words, one kind.

    Args:
        store: whose patients.
        by: of :data:`BY`; ``structures`` reads all masks.
    """
    columns = {name: _structures(store) if name == "structures" else store.table[name] for name in by}
    words = pd.DataFrame({"patient": store.table["patient"], **columns})
    return {
        str(patient): "; ".join("+".join(sorted(set(part[name]))) for name in by)
        for patient, part in words.groupby("patient")
    }


def _structures(store: EchoStore) -> list[str]:
    """The structures that each frame's mask holds, as one word."""
    names, found = store.label_space.structures, []
    for _, block in store.blocks("masks"):
        shown = np.stack([(block == label).any(axis=(1, 2)) for label in range(1, len(names) + 1)], axis=1)
        found += [" ".join(name for name, there in zip(names, row, strict=True) if there) for row in shown]
    return found


def assign_splits(kinds: Mapping[str, str], shares: Mapping[str, float], seed: int) -> dict[str, str]:
    """Patient -> split: exact in number, and close to the shares within each kind.

    The number of patients of each split comes from :func:`largest_remainder`. Patients then stand
    in line, kind by kind, kinds and patients each in seeded order, and each goes to the split that
    is furthest behind its share of the line so far. So the line ends at the exact numbers, and no
    kind is off by more than two patients.

    Args:
        kinds: patient -> kind, see :func:`patient_kinds`.
        shares: of ``val`` and ``test``; the rest is ``train``.
        seed: of the order.
    """
    counts = largest_remainder(len(kinds), {"train": 1 - sum(shares.values()), **shares})
    members = defaultdict(list)
    for patient, kind in kinds.items():
        members[kind].append(patient)
    line = [
        patient
        for kind in sorted(members, key=lambda kind: seeded_key("kind", kind, seed))
        for patient in sorted(members[kind], key=lambda patient: seeded_key("split", patient, seed))
    ]
    given: Counter[str] = Counter()
    splits = {}
    for place, patient in enumerate(line, start=1):
        split = max(SPLITS, key=lambda name: counts[name] * place - given[name] * len(line))
        given[split] += 1
        splits[patient] = split
    return splits


def largest_remainder(total: int, shares: Mapping[str, float]) -> dict[str, int]:
    """``total`` in whole numbers by ``shares``, which add up to 1: each its floor, the rest to the largest remainders.

    Of equal remainders, the name that stands first in ``shares`` wins.
    """
    exact = {name: round(total * share, 9) for name, share in shares.items()}  # 0.29 * 100 is 28.999999999999996
    counts = {name: int(value) for name, value in exact.items()}
    for name in sorted(shares, key=lambda name: counts[name] - exact[name])[: total - sum(counts.values())]:
        counts[name] += 1
    return counts
