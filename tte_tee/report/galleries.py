"""Pictures that stand beside the cells: once each, side by side where they are of the same masks, and not too many."""

from collections.abc import Mapping, Sequence

import cv2
import numpy as np

from tte_tee.data.pictures import SHEET_GAP, SHEET_HEADER, contact_sheet
from tte_tee.report.analysis import Analysis
from tte_tee.report.cells import Cell
from tte_tee.report.document import Block, Note, Picture, is_picture

WHOLE_PAGE = 18_000_000
"""Bytes of pictures on a page, but for the galleries at fixed masks; base64 makes a third more of them."""
KINDS = 5
"""Of pictures that share them."""
_GALLERY = "gallery.webp"
_ACROSS = 5  # arms side by side
_SAME = 4.0  # grey levels: masks of one picture and another, after lossy compression
_QUALITY = [cv2.IMWRITE_WEBP_QUALITY, 60]


def pictures(analysis: Analysis, names: Mapping[str, str], budget: int) -> list[Block]:
    """One kind of picture of every arm, each picture once.

    Args:
        analysis: of a test set.
        names: of the files beside the cells, and what each shows.
        budget: bytes that all of them may take.
    """
    blocks: list[Block] = []
    omitted = []
    for name, words in names.items():
        for content, cells in _found(analysis, name).items():
            caption = f"{_arms(cells)}, seed {cells[0].seed}: {words}"
            if not is_picture(content):
                blocks.append(Note(f"{caption}: the file is no picture."))
            elif len(content) <= budget:
                budget -= len(content)
                blocks.append(Picture(caption, content, wide=_landscape(content)))
            else:
                omitted.append(f"{name} of {_arms(cells, 99)}")
    if omitted:
        blocks.append(f"Not shown, to keep the page small, but beside the cells: {'; '.join(omitted)}.")
    return blocks


def side_by_side(analysis: Analysis) -> list[Block]:
    """Mask and reference, and what each adapter draws for that mask, side by side.

    Arms whose picture is the same, as they share their adapter, are one column. A picture of another layout or of
    other masks is shown by itself.
    """
    groups: list[tuple[_Grid, list[tuple[_Grid, list[Cell]]]]] = []
    blocks: list[Block] = []
    for content, cells in _found(analysis, _GALLERY).items():
        grid = _Grid.of(content)
        if grid is None:
            whole = is_picture(content)
            caption = f"{_arms(cells)}, seed {cells[0].seed}"
            blocks.append(Picture(caption, content) if whole else Note(f"{caption}: {_GALLERY} is no picture."))
            continue
        group = next((members for first, members in groups if first.same_masks(grid)), None)
        if group is None:
            groups.append((grid, group := []))
        group.append((grid, cells))
    for _, members in groups:
        for start in range(0, len(members), _ACROSS):
            blocks.append(_compose(members[start : start + _ACROSS]))
    return blocks


class _Grid:
    """Rows of mask | reference | sample, as previews of an adapter are."""

    def __init__(self, picture: np.ndarray, side: int) -> None:
        self.side = side
        step = side + SHEET_GAP
        count = (len(picture) - SHEET_HEADER) // step
        self.rows = [
            [picture[top : top + side, left : left + side] for left in range(0, 3 * step, step)]
            for top in range(SHEET_HEADER, SHEET_HEADER + count * step, step)
        ]
        self.legend = picture[SHEET_HEADER + count * step :]

    @classmethod
    def of(cls, content: bytes) -> "_Grid | None":
        """None for a picture of another layout, or for none."""
        picture = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
        if picture is None or (picture.shape[1] - 2 * SHEET_GAP) % 3:
            return None
        grid = cls(picture, (picture.shape[1] - 2 * SHEET_GAP) // 3)
        return grid if grid.rows else None

    def same_masks(self, other: "_Grid") -> bool:
        """Whether masks and references are the same but for the compression."""
        if self.side != other.side or len(self.rows) != len(other.rows):
            return False
        pairs = zip(self.rows, other.rows, strict=True)
        return all(
            cv2.absdiff(a, b).mean() < _SAME for own, its in pairs for a, b in zip(own[:2], its[:2], strict=True)
        )


def _compose(members: Sequence[tuple[_Grid, list[Cell]]]) -> Picture:
    first = members[0][0]
    rows = [
        [*first.rows[row][:2], *(grid.rows[row][2] for grid, _ in members)] for row in range(len(first.rows))
    ]  # fmt: skip
    titles = [_adapter_name(cells) for _, cells in members]
    sheet = contact_sheet(rows, ["mask", "reference", *titles], scale=1)
    legend = np.full((len(first.legend), sheet.shape[1], 3), 255, np.uint8)
    legend[:, : first.legend.shape[1]] = first.legend
    encoded = cv2.imencode(".webp", np.vstack([sheet, legend]), _QUALITY)[1]
    named = "; ".join(f"{title} (arms {_arms(cells, 99)})" for title, (_, cells) in zip(titles, members, strict=True))
    caption = f"Mask, reference and what each adapter draws for that mask, seed {members[0][1][0].seed}: {named}"
    return Picture(caption, encoded.tobytes(), wide=True)


def _landscape(content: bytes) -> bool:
    picture = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    return picture is not None and picture.shape[1] > picture.shape[0]


def _adapter_name(cells: Sequence[Cell]) -> str:
    """An arm's name without what does not belong to its adapter: masks and ratio."""
    masks = {str(cell.part("synthesis").get("masks")) for cell in cells}
    parts = cells[0].arm.split("-")
    return "-".join(p for p in parts if p not in masks and p != "synthetic_only" and not p.startswith("1to"))


def _found(analysis: Analysis, name: str) -> dict[bytes, list[Cell]]:
    """Content -> cells that have it, of the lowest seed that all arms have, that is, of the same masks.

    The endpoint's arm and the baseline come first.
    """
    arms = analysis.test_set.arms
    common = set.intersection(*map(set, arms.values()))
    order = [arm for arm in (analysis.headline.arm, analysis.choice.arm) if arm and arm in arms]
    found: dict[bytes, list[Cell]] = {}
    for arm in dict.fromkeys((*order, *arms)):
        cell = arms[arm][min(common or arms[arm])]
        path = cell.pictures / name
        if path.is_file():
            found.setdefault(path.read_bytes(), []).append(cell)
    return found


def _arms(cells: Sequence[Cell], most: int = 2) -> str:
    names = [cell.arm for cell in cells]
    more = len(names) - most
    return ", ".join(names) if more <= 0 else f"{', '.join(names[:most])} and {more} more"
