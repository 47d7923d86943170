"""NumPy archives, a patient each: ``PATIENT.npz`` with ``frames`` (uint8) and ``masks``, both ``[T, H, W]``."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from tte_tee.anatomy import VIEWS
from tte_tee.data.importers.contract import Assign, Clip, Listing, Problems, RawFrame
from tte_tee.data.importers.files import list_files, within
from tte_tee.data.section import Section
from tte_tee.errors import UserError


@dataclass(frozen=True)
class NpzImporter:
    view: str
    groups, pattern, labelled, private = ("patient",), None, True, False

    def clips(self, root: Path, assign: Assign, problems: Problems) -> Listing:
        names = {file: Path(file).stem for file in list_files(root) if file.endswith(".npz")}
        clips = [Clip(file, name, *assign(name, {"patient": name}), (file,)) for file, name in names.items()]
        return Listing(clips, len(list_files(root)) - len(clips))

    def read(self, root: Path, clip: Clip, problems: Problems) -> Iterator[RawFrame]:
        with problems.noted():  # a UserError in here leaves the file out under --skip-bad
            try:
                with np.load(within(root, clip.name)) as held:  # plain arrays alone: it reads no pickles
                    frames, masks = held["frames"], held["masks"]
            except (OSError, LookupError, ValueError, EOFError, BadZipFile) as error:
                raise UserError(f"{root / clip.name}: no arrays 'frames' and 'masks'; move it away") from error
            for number, pair in enumerate(zip(frames, masks, strict=True)):
                yield RawFrame(clip.name, f"{clip.patient}/{number:04d}", *pair, self.view, clip.name)


def parse(section: Section) -> NpzImporter:
    return NpzImporter(section.choice("view", tuple(VIEWS)))
