"""A segmenter on frames that nobody has labelled: pictures, DICOM, stores."""

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from tte_tee.data.clips import PRIVATE
from tte_tee.data.curate.copying import check_out
from tte_tee.data.importers.dicom_file import read_frames, read_header, to_grey
from tte_tee.data.importers.files import list_files, read_gray, within
from tte_tee.data.pictures import legend, overlay, write_png, write_values
from tte_tee.data.sector import estimate_sector
from tte_tee.data.store import EchoStore
from tte_tee.data.workers import with_bar
from tte_tee.errors import UserError
from tte_tee.evaluation.finding import check_labels, find_in_store, find_masks, write_found
from tte_tee.models.segmenter import LoadedSegmenter

_SIDE, _FOUND = 384, "found.h5"
_DICOM = b"DICM"  # bytes 128 to 131 of a DICOM file


def segment_store(loaded: LoadedSegmenter, path: Path, out: Path, device: str, command: str) -> int:
    """Writes ``found.h5``: all frames of a store with the masks found; returns their number.

    Raises:
        UserError: the store is none, or would be written over, or its label space is not the segmenter's.
    """
    store = EchoStore(path)
    check_out(out / _FOUND, store)
    check_labels(loaded, store)
    found = find_in_store(loaded, store, store.indices(), device)
    record = {"segmenter": {"hash": loaded.hash, **loaded.record}}
    write_found(out / _FOUND, store, found, command, record)
    return len(found)


def segment_files(
    loaded: LoadedSegmenter, paths: Sequence[Path], out: Path, device: str, sector: np.ndarray | None = None
) -> int:
    """Writes a mask and an overlay for every frame of pictures, folders of pictures and DICOM files, or nothing.

    Args:
        loaded: the segmenter.
        paths: what to read.
        out: folder to write into.
        device: where to compute.
        sector: of every frame, 0 outside, ``[H, W]``; None estimates each.

    Returns:
        How many frames.

    Raises:
        UserError: a file cannot be read, no sector is found in it, or not surely enough in a DICOM file, which
            may show names beside it; a folder holds no picture; two frames have one name; or what is written would
            stand among what is read.
    """
    for path in paths:
        _check_beside(path, out)
    names: set[str] = set()
    frames = with_bar(_frames(paths), "segmenting", progress=True)
    with _all_at_once(out) as folder:
        for name, image, private in frames:
            if name in names:
                raise UserError(f"{name}: two frames have this name, and one mask would replace the other; rename one")
            names.add(name)
            inside = _sector(name, image, private) if sector is None else _given(name, image, sector)
            mask = find_masks(loaded, image[None], inside[None], device)[0] * inside
            picture = overlay(image * inside, mask, inside, loaded.label_space, _SIDE)
            picture = np.vstack([picture, legend(loaded.label_space, "", picture.shape[1])])
            write_values(folder / f"{name}_mask.png", mask)
            write_png(folder / f"{name}_overlay.png", picture)
    return len(names)


@contextmanager
def _all_at_once(out: Path) -> Iterator[Path]:
    """A folder whose files move into ``out`` when the block ends well; else none does."""
    there = out.exists()
    out.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(prefix=".segment.tmp-", dir=out) as temporary:
            folder = Path(temporary)
            yield folder
            for file in sorted(path for path in folder.rglob("*") if path.is_file()):
                place = out / file.relative_to(folder)
                place.parent.mkdir(parents=True, exist_ok=True)
                file.replace(place)
    except BaseException:
        if not there:
            out.rmdir()
        raise


def _sector(name: str, image: np.ndarray, private: bool) -> np.ndarray:
    estimate = estimate_sector(image)
    if not estimate.mask.any():
        raise UserError(f"{name}: is black, so there is nothing to find; leave it out (masks are no frames)")
    if private and estimate.confidence < PRIVATE:
        raise UserError(
            f"{name}: its sector is too uncertain to blank what lies outside, where names may stand; "
            "give it by --sector, or pack the file with a recipe that does"
        )
    return estimate.mask


def _given(name: str, image: np.ndarray, sector: np.ndarray) -> np.ndarray:
    if sector.shape != image.shape:
        sizes = ("x".join(map(str, shape)) for shape in (image.shape, sector.shape))
        raise UserError("{}: is {}, and --sector is {}; give frames of its size".format(name, *sizes))
    return (sector > 0).astype(np.uint8)


def _check_beside(path: Path, out: Path) -> None:
    """Refuses a folder in which masks could replace pictures, or be taken for pictures the next time."""
    read, written = (path if path.is_dir() else path.parent).resolve(), out.resolve()
    if written == read or (path.is_dir() and written.is_relative_to(read)):
        raise UserError(f"--out {out}: is where pictures are read; give another folder")


def _frames(paths: Iterable[Path]) -> Iterator[tuple[str, np.ndarray, bool]]:
    """Name and grey levels of every frame, and whether names may stand on it."""
    for path in paths:
        if path.is_dir():
            files = [file for file in list_files(path) if file.lower().endswith(".png")]
            if not files:
                raise UserError(f"{path}: holds no PNG; give pictures, folders of pictures, DICOM files or a store")
            for file in files:
                yield file.removesuffix(Path(file).suffix), read_gray(within(path, file)), False
        elif path.suffix.lower() == ".png":
            yield path.stem, read_gray(path), False
        else:
            yield from ((name, image, True) for name, image in _dicom_frames(path))


def _dicom_frames(path: Path) -> Iterator[tuple[str, np.ndarray]]:
    with path.open("rb") as file:
        if file.read(132)[128:] != _DICOM:
            raise UserError(f"{path}: is neither a PNG nor a DICOM file, and no store (.h5); give one of them")
    header = read_header(path)
    region = header.regions[0] if header.regions else None
    for index, frame in zip(range(header.frames), read_frames(path, range(header.frames)), strict=True):
        grey = to_grey(frame)
        yield f"{path.stem}_{index:04d}", grey if region is None else region.crop(grey)
