"""What an importer is: it lists the clips of a folder, and reads one clip at a time.

An importer knows one native layout. It gives frames as the files hold them; the packer
(:mod:`tte_tee.data.pack`, :mod:`tte_tee.data.clips`) maps labels, finds sectors, resizes and writes, the
same for all.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from tte_tee.errors import UserError

Assign = Callable[[str, Mapping[str, str]], tuple[str, str]]
"""(patient, values of the importer's groups) -> (split, cohort); UserError if the recipe gives none."""


@dataclass(frozen=True, slots=True)
class Clip:
    """Files of one patient whose frames share a sector: the unit of work, read by one process at once.

    Attributes:
        name: what messages call it.
        patient, split, cohort: of all its frames.
        files: relative posix paths of all that is read for it.
        detail: whatever the importer needs to read it; must pickle.
        frames: how many, where that is known before reading.
    """

    name: str
    patient: str
    split: str
    cohort: str
    files: tuple[str, ...]
    detail: Any = None
    frames: int | None = None


@dataclass(frozen=True)
class Place:
    """Where an image was cut out of the pixels of its file.

    Attributes:
        shape: rows and columns of the file.
        top, left, bottom, right: in pixels of the file, the last two outside of the image.
    """

    shape: tuple[int, int]
    top: int
    left: int
    bottom: int
    right: int

    def cut(self, array: np.ndarray) -> np.ndarray:
        """What lies there of ``[H, W]``, if that is of the file's size; else it is left as it is."""
        return array[self.top : self.bottom, self.left : self.right] if array.shape == self.shape else array


@dataclass(frozen=True)
class RawFrame:
    """One frame as its file holds it.

    Attributes:
        file: relative path, for messages.
        key: unique within the folder.
        image: uint8 ``[H, W]``.
        values: label values as in the file, integers ``[H, W]``, or None where nobody drew a mask.
        mask_file: relative path of what the values came from, for messages.
        spacing: (rows, columns) in mm per pixel, or None where the file does not say.
        place: of the image in its file; None where it is all of it.
    """

    file: str
    key: str
    image: np.ndarray
    values: np.ndarray | None
    view: str
    mask_file: str = ""
    phase: str = "unknown"
    study: str = ""
    spacing: tuple[float, float] | None = None
    place: Place | None = None


@dataclass(frozen=True)
class Listing:
    """The clips of a folder in a fixed order, and how many files belong to none."""

    clips: list[Clip]
    ignored: int


class Problems:
    """What is wrong with files: raised at once, or, with ``skip``, kept in ``found``."""

    def __init__(self, *, skip: bool = False) -> None:
        self.skip, self.found = skip, list[str]()

    def add(self, error: UserError) -> None:
        """Raises the error, or notes it; once, though it may concern every frame of a file."""
        if not self.skip:
            raise error
        if str(error) not in self.found:
            self.found.append(str(error))

    @property
    def summary(self) -> str:
        """How many files are bad, and the first; empty if none is."""
        return f"{len(self.found)} files are bad: {self.found[0]}" if self.found else ""

    @contextmanager
    def noted(self) -> Iterator[None]:
        """A block of one file: what it raises as UserError goes to :meth:`add`, and the rest of it is left out."""
        try:
            yield
        except UserError as error:
            self.add(error)


class Importer(Protocol):
    """Reads one native layout; made from a recipe, picklable, and free of pixels.

    Attributes:
        groups: names of what it can tell of a frame's file, for the recipe's ``split``.
        pattern: matches the path of a frame's file in full, for templates over its groups; None where
            the layout is fixed.
        labelled: whether its frames can have masks, so that the recipe needs ``labels``.
        private: whether its files may hold a patient's identity. Then pixels outside of the sector are
            blanked, and patients and keys are already hashes.
    """

    groups: tuple[str, ...]
    pattern: re.Pattern[str] | None
    labelled: bool
    private: bool

    def clips(self, root: Path, assign: Assign, problems: Problems) -> Listing:
        """Lists the folder without reading pixels."""

    def read(self, root: Path, clip: Clip, problems: Problems) -> Iterator[RawFrame]:
        """The frames of one clip in their order; a bad file goes to ``problems``."""
