"""3D TEE volumes with masks, cut along planes: MVSeg2023 (Carnahan et al.), mitral leaflets.

``train/train_001-US.nii.gz`` and ``train/train_001-label.nii.gz``; names are the recipe's.

Geometry. ``axes`` of the recipe says where each axis of the array leads: one to the ``right``, one to the
``back``, one ``down``, away from the probe. A plane holds the axis that leads down and passes through the
middle of the volume; at 0 degrees its right-hand side is ``right``, at 90 degrees it is ``back``, as the
plane of a multiplane probe turns. It is sampled every s mm down and across, s being the finest spacing of
the volume; from the first voxel to the last down, and across as far as the volume reaches on both sides.
Grey values are interpolated linearly, labels are those of the nearest voxel.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tte_tee.anatomy import VIEWS
from tte_tee.data.importers.contract import Assign, Clip, Listing, Problems, RawFrame
from tte_tee.data.importers.pairs import PairImporter, parse_pairs
from tte_tee.data.importers.stacks import Axes, parse_axes, parse_window, read_stack
from tte_tee.data.importers.volumes import Volume, stem
from tte_tee.data.section import Section
from tte_tee.errors import UserError

AXES = ("right", "back", "down")
_THIRD = {"back": 1, "front": -1}
_LARGEST = 4096  # pixels of a plane along each side; more is a slip in a header
_SLACK = 1e-6  # of a sample or of a direction, so that rounding does not cost the last sample


@dataclass(frozen=True)
class Plane:
    """A plane and the view that it shows; ``angle`` in degrees, 0 to 180."""

    view: str
    angle: float


@dataclass(frozen=True)
class MvsegImporter(PairImporter):
    """Volumes that :class:`PairFinder` finds, a frame per plane.

    Attributes:
        planes: in the order of the frames.
        axes: where the axes of the arrays lead.
        window: see :func:`to_grey`.
    """

    planes: tuple[Plane, ...]
    axes: Axes
    window: tuple[float, float] | None

    def clips(self, root: Path, assign: Assign, problems: Problems) -> Listing:
        """One clip per volume and plane, since planes of one volume have sectors of their own."""
        pairs, count = self.finder.find(root, assign, problems)
        clips = [
            Clip(_key(pair.image, plane), pair.patient, pair.split, pair.cohort, pair.files, (pair, plane), 1)
            for pair in pairs
            for plane in self.planes
        ]
        return Listing(clips, count - sum(len(pair.files) for pair in pairs))

    def read(self, root: Path, clip: Clip, problems: Problems) -> Iterator[RawFrame]:
        """The frame of a plane."""
        pair, plane = clip.detail
        with problems.noted():
            grey, labels = read_stack(root, pair.image, pair.mask, self.axes, self.window)
            points, step = plane_points(grey, plane.angle, root / pair.image)
            yield RawFrame(
                file=pair.image,
                key=clip.name,
                image=sample(grey.values, points),
                values=None if labels is None else sample_labels(labels, points),
                view=plane.view,
                mask_file=pair.mask or "",
                spacing=(step, step),
            )


def plane_points(volume: Volume, angle: float, path: Path) -> tuple[np.ndarray, float]:
    """Where a plane meets a volume ``[back, down, right]``.

    Returns:
        Places in voxels, ``[3, H, W]`` in the order of the volume's axes, and mm between two of them.

    Raises:
        UserError: the volume has no thickness or no spacing, or the spacing asks for too many pixels.
    """
    if min(volume.values.shape) < 2 or math.isnan(sum(volume.spacing)):
        raise UserError(f"{path}: is no volume with a voxel spacing, so no plane of it can be cut; move it away")
    spacing = np.array(volume.spacing)
    length = (np.array(volume.values.shape) - 1) * spacing
    back, right = math.sin(math.radians(angle)), math.cos(math.radians(angle))
    half = min(length[0] / 2 / max(abs(back), _SLACK), length[2] / 2 / max(abs(right), _SLACK))
    step = float(spacing.min())
    rows, columns = int(length[1] / step + _SLACK) + 1, int(2 * half / step + _SLACK) + 1
    if max(rows, columns) > _LARGEST:
        raise UserError(
            f"{path}: would give planes of {columns}x{rows} pixels of {step:g} mm, its finest spacing; "
            f"{_LARGEST} are the most. Is its header right?"
        )
    across = (np.arange(columns) - (columns - 1) / 2) * step
    down = np.arange(rows) * step
    places = (length[0] / 2 + back * across, down[:, None], length[2] / 2 + right * across)
    grid = np.stack(np.broadcast_arrays(places[0][None], places[1], places[2][None]))
    return grid / spacing[:, None, None], step


def sample(values: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Grey values, uint8 ``[H, W]``, between the voxels of uint8 ``values``."""
    from scipy.ndimage import map_coordinates

    return np.round(map_coordinates(values, points, np.float32, order=1, mode="nearest")).astype(np.uint8)


def sample_labels(values: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Labels ``[H, W]`` of the voxels nearest to the points; of two equally near, the one that comes first."""
    last = np.array(values.shape)[:, None, None] - 1
    nearest = np.clip(np.ceil(points - 0.5 - _SLACK).astype(int), 0, last)
    return values[tuple(nearest)]


def _key(image: str, plane: Plane) -> str:
    return f"{stem(image)}/{plane.angle:g}"


def parse(section: Section) -> MvsegImporter:
    """Takes ``images``, ``masks``, ``patient``, ``select``, ``planes``, ``axes`` and ``window``."""
    finder = parse_pairs(section, named=False)
    return MvsegImporter(finder, _planes(section), parse_axes(section, _THIRD, AXES), parse_window(section))


def _planes(section: Section) -> tuple[Plane, ...]:
    planes = []
    for n, item in enumerate(section.take("planes", list)):
        inner = Section(section.check("planes", item, dict), section.path, f"planes[{n}].")
        plane = Plane(inner.choice("view", tuple(VIEWS)), float(inner.take("angle", float)))
        inner.done()
        if not 0 <= plane.angle <= 180:
            raise inner.error("angle", f"expected degrees from 0 to 180, found {plane.angle:g}")
        planes.append(plane)
    if not planes or len({plane.angle for plane in planes}) != len(planes):
        raise section.error("planes", "list one plane or more, each with an angle of its own")
    return tuple(planes)
