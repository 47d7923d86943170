"""CardiacUDA (Yang et al., ICCV 2023, "GraphEcho"): NIfTI cines of which a few frames have masks.

``Site_G_100/normal-27-4_image.nii.gz`` and ``..._label.nii.gz``: site, patient, and the number of the view. A
label file is as long as its cine; frames that nobody drew are empty in it. Names are the recipe's, so
that other cines with sparse masks can be read likewise.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from tte_tee.data.importers.contract import Assign, Clip, Listing, Problems, RawFrame
from tte_tee.data.importers.pairs import PairImporter, clips_of, parse_pairs
from tte_tee.data.importers.stacks import AXES, IN_TIME, Axes, cine_frames, parse_axes, parse_window
from tte_tee.data.section import Section
from tte_tee.errors import UserError

LABELLED, ALL = "labelled", "all"


@dataclass(frozen=True)
class CardiacUdaImporter(PairImporter):
    """Cines that :class:`PairFinder` finds.

    Attributes:
        frames: ``labelled`` leaves out frames, and files, without a mask; ``all`` keeps them.
        axes: where the axes of the arrays lead.
        window: see :func:`to_grey`.
    """

    frames: str
    axes: Axes
    window: tuple[float, float] | None

    def clips(self, root: Path, assign: Assign, problems: Problems) -> Listing:
        """One clip per cine."""
        pairs, count = self.finder.find(root, assign, problems, unmasked=lambda groups: True)
        if not any(pair.mask for pair in pairs) and not problems.found:
            raise UserError(f"{root}: none of {len(pairs)} cines has a mask; is 'masks' of {self.finder.path} right?")
        kept = [pair for pair in pairs if pair.mask or self.frames == ALL]
        return Listing(list(clips_of(kept, 1)), count - sum(len(pair.files) for pair in kept))

    def read(self, root: Path, clip: Clip, problems: Problems) -> Iterator[RawFrame]:
        """The frames of a cine; an empty mask is one that nobody drew."""
        for pair in clip.detail:
            with problems.noted():
                for frame in cine_frames(root, pair, self.axes, self.window):
                    if frame.values is not None and frame.values.any():
                        yield frame
                    elif self.frames == ALL:
                        yield replace(frame, values=None, mask_file="")


def parse(section: Section) -> CardiacUdaImporter:
    """Takes ``images``, ``masks``, ``patient``, ``view`` or ``views``, ``phases``, ``select``, ``frames``, ``axes``.

    And ``window``.
    """
    finder = parse_pairs(section)
    if finder.masks is None:
        raise section.error("masks", "give the template of the label files; cines without any have another type")
    frames = section.choice("frames", (LABELLED, ALL))
    return CardiacUdaImporter(finder, frames, parse_axes(section, IN_TIME, AXES), parse_window(section))
