"""Fewer patients, fewer frames, or frames of one kind."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from tte_tee.data.curate.choose import seeded_order, spread
from tte_tee.data.curate.copying import Selection, check_out, copy_frames
from tte_tee.data.store import HELD_OUT, EchoStore, check_table
from tte_tee.errors import UserError


@dataclass(frozen=True)
class Subset:
    """Which frames to keep; what is empty or None keeps all.

    Attributes:
        splits, views, cohorts: keep frames of one of these.
        labelled: keep frames that have a mask.
        patients: then, of the patients left, so many.
        frames: then, of the frames left, so many, spread over patients, views and phases.
        seed: of the choice. Fewer patients are among more of the same seed; so are frames, of the same patients.
        set_cohort: the cohort of what comes out.

    Raises:
        UserError: nothing would be left out or changed, or a number is below 1.
    """

    splits: Sequence[str] = ()
    views: Sequence[str] = ()
    cohorts: Sequence[str] = ()
    labelled: bool = False
    patients: int | None = None
    frames: int | None = None
    seed: int = 0
    set_cohort: str | None = None

    def __post_init__(self) -> None:
        for name in ("patients", "frames"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f"--{name} {value}: ask for at least 1")
        if set(self.rule()) == {"seed"}:
            raise UserError("a subset of everything is the store itself; say what to keep, with --patients 5, say")

    def rule(self) -> dict[str, object]:
        """What was asked for, for the provenance."""
        return {name: value for name, value in vars(self).items() if value or name == "seed"}

    def kept(self, store: EchoStore) -> np.ndarray:
        """Indices of the frames to keep, ascending.

        Raises:
            UserError: the filters leave nothing, or fewer patients or frames than asked for.
        """
        table = store.table
        keep = np.ones(len(table), bool)
        for column, allowed in (("split", self.splits), ("view", self.views), ("cohort", self.cohorts)):
            if allowed:
                keep &= table[column].isin(allowed).to_numpy()
        if self.labelled:
            keep &= (table["mask_source"] != "none").to_numpy()
        indices = np.flatnonzero(keep)
        if not len(indices):
            raise UserError(f"{store.path}: no frame is left; 'data inspect' shows what there is")
        if self.patients is not None:
            indices = indices[self._of_patients(table.iloc[indices], self.patients, store.path)]
        if self.frames is not None:
            if self.frames > len(indices):
                raise UserError(f"{store.path}: --frames {self.frames}: only {len(indices)} are there to choose from")
            indices = indices[spread(table.iloc[indices], self.frames, self.seed)]
        return indices

    def _of_patients(self, table: pd.DataFrame, count: int, path: Path) -> np.ndarray:
        patients = seeded_order(table["patient"], self.seed)
        if count > len(patients):
            raise UserError(f"{path}: --patients {count}: only {len(patients)} are there to choose from")
        return np.flatnonzero(table["patient"].isin(patients[:count]).to_numpy())


def write_subset(path: Path, out: Path, subset: Subset, *, command: str, progress: bool = False) -> None:
    """Writes the frames of the store ``path`` that ``subset`` keeps into the store ``out``.

    Raises:
        UserError: as :meth:`Subset.kept` raises, or patients of a held-out cohort would get another.
    """
    store = EchoStore(path)
    check_out(out, store)
    indices = subset.kept(store)
    part = Selection(store, indices)
    if cohort := subset.set_cohort:
        table = store.table.iloc[indices]
        held = table[table["cohort"].isin(HELD_OUT) & (table["cohort"] != cohort)]
        if len(held):
            row = held.iloc[0]
            raise UserError(
                f"--set-cohort {cohort}: patient {row['patient']} is of the held-out cohort {row['cohort']}, "
                "which nobody leaves; choose others with --cohort"
            )
        check_table(table.assign(cohort=cohort), str(out))
        part = Selection(store, indices, lambda info: replace(info, cohort=cohort))
    copy_frames(out, [part], command=command, rule={"made_by": "subset", **subset.rule()}, progress=progress)
