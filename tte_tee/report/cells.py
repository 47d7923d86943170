"""Cells: what one arm with one seed came to, read, checked and put beside those tested on the same patients."""

import json
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tte_tee.errors import UserError
from tte_tee.files import first_line
from tte_tee.report.shape import SCHEMA, misfit

DEVELOPMENT = ("val", "pool")
"""What options were chosen on: numbers from it are no result."""

Json = Mapping[str, Any]


@dataclass(frozen=True)
class Cell:
    """One arm with one seed.

    Attributes:
        name: of its file, seen from the folder that was given, without the ending.
        pictures: the folder beside it that may hold some.
        record: what the file holds.
    """

    name: str
    pictures: Path
    record: Json

    @property
    def arm(self) -> str:
        """Its row of a table."""
        return str(self.record["arm"])

    @property
    def seed(self) -> int:
        """Of everything at once."""
        return int(self.record["seed"])

    @property
    def structures(self) -> tuple[str, ...]:
        """Those scored, in order."""
        return tuple(self.record["segmentation"]["summary"]["structures"])

    @property
    def scored(self) -> Json:
        """Scores by patient, as in ``metrics.json``."""
        scores: Json = self.record["segmentation"]["patients"]
        return scores

    def part(self, name: str) -> Json:
        """A part of the record; empty where the cell has none."""
        return self.record.get(name) or {}

    @property
    def ratio(self) -> float | None:
        """Synthetic frames to a real one; infinite for synthetic frames alone, None without any."""
        if not self.part("synthesis"):
            return None
        ratio = self.part("synthesis").get("ratio")
        return math.inf if ratio is None else float(ratio)

    @property
    def before(self) -> tuple[str, ...]:
        """What its segmenter learnt from before: synthetic frames alone (``first``), labelled TTE (``pretrained``)."""
        return tuple(word for word in ("first", "pretrained") if self.part("synthesis").get(word))

    @property
    def drawing(self) -> str:
        """How its frames were drawn, all that is recorded of it: text that is equal where they were drawn alike."""
        other = ("ratio", "frames", "seconds", "peak_memory_mib")  # how they were mixed in, and what it came to
        return json.dumps({k: v for k, v in self.part("synthesis").items() if k not in other}, sort_keys=True)

    @property
    def setting(self) -> tuple[Any, ...]:
        """What all seeds of an arm have in common."""
        adapter = self.part("adapter")
        names = ("config", "method", "rank", "learnable", "trained", "steps")
        return (
            *(adapter.get(name) for name in names),
            tuple(adapter.get("scope") or ()),
            self.drawing,
            self.ratio,
            self.record.get("patients"),
        )


@dataclass(frozen=True)
class TestSet:
    """Cells that may be compared: of one study, tested on the same patients of the same store.

    Attributes:
        study, tested_on: as in the cells.
        store: name and beginning of the content hash of the test store.
        arms: arm -> seed -> cell, both in order.
    """

    study: str
    tested_on: str
    store: str
    arms: Mapping[str, Mapping[int, Cell]]

    @property
    def title(self) -> str:
        """For headings."""
        return f"{self.study}, {self.tested_on}" + (" (development)" if self.development else "")

    @property
    def development(self) -> bool:
        """Options were chosen on these patients."""
        return self.tested_on in DEVELOPMENT

    @property
    def cells(self) -> Iterator[Cell]:
        """All of them."""
        return (cell for seeds in self.arms.values() for cell in seeds.values())

    @property
    def structures(self) -> tuple[str, ...]:
        """Those that any cell was scored on, in order."""
        return tuple(dict.fromkeys(name for cell in self.cells for name in cell.structures))

    def first(self, arm: str) -> Cell:
        """The cell of an arm's lowest seed."""
        return next(iter(self.arms[arm].values()))

    def label(self, arm: str) -> str:
        """An arm in words."""
        return str(self.first(arm).record.get("label") or arm)


def read_cells(folder: Path) -> tuple[list[Cell], list[str]]:
    """All cells below a folder, and a line about the ``*_seed*.json`` that are none.

    Raises:
        UserError: there is no cell.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; give one that holds cells (STUDY/ARM_seedN.json)")
    cells: list[Cell] = []
    left_out: dict[str, list[str]] = {}
    for path in sorted(folder.rglob("*_seed*.json")):
        name = path.relative_to(folder).with_suffix("")
        if any(part.startswith(".") for part in name.parts):
            continue  # temporary
        try:
            record = json.loads(path.read_text())
            trouble = misfit(record)
        except (OSError, ValueError, RecursionError) as error:
            trouble = f"cannot be read: {first_line(error)}"
        if trouble:
            left_out.setdefault(trouble, []).append(f"{name.as_posix()}.json")
        else:
            cells.append(Cell(name.as_posix(), path.with_suffix(""), record))
    notes = [
        f"{files[0]}{f' and {len(files) - 1} more' if files[1:] else ''} left out: {trouble}"
        for trouble, files in left_out.items()
    ]
    if not cells:
        more = f" ({notes[0]})" if notes else ""
        raise UserError(f"{folder}: holds no cell{more}; cells are called ARM_seedN.json, with schema {SCHEMA}")
    return cells, notes


def by_test_set(cells: Sequence[Cell]) -> list[TestSet]:
    """Cells by study, cohort and test store; those of different ones are never compared.

    Raises:
        UserError: two cells are of one arm, seed and test set.
    """
    groups: dict[tuple[str, str, str], dict[str, dict[int, Cell]]] = defaultdict(lambda: defaultdict(dict))
    names: dict[str, str] = {}
    for cell in cells:
        store = cell.record["store"]
        key = cell.record["study"], cell.record["tested_on"], store["hash"]
        names.setdefault(store["hash"], f"{store.get('name', '?')} {store['hash'][:12]}")  # under whatever file name
        other = groups[key][cell.arm].setdefault(cell.seed, cell)
        if other is not cell:
            raise UserError(
                f"{other.name}.json and {cell.name}.json are both arm '{cell.arm}' with seed {cell.seed} on {key[0]}, "
                f"{key[1]}; leave one out"
            )
    return [
        TestSet(*key[:2], names[key[2]], {arm: dict(sorted(seeds.items())) for arm, seeds in sorted(arms.items())})
        for key, arms in sorted(groups.items(), key=lambda group: (*group[0][:2], names[group[0][2]]))
    ]
