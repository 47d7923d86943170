"""Frames of stores into another store, one by one."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tte_tee.data.store import EchoStore, FrameInfo, StoreWriter, check_target
from tte_tee.data.workers import with_bar
from tte_tee.errors import UserError
from tte_tee.provenance import made_with

_AND = " AND "  # as in SPDX expressions: all of them hold


@dataclass(frozen=True)
class Selection:
    """Frames of one store, in the order to be written, and what is to change in what is said of them."""

    store: EchoStore
    indices: np.ndarray
    change: Callable[[FrameInfo], FrameInfo] = lambda info: info


def check_out(out: Path, *stores: EchoStore) -> None:
    """Refuses to write over what is read, or in the place of anything but a store.

    Raises:
        UserError: saying what is there.
    """
    check_target(out)
    for store in stores:
        if out.exists() and out.samefile(store.path):
            raise UserError(f"--out {out}: is the store that is read; give another name")


def copy_frames(
    out: Path, parts: Sequence[Selection], *, command: str, rule: Mapping[str, Any], progress: bool = False
) -> None:
    """Writes the frames of ``parts`` into the store ``out``, with the label space of the first.

    The licences of all parts hold for the whole. The provenance keeps commit and versions,
    ``rule`` and, for each part, its name, hash, licence, command and own provenance.

    Args:
        out: store to write.
        parts: of one label space and size.
        command: to be recorded.
        rule: how the frames were chosen or changed; JSON.
        progress: shows a bar on stderr, if that is a terminal.

    Raises:
        UserError: as StoreWriter raises.
    """
    record = {**made_with(), **rule, "from": [record_of(part.store) for part in parts]}
    licence = join_licences([part.store.licence for part in parts])
    jobs = [(part, int(index)) for part in parts for index in part.indices]
    space = parts[0].store.label_space
    with StoreWriter(out, space, licence=licence, command=command, provenance=json.dumps(record)) as writer:
        for part, index in with_bar(jobs, f"writing {out.name}", progress):
            writer.append(*part.store.frame(index), part.change(part.store.info(index)))


def record_of(store: EchoStore) -> dict[str, Any]:
    """What a store made of ``store`` remembers of it."""
    return {
        **store.as_source(),
        "licence": store.licence,
        "command": store.command,
        "provenance": store.provenance,
    }


def join_licences(licences: Iterable[str]) -> str:
    """Every different licence once, in order; those of joined stores are taken apart first."""
    return _AND.join(dict.fromkeys(one for licence in licences for one in licence.split(_AND)))
