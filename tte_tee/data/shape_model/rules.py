"""What makes a drawn mask valid for its view, learnt from the training masks."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any, Self

import cv2
import numpy as np

from tte_tee.anatomy import LabelSpace

REASONS = {
    "foreign": "shows a structure that no training mask of the view shows",
    "missing": "lacks a structure that every training mask of the view has",
    "pieces": "has a structure in more pieces than training masks have",
    "area": "has a structure larger or smaller than in training, by more than the margin",
    "parted": "parts structures that touch in every training mask, or leaves them less of a common border",
    "joined": "joins structures that touch in no training mask",
    "holes": "leaves the background in more pieces than training masks do",
    "outside": "lies outside of its sector more than training masks do",
    "sector": "has a sector larger or smaller than in training, by more than the margin",
}
"""Why a draw is rejected, in the order in which a draw is looked at."""

MARGIN = 0.1  # of the least and of the largest area seen: training sees some of the population's range
SLACK = 0.01  # share of a mask's pixels: what rounding to pixels may put outside of the sector


@dataclass(frozen=True)
class Rules:
    """What training masks of one view have in common.

    Attributes:
        area: least and largest share of the frame that each structure covers where it is present,
            by name; the key order is that of the label space.
        always: structures that every mask has.
        pieces: most connected pieces (8 neighbours) of each structure.
        touching: pairs in contact (8 neighbours) in every mask that has both, and the least share of the
            edge of the first that lay along the second.
        apart: pairs in contact in none of them.
        background_pieces: most connected pieces (4 neighbours) of the background.
        outside: largest share of a mask's pixels that lies outside of the sector.
        sector: least and largest share of the frame that the sector covers.
    """

    area: dict[str, tuple[float, float]]
    always: tuple[str, ...]
    pieces: dict[str, int]
    touching: tuple[tuple[str, str, float], ...]
    apart: tuple[tuple[str, str], ...]
    background_pieces: int
    outside: float
    sector: tuple[float, float]

    @classmethod
    def learn(cls, frames: Iterable[tuple[np.ndarray, np.ndarray]], space: LabelSpace) -> Self:
        """The rules of masks and sectors, pairs of ``[H, W]``."""
        looks = [_look(mask, sector, space) for mask, sector in frames]
        present = [name for name in space.structures if any(name in look.area for look in looks)]
        touching, apart = [], []
        for pair in combinations(present, 2):
            borders = [look.borders[pair] for look in looks if pair in look.borders]
            if borders and min(borders) > 0:
                touching.append((*pair, min(borders)))
            elif not any(borders):
                apart.append(pair)
        areas = {name: [look.area[name] for look in looks if name in look.area] for name in present}
        return cls(
            area={name: (min(values), max(values)) for name, values in areas.items()},
            always=tuple(name for name in present if len(areas[name]) == len(looks)),
            pieces={name: max(look.pieces.get(name, 0) for look in looks) for name in present},
            touching=tuple(touching),
            apart=tuple(apart),
            background_pieces=max(look.background_pieces for look in looks),
            outside=max(look.outside for look in looks),
            sector=(min(look.sector for look in looks), max(look.sector for look in looks)),
        )

    def broken(self, mask: np.ndarray, sector: np.ndarray, space: LabelSpace) -> str | None:
        """The first of :data:`REASONS` for which a mask ``[H, W]`` is not valid, or None."""
        look = _look(mask, sector, space)
        has = set(look.area)
        tests = {
            "foreign": not has <= set(self.area),
            "missing": not set(self.always) <= has,
            "pieces": any(look.pieces[name] > self.pieces.get(name, 0) for name in has),
            "area": any(not _within(look.area[name], self.area.get(name, (0, 0))) for name in has),
            "parted": any(look.borders.get((a, b), 1.0) < (1 - MARGIN) * least for a, b, least in self.touching),
            "joined": any(look.borders.get(pair, 0.0) > 0 for pair in self.apart),
            "holes": look.background_pieces > self.background_pieces,
            "outside": look.outside > self.outside + SLACK,
            "sector": not _within(look.sector, self.sector),
        }
        return next((reason for reason in REASONS if tests[reason]), None)

    def to_json(self) -> dict[str, Any]:
        """Plain values for a JSON file."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """The rules that :meth:`to_json` wrote.

        Raises:
            ValueError, KeyError, TypeError: the values are of another kind.
        """
        low, high = map(float, values["sector"])
        return cls(
            area={name: (float(low), float(high)) for name, (low, high) in values["area"].items()},
            always=tuple(values["always"]),
            pieces={name: int(count) for name, count in values["pieces"].items()},
            touching=tuple((first, second, float(least)) for first, second, least in values["touching"]),
            apart=tuple((first, second) for first, second in values["apart"]),
            background_pieces=int(values["background_pieces"]),
            outside=float(values["outside"]),
            sector=(low, high),
        )


@dataclass(frozen=True)
class _Look:
    """What the rules look at in one mask; ``borders`` has every pair of structures that are there."""

    area: dict[str, float]
    pieces: dict[str, int]
    borders: dict[tuple[str, str], float]
    background_pieces: int
    outside: float
    sector: float


def _look(mask: np.ndarray, sector: np.ndarray, space: LabelSpace) -> _Look:
    regions = {name: (mask == label).astype(np.uint8) for name, label in space.ids.items() if (mask == label).any()}
    grown = {name: cv2.dilate(region, np.ones((3, 3), np.uint8)) for name, region in regions.items()}
    covered = int((mask > 0).sum())
    return _Look(
        area={name: float(region.mean()) for name, region in regions.items()},
        pieces={name: pieces(region, 8) for name, region in regions.items()},
        borders={(a, b): _border(regions[a], grown[b]) for a, b in combinations(regions, 2)},
        background_pieces=pieces((mask == 0).astype(np.uint8), 4),
        outside=float(((mask > 0) & (sector == 0)).sum() / covered) if covered else 0.0,
        sector=float(sector.mean()),
    )


def _border(region: np.ndarray, grown: np.ndarray) -> float:
    """Share of the edge pixels of a region that touch another one, given that one grown by a pixel."""
    edge = region & cv2.dilate(1 - region, np.ones((3, 3), np.uint8))
    return float((edge & grown).sum() / max(int(edge.sum()), 1))


def pieces(region: np.ndarray, neighbours: int) -> int:
    """Connected pieces of a binary region uint8 ``[H, W]``, by 4 or 8 neighbours."""
    return int(cv2.connectedComponents(region, connectivity=neighbours)[0]) - 1


def _within(value: float, seen: tuple[float, float]) -> bool:
    return (1 - MARGIN) * seen[0] <= value <= (1 + MARGIN) * seen[1]
