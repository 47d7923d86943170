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
_OLD_FILL, _FILL, _ATTRIBUTE, _CONTINUED = 0x04, 0x05, 0x0C, 0x10  # kinds of messages in an object header
_SHARED = 0x02  # of a message's flags: its body stands elsewhere
_BLOCKS = 64  # of an object header


def check_texts(path: Path, columns: list[h5py.Dataset]) -> None:
    """Refuses texts that HDF5 could not step through.

    Raises:
        ValueError: a collection of texts is damaged.
    """
    with path.open("rb") as raw:
        _check_collections(raw, [_read(raw, start, size) for column in columns for start, size in _pieces(column)])


def check_attributes(path: Path, file: h5py.File) -> None:
    """Refuses texts of the root's attributes that HDF5 could not step through, before one of them is read.

    Where an attribute stands h5py does not say, so the root's object header is read here (section IV.A of the
    specification; version 1, which :class:`StoreWriter` writes).

    Raises:
        ValueError: a collection of texts is damaged, or an attribute is not as a store has it.
    """
    kinds = {name: file.attrs.get_id(name) for name in file.attrs}
    texts = {name for name, kind in kinds.items() if kind.dtype.hasobject}
    if any(kinds[name].get_storage_size() != _REFERENCE.itemsize for name in texts) or file.userblock_size:
        raise ValueError("its attributes are not those of a store")
    with path.open("rb") as raw:
        messages = _messages(raw, h5py.h5o.get_info(file.id).addr)
        attributes = [_attribute(body) for kind, _, body in messages if kind == _ATTRIBUTE]
        if not texts <= {name for name, _ in attributes}:
            raise ValueError("its attributes are not those of a store")
        _check_collections(raw, [value for name, value in attributes if name in texts])


def check_fill(path: Path, file: h5py.File, name: str) -> None:
    """Refuses a data set that is filled with a value of its own, before it is opened: h5py reads a text of it at once.

    Raises:
        ValueError: it is filled, or its header is not one that :class:`StoreWriter` writes.
    """
    with path.open("rb") as raw:
        messages = list(_messages(raw, h5py.h5o.get_info(file.id, name.encode()).addr))
    fills = [(flags, body) for kind, flags, body in messages if kind == _FILL]
    if not fills or any(kind == _OLD_FILL for kind, _, _ in messages) or any(_filled(*fill) for fill in fills):
        raise ValueError(f"'{name}' is filled with a value of its own")  # a text of which stands anywhere


def _filled(flags: int, body: bytes) -> bool:
    """Whether a fill value message (section IV.A.2.f of the specification) is not the one without a value."""
    version, _, _, defined, size = struct.unpack("<BBBBI", body[:8].ljust(8, b"\0"))
    return bool(flags & _SHARED) or version != 2 or (defined != 0 and size != 0)


def _messages(raw: BinaryIO, address: int) -> Iterator[tuple[int, int, bytes]]:
    """Kind, flags and body of the messages of an object header of version 1."""
    version, size = struct.unpack("<B7xI4x", _read(raw, address, _HEADER).ljust(_HEADER, b"\0"))
    blocks = [(address + _HEADER, size)] if version == 1 else []
    for start, length in blocks:
        block, place = _read(raw, start, length), 0
        while place + 8 <= len(block):
            kind, size, flags = struct.unpack_from("<HHB", block, place)
            body = block[place + 8 : place + 8 + size]
            if kind == _CONTINUED:
                blocks.append(struct.unpack("<QQ", body[:16].ljust(16, b"\0")))
            yield kind, flags, body
            place += 8 + size
        if len(blocks) > _BLOCKS:
            raise ValueError("its headers are not those of a store")


def _attribute(body: bytes) -> tuple[str, bytes]:
    """Name and value of an attribute message of version 1, whose parts are padded to 8 bytes; else no name."""
    version, *sizes = struct.unpack("<BxHHH", body[:8].ljust(8, b"\0"))
    name = body[8 : 8 + sizes[0]].partition(b"\0")[0].decode("ascii", "replace") if version == 1 else ""
    start = 8 + sum((size + 7) // 8 * 8 for size in sizes)
    return name, body[start : start + _REFERENCE.itemsize]


def _check_collections(raw: BinaryIO, pieces: list[bytes]) -> None:
    addresses = {int(a) for piece in pieces for a in np.unique(_references(piece)["address"])}
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
