"""CAMUS (Leclerc et al., IEEE TMI 38(9), 2019) as published, in either of its two forms.

The NIfTI form: ``database_nifti/patient0001/patient0001_2CH_ED.nii.gz`` and so on, ``_gt`` for the masks,
``half_sequence`` for the cine from ED to ES, ``Info_2CH.cfg``, and the official subgroups in
``database_split/subgroup_{training,validation,testing}.txt``. The older MetaImage form:
``training/patient0001/patient0001_2CH_ED.mhd`` and so on, ``sequence`` for the cine; folders are the subgroups.

Arrays of both are x to the right, y down from the probe, as ITK reads them; nibabel gives them as ``[x, y]``,
which shows the picture on its side until it is transposed.
"""

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from tte_tee.data.importers.contract import Assign, Clip, Listing, Problems, RawFrame
from tte_tee.data.importers.files import list_files, read_bytes, within
from tte_tee.data.importers.pairs import Pair
from tte_tee.data.importers.stacks import AXES, IN_TIME, Axes, cine_frames, parse_window
from tte_tee.data.importers.volumes import stem, suffix
from tte_tee.data.section import Section
from tte_tee.errors import UserError

VIEWS = {"2CH": "A2C", "4CH": "A4C"}
STILLS = ("ED", "ES")
SEQUENCE = "sequence"
_FILE = re.compile(
    r"(?:.*?/)??(?:(?P<folder>training|testing)/)?(?P<patient>patient\d+)/"
    r"(?P=patient)_(?P<view>2CH|4CH)_(?P<part>ED|ES|(?:half_)?sequence)(?P<mask>_gt)?(?P<kind>\.nii|\.nii\.gz|\.mhd)"
)
_SUBGROUP = re.compile(r"(?:.*/)?subgroup_(?P<subgroup>\w+)\.txt")
_AXES = Axes(AXES, IN_TIME)
_Parts = dict[tuple[str, ...], str]  # (patient, view, part) -> file


class _Groups(dict[str, str]):
    """Values of groups; one that nobody gave is an error when a recipe asks for it, and not before."""

    def __missing__(self, key: str) -> str:
        raise UserError(
            "its patient is in none of database_split/subgroup_*.txt; add it there, or move its folder away"
        )


@dataclass(frozen=True)
class CamusImporter:
    """Stills or cines of CAMUS.

    Attributes:
        parts: of ``ED``, ``ES`` and ``sequence``, those that are taken.
        window: see :func:`to_grey`.
    """

    parts: tuple[str, ...]
    window: tuple[float, float] | None
    groups = ("subgroup",)
    pattern = None
    labelled = True
    private = False

    def clips(self, root: Path, assign: Assign, problems: Problems) -> Listing:
        """One clip per patient and view."""
        files = list_files(root)
        images, masks = self._match(root, files, problems)
        subgroups = _subgroups(root, files)
        runs: dict[tuple[str, ...], list[Pair]] = defaultdict(list)
        for part, file in images.items():
            with problems.noted():
                pair = self._pair(root, part, file, masks.pop(part, None), subgroups, assign)
                runs[pair.patient, pair.view].append(pair)
        for file in masks.values():
            with problems.noted():
                raise UserError(f"{root / file}: is a mask without an image; add the image, or move the mask away")
        named = [file for file in files if _SUBGROUP.fullmatch(file)]
        clips = [self._clip(run, set(files), named) for run in runs.values()]
        return Listing(clips, len(files) - len({file for clip in clips for file in clip.files}))

    def read(self, root: Path, clip: Clip, problems: Problems) -> Iterator[RawFrame]:
        """The stills of a clip, ED before ES, or the frames of its cine."""
        for pair in clip.detail:
            with problems.noted():
                phases = _phases(root, pair) if pair.phase == SEQUENCE else {}
                name = f"{pair.patient}_{_name_of(pair.view)}"
                frames = list(cine_frames(root, pair, _AXES, self.window))
                if pair.phase == SEQUENCE:
                    for i, frame in enumerate(frames):
                        yield replace(frame, key=f"{name}_{i:03d}", phase=phases.get(i, "unknown"))
                elif len(frames) == 1:
                    yield replace(frames[0], key=f"{name}_{pair.phase}")
                else:
                    raise UserError(f"{root / pair.image}: holds {len(frames)} frames where there is one; move it away")

    def _match(self, root: Path, files: list[str], problems: Problems) -> tuple[_Parts, _Parts]:
        """Images and masks; one that stands twice goes to ``problems``.

        Raises:
            UserError: nothing of CAMUS is there.
        """
        found: dict[str, _Parts] = {"": {}, "_gt": {}}
        for file in files:
            match = _FILE.fullmatch(file)
            part = match["part"].removeprefix("half_") if match else ""
            if match is None or part not in self.parts:
                continue
            # The testing patients of the older form are numbered from 1 again.
            patient = match["patient"] if match["folder"] != "testing" else f"testing-{match['patient']}"
            other = found[match["mask"] or ""].setdefault((patient, match["view"], part), file)
            if other != file:
                problems.add(UserError(f"{root / file}: stands a second time as {other}; keep one of the two"))
        if not found[""]:
            raise UserError(
                f"{root}: none of {len(files)} files is a CAMUS {' or '.join(self.parts)}; "
                "--root is the folder that holds database_nifti, or training"
            )
        return found[""], found["_gt"]

    def _pair(
        self,
        root: Path,
        part: tuple[str, ...],
        file: str,
        mask: str | None,
        subgroups: dict[str, str],
        assign: Assign,
    ) -> Pair:
        """A part of a patient.

        Raises:
            UserError: it has no mask though it should, or the recipe gives it no split.
        """
        patient, view, phase = part
        match = _FILE.fullmatch(file)
        assert match is not None
        unmasked = match["kind"] == ".mhd" and (match["folder"] == "testing" or phase == SEQUENCE)  # as published
        if mask is None and not unmasked:
            raise UserError(f"{root / file}: has no mask beside it ('_gt'); add it, or move the image away")
        subgroup = subgroups.get(patient) or match["folder"]
        try:
            split, cohort = assign(patient, _Groups(subgroup=subgroup) if subgroup else _Groups())
        except UserError as error:
            raise UserError(f"{root / file}: {error}") from error
        return Pair(file, mask, VIEWS[view], phase, patient, split, cohort)

    def _clip(self, pairs: list[Pair], present: set[str], named: list[str]) -> Clip:
        """The clip of ``pairs``; its split hangs on the files ``named`` too."""
        first = pairs[0]
        files = [file for pair in pairs for file in pair.files]
        beside = [stem(file) + end for file in files if suffix(file) == ".mhd" for end in (".raw", ".zraw")]
        if self.parts == (SEQUENCE,):
            beside.append(_info(first))
        files += [*(file for file in beside if file in present), *named]
        frames = None if self.parts == (SEQUENCE,) else len(pairs)
        return Clip(first.image, first.patient, first.split, first.cohort, tuple(files), tuple(pairs), frames)


def _subgroups(root: Path, files: list[str]) -> dict[str, str]:
    """Patient -> official subgroup; empty where there are no such files.

    Raises:
        UserError: a file cannot be read, or a patient is in two.
    """
    listed: dict[str, str] = {}
    for file in files:
        if match := _SUBGROUP.fullmatch(file):
            for patient in _text(root, file).split():
                if listed.setdefault(patient, match["subgroup"]) != match["subgroup"]:
                    raise UserError(
                        f"{root / file}: {patient} is in subgroup {listed[patient]} too; keep it in one of them"
                    )
    return listed


def _phases(root: Path, pair: Pair) -> dict[int, str]:
    """Number of a frame, from 0 -> phase, out of the lines ``ED: 1`` and ``ES: 18``; empty without the file.

    Raises:
        UserError: the file cannot be read, or a line has no number.
    """
    file, phases = _info(pair), dict[int, str]()
    if not (root / file).is_file():
        return phases
    for line in _text(root, file).splitlines():
        name, _, value = line.partition(":")
        if name.strip() in STILLS:
            if not value.strip().isdecimal():
                raise UserError(
                    f"{root / file}: gives '{value.strip()}' as the frame of {name.strip()}; write its number"
                )
            phases[int(value) - 1] = name.strip()
    return phases


def _info(pair: Pair) -> str:
    return f"{pair.image.rpartition('/')[0]}/Info_{_name_of(pair.view)}.cfg"


def _name_of(view: str) -> str:
    return next(name for name, known in VIEWS.items() if known == view)


def _text(root: Path, file: str) -> str:
    path = within(root, file)
    try:
        return read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is no text ({error.reason}); copy it again") from error


def parse(section: Section) -> CamusImporter:
    """Takes ``frames`` and ``window``."""
    if section.is_text("frames"):
        return CamusImporter((section.choice("frames", (SEQUENCE,)),), parse_window(section))
    parts = tuple(section.check("frames", part, str) for part in section.take("frames", list))
    if not parts or len(set(parts)) != len(parts) or not set(parts) <= set(STILLS):
        raise section.error("frames", f"expected '{SEQUENCE}' or a list of {' and '.join(STILLS)}, found {list(parts)}")
    return CamusImporter(parts, parse_window(section))
