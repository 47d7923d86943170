"""The frames of a clip as the store wants them: labels mapped, sector found, resized, bad ones refused."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tte_tee.data.geometry import resize_image, resize_labels, resized_spacing
from tte_tee.data.importers.contract import Clip, Problems, RawFrame
from tte_tee.data.importers.files import check_declared, read_gray, within
from tte_tee.data.recipe import FROM_FILES, Recipe, SectorFile, is_spacing
from tte_tee.data.sector import SectorEstimate, SectorShape, estimate_sector
from tte_tee.data.store import FrameInfo
from tte_tee.errors import UserError

PRIVATE = 0.8  # confidence of a sector to trust private pixels to it: text that touches a sector widens it


def sector_files(plan: Recipe, clips: Iterable[Clip]) -> dict[str, str]:
    """Relative path of every picture of a sector -> the first file that it is for.

    Raises:
        UserError: it is also read as an image or a mask.
    """
    files, sectors = {file for clip in clips for file in clip.files}, dict[str, str]()
    if isinstance(plan.sector, SectorFile):
        for file in sorted(files):
            if sector := plan.sector.of(file):
                sectors.setdefault(sector, file)
    for sector, file in sectors.items():
        if os.path.normpath(sector) in files:
            raise UserError(
                f"{plan.path}: {sector} is the sector of {file}, yet is read as an image or a mask; narrow 'images', "
                "or give 'sector' another file"
            )
    return sectors


def check_sector(root: Path, sector: str, image: str) -> Path:
    """The path of a picture of a sector.

    Raises:
        UserError: it is not there, or leads outside of ``root``.
    """
    path = within(root, sector)
    if not path.exists():
        raise UserError(f"{root / image}: has no sector {path}; add it, or let the recipe say 'sector: estimate'")
    return path


@dataclass(frozen=True)
class Row:
    """Image, mask and sector at the store's size, ``[3, size, size]``, and what the store says of them."""

    arrays: np.ndarray
    info: FrameInfo


def read_clip(plan: Recipe, root: Path, clip: Clip, problems: Problems) -> Iterator[Row]:
    """The frames of a clip, as the store wants them."""
    frames = list(plan.importer.read(root, clip, problems))
    peaks: dict[tuple[int, ...], np.ndarray] = {}
    for frame in frames:
        peaks[frame.image.shape] = np.maximum(frame.image, peaks.get(frame.image.shape, frame.image))
    sectors: dict[tuple[tuple[int, ...], str | None], SectorEstimate] = {}
    for frame in frames:
        with problems.noted():
            shape = frame.image.shape
            file = plan.sector.of(frame.file) if isinstance(plan.sector, SectorFile) else None
            if (shape, file) not in sectors:
                sectors[shape, file] = _sector(plan, root, peaks[shape], frame, file)
            yield _store_row(plan, root, clip, frame, sectors[shape, file])


def _sector(plan: Recipe, root: Path, peak: np.ndarray, frame: RawFrame, file: str | None) -> SectorEstimate:
    """The recipe's sector, or an estimate from the brightest value of a clip's frames.

    The recipe speaks of pixels of the files, of which the frames may be a part. The probe's settings
    seldom change within a clip: what one frame leaves dark another shows.
    """
    if file is not None:
        mask = (read_gray(check_sector(root, file, frame.file)) > 0).astype(np.uint8)
    elif isinstance(plan.sector, SectorShape):
        mask = plan.sector.draw(frame.place.shape if frame.place else peak.shape)
    else:
        return estimate_sector(peak)
    mask = frame.place.cut(mask) if frame.place else mask
    if file is not None and not mask.any():
        raise UserError(
            f"{root / file}: marks no sector where the picture of {root / frame.file} is; give one that is not black"
        )
    _same_size(root / (file or ""), mask, root / frame.file, peak.shape)
    return SectorEstimate(mask, 1.0)


def _store_row(plan: Recipe, root: Path, clip: Clip, frame: RawFrame, sector: SectorEstimate) -> Row:
    shape = frame.image.shape
    check_declared(root / frame.file, (max(shape),) * 2, 1)  # of the square that it is padded to
    small_sector = resize_labels(sector.mask, plan.size)
    if not small_sector.any():
        given = f"nothing of the sector of {plan.path} is in it" if plan.sector else "is black, so no sector is found"
        raise UserError(f"{root / frame.file}: {given} at {plan.size} pixels; move it away, or set 'sector'")
    if plan.importer.private and sector.confidence < PRIVATE:
        raise UserError(
            f"{root / frame.file}: its sector is too uncertain to blank what lies outside, where names may stand; "
            f"give 'sector' or a closer 'region' in {plan.path}"
        )
    values = np.zeros(shape, np.uint8) if frame.values is None else _to_ids(plan, root, frame)
    _same_size(root / frame.mask_file, values, root / frame.file, shape)
    spacing = frame.spacing if plan.spacing == FROM_FILES else plan.spacing
    if spacing is not None and not all(map(is_spacing, _pair(spacing))):
        raise UserError(f"{root / frame.file}: gives {spacing} mm per pixel; correct it, or set 'spacing' otherwise")
    image = frame.image * sector.mask if plan.importer.private else frame.image
    info = FrameInfo(
        key=frame.key,
        patient=clip.patient,
        view=frame.view,
        split=clip.split,
        origin="acquired",
        study=frame.study,
        phase=frame.phase,
        spacing=None if spacing is None else resized_spacing(_pair(spacing), shape, plan.size),
        cohort=clip.cohort,
        mask_source="none" if frame.values is None else "annotated",
        sector_confidence=sector.confidence,
    )
    return Row(np.stack([resize_image(image, plan.size), resize_labels(values, plan.size), small_sector]), info)


def _pair(spacing: tuple[float, float] | str) -> tuple[float, float]:
    assert not isinstance(spacing, str)
    return spacing


def _to_ids(plan: Recipe, root: Path, frame: RawFrame) -> np.ndarray:
    """Label values of the file as ids of the label space, uint8 ``[H, W]``."""
    assert frame.values is not None
    present = np.unique(frame.values)
    if foreign := [value for value in present.tolist() if value not in plan.labels]:
        raise UserError(
            f"{root / frame.mask_file}: holds label value {', '.join(map(str, foreign[:5]))}, "
            "which 'labels' of the recipe does not name"
        )
    ids = np.array([plan.labels[value] for value in present.tolist()], np.uint8)
    return ids[np.searchsorted(present, frame.values)]


def _same_size(path: Path, array: np.ndarray, image_path: Path, shape: tuple[int, ...]) -> None:
    if array.shape != shape:
        raise UserError(
            f"{path}: is {array.shape[1]}x{array.shape[0]}, its image {image_path} is "
            f"{shape[1]}x{shape[0]} (width x height); they must be of one size"
        )
