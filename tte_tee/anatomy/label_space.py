"""Label spaces: which structures a mask can hold, and the id of each."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from tte_tee.anatomy.structures import STRUCTURES
from tte_tee.errors import UserError


@dataclass(frozen=True)
class LabelSpace:
    """An ordered set of structures; the id of a structure is its place, counted from 1.

    0 is background in every label space.

    Raises:
        UserError: a structure is unknown or named twice, or there is none.
    """

    name: str
    structures: tuple[str, ...]

    def __post_init__(self) -> None:
        unknown = [s for s in self.structures if s not in STRUCTURES]
        if unknown:
            raise UserError(
                f"label space '{self.name}': unknown structure {', '.join(unknown)}; known are {', '.join(STRUCTURES)}"
            )
        if not self.structures or len(set(self.structures)) != len(self.structures):
            raise UserError(f"label space '{self.name}': name each structure once, and at least one")

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Out of what :meth:`to_json` gave.

        Raises:
            UserError: as above.
            LookupError, TypeError: it is not that.
        """
        return cls(values["name"], tuple(values["structures"]))

    def to_json(self) -> dict[str, Any]:
        """As stores and the folders of models record it."""
        return {"name": self.name, "structures": list(self.structures)}

    @property
    def ids(self) -> dict[str, int]:
        """Id of each structure, in order: ``{"LV": 1, ...}``."""
        return {structure: i for i, structure in enumerate(self.structures, start=1)}


CAMUS = LabelSpace("camus", ("LV", "LV_epi", "LA"))
"""Transthoracic masks of CAMUS (Leclerc et al., IEEE TMI 38(9), 2019): X of the paper."""

TEE = LabelSpace("tee", ("LV", "LA", "RV", "RA"))
"""Transoesophageal masks: Y of the paper (arXiv 2508.13077)."""

LABEL_SPACES: dict[str, LabelSpace] = {space.name: space for space in (CAMUS, TEE)}
