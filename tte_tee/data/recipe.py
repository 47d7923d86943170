"""Recipes: the YAML that says how the files of a folder become an echo store.

A recipe is checked as a whole before any file is touched: an unknown key, a missing key, a wrong
type or a name that means nothing is a :class:`UserError` that names the recipe and the key.
``data/README.md`` explains the keys one by one.
"""

import math
import re
import string
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tte_tee.anatomy import LABEL_SPACES, PHASES, VIEWS, LabelSpace
from tte_tee.data.splits import Carve, CsvSplit, FixedSplit, GroupSplit, HashSplit, SplitRule
from tte_tee.data.store import SPLITS
from tte_tee.errors import UserError

BACKGROUND = "background"
MAXIMUM_SIZE = 4096  # pixels; more is a slip
THRESHOLD = "threshold"
_REQUIRED = object()
_KINDS = {str: "text", int: "a whole number", float: "a number", dict: "a mapping", list: "a list"}


@dataclass(frozen=True)
class Select:
    """Keeps files whose group, read as a whole number, lies in ``first`` to ``last``, both included."""

    group: str
    first: int
    last: int

    def __call__(self, groups: Mapping[str, str]) -> bool:
        """Whether a file with these groups stays; UserError if its group is no whole number."""
        try:
            return self.first <= int(groups[self.group]) <= self.last
        except ValueError:
            raise UserError(
                f"group '{self.group}' is '{groups[self.group]}', not a whole number; 'select' needs one"
            ) from None


@dataclass(frozen=True)
class Recipe:
    """How the files of a folder become a store.

    Attributes:
        path: the YAML this was read from, for messages.
        images: matches the relative posix path of an image in full; its groups describe the frame.
        masks: template over the groups that gives the relative path of the mask.
        mask_pattern: matches what ``masks`` can render to, with the same groups.
        patient: template over the groups.
        view: the view of every frame, or None where ``views`` maps the group ``view``.
        phases: maps the group ``phase``; None leaves every phase ``unknown``.
        labels: value in the mask file -> id in ``label_space``.
        size: height and width of the stored frames, pixels.
        sector_file: relative path of the image that marks the sector; None estimates it.
        spacing: (rows, columns) in mm per pixel of the files, or None where unknown.
    """

    path: Path
    name: str
    licence: str
    images: re.Pattern[str]
    masks: str
    mask_pattern: re.Pattern[str]
    patient: str
    view: str | None
    views: Mapping[str, str]
    phases: Mapping[str, str] | None
    label_space: LabelSpace
    labels: Mapping[int, int]
    size: int
    sector_file: str | None
    split: SplitRule
    spacing: tuple[float, float] | None
    select: Select | None


def load_recipe(path: str | Path) -> Recipe:
    """Reads and checks a recipe.

    Raises:
        UserError: the file is missing, is no YAML mapping, or a key is unknown, missing or wrong.
    """
    path = Path(path)
    try:
        data = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{path}: cannot read the recipe ({reason}); data/ holds recipes to start from") from error
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not YAML ({' '.join(str(error).split())})") from error
    if not isinstance(data, dict):
        raise UserError(f"{path}: a recipe is a mapping of keys to values; see data/README.md")
    return _recipe(_Section(data, path))


class _Loader(yaml.SafeLoader):
    """Safe, and refuses a key that stands twice, of which YAML would keep the last in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [self.construct_object(key) for key, _ in node.value]
        if twice := [key for key in keys if keys.count(key) > 1]:
            raise yaml.constructor.ConstructorError(None, None, f"key {twice[0]!r} stands twice", node.start_mark)
        return super().construct_mapping(node, deep)


class _Section:
    """A mapping of the recipe, taken key by key; what is never taken is unknown."""

    def __init__(self, data: dict[Any, Any], path: Path, prefix: str = "") -> None:
        self.path, self._data, self._prefix = path, dict(data), prefix
        self._known: list[str] = []

    def error(self, key: str, what: str) -> UserError:
        return UserError(f"{self.path}: key '{self._prefix}{key}': {what}")

    def has(self, key: str) -> bool:
        return key in self._data

    def take(self, key: str, *kinds: type, default: Any = _REQUIRED) -> Any:
        self._known.append(key)
        if key not in self._data:
            if default is _REQUIRED:
                raise self.error(key, "missing; add it (data/README.md explains every key)")
            return default
        return self.check(key, self._data.pop(key), *kinds)

    def check(self, key: str, value: Any, *kinds: type) -> Any:
        accepted = (*kinds, int) if float in kinds else kinds
        if not isinstance(value, accepted) or isinstance(value, bool):
            wanted = " or ".join(_KINDS[kind] for kind in kinds)
            raise self.error(key, f"expected {wanted}, found {value!r}")
        return value

    def section(self, key: str) -> "_Section":
        return _Section(self.take(key, dict), self.path, f"{self._prefix}{key}.")

    def choice(self, key: str, allowed: tuple[str, ...], value: Any = _REQUIRED) -> str:
        text = self.take(key, str) if value is _REQUIRED else self.check(key, value, str)
        if text not in allowed:
            raise self.error(key, f"'{text}' is not one of {', '.join(allowed)}")
        return text

    def mapping(self, key: str, allowed: tuple[str, ...]) -> dict[str, str]:
        inner = self.section(key)
        for name in inner._data:
            if not isinstance(name, str):
                raise self.error(key, f"write {name!r} in quotes: values of groups are text")
        return {name: inner.choice(name, allowed, value) for name, value in inner._data.items()}

    def done(self) -> None:
        if self._data:
            unknown = ", ".join(str(key) for key in self._data)
            raise self.error(unknown, f"unknown; known here are {', '.join(self._known)}")


def _recipe(top: _Section) -> Recipe:
    images = _pattern(top)
    groups = tuple(images.groupindex)
    masks = _template(top, "masks", top.take("masks", str), groups)
    space = _label_space(top)
    view, views = _views(top, groups)
    phases = top.mapping("phases", PHASES) if top.has("phases") else top.take("phases", dict, default=None)
    if phases is not None and "phase" not in groups:
        raise top.error("phases", "needs a group (?P<phase>...) in 'images'")
    recipe = Recipe(
        path=top.path,
        name=top.take("name", str),
        licence=top.take("licence", str),
        images=images,
        masks=masks,
        mask_pattern=_mask_pattern(top, images, masks),
        patient=_template(top, "patient", top.take("patient", str, default="{patient}"), groups),
        view=view,
        views=views,
        phases=phases,
        label_space=space,
        labels=_labels(top, space),
        size=_size(top),
        sector_file=_sector(top),
        split=_split(top, groups),
        spacing=_spacing(top),
        select=_select(top, groups),
    )
    top.done()
    return recipe


def _pattern(top: _Section) -> re.Pattern[str]:
    text = top.take("images", str)
    try:
        return re.compile(text)
    except re.error as error:
        raise top.error("images", f"not a regular expression ({error})") from error


def _template(top: _Section, key: str, text: str, groups: tuple[str, ...]) -> str:
    try:
        fields = [field for _, field, spec, conversion in string.Formatter().parse(text) if field is not None]
        plain = not any(spec or conversion for _, _, spec, conversion in string.Formatter().parse(text))
    except ValueError as error:
        raise top.error(key, f"not a template ({error}); write groups as {{name}}") from error
    unknown = [field for field in fields if field not in groups]
    if unknown or not plain:
        found = f"'{{{unknown[0]}}}' is no group of 'images'" if unknown else "a field has a format or a conversion"
        raise top.error(key, f"{found}; plain fields only, out of: {', '.join(groups) or 'none'}")
    return text


def _mask_pattern(top: _Section, images: re.Pattern[str], template: str) -> re.Pattern[str]:
    """The template as a regex, each field standing for what its group can match."""
    parts, seen = [], set()
    try:
        for literal, field, _, _ in string.Formatter().parse(template):
            parts.append(re.escape(literal))
            if field is not None:
                parts.append(f"(?P={field})" if field in seen else f"(?P<{field}>{_group_body(images.pattern, field)})")
                seen.add(field)
        return re.compile("".join(parts), images.flags)
    except (re.error, IndexError) as error:  # the latter where a comment holds a bracket
        raise top.error("images", f"a named group refers to another ({error}); write it out") from error


def _group_body(pattern: str, name: str) -> str:
    """What stands inside of ``(?P<name>...)``, with nested named groups made anonymous."""
    start = pattern.index(f"(?P<{name}>") + len(f"(?P<{name}>")
    depth, i, in_class = 1, start, False
    while depth:
        if pattern[i] == "\\":
            i += 1
        elif in_class:
            in_class = pattern[i] != "]"
        else:
            in_class = pattern[i] == "["
            depth += {"(": 1, ")": -1}.get(pattern[i], 0)
        i += 1
    return re.sub(r"\(\?P<\w+>", "(?:", pattern[start : i - 1])


def _views(top: _Section, groups: tuple[str, ...]) -> tuple[str | None, dict[str, str]]:
    if top.has("view") == top.has("views"):
        raise top.error("views", "give either 'views' (a map of the group 'view') or 'view' (one for all)")
    if top.has("view"):
        return top.choice("view", tuple(VIEWS)), {}
    if "view" not in groups:
        raise top.error("views", "needs a group (?P<view>...) in 'images'")
    return None, top.mapping("views", tuple(VIEWS))


def _label_space(top: _Section) -> LabelSpace:
    if not top.has("label_space") or isinstance(top._data["label_space"], str):
        return LABEL_SPACES[top.choice("label_space", tuple(LABEL_SPACES))]
    section = top.section("label_space")
    name, structures = section.take("name", str), section.take("structures", list)
    section.done()
    named = tuple(section.check("structures", structure, str) for structure in structures)
    try:
        return LabelSpace(name, named)
    except UserError as error:
        raise top.error("label_space", str(error)) from error


def _labels(top: _Section, space: LabelSpace) -> dict[int, int]:
    ids = {BACKGROUND: 0, **space.ids}
    labels: dict[int, int] = {}
    for value, structure in top.take("labels", dict).items():
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= 255:
            raise top.error("labels", f"{value!r} is no grey value; a whole number from 0 to 255 is expected")
        if not isinstance(structure, str) or structure not in ids:
            raise top.error("labels", f"'{structure}' is not in label space '{space.name}' ({', '.join(ids)})")
        labels[value] = ids[structure]
    return labels


def _size(top: _Section) -> int:
    size = top.take("size", int)
    if not 1 <= size <= MAXIMUM_SIZE:
        raise top.error("size", f"expected a number of pixels from 1 to {MAXIMUM_SIZE}, found {size}")
    return size


def _sector(top: _Section) -> str | None:
    if not top.has("sector") or isinstance(top._data["sector"], str):
        top.choice("sector", (THRESHOLD,))
        return None
    section = top.section("sector")
    file = section.take("file", str)
    section.done()
    return file


def _spacing(top: _Section) -> tuple[float, float] | None:
    value = top.take("spacing", str, list)
    if value == "unknown":
        return None
    numbers = [v for v in value if isinstance(v, int | float) and not isinstance(v, bool) and 0 < v < math.inf]
    if isinstance(value, str) or len(value) != 2 or len(numbers) != 2:
        raise top.error("spacing", f"expected 'unknown' or [rows, columns] in mm per pixel, found {value!r}")
    return float(numbers[0]), float(numbers[1])


def _select(top: _Section, groups: tuple[str, ...]) -> Select | None:
    if not top.has("select"):
        return top.take("select", dict, default=None)
    section = top.section("select")
    select = Select(section.choice("group", groups), section.take("from", int), section.take("to", int))
    section.done()
    return select


def _split(top: _Section, groups: tuple[str, ...]) -> SplitRule:
    if not top.has("split") or isinstance(top._data["split"], str):
        return FixedSplit(top.choice("split", SPLITS))
    section = top.section("split")
    kinds = {"group": _group_split, "csv": _csv_split, "hash": _hash_split}
    given = [kind for kind in kinds if section.has(kind)]
    if len(given) != 1:
        raise top.error("split", f"give one of {', '.join(SPLITS)}, or a mapping with one of {', '.join(kinds)}")
    rule = kinds[given[0]](section, groups)
    section.done()
    return rule


def _group_split(section: _Section, groups: tuple[str, ...]) -> SplitRule:
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
    return GroupSplit(group, splits, carve)


def _csv_split(section: _Section, groups: tuple[str, ...]) -> SplitRule:
    return CsvSplit(section.take("csv", str))


def _hash_split(section: _Section, groups: tuple[str, ...]) -> SplitRule:
    inner = section.section("hash")
    shares = {split: inner.take(split, float, default=0.0) for split in SPLITS}
    inner.done()
    if not (min(shares.values()) >= 0 and abs(sum(shares.values()) - 1) <= 1e-6):
        raise section.error("hash", f"shares add up to {sum(shares.values()):g}; they must add up to 1, none negative")
    return HashSplit(shares, section.take("seed", int))
