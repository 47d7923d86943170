"""Ultrasound in DICOM files, stills and cines, de-identified as it is read.

What leaves this module is pixels of the ultrasound region, spacing, and hashes. Patients, studies and
images are named by salted hashes of what the file says; file names, which may hold names, stay in messages.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tte_tee.data.importers.contract import Assign, Clip, Listing, Place, Problems, RawFrame
from tte_tee.data.importers.dicom_file import Header, Region, read_frames, read_header, to_grey
from tte_tee.data.importers.dicom_keys import Frames, MaskNames, parse_frames, parse_masks, parse_region
from tte_tee.data.importers.fields import Names, parse_names, parse_pattern, parse_template
from tte_tee.data.importers.files import list_files, read_values, within
from tte_tee.data.importers.identity import load_salt, salted_hash
from tte_tee.data.section import Section
from tte_tee.errors import UserError

_CLIP = 64  # frames read at once; a longer cine is cut, so that memory stays flat
_SPREAD = 48  # grey levels between the channels of a pixel, from which on it is coloured and not tinted
_COLOURED = 0.01  # share of coloured pixels that makes a frame one of colour Doppler


@dataclass(frozen=True)
class Cine:
    """Frames of one file, all with one region.

    Attributes:
        image, study: hashes.
        masks: number of each frame, from 0 -> relative path of its mask, or None where there are none.
        shape: rows and columns of the file.
    """

    file: str
    image: str
    study: str
    view: str
    phase: str
    masks: Mapping[int, str | None]
    shape: tuple[int, int]
    region: Region


@dataclass(frozen=True)
class DicomImporter:
    """DICOM files found by a regular expression.

    Attributes:
        path: the recipe, for messages.
        images: matches the relative posix path of a file in full.
        patient: template over its groups, for files whose Patient ID is empty; None refuses those.
        region: taken instead of what the files' tags say.
        doppler: whether frames with colour are kept, as grey.
        salt: file of the secret that goes into all hashes.
    """

    path: Path
    images: re.Pattern[str]
    masks: MaskNames | None
    patient: str | None
    names: Names
    frames: Frames
    region: Region | None
    doppler: bool
    salt: Path
    private = True

    @property
    def groups(self) -> tuple[str, ...]:
        """Named groups of ``images``."""
        return tuple(self.images.groupindex)

    @property
    def pattern(self) -> re.Pattern[str]:
        """What matches the path of a file."""
        return self.images

    @property
    def labelled(self) -> bool:
        """Whether there are masks."""
        return self.masks is not None

    def clips(self, root: Path, assign: Assign, problems: Problems) -> Listing:
        """One clip per file, or several of a long cine; reads headers only. ``assign`` is given Patient IDs."""
        files = list_files(root)
        matched = {file: match.groupdict("") for file in files if (match := self.images.fullmatch(file))}
        if not matched:
            raise UserError(f"{root}: none of {len(files)} files matches 'images' of {self.path}; is --root right?")
        salt, present = load_salt(self.salt), set(files)
        clips: list[Clip] = []
        owners: dict[str, str] = {}
        splits: dict[str, tuple[str, str]] = {}
        masks: set[str] = set()
        for file, groups in matched.items():
            with problems.noted(), _naming(root / file):
                header = read_header(within(root, file))
                masks.update(self._all_masks(file, header))
                cine = self._cine(file, groups, header, salt, present)
                if cine.image in owners:
                    raise UserError(f"is the same image as {owners[cine.image]}; move one of them away")
                owners[cine.image] = file
                patient = self._patient(header, groups)
                split, cohort = assign(patient, groups)
                first = splits.setdefault(patient, (split, file))
                if first[0] != split:  # said here, where the patient's files still have names
                    raise UserError(f"is of the patient of {first[1]}, yet in another split; split by patient")
                clips += _cut(cine, salted_hash(salt, "patient", patient), split, cohort)
        for stray in self.masks.strays(files, masks | set(matched)) if self.masks else ():
            with problems.noted():
                raise UserError(f"{root / stray}: is the mask of no frame; add its file, or move the mask away")
        return Listing(clips, len(files) - len({file for clip in clips for file in clip.files}))

    def read(self, root: Path, clip: Clip, problems: Problems) -> Iterator[RawFrame]:
        """Decodes the frames of a clip: all of them, or none where one is bad."""
        cine: Cine = clip.detail
        frames: list[RawFrame] = []
        with problems.noted():
            shown = read_frames(within(root, cine.file), list(cine.masks))
            for (index, mask), picture in zip(cine.masks.items(), shown, strict=True):
                cropped = cine.region.crop(picture)
                if self.doppler or not _has_colour(cropped):
                    frames.append(_raw_frame(root, cine, index, mask, to_grey(cropped)))
            yield from frames

    def _cine(self, file: str, groups: Mapping[str, str], header: Header, salt: bytes, present: set[str]) -> Cine:
        """What is read of a file, and what is known of it before."""
        # A file that was made smaller often keeps the UID of the one it was made from.
        size = f"{header.frames}x{header.rows}x{header.columns}"
        return Cine(
            file=file,
            image=salted_hash(salt, "image", f"{header.image}\0{size}" if header.image else file),
            study=salted_hash(salt, "study", header.study) if header.study else "",
            view=self.names.view_of(groups),
            phase=self.names.phase_of(groups),
            masks=self._masks_of(file, self.frames.of(header.frames), present),
            shape=(header.rows, header.columns),
            region=self._region(header),
        )

    def _patient(self, header: Header, groups: Mapping[str, str]) -> str:
        patient = header.patient or ("" if self.patient is None else self.patient.format_map(groups))
        if not patient:
            raise UserError(f"has no Patient ID; add 'patient', a template over groups of 'images', to {self.path}")
        return patient

    def _region(self, header: Header) -> Region:
        """The recipe's region, else the best one of the tags, else the whole frame, whose sector then decides."""
        if self.region is None:
            return header.regions[0] if header.regions else Region(0, 0, header.rows, header.columns)
        if not self.region.fits(header.rows, header.columns):
            raise UserError(f"is {header.columns}x{header.rows}, so 'region' of {self.path} is not in it; correct it")
        tagged = max(header.regions, key=self.region.overlap, default=None)
        same = tagged is not None and self.region.overlap(tagged)
        return replace(self.region, spacing=tagged.spacing if tagged is not None and same else None)

    def _all_masks(self, file: str, header: Header) -> set[str]:
        """Masks that a file may have, whichever of its frames are taken."""
        return set() if self.masks is None else {self.masks.of(file, index) for index in range(header.frames)}

    def _masks_of(self, file: str, indices: list[int], present: set[str]) -> dict[int, str | None]:
        """Number of each frame to take -> its mask; frames of a cine that nobody has labelled are left out."""
        if self.masks is None:
            return dict.fromkeys(indices)
        if len(indices) > 1 and not self.masks.per_frame:
            raise UserError(f"has {len(indices)} frames and one mask; add {{frame}} to 'masks' of {self.path}")
        names = {index: self.masks.of(file, index) for index in indices}
        found: dict[int, str | None] = {index: name for index, name in names.items() if name in present}
        if not found:
            raise UserError(f"has no mask {names[indices[0]]}; add it, or move the file away")
        return found


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Puts the file before what is said of it, unless its name stands there."""
    try:
        yield
    except UserError as error:
        if str(error).startswith(f"{path}: "):
            raise
        raise UserError(f"{path}: {error}") from error


def _cut(cine: Cine, patient: str, split: str, cohort: str) -> Iterator[Clip]:
    """Clips of a file, none of them long."""
    entries = list(cine.masks.items())
    for start in range(0, len(entries), _CLIP):
        masks = dict(entries[start : start + _CLIP])
        files = (cine.file, *dict.fromkeys(mask for mask in masks.values() if mask is not None))
        yield Clip(cine.file, patient, split, cohort, files, replace(cine, masks=masks), len(masks))


def _raw_frame(root: Path, cine: Cine, index: int, mask: str | None, image: np.ndarray) -> RawFrame:
    region = cine.region
    place = Place(cine.shape, region.top, region.left, region.bottom, region.right)
    values = None if mask is None else place.cut(read_values(within(root, mask)))
    return RawFrame(
        file=cine.file,
        key=f"{cine.image}/{index}",
        image=image,
        values=values,
        view=cine.view,
        mask_file=mask or "",
        phase=cine.phase,
        study=cine.study,
        spacing=region.spacing,
        place=place,
    )


def _has_colour(picture: np.ndarray) -> bool:
    """Whether more than a few pixels are coloured, and strongly so: a tint of the whole picture is none."""
    if picture.ndim == 2:
        return False
    spread = picture.max(axis=2) - picture.min(axis=2)
    return float((spread > _SPREAD).mean()) > _COLOURED


def parse(section: Section) -> DicomImporter:
    """Takes ``images``, ``masks``, ``patient``, ``view`` or ``views``, ``phases``, ``frames``, and DICOM's own keys."""
    images = parse_pattern(section, "images")
    groups = tuple(images.groupindex)
    patient = section.take("patient", str, default=None)
    return DicomImporter(
        path=section.path,
        images=images,
        masks=parse_masks(section),
        patient=None if patient is None else parse_template(section, "patient", patient, groups),
        names=parse_names(section, "images", groups),
        frames=parse_frames(section),
        region=parse_region(section),
        doppler=not section.has("doppler") or section.choice("doppler", ("keep", "drop")) == "keep",
        salt=section.path.parent / section.take("salt", str),
    )
