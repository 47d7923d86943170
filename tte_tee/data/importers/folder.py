"""Pictures in a folder: images and masks whose names say what they are (PNG, and what else OpenCV reads)."""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from tte_tee.data.importers.contract import Assign, Clip, Listing, Problems, RawFrame
from tte_tee.data.importers.fields import Names, parse_names, parse_pattern, parse_template, template_pattern
from tte_tee.data.importers.files import list_files, read_gray, read_values, within
from tte_tee.data.section import Section
from tte_tee.errors import UserError

NO_MASKS = "none"
_CLIP = 128  # frames read at once; a longer run of frames is cut, so that memory stays flat


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
class Pair:
    """An image and its mask, relative to the root; no mask where nobody drew one."""

    image: str
    mask: str | None
    view: str
    phase: str


@dataclass(frozen=True)
class FolderImporter:
    """Images found by a regular expression, masks by a template over its groups.

    Attributes:
        path: the recipe, for messages.
        images: matches the relative posix path of an image in full; its groups describe the frame.
        masks: template over the groups that gives the relative path of the mask; None where there are none.
        mask_pattern: matches what ``masks`` can render to, with the same groups.
        patient: template over the groups.
    """

    path: Path
    images: re.Pattern[str]
    masks: str | None
    mask_pattern: re.Pattern[str] | None
    patient: str
    names: Names
    select: Select | None
    private = False

    @property
    def groups(self) -> tuple[str, ...]:
        """Named groups of ``images``."""
        return tuple(self.images.groupindex)

    @property
    def labelled(self) -> bool:
        """Whether there are masks."""
        return self.masks is not None

    def clips(self, root: Path, assign: Assign, problems: Problems) -> Listing:
        """Images and their masks, one clip per patient and view."""
        files = list_files(root)
        matched = {file: match.groupdict("") for file in files if (match := self.images.fullmatch(file))}
        if not matched:
            raise UserError(f"{root}: none of {len(files)} files matches 'images' of {self.path}; is --root right?")
        masks = self._masks(root, matched)
        self._refuse_strays(root, files, set(masks.values()) | set(matched), problems)
        runs: dict[tuple[str, ...], list[Pair]] = defaultdict(list)
        for file, groups in matched.items():
            with problems.noted():
                if self._selected(root, file, groups) and self._has_mask(root, file, masks.get(file), set(files)):
                    pair, patient, split, cohort = self._describe(root, file, groups, masks.get(file), assign)
                    runs[patient, split, cohort, pair.view].append(pair)
        if not runs and not problems.found:
            raise UserError(f"{root}: 'select' of {self.path} keeps none of {len(matched)} images; widen it")
        clips = [clip for (*owner, _), pairs in runs.items() for clip in _cut(owner, pairs)]
        return Listing(clips, len(files) - sum(len(clip.files) for clip in clips))

    def read(self, root: Path, clip: Clip, problems: Problems) -> Iterator[RawFrame]:
        """Decodes the pictures of a clip."""
        for pair in clip.detail:
            with problems.noted():
                image = read_gray(within(root, pair.image))
                values = None if pair.mask is None else read_values(within(root, pair.mask))
                key = str(PurePosixPath(pair.image).with_suffix(""))
                yield RawFrame(pair.image, key, image, values, pair.view, pair.mask or "", pair.phase)

    def _masks(self, root: Path, matched: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
        """Path of each image -> path of its mask."""
        masks: dict[str, str] = {}
        owners: dict[str, str] = {}
        if self.masks is None:
            return masks
        for file, groups in matched.items():
            mask = self.masks.format_map(groups)
            if mask in matched:
                raise UserError(f"{root / mask}: is the mask of {file}, yet matches 'images' of {self.path}; narrow it")
            if mask in owners:
                raise UserError(
                    f"{root / mask}: is the mask of both {owners[mask]} and {file}; "
                    f"name more groups in 'masks' of {self.path}"
                )
            masks[file], owners[mask] = mask, file
        return masks

    def _refuse_strays(self, root: Path, files: list[str], known: set[str], problems: Problems) -> None:
        """Masks without an image."""
        for file in files:
            match = self.mask_pattern.fullmatch(file) if self.mask_pattern else None
            if not match or file in known:
                continue
            groups = match.groupdict("")
            with problems.noted():
                if self.select is None or self.select.group not in groups or self._selected(root, file, groups):
                    raise UserError(f"{root / file}: is a mask without an image; add the image, or move the mask away")

    def _has_mask(self, root: Path, file: str, mask: str | None, present: set[str]) -> bool:
        if mask is not None and mask not in present:
            raise UserError(f"{root / file}: has no mask {root / mask}; add it, or move the image away")
        return True

    def _selected(self, root: Path, file: str, groups: Mapping[str, str]) -> bool:
        try:
            return self.select is None or self.select(groups)
        except UserError as error:
            raise UserError(f"{root / file}: {error}") from error

    def _describe(
        self, root: Path, file: str, groups: Mapping[str, str], mask: str | None, assign: Assign
    ) -> tuple[Pair, str, str, str]:
        """The pair, its patient, split and cohort."""
        patient = self.patient.format_map(groups)
        try:
            return (
                Pair(file, mask, self.names.view_of(groups), self.names.phase_of(groups)),
                patient,
                *assign(patient, groups),
            )
        except UserError as error:
            raise UserError(f"{root / file}: {error}") from error


def _cut(owner: list[str], pairs: list[Pair]) -> Iterator[Clip]:
    """Clips of one patient, split and cohort, none of them long."""
    patient, split, cohort = owner
    for start in range(0, len(pairs), _CLIP):
        part = tuple(pairs[start : start + _CLIP])
        files = tuple(file for pair in part for file in (pair.image, pair.mask) if file is not None)
        yield Clip(part[0].image, patient, split, cohort, files, part, len(part))


def parse(section: Section) -> FolderImporter:
    """Takes ``images``, ``masks``, ``patient``, ``view`` or ``views``, ``phases`` and ``select``."""
    images = parse_pattern(section, "images")
    groups = tuple(images.groupindex)
    masks: str | None = parse_template(section, "masks", section.take("masks", str), groups)
    return FolderImporter(
        path=section.path,
        images=images,
        masks=None if masks == NO_MASKS else masks,
        mask_pattern=None if masks in (None, NO_MASKS) else template_pattern(section, str(masks), images),
        patient=_patient(section, groups),
        names=parse_names(section, "images", groups),
        select=_select(section, groups),
    )


def _patient(section: Section, groups: tuple[str, ...]) -> str:
    text = section.take("patient", str, default="{patient}")
    if not text:
        raise section.error("patient", "is empty, which would make all frames one patient's; name a group or a patient")
    return parse_template(section, "patient", text, groups)


def _select(section: Section, groups: tuple[str, ...]) -> Select | None:
    if not section.has("select"):
        return section.take("select", dict, default=None)
    inner = section.section("select")
    select = Select(inner.choice("group", groups), inner.take("from", int), inner.take("to", int))
    inner.done()
    return select
