"""Arms against a baseline: means over seeds and patients, differences with simultaneous intervals.

    python experiments/compare.py FOLDER [--baseline seg_real] [--level .95]

FOLDER holds one ``ARM_seedN.json`` per run, as ``baselines.py`` writes them. Prints Markdown and
writes ``FOLDER/comparison.json``. Dice in percent; a seed is everything at once, patients are shared
by all seeds.
"""

import argparse
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from tte_tee.metrics.statistics import paired_differences, simultaneous_intervals

Values = dict[str, float]


def runs_of(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Arm -> its runs by seed; every arm must have the same seeds, tested on the same patients."""
    arms: dict[str, dict[int, dict[str, Any]]] = defaultdict(dict)
    for path in sorted(folder.glob("*_seed*.json")):
        run = json.loads(path.read_text())
        arms[run["arm"]][run["seed"]] = run
    seeds = {arm: tuple(sorted(runs)) for arm, runs in arms.items()}
    if len(set(seeds.values())) > 1:
        raise SystemExit(f"{folder}: arms differ in their seeds: {seeds}")
    if len({run["store"]["hash"] for runs in arms.values() for run in runs.values()}) > 1:
        raise SystemExit(f"{folder}: runs were scored on different stores")
    return {arm: [runs[seed] for seed in sorted(runs)] for arm, runs in arms.items()}


def dice(run: dict[str, Any], structures: tuple[str, ...]) -> Values:
    """Percent by patient: mean over those of the structures that the patient has; absent without any."""
    values = {}
    for patient, scores in run["patients"].items():
        own = [scores["structures"][s]["dice"] for s in structures if s in scores["structures"]]
        if len(own) == len(structures):
            values[patient] = 100 * float(np.mean(own))
    return values


def main() -> None:
    """Compares and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--baseline", default="seg_real")
    parser.add_argument("--level", type=float, default=0.95)
    options = parser.parse_args()
    arms = runs_of(options.folder)
    names = tuple(arms[options.baseline][0]["summary"]["structures"])
    groups = {name: (name,) for name in names}
    if {"RV", "RA"} <= set(names):
        groups["RV and RA"] = ("RV", "RA")
    values = {arm: {g: [dice(run, s) for run in runs] for g, s in groups.items()} for arm, runs in arms.items()}

    differences = {}
    patients = sorted({p for run in arms[options.baseline] for p in run["patients"]})
    for arm in arms:
        for group in groups:
            if arm != options.baseline:
                rows, columns = paired_differences(values[arm][group], values[options.baseline][group])
                full = np.full((len(rows), len(patients)), np.nan)
                full[:, [patients.index(p) for p in columns]] = rows
                differences[f"{arm}: {group}"] = full
    intervals = simultaneous_intervals(differences, level=options.level)

    print("| arm |", " | ".join(groups), "| global | class-weighted |")
    print("|---|" + "---|" * (len(groups) + 2))
    for arm, runs in arms.items():
        cells = []
        for group in groups:
            by_seed = [float(np.mean(list(of_seed.values()))) for of_seed in values[arm][group]]
            cell = f"{np.mean(by_seed):.1f} ({np.std(by_seed, ddof=1):.1f})"
            if arm != options.baseline:
                found = intervals[f"{arm}: {group}"]
                cell += f"; {found.estimate:+.1f} [{found.low:+.1f}, {found.high:+.1f}]"
            cells.append(cell)
        over = [
            100 * float(np.mean([run["summary"][k] for run in runs])) for k in ("global_dice", "class_weighted_dice")
        ]
        print(f"| `{arm}` |", " | ".join(cells), "|", " | ".join(f"{value:.1f}" for value in over), "|")
    record = {
        "baseline": options.baseline,
        "level": options.level,
        "seeds": [run["seed"] for run in arms[options.baseline]],
        "patients": len(patients),
        "intervals": {name: interval.to_json() for name, interval in intervals.items()},
    }
    (options.folder / "comparison.json").write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
