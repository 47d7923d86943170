"""Keys that several kinds of recipe share: patterns of names, templates, views and phases."""

import re
import string
from collections.abc import Mapping
from dataclasses import dataclass

from tte_tee.anatomy import PHASES, VIEWS
from tte_tee.data.section import Section, look_up

NO_MASKS = "none"
"""Value of ``masks`` in a recipe of pictures that nobody labelled."""


@dataclass(frozen=True)
class Names:
    """What the groups of a file's name say of its view and phase.

    Attributes:
        view: of every frame, or None where ``views`` maps the group ``view``.
        phases: maps the group ``phase``; None leaves every phase ``unknown``.
    """

    view: str | None
    views: Mapping[str, str]
    phases: Mapping[str, str] | None

    def view_of(self, groups: Mapping[str, str]) -> str:
        """View of a file; UserError if the recipe does not name the group's value."""
        return self.view or look_up(self.views, groups["view"], "views")

    def phase_of(self, groups: Mapping[str, str]) -> str:
        """Phase of a file; UserError if the recipe does not name the group's value."""
        return "unknown" if self.phases is None else look_up(self.phases, groups["phase"], "phases")


def parse_names(section: Section, pattern_key: str, groups: tuple[str, ...]) -> Names:
    """Takes ``view`` or ``views``, and ``phases``; ``pattern_key`` is where ``groups`` come from."""
    if section.has("view") == section.has("views"):
        raise section.error("views", "give either 'views' (a map of the group 'view') or 'view' (one for all)")
    view, views = None, {}
    if section.has("view"):
        view = section.choice("view", tuple(VIEWS))
    elif "view" not in groups:
        raise section.error("views", f"needs a group (?P<view>...) in '{pattern_key}'")
    else:
        views = section.mapping("views", tuple(VIEWS))
    phases = section.mapping("phases", PHASES) if section.has("phases") else section.take("phases", dict, default=None)
    if phases is not None and "phase" not in groups:
        raise section.error("phases", f"needs a group (?P<phase>...) in '{pattern_key}'")
    return Names(view, views, phases)


def parse_pattern(section: Section, key: str) -> re.Pattern[str]:
    """Takes a regular expression."""
    text = section.take(key, str)
    try:
        return re.compile(text)
    except re.error as error:
        raise section.error(key, f"not a regular expression ({error})") from error


def parse_template(section: Section, key: str, text: str, groups: tuple[str, ...]) -> str:
    """Checks a template over ``groups``: plain fields only."""
    try:
        fields = [field for _, field, spec, conversion in string.Formatter().parse(text) if field is not None]
        plain = not any(spec or conversion for _, _, spec, conversion in string.Formatter().parse(text))
    except ValueError as error:
        raise section.error(key, f"not a template ({error}); write groups as {{name}}") from error
    unknown = [field for field in fields if field not in groups]
    if unknown or not plain:
        found = f"'{{{unknown[0]}}}' is no group" if unknown else "a field has a format or a conversion"
        raise section.error(key, f"{found}; plain fields only, out of: {', '.join(groups) or 'none'}")
    return text


def template_pattern(section: Section, template: str, images: re.Pattern[str]) -> re.Pattern[str]:
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
        raise section.error("images", f"a named group refers to another ({error}); write it out") from error


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
