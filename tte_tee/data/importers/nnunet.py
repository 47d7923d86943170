"""Raw data sets of nnU-Net v2 (Isensee et al., Nature Methods 18, 2021): pictures, or cines in one array.

``dataset.json``, ``imagesTr/CASE_0000.png`` (the number is the channel's), ``labelsTr/CASE.png``, ``imagesTs``, and
``labelsTs`` for those who keep it: a case of ``imagesTs`` may come without a mask.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from tte_tee.data.importers.contract import Assign, Clip, Listing, Problems, RawFrame
from tte_tee.data.importers.fields import parse_pattern
from tte_tee.data.importers.files import read_bytes, within
from tte_tee.data.importers.pairs import PairImporter, clips_of, pair_finder
from tte_tee.data.importers.stacks import AXES, IN_TIME, Axes, cine_frames, parse_axes, parse_window
from tte_tee.data.importers.volumes import META, NIFTI, PICTURES, suffix
from tte_tee.data.section import Section
from tte_tee.errors import UserError

DATASET = "dataset.json"
_PICTURES = 128  # of one patient and view read at once
_TEST = "Ts"


@dataclass(frozen=True)
class NnunetImporter(PairImporter):
    """Cases of nnU-Net.

    Attributes:
        finder: finds images of the ``channel``.
        channel: which input is the picture.
        axes: where the axes of the arrays lead.
        window: see :func:`to_grey`.
    """

    channel: int
    axes: Axes
    window: tuple[float, float] | None

    def clips(self, root: Path, assign: Assign, problems: Problems) -> Listing:
        """One clip per patient and view if cases are pictures, else one per case."""
        ending = self._ending(root)
        pairs, count = self.finder.find(root, assign, problems, unmasked=lambda groups: groups["folder"] == _TEST)
        kept = []
        for pair in pairs:
            with problems.noted():
                if suffix(pair.image) != ending:
                    raise UserError(f"{root / pair.image}: {DATASET} has files that end in {ending}; move it away")
                kept.append(pair)
        clips = list(clips_of(kept, _PICTURES if ending in PICTURES else 1))
        if ending in PICTURES:
            clips = [replace(clip, frames=len(clip.detail)) for clip in clips]
        return Listing(clips, count - 1 - sum(len(pair.files) for pair in kept))

    def read(self, root: Path, clip: Clip, problems: Problems) -> Iterator[RawFrame]:
        """The frames of the cases of a clip."""
        for pair in clip.detail:
            with problems.noted():
                yield from cine_frames(root, pair, self.axes, self.window)

    def _ending(self, root: Path) -> str:
        """What files end in.

        Raises:
            UserError: dataset.json is missing, is no such file, or does not know the channel.
        """
        path = within(root, DATASET)
        try:
            data = json.loads(read_bytes(path))
            ending, channels = data["file_ending"], data["channel_names"]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise UserError(
                f"{path}: is no description of an nnU-Net v2 data set ({type(error).__name__}: {error}); "
                "it needs 'file_ending' and 'channel_names'"
            ) from error
        if ending not in NIFTI + META + PICTURES:
            raise UserError(f"{path}: 'file_ending' is {ending!r}; read are {', '.join(NIFTI + META + PICTURES)}")
        if not isinstance(channels, dict) or str(self.channel) not in channels:
            raise UserError(f"{path}: 'channel_names' has no channel {self.channel}; set 'channel' of the recipe")
        return str(ending)


def parse(section: Section) -> NnunetImporter:
    """Takes ``cases``, ``channel``, ``patient``, ``view(s)``, ``phases``, ``select``, ``axes`` and ``window``."""
    cases, channel = parse_pattern(section, "cases"), section.take("channel", int, default=0)
    if not 0 <= channel <= 9999:
        raise section.error("channel", f"expected a number from 0 to 9999, found {channel}")
    try:
        images = re.compile(
            rf"images(?P<folder>Tr|Ts)/(?P<case>{cases.pattern})_{channel:04d}(?P<ending>\.(?!z?raw$)\w+(?:\.gz)?)"
        )
    except re.error as error:
        raise section.error("cases", f"cannot stand within a longer pattern ({error})") from error
    finder = pair_finder(section, images, "labels{folder}/{case}{ending}", "cases", named=True)
    return NnunetImporter(finder, channel, parse_axes(section, IN_TIME, AXES), parse_window(section))
