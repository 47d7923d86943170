"""Recipes: the YAML that says how the files of a folder become an echo store.

A recipe is checked as a whole before any file is touched: an unknown key, a missing key, a wrong
type or a name that means nothing is a :class:`UserError` that names the recipe and the key.
``data/README.md`` explains the keys one by one.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from tte_tee.anatomy import LABEL_SPACES, LabelSpace
from tte_tee.data.importers import parse_importer
from tte_tee.data.importers.contract import Assign, Importer
from tte_tee.data.importers.fields import parse_template
from tte_tee.data.section import Section, load_section
from tte_tee.data.sector import SectorShape
from tte_tee.data.splits import Carve, CsvSplit, FixedSplit, GroupSplit, HashSplit, SplitRule
from tte_tee.data.store import COHORTS, HELD_OUT, SPLITS
from tte_tee.errors import UserError

BACKGROUND = "background"
MAXIMUM_SIZE = 4096  # pixels; more is a slip
ESTIMATE = "estimate"
FROM_FILES, UNKNOWN = "from files", "unknown"
MAXIMUM_LABEL = 2**16 - 1
FINEST, COARSEST = 1e-4, 1e3  # mm per pixel; what lies beyond is a slip, or another unit


@dataclass(frozen=True)
class SectorFile:
    """Pictures that mark the sector, one for all frames or one for each.

    Attributes:
        template: relative path of a picture, over the groups of ``images``.
        images: matches the relative path of a frame's file in full; None where the layout is fixed.
    """

    template: str
    images: re.Pattern[str] | None

    def of(self, file: str) -> str | None:
        """The picture that marks the sector of a frame's file; None if ``file`` is no frame's."""
        if self.images is None:
            return self.template.format()
        match = self.images.fullmatch(file)
        return self.template.format_map(match.groupdict("")) if match else None


@dataclass(frozen=True)
class Recipe:
    """How the files of a folder become a store.

    Attributes:
        path: the YAML this was read from, for messages.
        importer: reads the native layout.
        labels: value in the mask file -> id in ``label_space``; empty where there are no masks.
        size: height and width of the stored frames, pixels.
        sector: the pictures that mark it; its shape in pixels of the files; or None to estimate it.
        cohorts: split -> cohort; a split that is not named has cohort ``none``.
        spacing: (rows, columns) in mm per pixel of the files, None where unknown, or
            :data:`FROM_FILES`.
    """

    path: Path
    name: str
    licence: str
    importer: Importer
    label_space: LabelSpace
    labels: Mapping[int, int]
    size: int
    sector: SectorFile | SectorShape | None
    split: SplitRule
    cohorts: Mapping[str, str]
    spacing: tuple[float, float] | str | None

    def assigner(self, root: Path) -> Assign:
        """Which split and cohort a patient of the folder ``root`` goes to."""
        split_of = self.split.bind(root)

        def assign(patient: str, groups: Mapping[str, str]) -> tuple[str, str]:
            if not patient:
                raise UserError("its patient has no name; see 'patient' of the recipe")
            split = split_of(patient, groups)
            return split, self.cohorts.get(split, "none")

        return assign


def is_spacing(length: float) -> bool:
    """Whether a pixel can be of that length in mm."""
    return FINEST <= length <= COARSEST


def load_recipe(path: str | Path) -> Recipe:
    """Reads and checks a recipe.

    Raises:
        UserError: the file is missing, is no YAML mapping, or a key is unknown, missing or wrong.
    """
    top = load_section(Path(path))
    importer = parse_importer(top)
    space = _label_space(top)
    recipe = Recipe(
        path=top.path,
        name=top.take("name", str),
        licence=_licence(top),
        importer=importer,
        label_space=space,
        labels=_labels(top, space) if importer.labelled else {},
        size=_size(top),
        sector=_sector(top, importer.pattern),
        split=_split(top, importer.groups),
        cohorts=_cohorts(top),
        spacing=_spacing(top),
    )
    top.done()
    return recipe


def _licence(top: Section) -> str:
    licence: str = top.take("licence", str)
    if not licence.strip():
        raise top.error("licence", "is empty; say who may use the data, or 'unknown'")
    return licence


def _label_space(top: Section) -> LabelSpace:
    if not top.has("label_space") or top.is_text("label_space"):
        return LABEL_SPACES[top.choice("label_space", tuple(LABEL_SPACES))]
    section = top.section("label_space")
    name, structures = section.take("name", str), section.take("structures", list)
    section.done()
    named = tuple(section.check("structures", structure, str) for structure in structures)
    try:
        return LabelSpace(name, named)
    except UserError as error:
        raise top.error("label_space", str(error)) from error


def _labels(top: Section, space: LabelSpace) -> dict[int, int]:
    ids = {BACKGROUND: 0, **space.ids}
    labels: dict[int, int] = {}
    for value, structure in top.take("labels", dict).items():
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAXIMUM_LABEL:
            raise top.error("labels", f"{value!r} is no label value; a whole number from 0 to {MAXIMUM_LABEL} is")
        if not isinstance(structure, str) or structure not in ids:
            raise top.error("labels", f"'{structure}' is not in label space '{space.name}' ({', '.join(ids)})")
        labels[value] = ids[structure]
    return labels


def _size(top: Section) -> int:
    size = top.take("size", int)
    if not 1 <= size <= MAXIMUM_SIZE:
        raise top.error("size", f"expected a number of pixels from 1 to {MAXIMUM_SIZE}, found {size}")
    return size


def _sector(top: Section, images: re.Pattern[str] | None) -> SectorFile | SectorShape | None:
    if not top.has("sector") or top.is_text("sector"):
        top.choice("sector", (ESTIMATE,))
        return None
    section = top.section("sector")
    if section.has("file"):
        groups = tuple(images.groupindex) if images else ()
        file = parse_template(section, "file", section.take("file", str), groups)
        if not PurePosixPath(file).name:
            raise section.error("file", f"'{file}' names no file; give the path of a picture, relative to --root")
        section.done()
        return SectorFile(file, images)
    (row, column), edges, radii = (section.numbers(key, 2) for key in ("apex", "edges", "radii"))
    section.done()
    if not (-90 < edges[0] < edges[1] < 90 and 0 <= radii[0] < radii[1] < math.inf):
        raise top.error(
            "sector", "edges are two angles from -90 to 90 degrees, left before right; radii are near before far"
        )
    return SectorShape((row, column), math.radians(edges[0]), math.radians(edges[1]), *radii)


def _cohorts(top: Section) -> dict[str, str]:
    if not top.has("cohorts"):
        return top.take("cohorts", dict, default={})
    cohorts = top.mapping("cohorts", COHORTS)
    for split, cohort in cohorts.items():
        if split not in SPLITS:
            raise top.error("cohorts", f"'{split}' is not one of {', '.join(SPLITS)}")
        if cohort in HELD_OUT and split != "test":
            raise top.error("cohorts", f"cohort '{cohort}' is held out, so split '{split}' cannot be in it")
    return cohorts


def _spacing(top: Section) -> tuple[float, float] | str | None:
    value = top.take("spacing", str, list)
    if value in (UNKNOWN, FROM_FILES):
        return None if value == UNKNOWN else FROM_FILES
    numbers = [v for v in value if isinstance(v, int | float) and not isinstance(v, bool) and is_spacing(v)]
    if isinstance(value, str) or len(value) != 2 or len(numbers) != 2:
        raise top.error(
            "spacing",
            f"expected '{UNKNOWN}', '{FROM_FILES}' or [rows, columns] in mm per pixel, "
            f"{FINEST:g} to {COARSEST:g}, found {value!r}",
        )
    return float(numbers[0]), float(numbers[1])


def _split(top: Section, groups: tuple[str, ...]) -> SplitRule:
    if not top.has("split") or top.is_text("split"):
        return FixedSplit(top.choice("split", SPLITS))
    section = top.section("split")
    kinds = {"group": _group_split, "csv": _csv_split, "hash": _hash_split}
    given = [kind for kind in kinds if section.has(kind)]
    if len(given) != 1:
        raise top.error("split", f"give one of {', '.join(SPLITS)}, or a mapping with one of {', '.join(kinds)}")
    rule = kinds[given[0]](section, groups)
    section.done()
    return rule


def _group_split(section: Section, groups: tuple[str, ...]) -> SplitRule:
    group, splits = section.choice("group", groups), section.mapping("splits", SPLITS)
    if not section.has("carve"):
        return GroupSplit(group, splits, section.take("carve", dict, default=None))
    inner = section.section("carve")
    carve = Carve(
        inner.choice("from", SPLITS), inner.choice("to", SPLITS), inner.take("share", float), inner.take("seed", int)
    )
    inner.done()
    if not 0 < carve.share < 1:
        raise inner.error("share", f"expected a number between 0 and 1, found {carve.share}")
    if carve.source == carve.target:
        raise inner.error("to", f"'{carve.target}' is where the patients are taken from; name another split")
    return GroupSplit(group, splits, carve)


def _csv_split(section: Section, groups: tuple[str, ...]) -> SplitRule:
    return CsvSplit(section.take("csv", str))


def _hash_split(section: Section, groups: tuple[str, ...]) -> SplitRule:
    inner = section.section("hash")
    shares = {split: inner.take(split, float, default=0.0) for split in SPLITS}
    inner.done()
    if not (min(shares.values()) >= 0 and abs(sum(shares.values()) - 1) <= 1e-6):
        raise section.error("hash", f"shares add up to {sum(shares.values()):g}; they must add up to 1, none negative")
    return HashSplit(shares, section.take("seed", int))
