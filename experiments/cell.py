"""Gathers what the stages of one cell left into its small file; nothing is computed anew.

    python experiments/cell.py --grid smoke --arm lora_mlp-ssm-1to1 --seed 0 --work runs/grid/smoke --results RESULTS

The command that ``Snakefile`` runs last for each cell. Pictures go beside the file for seed 0 alone.
"""

import argparse
import json
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
from grid import HERE, Artefact, Cell, Grid, Json, Stage, load_grid
from workflow import benchmark

from tte_tee.data.curate.inspect import write_sheet
from tte_tee.data.curate.numbers import count_store
from tte_tee.data.store import EchoStore
from tte_tee.files import write_json
from tte_tee.report.shape import SCHEMA

KEPT = {
    "audit_masks": ("mask_fidelity", "mask_fidelity.json"),
    "audit_fidelity": ("fidelity", "fidelity.json"),
    "audit_copies": ("copies", "copies.json"),
}
PICTURES = {
    "adapt": ("version_0/previews/*.png", "gallery"),
    "masks": ("shapes/modes_*4C.png", "ssm"),
    "audit_copies": ("result/worst.png", "worst"),
    "audit_fidelity": ("result/features.png", "features"),
}
"""Where a stage leaves its picture, the last of several, and what the report calls it."""
DRAWN = 12  # frames, each with the mask that it was drawn for
QUALITY = [cv2.IMWRITE_WEBP_QUALITY, 50]  # a gallery of speckle takes a tenth of its PNG


def read(path: Path) -> Json:
    """A JSON file that a stage left."""
    values: Json = json.loads(path.read_text())
    return values


def gather(grid: Grid, cell: Cell, work: Path) -> Json:
    """The content of the cell's file; ``cell.parts`` have all ended."""
    found = {name: stage.folder(work) for name, stage in cell.parts.items()}
    metrics = read(found["evaluate"] / "result/metrics.json")
    segmenter = read(found["segment"] / "version_0/segmenter/segmenter.json")["provenance"]
    adapted = read(found["adapt"] / "version_0/adapter/adapter.json") if "adapt" in found else None
    # The adapter's patients where there is one: a segmenter of synthetic frames alone has met none of them itself.
    known = (adapted or segmenter)["data"]["learnt_from"]
    record: Json = {
        "schema": SCHEMA,
        "study": cell.study,
        "arm": cell.arm,
        "label": cell.label,
        "seed": cell.seed,
        "tested_on": cohort_or_split(cell, work, metrics["split"]),
        "adapter": adapter(adapted, found["adapt"] / "version_0", cell.about["config"]) if adapted else None,
        "synthesis": synthesis(cell, work) if adapted else None,
        "segmenter": training(cell.parts["segment"], work),
        "patients": sum(split["patients"] for split in known.values()),
        "segmentation": {name: metrics[name] for name in ("summary", "patients", "unit")},
        "validation": {"dice": segmenter["val_dice"], "structures": segmenter["val_structures"]},
        **{name: None for name, _ in KEPT.values()},
        "store": metrics["store"],
    }
    for rule, (name, file) in KEPT.items():
        if rule in found:
            record[name] = small(name, read(found[rule] / "result" / file))
    record["provenance"] = {
        **{name: metrics[name] for name in ("commit", "versions", "time")},
        "commands": [stage.command(Path("WORK"), grid.device) for stage in cell.stages()],
        "key": cell.key,
    }
    return record


def cohort_or_split(cell: Cell, work: Path, split: str) -> str:
    """Cohort of the tested frames where they are of one, else their split."""
    words = cell.parts["evaluate"].words
    (store,) = (word for word in words if isinstance(word, Artefact) and word.stage.rule == "store")
    table = EchoStore(store.stage.folder(work) / store.place).table
    cohorts = set(table["cohort"][table["split"] == split])
    return split if len(cohorts) > 1 or "none" in cohorts else str(cohorts.pop())


def adapter(values: Json, run: Path, config: str) -> Json:
    """What was adapted, how, and what it cost, from the adapter's record and its run's curve."""
    asked = values["config"]["model"]["init_args"]
    lora = values["method"] == "lora"
    return {
        "config": config,
        "method": values["method"],
        "scope": asked["scope"],
        "rank": asked["rank"] if lora else None,
        "learnable": asked["maskr2"]["learnable"],
        "trained": values["parameters"]["trained"],
        "share": values["parameters"]["share"],
        **{name: values[name] for name in ("steps", "seconds", "peak_memory_mib")},
        "val_loss": last_scalar(run, "val/loss"),
    }


def training(segment: Stage, work: Path) -> Json:
    """What it cost to train a segmenter, with the one that it started from where that is a stage of the same kind."""
    before = [stage for stage in segment.inputs if stage.rule == "segment"]
    made = [read(one.folder(work) / "version_0/segmenter/segmenter.json")["provenance"] for one in (segment, *before)]
    total = {name: sum(record[name] for record in made) for name in ("steps", "seconds")}
    return {**total, "peak_memory_mib": max(record["peak_memory_mib"] for record in made)}


def synthesis(cell: Cell, work: Path) -> Json:
    """What was drawn for which masks, and what it cost."""
    stage = cell.parts["synthesise"]
    frames = len(EchoStore(stage.folder(work) / "synthetic.h5"))
    cost = {"seconds": benchmark(stage, work), "peak_memory_mib": benchmark(stage, work, "max_rss")}
    return {**cell.about["synthesis"], "frames": frames, **cost}


def small(name: str, values: Json) -> Json:
    """What a cell keeps of an audit: no cases, no points of pictures."""
    if name == "mask_fidelity":
        return {part: {"summary": values[part]["summary"]} for part in ("synthetic", "real")}
    kept = ("rows", "frames", "patients", "stores", "notes") if name == "fidelity" else ("rates", "thresholds")
    return {key: values[key] for key in kept}


def last_scalar(run: Path, tag: str) -> float | None:
    """The last value of a curve that a run logged; None without one."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run), size_guidance={"scalars": 0})
    events.Reload()
    return float(events.Scalars(tag)[-1].value) if tag in events.Tags()["scalars"] else None


def copy_pictures(parts: dict[str, Stage], work: Path, beside: Path, hardest: str) -> None:
    """The pictures that a reader of the cell wants to see, small; of the cases those of one structure."""
    chosen = {**PICTURES, "evaluate": (f"result/cases_{hardest}.png", f"cases_{hardest}")}
    for name, (pattern, called) in chosen.items():
        found: list[Path] = sorted((parts[name].folder(work)).glob(pattern)) if name in parts else []
        if found:
            make_small(found[-1], beside / f"{called}.webp")
    if "synthesise" in parts:
        with TemporaryDirectory() as folder:
            sheet = Path(folder) / "drawn.png"
            write_sheet(count_store(EchoStore(parts["synthesise"].folder(work) / "synthetic.h5")), sheet, DRAWN)
            make_small(sheet, beside / "drawn.webp")


def make_small(picture: Path, out: Path) -> None:
    """A picture as WebP."""
    image = cv2.imread(str(picture))
    assert image is not None, f"{picture} is no picture"
    out.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(out), image, QUALITY)


def main() -> None:
    """Gathers one cell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--grid", required=True)
    parser.add_argument("--file", type=Path, default=HERE / "grid.yaml")
    parser.add_argument("--arm", required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--results", type=Path, required=True)
    options = parser.parse_args()
    grid = load_grid(options.grid, options.file)
    cell = grid.cell(options.arm, options.seed)
    path = cell.result(options.results)
    record = gather(grid, cell, options.work)
    if cell.seed == 0:
        structures = record["segmentation"]["summary"]["structures"]
        hardest = min(structures, key=lambda name: structures[name]["dice"] or 0.0)  # None: in no frame
        copy_pictures(cell.parts, options.work, path.with_suffix(""), hardest)
    write_json(path, record)


if __name__ == "__main__":
    main()
