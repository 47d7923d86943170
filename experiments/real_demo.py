"""Gathers what ``real_demo.sh`` left: one JSON with every number, and tables in Markdown.

All of it is of one patient and one clip, so no number has an interval, and a share of copies or a floor cannot be
estimated; the tables say so.

python experiments/real_demo.py WORK_FOLDER OUT_FOLDER
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tte_tee.data.store import EchoStore
from tte_tee.evaluation.copies import read_frames, score_copies
from tte_tee.files import write_json
from tte_tee.provenance import provenance

CONTROL = "maskr2_only"
MASKS = {"later": "frames 24-32", "train": "frames 0-15"}
LIKENESS = ("texture", "own_correlation")
TEXTURE = ("grey level", "contrast")
NOTHING, NOT_ESTIMABLE = "-", "not estimable"
Json = dict[str, Any]
Measure = tuple[str, str, str]
"""Extractor or group, measure and structure of a row of fidelity."""
LPIPS, KID = ("pairs", "LPIPS", ""), ("mobilenet_v2", "KID", "")


def read(path: Path) -> Json:
    """A record."""
    values: Json = json.loads(path.read_text())
    return values


def row_of(cells: list[str]) -> str:
    """A line of a table."""
    return f"| {' | '.join(cells)} |"


def head_of(names: list[str]) -> list[str]:
    """The first two lines of a table."""
    return [row_of(names), "|---" * len(names) + "|"]


def arm_of(work: Path, arm: str) -> Json:
    """What was trained, and what its frames are worth."""
    adapter = read(work / f"runs/real_{arm}/version_0/adapter/adapter.json")
    fidelity = read(work / f"fidelity_{arm}/fidelity.json")
    kept = ("rows", "frames", "patients", "notes", "options", "stores", "extractors")
    return {
        **{key: adapter[key] for key in ("method", "parameters", "steps", "seconds", "peak_memory_mib", "commit")},
        "fidelity": {key: fidelity[key] for key in kept},
        "copies": {masks: copies_of(work / f"copies_{arm}_{masks}") for masks in MASKS},
    }


def copies_of(folder: Path) -> Json:
    """Shares, or why there are none, and how alike the frames are to their likest training frame."""
    values, frames = read(folder / "copies.json"), pd.read_csv(folder / "copies.csv")
    return {**{key: values[key] for key in ("rates", "thresholds")}, "median": medians(frames)}


def medians(frames: pd.DataFrame) -> dict[str, float]:
    """Of the likeness to the patient's own likest training frame."""
    return {name: round(float(frames[name].median()), 3) for name in LIKENESS}


def acquired(work: Path) -> dict[str, float]:
    """What the acquired later frames, which copy nobody, score as copies of the training frames."""
    later, training = (EchoStore(work / f"tee_{part}64.h5") for part in ("later", "adapt"))
    real, seen = (read_frames(store, store.indices()) for store in (later, training))
    return medians(score_copies(real, seen))


def dice_of(work: Path) -> Json:
    """Segmenter -> structure, or the mean over them -> Dice of every seed, in the order of the seeds, in percent."""
    found: Json = {}
    for folder in sorted(work.glob("dice_seg_*_seed*")):
        name = folder.name.removeprefix("dice_seg_").rpartition("_seed")[0]
        scores = read(folder / "metrics.json")["summary"]["structures"]
        dice = {structure: 100 * score["dice"] for structure, score in scores.items()}
        for structure, value in {**dice, "mean": float(np.mean(list(dice.values())))}.items():
            found.setdefault(name, {}).setdefault(structure, []).append(round(value, 2))
    return dict(sorted(found.items(), key=lambda item: item[0] != "real"))


def gather(work: Path) -> Json:
    """Everything, by arm."""
    pairs = read(work / "pairs.json")
    arms = [name for name in pairs["scores"] if (work / f"fidelity_{name}").is_dir()]
    return {
        **provenance(),
        "what": "single-patient demonstration: one TEE clip, frames 0-19 against frames 24-32",
        "base": base_of(work),
        "pairs": pairs,
        "arms": {arm: arm_of(work, arm) for arm in arms},
        "acquired": acquired(work),
        "dice": dice_of(work),
    }


def base_of(work: Path) -> Json:
    """How long the base was trained, on what."""
    values = read(work / "runs/base_camus/version_0/base/base.json")["provenance"]
    kept = ("parameters", "steps", "seconds", "peak_memory_mib", "commit")
    return {"store": EchoStore(work / "camus64.h5").content_hash, **{key: values[key] for key in kept}}


def shown(record: Json, arm: str, measure: Measure, side: str = "synthetic") -> str:
    """One number of fidelity as a cell."""
    for row in record["arms"][arm]["fidelity"]["rows"]:
        if (row["group"].split()[0], row["measure"].partition(" (")[0], row.get("structure", "")) == measure:
            value = row[side]
            if "not_estimable" in value:
                return NOT_ESTIMABLE
            spread = f" ± {value['sd']:.1g}" if "sd" in value else ""
            return f"{value['mean']:.3g}{spread}"
    return NOTHING


def pair_table(record: Json) -> list[str]:
    """Drawn frames against the acquired ones of their masks."""
    names = ["", "trained parameters", "squared error", "SSIM", "LPIPS", "squared error to the nearest training frame"]
    lines = head_of(names)
    for name, scores in record["pairs"]["scores"].items():
        trained, lpips = NOTHING, NOTHING
        if name in record["arms"]:
            parameters = record["arms"][name]["parameters"]
            trained = f"{parameters['trained']:,} ({100 * parameters['share']:.2f} %)"
            lpips = shown(record, name, LPIPS)
        numbers = [f"{scores[key]}" for key in ("squared_error", "ssim", "to_nearest_trained_on")]
        lines.append(row_of([name, trained, *numbers[:2], lpips, numbers[2]]))
    return lines


def median_inside(record: Json, arm: str, measure: str, structure: str, side: str) -> str:
    """A median over frames of what structures look like, real or drawn; so few frames have no distance."""
    for row in record["arms"][arm]["fidelity"]["rows"]:
        if (row["group"], row["measure"], row.get("structure")) == ("texture", measure, structure):
            quantiles = row["quantiles"][side]
            return f"{quantiles[len(quantiles) // 2]:.0f}" if quantiles else NOTHING
    return NOTHING


def fidelity_table(record: Json) -> list[str]:
    """Distance in features, where there is an extractor, and medians inside structures; the control is the ceiling."""
    fidelity = record["arms"][CONTROL]["fidelity"]
    inside = [(row["measure"], row["structure"]) for row in fidelity["rows"] if row["group"] == "texture"]
    inside = [(measure, of) for measure, of in inside if measure in TEXTURE]
    lines = head_of([f"N = {fidelity['frames']}", "KID (MobileNetV2)", *(f"{name} {of}" for name, of in inside)])
    real = [median_inside(record, CONTROL, *column, "real") for column in inside]
    lines.append(row_of(["acquired (floor: other real patients)", shown(record, CONTROL, KID, "floor"), *real]))
    for arm in record["arms"]:
        name = f"{arm} (ceiling)" if arm == CONTROL else arm
        drawn = [median_inside(record, arm, *column, "synthetic") for column in inside]
        lines.append(row_of([name, shown(record, arm, KID), *drawn]))
    return lines


def copy_table(record: Json) -> list[str]:
    """How alike drawn frames are to training frames; what share of them are copies, one patient does not tell."""
    lines = head_of(["frames", "masks of", "share of copies", "texture", "correlation"])
    lines.append(row_of(["acquired", MASKS["later"], NOTHING, *map(str, record["acquired"].values())]))
    for arm, values in record["arms"].items():
        for masks, found in values["copies"].items():
            lines += [
                row_of([arm, MASKS[masks], share(rates["any"]), *map(str, found["median"].values())])
                for rates in found["rates"].values()
            ]
    return lines


def share(rate: Json) -> str:
    """A share of copies as a cell."""
    return NOT_ESTIMABLE if "not_estimable" in rate else f"{100 * rate['share']:.1f} %"


def dice_table(record: Json) -> list[str]:
    """Dice of the segmenters: mean and standard deviation over seeds, which is no interval."""
    names = list(next(iter(record["dice"].values())))
    lines = head_of(["trained on", *names])
    for name, scores in record["dice"].items():
        what = "frames 0-15" if name == "real" else f"frames 0-15 and {name} 1:1"
        cells = [f"{np.mean(scores[key]):.1f} ± {np.std(scores[key], ddof=1):.1f}" for key in names]
        lines.append(row_of([what, *cells]))
    return lines


def reasons(record: Json) -> list[str]:
    """Why a number is not estimable, each reason once."""
    found = {
        estimate["not_estimable"]: None
        for arm in record["arms"].values()
        for row in arm["fidelity"]["rows"]
        for estimate in (row["synthetic"], row["floor"])
        if "not_estimable" in estimate
    }
    audits = [audit for arm in record["arms"].values() for audit in arm["copies"].values()]
    found |= {f"copies: {t['not_estimable']}": None for audit in audits for t in audit["thresholds"].values()}
    return [f"- not estimable: {reason}" for reason in found]


def tables(record: Json) -> list[str]:
    """All of them, with their captions."""
    seeds = len(next(iter(record["dice"].values()))["mean"])
    parts = {
        f"Pairs: means over {record['pairs']['frames']} later frames": pair_table(record),
        "Fidelity: acquired frames 24-32 against as many drawn ones, ± SD over draws of these; inside structures "
        "medians in grey levels": fidelity_table(record),
        "Copies: medians of the likeness to the likest training frame": copy_table(record),
        f"Segmenters: Dice on frames 24-32, mean ± SD over {seeds} seeds (no interval)": dice_table(record),
    }
    lines = [f"**{record['what']}**"]
    for caption, table in parts.items():
        lines += ["", f"{caption}.", "", *table]
    return [*lines, "", *reasons(record)]


def main() -> None:
    """Reads, writes and prints."""
    work, out = Path(sys.argv[1]), Path(sys.argv[2])
    record = gather(work)
    write_json(out / "real_demo.json", record)
    print("\n".join(tables(record)))


if __name__ == "__main__":
    main()
