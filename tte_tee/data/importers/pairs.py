"""Images and their masks, found by the names of files: what importers of loose files share."""

import re
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tte_tee.data.importers.contract import Assign, Clip, Problems
from tte_tee.data.importers.fields import NO_MASKS, Names, parse_names, parse_pattern, parse_template, template_pattern
from tte_tee.data.importers.files import list_files
from tte_tee.data.section import Section
from tte_tee.errors import UserError

Groups = Mapping[str, str]


@dataclass(frozen=True)
class Select:
    """Keeps files whose group, read as a whole number, lies in ``first`` to ``last``, both included."""

    group: str
    first: int
    last: int

    def __call__(self, groups: Groups) -> bool:
        """Whether a file with these groups stays; UserError if its group is no whole number."""
        try:
            return self.first <= int(groups[self.group]) <= self.last
        except ValueError:
            raise UserError(
                f"group '{self.group}' is '{groups[self.group]}', not a whole number; 'select' needs one"
            ) from None


@dataclass(frozen=True, slots=True)  # there may be hundreds of thousands
class Pair:
    """An image and its mask, relative to the root; no mask where nobody drew one.

    ``view`` is empty where the name of the file does not decide it.
    """

    image: str
    mask: str | None
    view: str = ""
    phase: str = "unknown"
    patient: str = ""
    split: str = ""
    cohort: str = ""

    @property
    def files(self) -> tuple[str, ...]:
        """The image, and the mask if there is one."""
        return (self.image,) if self.mask is None else (self.image, self.mask)


@dataclass(frozen=True)
class PairFinder:
    """Images found by a regular expression, masks by a template over its groups.

    Attributes:
        path: the recipe, for messages.
        images: matches the relative posix path of an image in full; its groups describe the frame.
        masks: template over the groups that gives the relative path of the mask; None where there are none.
        mask_pattern: matches what ``masks`` can render to, with the same groups.
        patient: template over the groups.
        names: what the groups say of view and phase; None where they say nothing.
        key: of the recipe, that ``images`` comes from.
    """

    path: Path
    key: str
    images: re.Pattern[str]
    masks: str | None
    mask_pattern: re.Pattern[str] | None
    patient: str
    names: Names | None
    select: Select | None = None

    @property
    def groups(self) -> tuple[str, ...]:
        """Named groups of ``images``."""
        return tuple(self.images.groupindex)

    def find(
        self,
        root: Path,
        assign: Assign,
        problems: Problems,
        *,
        unmasked: Callable[[Groups], bool] = lambda groups: False,
    ) -> tuple[list[Pair], int]:
        """The pairs of a folder in the order of their paths, and how many files there are in all.

        Args:
            root: the folder.
            assign: gives split and cohort.
            problems: where bad files go.
            unmasked: whether an image with these groups may come without a mask.

        Raises:
            UserError: no image is found, or the recipe gives two images one mask.
        """
        files = list_files(root)
        # Groups are read off a name again when they are needed: kept for every file, they would fill the memory.
        matched = dict.fromkeys(file for file in files if self.images.fullmatch(file))
        if not matched:
            raise UserError(f"{root}: none of {len(files)} files matches '{self.key}' of {self.path}; is --root right?")
        masks, present, pairs = self._masks(root, matched, {file: file for file in files}), set(files), list[Pair]()
        self._refuse_strays(root, files, set(masks.values()) | set(matched), problems)
        for file in matched:
            groups = self._groups(file)
            with problems.noted():
                if self._selected(root, file, groups):
                    mask = self._mask(root, file, masks.get(file), present, optional=unmasked(groups))
                    pairs.append(self._describe(root, file, groups, mask, assign))
        if not pairs and not problems.found:
            raise UserError(f"{root}: 'select' of {self.path} keeps none of {len(matched)} images; widen it")
        return pairs, len(files)

    def _groups(self, file: str) -> dict[str, str]:
        """What the name of an image says."""
        match = self.images.fullmatch(file)
        assert match is not None
        return {name: sys.intern(value) for name, value in match.groupdict("").items()}

    def _masks(self, root: Path, matched: Mapping[str, None], names: Mapping[str, str]) -> dict[str, str]:
        """Path of each image -> path of its mask, the same object as in ``names`` if it is there."""
        masks: dict[str, str] = {}
        owners: dict[str, str] = {}
        if self.masks is None:
            return masks
        for file in matched:
            mask = self.masks.format_map(self._groups(file))
            mask = names.get(mask, mask)
            if mask in matched:
                raise UserError(
                    f"{root / mask}: is the mask of {file}, yet matches '{self.key}' of {self.path}; narrow it"
                )
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

    def _mask(self, root: Path, file: str, mask: str | None, present: set[str], *, optional: bool) -> str | None:
        if mask is None or mask in present:
            return mask
        if optional:
            return None
        raise UserError(f"{root / file}: has no mask {root / mask}; add it, or move the image away")

    def _selected(self, root: Path, file: str, groups: Groups) -> bool:
        try:
            return self.select is None or self.select(groups)
        except UserError as error:
            raise UserError(f"{root / file}: {error}") from error

    def _describe(self, root: Path, file: str, groups: Groups, mask: str | None, assign: Assign) -> Pair:
        patient = self.patient.format_map(groups)
        try:
            view, phase = (self.names.view_of(groups), self.names.phase_of(groups)) if self.names else ("", "unknown")
            return Pair(file, mask, view, phase, patient, *assign(patient, groups))
        except UserError as error:
            raise UserError(f"{root / file}: {error}") from error


def clips_of(pairs: Iterable[Pair], longest: int) -> Iterator[Clip]:
    """Clips of one patient, split, cohort and view, of no more than ``longest`` pairs; the pairs are their detail."""
    runs: dict[tuple[str, ...], list[Pair]] = defaultdict(list)
    for pair in pairs:
        runs[pair.patient, pair.split, pair.cohort, pair.view].append(pair)
    for (patient, split, cohort, _), run in runs.items():
        for start in range(0, len(run), longest):
            part = tuple(run[start : start + longest])
            files = tuple(file for pair in part for file in pair.files)
            yield Clip(part[0].image, patient, split, cohort, files, part)


@dataclass(frozen=True)
class PairImporter:
    """What the importers of pairs that a :class:`PairFinder` finds have in common."""

    finder: PairFinder
    private = False

    @property
    def groups(self) -> tuple[str, ...]:
        """Named groups of the recipe's key that says which files are images."""
        return self.finder.groups

    @property
    def pattern(self) -> re.Pattern[str]:
        """What matches the path of an image."""
        return self.finder.images

    @property
    def labelled(self) -> bool:
        """Whether there are masks."""
        return self.finder.masks is not None


def parse_pairs(section: Section, *, named: bool = True) -> PairFinder:
    """Takes ``images``, ``masks``, ``patient`` and ``select``; if ``named``, ``view`` or ``views``, and ``phases``."""
    images = parse_pattern(section, "images")
    return pair_finder(section, images, section.take("masks", str), "images", named=named)


def pair_finder(section: Section, images: re.Pattern[str], masks: str, key: str, *, named: bool) -> PairFinder:
    """A finder of ``images``, whose groups come from the key ``key``; takes what :func:`parse_pairs` takes beside."""
    groups = tuple(images.groupindex)
    parse_template(section, "masks", masks, groups)
    return PairFinder(
        path=section.path,
        key=key,
        images=images,
        masks=None if masks == NO_MASKS else masks,
        mask_pattern=None if masks == NO_MASKS else template_pattern(section, masks, images),
        patient=_patient(section, groups),
        names=parse_names(section, key, groups) if named else None,
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
