"""Segmentation scores of a set of frames: per frame, per patient, per structure.

Frames are averaged within the patient, then patients within the structure, so that a patient with
many frames weighs no more than another. Two numbers span the structures. The paper (arXiv 2508.13077)
names both and defines neither; this is our reading:

* *global Dice*: twice the common pixels over the sum of both regions' pixels, pooled over a patient's
  frames and structures, then averaged over patients (a micro average);
* *class-weighted Dice*: a patient's Dice per structure, weighted by the structure's share of the pixels
  of the truth, then averaged over patients (a macro average weighted by support). An invented structure
  without a pixel of truth has no weight here; the global Dice counts it.

The paper's baseline has 87.15 and 88.00 where the plain mean of its four structures is 84.74: both
weigh the left heart more, as pixel shares do, and as the inverse volumes of the generalised Dice do not.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

import tte_tee
from tte_tee.anatomy import LabelSpace
from tte_tee.errors import UserError
from tte_tee.metrics.cases import BOTH_EMPTY, CASES, METRICS, RULES, RULES_ID, Case, Pair, score_frame
from tte_tee.metrics.surfaces import TOLERANCE_MM, TOLERANCE_PIXELS

MM, PERCENT = "mm", "% of diagonal"
OVER_STRUCTURES = ("global_dice", "class_weighted_dice")
TOLERANCE_RULE = f"max({TOLERANCE_MM:g} mm, {TOLERANCE_PIXELS:g} pixels); {TOLERANCE_PIXELS:g} pixels without spacing"


@dataclass(frozen=True)
class SegmentationResult:
    """Every case, and what follows from them.

    Attributes:
        structures: those scored, in order.
        unit: of the distances, one for all cases: ``mm``, or ``% of diagonal`` where any frame's spacing
            is unknown, as a mean of both would mean nothing.
        frames_without_spacing: their number.
        cases: one per frame and structure.
    """

    structures: tuple[str, ...]
    unit: str
    frames_without_spacing: int
    cases: tuple[Case, ...]

    @cached_property
    def table(self) -> pd.DataFrame:
        """The cases as rows."""
        return pd.DataFrame([asdict(case) for case in self.cases])

    @cached_property
    def structure_scores(self) -> pd.DataFrame:
        """Mean over frames of each metric, by (patient, structure); absent where every frame was excluded."""
        scored = self.table[self.table["case"] != BOTH_EMPTY]
        return scored.groupby(["patient", "structure"], sort=True)[list(METRICS)].mean()

    @cached_property
    def patient_scores(self) -> pd.DataFrame:
        """:data:`OVER_STRUCTURES` by patient; NaN where the truth has no pixel to weight by."""
        pixels = self.table.groupby(["patient", "structure"])[["found_pixels", "truth_pixels", "common_pixels"]].sum()
        whole = pixels.groupby("patient").sum()
        weights = pixels["truth_pixels"].reindex(self.structure_scores.index)
        weighted = (self.structure_scores["dice"] * weights).groupby("patient").sum()
        return pd.DataFrame(
            {
                # 0 / 0 is NaN here, and so a patient without any structure is left out of the mean.
                "global_dice": 2 * whole["common_pixels"] / (whole["found_pixels"] + whole["truth_pixels"]),
                "class_weighted_dice": weighted / weights.groupby("patient").sum(),
            }
        )

    def patient_values(self, metric: str, structure: str | None = None) -> dict[str, float]:
        """One number per patient: of a structure, or over structures; patients without one are absent.

        Raises:
            UserError: there is no such metric or structure.
        """
        known = METRICS if structure else OVER_STRUCTURES
        if metric not in known or structure not in (None, *self.structures):
            raise UserError(
                f"no scores '{metric}' of structure '{structure}'; of one structure ({', '.join(self.structures)}) "
                f"there are {', '.join(METRICS)}, of none {', '.join(OVER_STRUCTURES)}"
            )
        if structure is None:
            values = self.patient_scores[metric]
        else:
            scores = self.structure_scores[metric]
            values = scores[scores.index.get_level_values("structure") == structure].droplevel("structure")
        return {str(patient): float(value) for patient, value in values.dropna().items()}

    def summary(self) -> dict[str, Any]:
        """Per structure the means over patients and the counts of cases; over structures the Dice of the paper."""
        structures = {name: self._structure_summary(name) for name in self.structures}
        dice = [scores["dice"] for scores in structures.values() if scores["dice"] is not None]
        over = {name: _mean(self.patient_values(name)) for name in OVER_STRUCTURES}
        return {
            "patients": int(self.table["patient"].nunique()),
            "frames": int(self.table["key"].nunique()),
            "mean_dice": float(np.mean(dice)) if dice else None,
            **over,
            "structures": structures,
        }

    def _structure_summary(self, structure: str) -> dict[str, Any]:
        values = {metric: self.patient_values(metric, structure) for metric in METRICS}
        cases = self.table["case"][self.table["structure"] == structure]
        return {
            **{metric: _mean(of_patient) for metric, of_patient in values.items()},
            "patients": len(values["dice"]),
            "cases": {case: int((cases == case).sum()) for case in CASES},
        }

    def to_json(self) -> dict[str, Any]:
        """Plain data, None for NaN: what was computed and how, then summary, patients and cases."""
        patients = {
            str(patient): {
                **{name: _plain(scores[name]) for name in OVER_STRUCTURES},
                "structures": {
                    structure: {
                        metric: float(self.structure_scores.loc[patient, structure][metric]) for metric in METRICS
                    }
                    for structure in self.structures
                    if (patient, structure) in self.structure_scores.index
                },
            }
            for patient, scores in self.patient_scores.iterrows()
        }
        return {
            "implementation": __name__,
            "version": tte_tee.__version__,
            "unit": self.unit,
            "frames_without_spacing": self.frames_without_spacing,
            "tolerance": TOLERANCE_RULE,
            "rules": {"id": RULES_ID, "text": RULES},
            "summary": self.summary(),
            "patients": patients,
            "cases": [{name: _plain(value) for name, value in asdict(case).items()} for case in self.cases],
        }


def evaluate(pairs: Iterable[Pair], label_space: LabelSpace) -> SegmentationResult:
    """Scores every pair of masks.

    Args:
        pairs: at native resolution; only one is held at a time.
        label_space: of both masks of every pair.

    Raises:
        UserError: there is no pair, a key stands twice, or a pair cannot be scored.
    """
    cases: list[Case] = []
    keys: set[str] = set()
    unknown = 0
    for pair in pairs:
        if pair.key in keys:
            raise UserError(f"frame '{pair.key}' is to be scored twice; a key is unique within a store")
        keys.add(pair.key)
        unknown += pair.spacing is None
        cases.extend(score_frame(pair, label_space))
    if not cases:
        raise UserError("there is no frame to score; the split or cohort asked for is empty")
    if unknown:
        cases = [case.in_percent() for case in cases]
    return SegmentationResult(label_space.structures, PERCENT if unknown else MM, unknown, tuple(cases))


def _mean(of_patient: dict[str, float]) -> float | None:
    return float(np.mean(list(of_patient.values()))) if of_patient else None


def _plain(value: Any) -> Any:
    if isinstance(value, float):  # numpy's float64 is one too
        return None if np.isnan(value) else float(value)
    return value
