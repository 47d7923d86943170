"""What comes in through the page: small, of the right kind, and refused in one line."""

import struct
from pathlib import Path

import cv2
import numpy as np

from tte_tee.anatomy import LabelSpace
from tte_tee.data.store import EchoStore
from tte_tee.errors import UserError
from tte_tee.studio.heart import frames_with_masks
from tte_tee.studio.labels import resize_labels, snap

LARGEST_PICTURE, LARGEST_STORE = 4 * 2**20, 512 * 2**20  # bytes
_LONGEST = 4096  # pixels of a side
_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def read_mask(path: Path, size: tuple[int, int], label_space: LabelSpace) -> np.ndarray:
    """A PNG as a mask: grey values are ids, colours snap to those of the structures.

    Args:
        path: of the file; its header is read before anything is decoded.
        size: (H, W) of the frames; a picture of another size but the same shape is brought to it.
        label_space: of the mask.

    Returns:
        ids uint8 ``[H, W]``.

    Raises:
        UserError: it is too large, no PNG, damaged, of another shape, or its grey values are no ids.
    """
    data = _read(path, LARGEST_PICTURE)
    if data[:8] != _SIGNATURE or data[12:16] != b"IHDR" or len(data) < 33:
        raise UserError(f"{path.name}: is no PNG; give a mask as PNG")
    width, height = struct.unpack(">II", data[16:24])
    if not 0 < max(width, height) <= _LONGEST:
        raise UserError(f"{path.name}: declares {height}x{width} pixels; sides end at {_LONGEST}")
    if height * size[1] != width * size[0]:
        raise UserError(
            f"{path.name}: is {height}x{width}, and frames are {size[0]}x{size[1]}; give a mask of that shape"
        )
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        pixels = None
    if pixels is None or pixels.dtype != np.uint8:
        raise UserError(f"{path.name}: is no whole PNG of 8 bits; save it again")
    if pixels.ndim == 3:
        order = cv2.COLOR_BGRA2RGBA if pixels.shape[2] == 4 else cv2.COLOR_BGR2RGB
        labels = snap(cv2.cvtColor(pixels, order), label_space)
    elif pixels.max(initial=0) <= len(label_space.structures):
        labels = pixels
    else:
        names = ", ".join(f"{label} {name}" for name, label in label_space.ids.items())
        raise UserError(
            f"{path.name}: its grey values reach {pixels.max()}; grey values are ids (0 background, {names})"
        )
    return resize_labels(labels, size)


def open_store(path: Path, size: tuple[int, int], label_space: LabelSpace) -> EchoStore:
    """A store whose masks can be begun with.

    Raises:
        UserError: it is too large or no store, or its masks are of another size or label space, or there are none.
    """
    if path.stat().st_size > LARGEST_STORE:
        raise UserError(f"{path.name}: is larger than {LARGEST_STORE >> 20} MiB; cut it with 'data subset'")
    try:
        store = EchoStore(path)
    except UserError as error:
        raise UserError(str(error).replace(str(path), path.name)) from error
    check_kind(store, size, label_space)
    frames_with_masks(store)
    return store


def check_kind(store: EchoStore, size: tuple[int, int], label_space: LabelSpace) -> None:
    """Refuses a store whose masks the adapters cannot draw.

    Raises:
        UserError: naming what differs.
    """
    if store.label_space.structures != label_space.structures:
        raise UserError(
            f"{store.path.name}: masks hold {', '.join(store.label_space.structures)}, the adapters draw "
            f"{', '.join(label_space.structures)}; give a store of that label space"
        )
    if store.image_size != size:
        sizes = ["x".join(map(str, each)) for each in (store.image_size, size)]
        raise UserError(f"{store.path.name}: frames are {sizes[0]}, the adapters draw {sizes[1]}; pack it at that size")


def _read(path: Path, largest: int) -> bytes:
    if path.stat().st_size > largest:
        raise UserError(f"{path.name}: is larger than {largest >> 20} MiB; give a smaller file")
    return path.read_bytes()
