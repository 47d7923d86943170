"""Pictures in a folder: images and masks whose names say what they are (PNG, and what else OpenCV reads)."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from tte_tee.data.importers.contract import Assign, Clip, Listing, Problems, RawFrame
from tte_tee.data.importers.files import read_gray, read_values, within
from tte_tee.data.importers.pairs import PairImporter, clips_of, parse_pairs
from tte_tee.data.section import Section

_CLIP = 128  # frames read at once; a longer run of frames is cut, so that memory stays flat


@dataclass(frozen=True)
class FolderImporter(PairImporter):
    """Pictures that :class:`PairFinder` finds, a frame each."""

    def clips(self, root: Path, assign: Assign, problems: Problems) -> Listing:
        """Images and their masks, one clip per patient and view."""
        pairs, count = self.finder.find(root, assign, problems)
        clips = [replace(clip, frames=len(clip.detail)) for clip in clips_of(pairs, _CLIP)]
        return Listing(clips, count - sum(len(clip.files) for clip in clips))

    def read(self, root: Path, clip: Clip, problems: Problems) -> Iterator[RawFrame]:
        """Decodes the pictures of a clip."""
        for pair in clip.detail:
            with problems.noted():
                image = read_gray(within(root, pair.image))
                values = None if pair.mask is None else read_values(within(root, pair.mask))
                key = str(PurePosixPath(pair.image).with_suffix(""))
                yield RawFrame(pair.image, key, image, values, pair.view, pair.mask or "", pair.phase)


def parse(section: Section) -> FolderImporter:
    """Takes ``images``, ``masks``, ``patient``, ``view`` or ``views``, ``phases`` and ``select``."""
    return FolderImporter(parse_pairs(section))
