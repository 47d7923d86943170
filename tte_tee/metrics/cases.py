"""One structure of one frame, found against truth: the case it is, and its scores."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from tte_tee.anatomy import LabelSpace
from tte_tee.errors import UserError
from tte_tee.metrics.surfaces import Grid, Spacing, surface_scores

FOUND, MISSED, INVENTED, BOTH_EMPTY = "found", "missed", "invented", "both empty"
CASES = (FOUND, MISSED, INVENTED, BOTH_EMPTY)
SHARES = ("dice", "surface_dice")
DISTANCES = ("hd95", "hd", "assd")
METRICS = (*SHARES, *DISTANCES)

RULES_ID = "empty-1"
RULES = (
    "both empty: excluded and counted, also where the view cannot show the structure; "
    "one empty (missed or invented): Dice 0, surface Dice 0, and HD95, HD and ASSD the diagonal of the frame"
)
"""What an empty mask scores. A library that drops a missed structure from the mean rewards the miss."""


@dataclass(frozen=True)
class Pair:
    """The two masks of one frame, at the resolution that the metrics are to speak of.

    Attributes:
        key, patient, view, phase: of the frame, as in its store.
        found: ids uint8 ``[H, W]``, what a segmenter says.
        truth: ids uint8 ``[H, W]``.
        spacing: (rows, columns) in mm, or None where it is unknown.
    """

    key: str
    patient: str
    found: np.ndarray
    truth: np.ndarray
    spacing: Spacing | None
    view: str = "other"
    phase: str = "unknown"


@dataclass(frozen=True)
class Case:
    """Scores of one structure in one frame.

    Attributes:
        case: one of :data:`CASES`.
        found_pixels, truth_pixels, common_pixels: sizes of the two regions and of their intersection.
        diagonal, tolerance: of the frame's grid, in the unit of the distances.
        dice, surface_dice: shares, NaN where both are empty.
        hd95, hd, assd: distances, NaN where both are empty; in mm, in pixels where spacing is unknown,
            or in percent of the diagonal after :meth:`in_percent`.
    """

    key: str
    patient: str
    view: str
    phase: str
    structure: str
    case: str
    found_pixels: int
    truth_pixels: int
    common_pixels: int
    diagonal: float
    tolerance: float
    dice: float = float("nan")
    surface_dice: float = float("nan")
    hd95: float = float("nan")
    hd: float = float("nan")
    assd: float = float("nan")

    def in_percent(self) -> "Case":
        """The same case with every length in percent of the frame's diagonal."""
        lengths = (*DISTANCES, "tolerance", "diagonal")
        return replace(self, **{name: 100 * getattr(self, name) / self.diagonal for name in lengths})


def score_frame(pair: Pair, label_space: LabelSpace) -> Iterator[Case]:
    """One case per structure, in order.

    Args:
        pair: of masks.
        label_space: of both masks.

    Raises:
        UserError: the masks differ in shape or hold ids outside of the label space, or the spacing is no spacing; the
            message names the frame.
    """
    _check(pair, label_space)
    grid = Grid.of(pair.truth.shape, pair.spacing)
    for structure, label in label_space.ids.items():
        yield _score(pair, structure, label, grid)


def _score(pair: Pair, structure: str, label: int, grid: Grid) -> Case:
    found, truth = pair.found == label, pair.truth == label
    ours, theirs, common = (int(np.count_nonzero(region)) for region in (found, truth, found & truth))
    scores: dict[str, float] = {}
    if ours and theirs:
        case = FOUND
        scores = {"dice": 2 * common / (ours + theirs), **surface_scores(found, truth, grid)._asdict()}
    elif ours or theirs:
        case = INVENTED if ours else MISSED
        scores = {**dict.fromkeys(SHARES, 0.0), **dict.fromkeys(DISTANCES, grid.diagonal)}
    else:
        case = BOTH_EMPTY
    return Case(
        key=pair.key,
        patient=pair.patient,
        view=pair.view,
        phase=pair.phase,
        structure=structure,
        case=case,
        found_pixels=ours,
        truth_pixels=theirs,
        common_pixels=common,
        diagonal=grid.diagonal,
        tolerance=grid.tolerance,
        **scores,
    )


def _check(pair: Pair, label_space: LabelSpace) -> None:
    if pair.found.shape != pair.truth.shape or pair.truth.ndim != 2:
        raise UserError(
            f"frame '{pair.key}': found {list(pair.found.shape)} and truth {list(pair.truth.shape)} are not "
            "two masks [H, W] of one shape; bring what was found to the resolution of the truth"
        )
    for name, mask in (("found", pair.found), ("truth", pair.truth)):
        if not np.issubdtype(mask.dtype, np.integer):
            raise UserError(f"frame '{pair.key}': {name} has {mask.dtype} values; a mask holds ids, as integers")
        if mask.size and not 0 <= mask.min() <= mask.max() <= len(label_space.structures):
            raise UserError(
                f"frame '{pair.key}': {name} holds ids {mask.min()} to {mask.max()}; label space "
                f"'{label_space.name}' ends at {len(label_space.structures)}"
            )
