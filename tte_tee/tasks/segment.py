"""A segmenter on frames that nobody has labelled: pictures, DICOM, stores."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track

from tte_tee.data.curate.copying import check_out
from tte_tee.data.importers.dicom_file import read_frames, read_header, to_grey
from tte_tee.data.importers.files import list_files, read_gray, within
from tte_tee.data.pack import PRIVATE
from tte_tee.data.pictures import legend, overlay, write_png, write_values
from tte_tee.data.sector import estimate_sector
from tte_tee.data.store import EchoStore
from tte_tee.errors import UserError
from tte_tee.models.segmenter import LoadedSegmenter
from tte_tee.tasks.judge import check_labels, find_in_store, find_masks, write_found

_SIDE, _FOUND = 384, "found.h5"


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


def segment_files(loaded: LoadedSegmenter, path: Path, out: Path, device: str) -> int:
    """Writes a mask and an overlay for every frame of a picture, a folder of pictures or a DICOM file.

    Raises:
        UserError: a file cannot be read, no sector is found in it, or not surely enough in a DICOM file, which
            may show names beside it; the folder holds no picture; or what is written would stand among what is read.
    """
    _check_beside(path, out)
    count = 0
    frames = track(_frames(path), "segmenting", console=Console(stderr=True), transient=True)
    private = not (path.is_dir() or path.suffix.lower() == ".png")
    for name, image in frames:
        estimate = estimate_sector(image)
        sector = estimate.mask
        if not sector.any():
            raise UserError(f"{path}: {name}: is black, so there is nothing to find; leave it out")
        if private and estimate.confidence < PRIVATE:
            raise UserError(
                f"{path}: {name}: its sector is too uncertain to blank what lies outside, where names may stand; "
                "pack the file with a recipe that gives 'sector' or 'region', and segment the store"
            )
        mask = find_masks(loaded, image[None], sector[None], device)[0] * sector
        picture = overlay(image * sector, mask, sector, loaded.label_space, _SIDE)
        picture = np.vstack([picture, legend(loaded.label_space, "", picture.shape[1])])
        write_values(out / f"{name}_mask.png", mask)
        write_png(out / f"{name}_overlay.png", picture)
        count += 1
    return count


def _check_beside(path: Path, out: Path) -> None:
    """Refuses a folder in which masks could replace pictures, or be taken for pictures the next time."""
    read, written = (path if path.is_dir() else path.parent).resolve(), out.resolve()
    if written == read or (path.is_dir() and written.is_relative_to(read)):
        raise UserError(f"--out {out}: is where pictures are read; give another folder")


def _frames(path: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Name and grey levels of every frame."""
    if path.is_dir():
        files = [file for file in list_files(path) if file.lower().endswith(".png")]
        if not files:
            raise UserError(f"{path}: holds no PNG; give a picture, a folder of pictures, a DICOM file or a store")
        for file in files:
            yield file.removesuffix(Path(file).suffix), read_gray(within(path, file))
    elif path.suffix.lower() == ".png":
        yield path.stem, read_gray(path)
    else:
        header = read_header(path)
        region = header.regions[0] if header.regions else None
        for index, frame in zip(range(header.frames), read_frames(path, range(header.frames)), strict=True):
            grey = to_grey(frame)
            yield f"{path.stem}_{index:04d}", grey if region is None else region.crop(grey)
