"""Segmentation metrics beside MONAI's and SimpleITK's, on phantom masks perturbed in several ways.

    python experiments/metrics_agreement.py --out experiments/results/metrics_agreement

Writes ``agreement.json`` and prints two tables: the largest difference per perturbation where both masks
hold the structure, and what each says where one or both do not.
"""

import argparse
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import monai
import numpy as np
import SimpleITK as sitk  # noqa: N813
import torch
from monai.metrics import (
    HausdorffDistanceMetric,
    compute_average_surface_distance,
    compute_dice,
    compute_hausdorff_distance,
    compute_surface_dice,
)
from scipy import ndimage

from tte_tee.anatomy import TEE
from tte_tee.data.phantom.frame import acquire, draw_patient
from tte_tee.metrics.cases import BOTH_EMPTY, FOUND, INVENTED, MISSED, RULES, Case, Pair, score_frame
from tte_tee.metrics.surfaces import Grid, outline
from tte_tee.provenance import provenance

SIZES, HEARTS = (64, 112), 6
ANISOTROPIC = (0.73, 1.31)
SCORES = ("dice", "hd95", "hd", "assd", "surface_dice")
ROWS = {
    "MONAI Dice": "dice",
    "MONAI HD95": "hd95",
    "MONAI HD": "hd",
    "MONAI ASSD": "assd",
    "MONAI surface Dice": "surface_dice",
    "SimpleITK Dice": "dice",
    "SimpleITK HD of outlines": "hd",
    "SimpleITK HD of regions": "hd",
}


def dilated(mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Every structure a pixel larger, over the background alone."""
    return np.where(mask > 0, mask, ndimage.maximum_filter(mask, footprint=np.ones((3, 3)))).astype(np.uint8)


def islands(mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Three pixels of every structure far from it: where HD and HD95 part."""
    out = mask.copy()
    for label in np.unique(mask[mask > 0]):
        rows, columns = rng.integers(0, mask.shape[0], 3), rng.integers(0, mask.shape[1], 3)
        out[rows, columns] = label
    return out


def holed(mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One pixel in twelve lost to the background."""
    return np.where(rng.random(mask.shape) < 1 / 12, 0, mask).astype(np.uint8)


PERTURBATIONS: dict[str, Callable[[np.ndarray, np.random.Generator], np.ndarray]] = {
    "none": lambda mask, rng: mask,
    "shift by (2, -3) pixels": lambda mask, rng: np.roll(mask, (2, -3), (0, 1)),
    "turn by 12 degrees": lambda mask, rng: ndimage.rotate(mask, 12, reshape=False, order=0),
    "dilated": dilated,
    "eroded": lambda mask, rng: ndimage.minimum_filter(mask, size=3),
    "holes": holed,
    "islands": islands,
    "another heart": lambda mask, rng: np.ascontiguousarray(mask[::-1]),
}


def monai_scores(found: np.ndarray, truth: np.ndarray, grid: Grid) -> dict[str, float]:
    """MONAI's functions on one region ``[H, W]`` each."""
    a, b = (torch.as_tensor(region)[None, None].float() for region in (found, truth))
    far: dict[str, Any] = {"include_background": True, "spacing": grid.step}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of empty masks, which are meant here
        values = {
            "MONAI Dice": compute_dice(a, b, include_background=True),
            "MONAI HD95": compute_hausdorff_distance(a, b, percentile=95, **far),
            "MONAI HD": compute_hausdorff_distance(a, b, **far),
            "MONAI ASSD": compute_average_surface_distance(a, b, symmetric=True, **far),
            "MONAI surface Dice": compute_surface_dice(a, b, [grid.tolerance], **far),
        }
    return {name: float(value) for name, value in values.items()}


def simpleitk_scores(found: np.ndarray, truth: np.ndarray, grid: Grid) -> dict[str, float | str]:
    """SimpleITK's filters on one region ``[H, W]`` each; an exception is the answer ``raises``."""

    def image(region: np.ndarray) -> sitk.Image:
        picture = sitk.GetImageFromArray(region.astype(np.uint8))
        picture.SetSpacing(grid.step[::-1])
        return picture

    def dice() -> float:
        overlap = sitk.LabelOverlapMeasuresImageFilter()
        overlap.Execute(image(found), image(truth))
        return overlap.GetDiceCoefficient(1)

    def hausdorff(a: np.ndarray, b: np.ndarray) -> float:
        distance = sitk.HausdorffDistanceImageFilter()
        distance.Execute(image(a), image(b))
        return distance.GetHausdorffDistance()

    asked = {
        "SimpleITK Dice": dice,
        "SimpleITK HD of outlines": lambda: hausdorff(outline(found), outline(truth)),
        "SimpleITK HD of regions": lambda: hausdorff(found, truth),
    }
    answers: dict[str, float | str] = {}
    for name, ask in asked.items():
        try:
            answers[name] = ask()
        except RuntimeError:
            answers[name] = "raises"
    return answers


def compare(pair: Pair) -> list[tuple[Case, dict[str, float | str]]]:
    """Our case and the libraries' answers, per structure."""
    grid = Grid.of(pair.truth.shape, pair.spacing)
    compared = []
    for case in score_frame(pair, TEE):
        found, truth = (mask == TEE.ids[case.structure] for mask in (pair.found, pair.truth))
        compared.append((case, {**monai_scores(found, truth, grid), **simpleitk_scores(found, truth, grid)}))
    return compared


def agreement() -> dict[str, dict[str, float]]:
    """Per perturbation the cases, and per library's metric the largest difference to ours."""
    found: dict[str, dict[str, float]] = {}
    for name, perturb in PERTURBATIONS.items():
        rng = np.random.default_rng(0)
        row = {"cases": 0.0, **dict.fromkeys(ROWS, 0.0)}
        for size in SIZES:
            for index in range(HEARTS):
                frame = acquire(draw_patient("tee", 5, index), "tee", 0, "ED", index, size)
                spacing = (frame.spacing, ANISOTROPIC, None)[index % 3]
                pair = Pair(f"{size}/{index}", str(index), perturb(frame.mask, rng), frame.mask, spacing)
                for case, answers in compare(pair):
                    if case.case == FOUND:
                        row["cases"] += 1
                        for library, score in ROWS.items():
                            row[library] = max(row[library], abs(float(answers[library]) - getattr(case, score)))
        found[name] = row
    return found


def empties() -> dict[str, dict[str, float | str]]:
    """What ours and the libraries give for a structure that one or both masks lack."""
    disc = (np.hypot(*np.mgrid[-20:20, -20:20]) < 8).astype(np.uint8)
    nothing = np.zeros_like(disc)
    rows: dict[str, dict[str, float | str]] = {}
    sitk.ProcessObject_SetGlobalWarningDisplay(False)
    for name, found, truth in ((BOTH_EMPTY, nothing, nothing), (MISSED, nothing, disc), (INVENTED, disc, nothing)):
        case, answers = compare(Pair(name, "p", found, truth, (1.0, 1.0)))[0]
        assert case.case == name
        row = {**{f"ours {score}": getattr(case, score) for score in SCORES}, **answers}
        # JSON knows neither NaN nor infinity.
        rows[name] = {
            key: value if value in (0, "raises") or np.isfinite(value) else str(value) for key, value in row.items()
        }
    return rows


def mean_with_a_miss() -> float:
    """MONAI's mean HD95 over a frame that is 1 mm off and one where the structure was missed."""
    disc = torch.as_tensor(np.hypot(*np.mgrid[-20:20, -20:20]) < 8)[None, None].float()
    metric = HausdorffDistanceMetric(include_background=True, percentile=95)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        metric(torch.cat([disc.roll(1, 2), 0 * disc]), torch.cat([disc, disc]))
        mean = metric.aggregate()
    assert isinstance(mean, torch.Tensor)
    return float(mean)


def as_table(rows: dict[str, dict[str, float | str]], corner: str, digits: str) -> str:
    """Markdown; the rows of ``rows`` become columns."""

    def text(value: float | str) -> str:
        return value if isinstance(value, str) else f"{value:{digits}}"

    names = list(next(iter(rows.values())))
    lines = [f"| {corner} | {' | '.join(rows)} |", "|---" * (len(rows) + 1) + "|"]
    lines += [f"| {name} | {' | '.join(text(row[name]) for row in rows.values())} |" for name in names]
    return "\n".join(lines)


def main() -> None:
    """Compares and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True, type=Path)
    out = parser.parse_args().out
    libraries = {"monai": monai.__version__, "SimpleITK": sitk.Version_VersionString()}
    result = {
        **provenance(),
        "libraries": libraries,
        "rules": RULES,
        "largest_difference": agreement(),
        "empty": empties(),
        "monai_mean_hd95_of_1_mm_and_a_miss": mean_with_a_miss(),
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / "agreement.json").write_text(json.dumps(result, indent=1, allow_nan=False) + "\n")
    print(as_table(result["largest_difference"], "largest difference", ".2g"), end="\n\n")
    print(as_table(result["empty"], "one structure, 1 mm pixels", ".4g"), end="\n\n")
    print(f"MONAI's mean HD95 of 1 mm off and a miss: {result['monai_mean_hd95_of_1_mm_and_a_miss']:.3g}", libraries)


if __name__ == "__main__":
    main()
