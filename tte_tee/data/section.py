"""A YAML mapping that is taken key by key, so that a slip is named and never passed over."""

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import yaml

from tte_tee.errors import UserError
from tte_tee.files import check_yaml

_REQUIRED = object()
_LARGEST = 2**63
_KINDS = {
    str: "text",
    int: "a whole number",
    float: "a number",
    dict: "a mapping",
    list: "a list",
    bool: "true or false",
}


class Section:
    """A mapping of a recipe; what is never taken is unknown.

    Every method raises UserError that names the file and the key.
    """

    def __init__(self, data: dict[Any, Any], path: Path, prefix: str = "") -> None:
        self.path, self._data, self._prefix = path, dict(data), prefix
        self._known: list[str] = []

    def error(self, key: str, what: str) -> UserError:
        """The error of a key, to be raised."""
        return UserError(f"{self.path}: key '{self._prefix}{key}': {what}")

    def has(self, key: str) -> bool:
        """Whether the key is there and not taken yet."""
        return key in self._data

    def is_text(self, key: str) -> bool:
        """Whether the key holds text, which then stands for one value where a mapping says more."""
        return isinstance(self._data.get(key), str)

    def take(self, key: str, *kinds: type, default: Any = _REQUIRED) -> Any:
        """The value of a key, of one of the ``kinds``; ``default`` where the key is missing."""
        self._known.append(key)
        if key not in self._data:
            if default is _REQUIRED:
                raise self.error(key, "missing; add it (data/README.md explains every key)")
            return default
        return self.check(key, self._data.pop(key), *kinds)

    def check(self, key: str, value: Any, *kinds: type) -> Any:
        """``value`` as it is, if it is of one of the ``kinds``."""
        accepted = (*kinds, int) if float in kinds else kinds
        if not isinstance(value, accepted) or (isinstance(value, bool) and bool not in kinds):
            wanted = " or ".join(_KINDS[kind] for kind in kinds)
            raise self.error(key, f"expected {wanted}, found {value!r}")
        if isinstance(value, str) and ("\0" in value or any("\ud800" <= sign <= "\udfff" for sign in value)):
            raise self.error(key, f"{value!a} holds a sign that no file can; leave it out")
        if isinstance(value, int) and abs(value) >= _LARGEST:
            raise self.error(key, f"a number of {len(str(value))} digits is too large")
        return value

    def section(self, key: str) -> "Section":
        """The mapping under a key."""
        return Section(self.take(key, dict), self.path, f"{self._prefix}{key}.")

    def choice(self, key: str, allowed: tuple[str, ...], value: Any = _REQUIRED) -> str:
        """Text that is one of ``allowed``: the key's, or ``value`` of a mapping under the key."""
        text = self.take(key, str) if value is _REQUIRED else self.check(key, value, str)
        if text not in allowed:
            raise self.error(key, f"'{text}' is not one of {', '.join(allowed)}")
        return text

    def mapping(self, key: str, allowed: tuple[str, ...]) -> dict[str, str]:
        """Text -> one of ``allowed``."""
        inner = self.section(key)
        for name in inner._data:
            if not isinstance(name, str):
                raise self.error(key, f"write {name!r} in quotes: values of groups are text")
        return {name: inner.choice(name, allowed, value) for name, value in inner._data.items()}

    def numbers(self, key: str, count: int) -> tuple[float, ...]:
        """A list of ``count`` numbers."""
        values = self.take(key, list)
        if len(values) != count or any(isinstance(v, bool) or not isinstance(v, int | float) for v in values):
            raise self.error(key, f"expected a list of {count} numbers, found {values!r}")
        return tuple(float(self.check(key, value, float)) for value in values)

    def done(self) -> None:
        """Refuses what was never taken."""
        if self._data:
            unknown = ", ".join(str(key) for key in self._data)
            raise self.error(unknown, f"unknown; known here are {', '.join(self._known)}")


def load_section(path: Path) -> Section:
    """Reads a YAML file that holds one mapping.

    Raises:
        UserError: the file is missing, is no YAML, or is no mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
        check_yaml(text)
        data = yaml.load(text, _Loader)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{path}: cannot read the recipe ({reason}); data/ holds recipes to start from") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # a date that is none; brackets without end
        raise UserError(f"{path}: not YAML ({' '.join(str(error).split())})") from error
    if not isinstance(data, dict):
        raise UserError(f"{path}: a recipe is a mapping of keys to values; see data/README.md")
    return Section(data, path)


def look_up(mapping: Mapping[str, str], value: str, key: str) -> str:
    """What the recipe's mapping ``key`` says of ``value``; UserError if it says nothing."""
    if value not in mapping:
        raise UserError(f"'{value}' is not in '{key}' of the recipe, which knows {', '.join(mapping)}")
    return mapping[value]


class _Loader(yaml.SafeLoader):
    """Safe, and refuses a key that stands twice, of which YAML would keep the last in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [self.construct_object(key) for key, _ in node.value]
        if twice := [key for key in keys if keys.count(key) > 1]:
            raise yaml.constructor.ConstructorError(None, None, f"key {twice[0]!r} stands twice", node.start_mark)
        return super().construct_mapping(node, deep)
