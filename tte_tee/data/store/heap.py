"""A look at the texts of an HDF5 file before HDF5 reads them: in a damaged one it would look for their end for ever.

Texts of any length stand in *global heap collections* (HDF5 File Format Specification 3.0, section III.E); a column
holds their addresses. HDF5 steps from object to object of a collection by sizes it does not check.
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import h5py
import numpy as np

_REFERENCE = np.dtype([("length", "<u4"), ("address", "<u8"), ("index", "<u4")])
_HEADER, _LARGEST = 16, 2**30


def check_texts(path: Path, columns: list[h5py.Dataset]) -> None:
    """Refuses texts that HDF5 could not step through.

    Raises:
        ValueError: a collection of texts is damaged.
    """
    with path.open("rb") as raw:
        found = [_read(raw, start, size) for column in columns for start, size in _pieces(column)]
        addresses = {int(a) for piece in found for a in np.unique(_references(piece)["address"])}
        for address in sorted(addresses - {0}):
            _check_collection(raw, address)


def _pieces(column: h5py.Dataset) -> Iterator[tuple[int, int]]:
    """Offset and length in the file of each piece of an uncompressed column."""
    if column.chunks is None:
        if (offset := column.id.get_offset()) is not None:
            yield offset, column.id.get_storage_size()
        return
    for number in range(column.id.get_num_chunks()):
        chunk = column.id.get_chunk_info(number)
        yield chunk.byte_offset, chunk.size


def _references(piece: bytes) -> np.ndarray:
    return np.frombuffer(piece[: len(piece) // _REFERENCE.itemsize * _REFERENCE.itemsize], _REFERENCE)


def _read(raw: BinaryIO, start: int, size: int) -> bytes:
    if size > _LARGEST or start >= 2**63:
        raise ValueError("a text stands outside of the file")
    raw.seek(start)
    return raw.read(size)


def _check_collection(raw: BinaryIO, address: int) -> None:
    sign, _version, size = struct.unpack("<4s4sQ", _read(raw, address, _HEADER).ljust(_HEADER, b"\0"))
    data = _read(raw, address, size) if sign == b"GCOL" else b""
    if len(data) < size or not size:
        raise ValueError("a collection of texts is damaged")
    place = _HEADER
    while place + _HEADER <= size:
        index, length = struct.unpack_from("<H6xQ", data, place)
        step = (length + 7) // 8 * 8 + (_HEADER if index else 0)  # free space counts its header in its length
        if step < _HEADER or place + step > size:
            raise ValueError("a collection of texts is damaged")
        place += step
