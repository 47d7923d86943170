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

from tte_tee.report.compare import compare, measures_of, patient_dice


def runs_of(folder: Path) -> dict[str, dict[int, dict[str, Any]]]:
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
    return {arm: dict(sorted(runs.items())) for arm, runs in arms.items()}


def main() -> None:
    """Compares and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--baseline", default="seg_real")
    parser.add_argument("--level", type=float, default=0.95)
    options = parser.parse_args()
    arms = runs_of(options.folder)
    first = next(iter(arms[options.baseline].values()))
    groups = measures_of(tuple(first["summary"]["structures"]))
    values = {
        arm: {
            name: {seed: patient_dice(run["patients"], group) for seed, run in runs.items()}
            for name, group in groups.items()
        }
        for arm, runs in arms.items()
    }
    found = compare(values, options.baseline, level=options.level)

    print("| arm |", " | ".join(groups), "| global | class-weighted |")
    print("|---|" + "---|" * (len(groups) + 2))
    for arm, runs in arms.items():
        cells = []
        for group in groups:
            by_seed = [float(np.mean(list(of_seed.values()))) for of_seed in values[arm][group].values()]
            cell = f"{np.mean(by_seed):.1f} ({np.std(by_seed, ddof=1):.1f})"
            if arm != options.baseline and (interval := found[arm, group].interval):
                cell += f"; {interval.estimate:+.1f} [{interval.low:+.1f}, {interval.high:+.1f}]"
            cells.append(cell)
        over = [
            100 * float(np.mean([run["summary"][k] for run in runs.values()]))
            for k in ("global_dice", "class_weighted_dice")
        ]
        print(f"| `{arm}` |", " | ".join(cells), "|", " | ".join(f"{value:.1f}" for value in over), "|")
    record = {
        "baseline": options.baseline,
        "level": options.level,
        "seeds": list(arms[options.baseline]),
        "patients": len({p for run in arms[options.baseline].values() for p in run["patients"]}),
        "intervals": {
            f"{arm}: {group}": comparison.interval.to_json()
            for (arm, group), comparison in found.items()
            if comparison.interval
        },
    }
    (options.folder / "comparison.json").write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
