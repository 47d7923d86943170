"""The folder packer: images and masks of a folder, by a recipe, into an echo store."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TypeVar

import cv2
import numpy as np
import pandas as pd
from rich.console import Console
from rich.progress import track

from tte_tee.data.recipe import Recipe, load_recipe
from tte_tee.data.splits import Assign, look_up
from tte_tee.data.store import SPLITS, FrameInfo, StoreWriter, check_table, check_target
from tte_tee.errors import UserError

T = TypeVar("T")
_DARK = 3  # grey levels; what an empty screen may still show


@dataclass(frozen=True)
class Pair:
    """An image file, its mask file (relative to the root) and what the recipe says of them."""

    image: str
    mask: str
    info: FrameInfo


@dataclass(frozen=True)
class PackSummary:
    """What was packed: frames, patients of each split, files left aside, and where it went."""

    name: str
    frames: int
    patients: Mapping[str, int]
    ignored: int
    out: Path

    def __str__(self) -> str:
        patients = ", ".join(f"{split} {self.patients[split]}" for split in SPLITS if split in self.patients)
        return f"{self.name}: {self.frames} frames; patients: {patients}; {self.ignored} files ignored -> {self.out}"


def pack_folder(recipe: str | Path, root: str | Path, out: str | Path, *, progress: bool = False) -> PackSummary:
    """Packs the folder ``root`` by ``recipe`` into the store ``out``.

    Frames stand in the order of their paths, so the same folder gives the same store. An existing
    ``out`` is replaced once the new store is whole; an error leaves it untouched.

    Args:
        recipe: path of a recipe YAML.
        root: folder that the recipe's paths are relative to.
        out: path of the store.
        progress: shows a progress bar on stderr, if that is a terminal.

    Raises:
        UserError: the recipe, the folder or a file is not as it should be.
    """
    plan, root, out = load_recipe(recipe), Path(root), Path(out)
    check_target(out)
    pairs, ignored = find_pairs(plan, root)
    sectors = _sectors(plan, root, pairs, progress)
    command = f"python -m tte_tee data pack {recipe} --root {root} --out {out}"
    with StoreWriter(out, plan.label_space, licence=plan.licence, command=command) as store:
        for pair in _track(pairs, f"packing {plan.name}", progress):
            image, mask = _read_pair(plan, root, pair)
            info = replace(pair.info, spacing=_stored_spacing(plan, image.shape))
            store.append(resize_image(image, plan.size), resize_labels(mask, plan.size), sectors[pair.image], info)
    splits = dict(sorted((pair.info.patient, pair.info.split) for pair in pairs))
    return PackSummary(plan.name, len(pairs), Counter(splits.values()), ignored, out)


def find_pairs(plan: Recipe, root: Path) -> tuple[list[Pair], int]:
    """The pairs of the folder in the order of their paths, and how many other files there are.

    Raises:
        UserError: no such folder, no match, an image or a mask without its partner, a value that
            the recipe does not know, a patient in two splits, or a key that stands twice.
    """
    if not root.is_dir():
        raise UserError(f"{root}: no such folder; give the folder of recipe '{plan.name}' with --root")
    files = sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())
    matched = {file: match.groupdict("") for file in files if (match := plan.images.fullmatch(file))}
    if not matched:
        raise UserError(f"{root}: none of {len(files)} files matches 'images' of {plan.path}; is --root right?")
    masks = _claim_masks(plan, root, matched)
    _refuse_unpaired(plan, root, files, matched, masks)
    assign = plan.split.bind(root)
    pairs = [
        Pair(file, mask, _describe(plan, root, file, matched[file], assign))
        for mask, file in sorted(masks.items(), key=lambda item: item[1])
        if _selected(plan, root, file, matched[file])
    ]
    if not pairs:
        raise UserError(f"{root}: 'select' of {plan.path} keeps none of {len(matched)} images; widen it")
    check_table(pd.DataFrame([pair.info.row() for pair in pairs]), str(root))
    return pairs, len(files) - 2 * len(pairs) - (plan.sector_file in files)


def _claim_masks(plan: Recipe, root: Path, matched: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """Path of the mask that belongs to each image -> path of the image."""
    masks: dict[str, str] = {}
    for file, groups in matched.items():
        mask = plan.masks.format_map(groups)
        if mask in matched:
            raise UserError(f"{root / mask}: is the mask of {file}, yet matches 'images' of {plan.path}; narrow it")
        if mask in masks:
            raise UserError(
                f"{root / mask}: is the mask of both {masks[mask]} and {file}; "
                f"name more groups in 'masks' of {plan.path}"
            )
        masks[mask] = file
    return masks


def _refuse_unpaired(
    plan: Recipe, root: Path, files: list[str], matched: Mapping[str, Mapping[str, str]], masks: Mapping[str, str]
) -> None:
    present = set(files)
    for mask, file in masks.items():
        if mask not in present and _selected(plan, root, file, matched[file]):
            raise UserError(f"{root / file}: has no mask {root / mask}; add it, or move the image away")
    for file in files:
        match = plan.mask_pattern.fullmatch(file)
        if not match or file in masks or file in matched:
            continue
        groups = match.groupdict("")
        if plan.select is None or plan.select.group not in groups or _selected(plan, root, file, groups):
            raise UserError(f"{root / file}: is a mask without an image; add the image, or move the mask away")


def _selected(plan: Recipe, root: Path, file: str, groups: Mapping[str, str]) -> bool:
    try:
        return plan.select is None or plan.select(groups)
    except UserError as error:
        raise UserError(f"{root / file}: {error}") from error


def _describe(plan: Recipe, root: Path, file: str, groups: Mapping[str, str], assign: Assign) -> FrameInfo:
    patient = plan.patient.format_map(groups)
    try:
        return FrameInfo(
            key=str(PurePosixPath(file).with_suffix("")),
            patient=patient,
            view=plan.view or look_up(plan.views, groups["view"], "views"),
            split=assign(patient, groups),
            origin="acquired",
            mask_source="annotated",
            phase="unknown" if plan.phases is None else look_up(plan.phases, groups["phase"], "phases"),
        )
    except UserError as error:
        raise UserError(f"{root / file}: {error}") from error


def read_gray(path: Path) -> np.ndarray:
    """Reads an image file as uint8 ``[H, W]``; colour becomes grey.

    Raises:
        UserError: the file cannot be read as a whole, or has more than 8 bits per pixel and channel.
    """
    pixels = _decode(path)
    if pixels.ndim == 2:
        return pixels
    return cv2.cvtColor(pixels, cv2.COLOR_BGRA2GRAY if pixels.shape[2] == 4 else cv2.COLOR_BGR2GRAY)


def read_labels(path: Path, labels: Mapping[int, int]) -> np.ndarray:
    """Reads a mask file and maps its values to ids, uint8 ``[H, W]``.

    Raises:
        UserError: as :func:`read_gray`; the file is in colour, or holds a value outside ``labels``.
    """
    values = _decode(path)
    if values.ndim != 2:
        raise UserError(f"{path}: is in colour; a mask has one channel that holds the label values")
    if foreign := sorted(set(np.unique(values).tolist()) - set(labels)):
        raise UserError(
            f"{path}: holds label value {', '.join(map(str, foreign[:5]))}, which 'labels' of the recipe does not name"
        )
    table = np.zeros(256, np.uint8)
    table[list(labels)] = list(labels.values())
    return table[values]


def _decode(path: Path) -> np.ndarray:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error}); check that it is there") from error
    level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # or it prints lines of its own
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) if data else None
    except cv2.error:  # it claims to be larger than OpenCV reads
        pixels = None
    finally:
        cv2.utils.logging.setLogLevel(level)
    if pixels is None:
        raise UserError(f"{path}: is no whole image; copy the file again, or move it away")
    if pixels.dtype != np.uint8:
        raise UserError(f"{path}: has {pixels.dtype} pixels; convert it to 8 bits")
    return pixels


def _read_pair(plan: Recipe, root: Path, pair: Pair) -> tuple[np.ndarray, np.ndarray]:
    image, mask = read_gray(root / pair.image), read_labels(root / pair.mask, plan.labels)
    _same_size(root / pair.mask, mask, root / pair.image, image)
    return image, mask


def _same_size(path: Path, array: np.ndarray, image_path: Path, image: np.ndarray) -> None:
    if array.shape != image.shape:
        raise UserError(
            f"{path}: is {array.shape[1]}x{array.shape[0]}, its image {image_path} is "
            f"{image.shape[1]}x{image.shape[0]} (width x height); they must be of one size"
        )


def _stored_spacing(plan: Recipe, shape: tuple[int, ...]) -> tuple[float, float] | None:
    """Spacing (rows, columns) in mm per stored pixel: padding keeps it, resizing scales both axes alike."""
    if plan.spacing is None:
        return None
    scale = max(shape) / plan.size
    return plan.spacing[0] * scale, plan.spacing[1] * scale


def _sectors(plan: Recipe, root: Path, pairs: list[Pair], progress: bool) -> dict[str, np.ndarray]:
    """Sector of each image by its path, uint8 ``[size, size]``, 0 or 1.

    The probe's settings seldom change within a patient and view, so frames of one size share an estimate:
    what one frame leaves dark another shows.
    """
    if plan.sector_file is not None:
        given = (read_gray(root / plan.sector_file) > 0).astype(np.uint8)
        for pair in pairs:
            _same_size(root / plan.sector_file, given, root / pair.image, read_gray(root / pair.image))
        return dict.fromkeys((pair.image for pair in pairs), resize_labels(given, plan.size))
    groups: dict[tuple[str, str], list[str]] = defaultdict(list)
    for pair in pairs:
        groups[pair.info.patient, pair.info.view].append(pair.image)
    sectors: dict[str, np.ndarray] = {}
    for files in _track(list(groups.values()), "finding sectors", progress):
        sectors |= _shared_sectors(plan, root, files)
    return sectors


def _shared_sectors(plan: Recipe, root: Path, files: list[str]) -> dict[str, np.ndarray]:
    peaks: dict[tuple[int, ...], np.ndarray] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    for file in files:
        image = read_gray(root / file)
        shapes[file] = image.shape
        peaks[image.shape] = np.maximum(image, peaks.get(image.shape, image))
    found = {shape: resize_labels(estimate_sector(peak), plan.size) for shape, peak in peaks.items()}
    for file, shape in shapes.items():
        if not found[shape].any():
            raise UserError(f"{root / file}: is black, so no sector is found; move it away, or set 'sector.file'")
    return {file: found[shape] for file, shape in shapes.items()}


def estimate_sector(image: np.ndarray) -> np.ndarray:
    """Where the probe drew: the convex hull of the largest region that is not black.

    A sector is convex, but for a shallow dent under a curved probe; marks and text outside of it
    are other regions and fall away. An image without any bright pixel gives an empty sector.

    Args:
        image: uint8 ``[H, W]``, one frame or the brightest value of several.

    Returns:
        uint8 ``[H, W]``, 1 inside.
    """
    bright = (cv2.medianBlur(image, 5) > _DARK).astype(np.uint8)
    side = max(3, min(image.shape) // 30 * 2 + 1)
    bridge = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    closed = cv2.morphologyEx(bright, cv2.MORPH_CLOSE, bridge)
    contours, _ = cv2.findContours(closed, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    sector = np.zeros_like(image)
    if contours:
        cv2.fillConvexPoly(sector, cv2.convexHull(max(contours, key=cv2.contourArea)), 1)
    return sector


def pad_to_square(array: np.ndarray) -> np.ndarray:
    """``[H, W]`` with zeros on both sides of the shorter axis, ``[max(H, W), max(H, W)]``.

    An odd remainder goes below or to the right.
    """
    side = max(array.shape)
    before = [(side - length) // 2 for length in array.shape]
    return np.pad(array, [(b, side - length - b) for b, length in zip(before, array.shape, strict=True)])


def resize_image(image: np.ndarray, size: int) -> np.ndarray:
    """Grey values ``[H, W]`` padded to square and averaged over areas to ``[size, size]``."""
    square = pad_to_square(image)
    return cv2.resize(square, (size, size), interpolation=cv2.INTER_AREA if size < len(square) else cv2.INTER_LINEAR)


def resize_labels(labels: np.ndarray, size: int) -> np.ndarray:
    """Labels ``[H, W]`` padded to square and read at pixel centres, ``[size, size]``.

    The centre of pixel i lies at (i + 1/2) side / size, as it does for :func:`resize_image`;
    cv2.INTER_NEAREST would read at the corner i side / size, and shift masks against images.
    """
    square = pad_to_square(labels)
    at = ((np.arange(size) + 0.5) * len(square) / size).astype(int)
    return np.ascontiguousarray(square[np.ix_(at, at)])


def _track(items: list[T], description: str, progress: bool) -> Iterable[T]:
    console = Console(stderr=True)
    return track(items, description, console=console, disable=not (progress and console.is_terminal), transient=True)
