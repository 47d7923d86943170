"""Split rules: which split a frame goes to, decided per patient and from the recipe alone."""

import csv
import hashlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tte_tee.data.importers.files import within
from tte_tee.data.section import look_up
from tte_tee.data.store import SPLITS
from tte_tee.errors import UserError

SplitOf = Callable[[str, Mapping[str, str]], str]
"""(patient, values of the regex groups) -> split."""


class SplitRule(Protocol):
    """How a frame gets its split."""

    @property
    def meant(self) -> Collection[str]:
        """Splits that patients are meant to go to, as far as the recipe says."""

    def bind(self, root: Path) -> SplitOf:
        """Reads what the rule needs from the folder ``root``, and gives the function that decides."""


@dataclass(frozen=True)
class FixedSplit:
    """Every frame goes to one split."""

    split: str

    @property
    def meant(self) -> Collection[str]:
        """The one."""
        return (self.split,)

    def bind(self, root: Path) -> SplitOf:
        """A constant."""
        return lambda patient, groups: self.split


@dataclass(frozen=True)
class Carve:
    """Moves a hashed ``share`` of the patients of split ``source`` to split ``target``."""

    source: str
    target: str
    share: float
    seed: int

    def __call__(self, split: str, patient: str) -> str:
        """The split of ``patient``, who would otherwise be in ``split``."""
        carved = split == self.source and unit_hash(patient, self.seed) < self.share
        return self.target if carved else split


@dataclass(frozen=True)
class GroupSplit:
    """The value of a regex group (a folder, say) names the split; then some may be carved off.

    Binding gives a function that raises UserError for a value that the recipe does not name.
    """

    group: str
    splits: Mapping[str, str]
    carve: Carve | None

    @property
    def meant(self) -> Collection[str]:
        """Those of the groups, and what is carved off."""
        return {*self.splits.values(), *([self.carve.target] if self.carve else [])}

    def bind(self, root: Path) -> SplitOf:
        """Looks the group up, then carves."""

        def assign(patient: str, groups: Mapping[str, str]) -> str:
            split = look_up(self.splits, groups[self.group], "split.splits")
            return self.carve(split, patient) if self.carve else split

        return assign


@dataclass(frozen=True)
class CsvSplit:
    """A CSV file in the folder, with columns ``patient`` and ``split``.

    Binding raises UserError, naming file and row, for a file that is missing or outside of the folder, a missing
    column, an unknown split,
    or a patient listed in two; its function raises UserError for a patient who is not listed.
    """

    path: str

    @property
    def meant(self) -> Collection[str]:
        """The file says it, not the recipe."""
        return ()

    def bind(self, root: Path) -> SplitOf:
        """Reads the file."""
        listed = self._read(within(root, self.path))

        def assign(patient: str, groups: Mapping[str, str]) -> str:
            if patient not in listed:
                raise UserError(f"patient '{patient}' is not listed in {root / self.path}; add a row")
            return listed[patient]

        return assign

    @staticmethod
    def _read(path: Path) -> dict[str, str]:
        listed: dict[str, str] = {}
        try:
            with path.open(newline="", encoding="utf-8-sig") as file:
                reader = csv.DictReader(file)
                if missing := {"patient", "split"} - set(reader.fieldnames or ()):
                    raise UserError(f"{path}: no column {', '.join(sorted(missing))}; the header is 'patient,split'")
                for row in reader:
                    patient, split = row["patient"], row["split"]
                    if split not in SPLITS:
                        raise UserError(
                            f"{path}: row {reader.line_num}: split '{split}' is not one of {', '.join(SPLITS)}"
                        )
                    if listed.setdefault(patient, split) != split:
                        raise UserError(
                            f"{path}: row {reader.line_num}: patient '{patient}' stands in more than one split"
                        )
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise UserError(f"{path}: cannot read the split table ({error}); check 'split.csv'") from error
        return listed


@dataclass(frozen=True)
class HashSplit:
    """A hash of the patient decides; a patient never moves when others come or go."""

    shares: Mapping[str, float]
    seed: int

    @property
    def meant(self) -> list[str]:
        """Those with a share, in the order train, val, test."""
        return [split for split in SPLITS if self.shares.get(split, 0) > 0]

    def bind(self, root: Path) -> SplitOf:
        """Walks the shares."""
        names = self.meant

        def assign(patient: str, groups: Mapping[str, str]) -> str:
            place = unit_hash(patient, self.seed)
            for split in names[:-1]:
                place -= self.shares[split]
                if place < 0:
                    return split
            return names[-1]

        return assign


def unit_hash(patient: str, seed: int) -> float:
    """A number in [0, 1) that depends on nothing but its arguments."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{patient}".encode()).digest()[:8]) / 2**64
