"""Keys of a ``dicom`` recipe that need checks of their own: which frames, which masks, which region."""

import re
import string
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath

from tte_tee.data.importers.dicom_file import Region
from tte_tee.data.importers.fields import NO_MASKS
from tte_tee.data.section import Section
from tte_tee.errors import UserError

_FIELDS = {"folder": ".*", "stem": "[^/]+", "frame": r"\d+"}
_PADDED = re.compile(r"0\d{1,2}d?")


@dataclass(frozen=True)
class Frames:
    """Which frames of a file to take: every n-th, so many evenly spread, or those listed; counted from 0."""

    every: int = 1
    count: int | None = None
    listed: tuple[int, ...] | None = None

    def of(self, total: int) -> list[int]:
        """Indices out of ``total`` frames, in order; UserError if a listed one is not among them."""
        if self.listed is not None:
            if missing := [index for index in self.listed if index >= total]:
                raise UserError(f"has {total} frames, so none is number {missing[0]}; see 'frames' of the recipe")
            return list(self.listed)
        if self.count is None or self.count >= total:
            return list(range(0, total, self.every))
        return [i * total // self.count for i in range(self.count)]


def parse_frames(section: Section) -> Frames:
    """Takes ``frames``: all, first, ``{every: N}``, ``{count: N}`` or a list of indices."""
    value = section.take("frames", str, dict, list, default="all")
    if value in ("all", "first"):
        return Frames(count=1) if value == "first" else Frames()
    numbers = list(value) if isinstance(value, list) else list(value.values()) if isinstance(value, dict) else []
    whole = bool(numbers) and all(isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in numbers)
    if whole and isinstance(value, list) and len(set(value)) == len(value):
        return Frames(listed=tuple(sorted(value)))
    if whole and isinstance(value, dict) and len(value) == 1 and numbers[0] and set(value) <= {"every", "count"}:
        return Frames(**value)
    raise section.error(
        "frames", f"expected all, first, {{every: N}}, {{count: N}} or a list of numbers from 0, found {value!r}"
    )


@dataclass(frozen=True)
class MaskNames:
    """Names of the masks beside the files, by a template over ``{folder}``, ``{stem}`` and ``{frame}``."""

    template: str

    def of(self, file: str, frame: int) -> str:
        """Relative path of the mask of a frame."""
        path = PurePosixPath(file)
        name = self.template.format(folder=path.parent.as_posix(), stem=path.stem, frame=frame)
        return PurePosixPath(name).as_posix()

    @property
    def per_frame(self) -> bool:
        """Whether each frame has a mask of its own."""
        return "{frame" in self.template

    def strays(self, files: Iterable[str], known: set[str]) -> list[str]:
        """Files whose names are those of masks, and that are the mask of no frame."""
        # A file at the top has no folder before its name.
        parts = ["(?:.*/)?"] if self.template.startswith("{folder}/") else []
        for literal, field, _, _ in string.Formatter().parse(self.template.removeprefix("{folder}/")):
            parts += [re.escape(literal), _FIELDS[field] if field else ""]
        pattern = re.compile("".join(parts))
        return [file for file in files if file not in known and pattern.fullmatch(file)]


def parse_masks(section: Section) -> MaskNames | None:
    """Takes ``masks``: none, or a template whose ``{frame}`` may be padded with zeros."""
    text = section.take("masks", str)
    if text == NO_MASKS:
        return None
    try:
        fields = [(field, spec, conversion) for _, field, spec, conversion in string.Formatter().parse(text)]
    except ValueError as error:
        raise section.error("masks", f"not a template ({error}); write fields as {{stem}}") from error
    for field, spec, conversion in fields:
        padded = field == "frame" and _PADDED.fullmatch(spec or "")
        if field is not None and (field not in _FIELDS or conversion or (spec and not padded)):
            raise section.error("masks", f"'{{{field}}}' is none of {{folder}}, {{stem}}, {{frame}} and {{frame:03d}}")
    if "stem" not in [field for field, *_ in fields]:
        raise section.error("masks", "needs {stem}, or all files of a folder would share one mask")
    return MaskNames(text)


def parse_region(section: Section) -> Region | None:
    """Takes ``region``: ``[top, left, bottom, right]`` in pixels of the files, the last two outside of it."""
    if not section.has("region"):
        return section.take("region", list, default=None)
    corners = section.numbers("region", 4)
    top, left, bottom, right = (int(corner) if corner.is_integer() else -1 for corner in corners)
    region = Region(top, left, bottom, right)
    if not region.fits(region.bottom, region.right):
        raise section.error("region", "expected [top, left, bottom, right] in whole pixels, 16 or more on each side")
    return region
