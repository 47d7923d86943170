"""The packer: the files of a folder, by a recipe, into an echo store.

Clips are read by several processes at once, a few at a time, and written in order; memory does
not grow with their number.
"""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from tte_tee import __version__
from tte_tee.data.clips import check_sector, read_clip, sector_files
from tte_tee.data.importers.contract import Clip, Listing, Problems
from tte_tee.data.parts import FINGERPRINT_LENGTH, Part, Parts, read_part, write_part
from tte_tee.data.recipe import Recipe, load_recipe
from tte_tee.data.sector import DOUBTFUL
from tte_tee.data.store import SPLITS, StoreWriter, check_target
from tte_tee.data.workers import in_order
from tte_tee.errors import UserError
from tte_tee.provenance import git_commit, made_with

_FRAMES_PER_PART = 64


@dataclass(frozen=True)
class PackSummary:
    """What was packed, or would be.

    Attributes:
        frames: how many; None where that is not known before reading (``dry_run``).
        patients: split -> how many; 0 in a split that the recipe means to fill.
        ignored: files that belong to no clip.
        unsure: frames whose sector was estimated with a confidence below :data:`DOUBTFUL`.
        problems: one line per bad file that was left out.
        out: the store, or None (``dry_run``).
    """

    name: str
    clips: int
    frames: int | None
    patients: Mapping[str, int]
    ignored: int
    unsure: int = 0
    problems: Sequence[str] = field(default_factory=list)
    out: Path | None = None

    def __str__(self) -> str:
        frames = f"{self.clips} clips" if self.frames is None else f"{self.frames} frames"
        patients = ", ".join(f"{split} {self.patients[split]}" for split in SPLITS if split in self.patients)
        text = f"{self.name}: {frames}; patients: {patients}; {self.ignored} files ignored"
        if self.unsure:
            text += f"; {self.unsure} uncertain sectors ('data inspect' shows them)"
        if self.problems:
            text += f"; {len(self.problems)} bad files left out"
        return f"{text} -> {self.out or 'nothing written'}"


def pack_folder(
    recipe: str | Path,
    root: str | Path,
    out: str | Path,
    *,
    skip_bad: bool = False,
    dry_run: bool = False,
    workers: int | None = None,
    progress: bool = False,
) -> PackSummary:
    """Packs the folder ``root`` by ``recipe`` into the store ``out``.

    The same folder gives the same store, whatever the number of workers. An existing ``out`` is
    replaced once the new store is whole; an error leaves it untouched. A pack that was killed or
    interrupted goes on where it was when the same is asked for again.

    Args:
        recipe: path of a recipe YAML.
        root: folder that the recipe's paths are relative to.
        out: path of the store.
        skip_bad: leaves bad files out and lists them, where otherwise the first one ends the pack.
        dry_run: lists and checks, reads no pixels and writes no store.
        workers: processes that read; None takes one per CPU core, 0 reads in this process.
        progress: shows a progress bar on stderr, if that is a terminal.

    Raises:
        UserError: the recipe, the folder or a file is not as it should be.
    """
    plan, root, out = load_recipe(recipe), Path(root), Path(out)
    check_target(out)
    problems = Problems(skip=skip_bad)
    listing = _list(plan, root, problems)
    if dry_run:
        return _expected(plan, listing, problems)
    asked = (plan.path.read_text(encoding="utf-8"), __version__, git_commit(), f"skip_bad={skip_bad}")
    made_from = fingerprint(asked, root, listing.clips, sorted(sector_files(plan, listing.clips)))
    with (
        Parts(out, made_from, dropped_by=(UserError,)) as parts,
        _writer(plan, out) as store,
    ):
        written = _write(store, _read_all(plan, root, listing.clips, parts, skip_bad, workers, progress), problems)
        if not written.frames:
            raise UserError(f"{root}: no frame is left; {problems.summary or 'widen the recipe'}")
    packed = {clip.patient: clip.split for clip in listing.clips if clip.patient in written.patients}
    patients = _by_split(plan, packed)
    return PackSummary(
        plan.name,
        len(listing.clips),
        written.frames,
        patients,
        listing.ignored,
        written.unsure,
        problems.found,
        out,
    )


def fingerprint(asked: Sequence[str], root: Path, clips: Sequence[Clip], beside: Sequence[str] = ()) -> str:
    """Changes with what was asked, a file and what is said of it; parts of another are not taken up.

    Args:
        asked: recipe, options, the code's version and commit: all that decides how files are read.
        root: folder of the files.
        clips: what is read.
        beside: relative paths of what is read and belongs to no clip.
    """
    digest = hashlib.sha256("\0".join(asked).encode())
    for file in beside:
        digest.update(f"{file}\0{_state(root / file)}\n".encode())
    for clip in clips:
        digest.update(f"{clip.patient}\0{clip.split}\0{clip.cohort}\0".encode())
        for file in clip.files:
            digest.update(f"{clip.name}\0{file}\0{_state(root / file)}\n".encode())
    return digest.hexdigest()[:FINGERPRINT_LENGTH]


def _state(path: Path) -> str:
    """Size and time of a file; who reads it says what is wrong with one that is gone."""
    try:
        stat = path.stat()
    except (OSError, ValueError):
        return "gone"
    return f"{stat.st_size}\0{stat.st_mtime_ns}"


def _expected(plan: Recipe, listing: Listing, problems: Problems) -> PackSummary:
    """What a pack would leave, as far as the files' names and headers tell."""
    patients = _by_split(plan, {clip.patient: clip.split for clip in listing.clips})
    counts = [clip.frames for clip in listing.clips]
    frames = None if None in counts else sum(count or 0 for count in counts)
    return PackSummary(plan.name, len(listing.clips), frames, patients, listing.ignored, 0, problems.found)


def _by_split(plan: Recipe, patients: Mapping[str, str]) -> Counter[str]:
    """How many patients are in each split; few of them may leave one empty that a hash was to fill."""
    return Counter(dict.fromkeys(plan.split.meant, 0) | Counter(patients.values()))


def _writer(plan: Recipe, out: Path) -> StoreWriter:
    """The store in the making, with the command line that it records."""
    # Who packs patient by patient may name recipe and store after them.
    names = ("RECIPE.yaml", "STORE.h5") if plan.importer.private else (plan.path.name, out.name)
    command = f"python -m tte_tee data pack {names[0]} --root FOLDER --out {names[1]}"
    record = json.dumps(made_with())
    return StoreWriter(out, plan.label_space, licence=plan.licence, command=command, provenance=record)


@dataclass
class _Written:
    """Counts of what is in the store so far: a row kept for each frame would fill the memory."""

    frames: int = 0
    unsure: int = 0
    patients: set[str] = field(default_factory=set)


def _write(store: StoreWriter, parts: Iterator[Part], problems: Problems) -> _Written:
    """Appends every part, and notes its problems."""
    written = _Written()
    for part in parts:
        problems.found.extend(line for line in part.problems if line not in problems.found)
        for image, mask, sector, info in zip(part.images, part.masks, part.sectors, part.infos, strict=True):
            store.append(image, mask, sector, info)
            written.frames += 1
            written.unsure += info.sector_confidence < DOUBTFUL
            written.patients.add(info.patient)
    return written


def _list(plan: Recipe, root: Path, problems: Problems) -> Listing:
    """The folder's clips, with every patient in one split.

    Raises:
        UserError: the importer found something wrong, a patient is in two splits, or nothing is left.
    """
    if not root.is_dir():
        raise UserError(f"{root}: no such folder; give the folder of recipe '{plan.name}' with --root")
    listing = plan.importer.clips(root, plan.assigner(root), problems)
    if not listing.clips:
        raise UserError(f"{root}: {problems.summary or 'nothing to pack'}; is --root right for {plan.path}?")
    splits = pd.DataFrame([(clip.patient, clip.split) for clip in listing.clips], columns=["patient", "split"])
    counts = splits.groupby("patient")["split"].nunique()
    if leaking := list(counts.index[counts > 1]):
        raise UserError(
            f"{root}: patient {', '.join(leaking[:3])} stands in more than one split; split by patient, not by frame"
        )
    sectors = sector_files(plan, listing.clips)
    for sector, image in sectors.items():
        with problems.noted():
            check_sector(root, sector, image)
    pictures = {os.path.normpath(sector) for sector in sectors if (root / sector).is_file()}
    return Listing(listing.clips, listing.ignored - len(pictures))


def _read_all(
    plan: Recipe, root: Path, clips: list[Clip], parts: Parts, skip_bad: bool, workers: int | None, progress: bool
) -> Iterator[Part]:
    """The parts of a folder in order; each is read by some process, or taken from an earlier, broken-off pack."""
    runs = _runs(clips)
    missing = {n: run for n, run in enumerate(runs) if not parts.has(n)}
    todo = [(plan, root, run, skip_bad, parts.path(n)) for n, run in missing.items()]
    ready = in_order(_make_part, todo, workers=workers, description=f"packing {plan.name}", progress=progress)
    for number in range(len(runs)):
        if number in missing:
            next(ready)
        yield read_part(parts.path(number))


def _runs(clips: list[Clip]) -> list[list[Clip]]:
    """Clips in runs of about as many frames each; the cut depends on the clips alone."""
    runs: list[list[Clip]] = [[]]
    size = 0
    for clip in clips:
        if size >= _FRAMES_PER_PART:
            runs.append([])
            size = 0
        runs[-1].append(clip)
        size += clip.frames or _FRAMES_PER_PART // 4
    return runs


def _make_part(plan: Recipe, root: Path, clips: list[Clip], skip_bad: bool, path: Path) -> None:
    cv2.setNumThreads(1)
    problems = Problems(skip=skip_bad)
    rows = [row for clip in clips for row in read_clip(plan, root, clip, problems)]
    arrays = np.array([row.arrays for row in rows], np.uint8).reshape(len(rows), 3, plan.size, plan.size)
    images, masks, sectors = (np.ascontiguousarray(arrays[:, i]) for i in range(3))
    write_part(path, Part(images, masks, sectors, [row.info for row in rows], problems.found))
