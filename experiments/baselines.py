"""Segmenters without any synthesis: real frames alone, stronger augmentation, TTE pretraining, all real frames.

    python experiments/baselines.py phantom --work W --out results/baselines/phantom
    python experiments/baselines.py camus --store camus64.h5 --work W --out results/baselines/camus

Every arm and seed is one ``fit`` and one ``evaluate`` of the package, in this process; a run whose
result is there is not repeated. Endpoint and rules: ``ENDPOINTS.md``. A seed draws its own 20 patients
(16 train, 4 validate).
"""

import argparse
import json
import os
import shutil
from pathlib import Path
from typing import Any, cast

from tte_tee.cli import main as tte_tee
from tte_tee.seen import published
from tte_tee.synthesis.frames import Precision

CONFIGS = Path(__file__).parents[1] / "lightning_configs"
PRECISION = cast(Precision, os.environ.get("PRECISION", "bf16"))
"""Of training and drawing: ``bf16``, or ``32`` where the processor emulates bfloat16, twenty times slower."""
ARMS = ("seg_real", "seg_real_strong_aug", "seg_pretrained_tte", "seg_all_real")
KEPT = (
    "tte_tee",
    "commit",
    "versions",
    "time",
    "command",
    "store",
    "unit",
    "tolerance",
    "rules",
    "summary",
    "patients",
)


def fit(config: str, name: str, work: Path, seed: int, *words: str, product: str = "segmenter") -> Path:
    """Trains an arm; returns the folder of its segmenter or adapter."""
    run = work / "runs" / name / "version_0"
    if not (run / product).is_dir():
        shutil.rmtree(run, ignore_errors=True)
        logger = (f"--trainer.logger.init_args.save_dir={work / 'runs'}", f"--trainer.logger.init_args.name={name}")
        precision = {"bf16": "bf16-mixed", "32": "32-true"}[PRECISION]
        common = (
            f"--seed_everything={seed}",
            f"--trainer.precision={precision}",
            "--trainer.logger.init_args.version=0",
        )
        tte_tee(["fit", f"--config={CONFIGS / config}.yaml", *common, *logger, *words])
    return run / product


def judge(segmenter: Path, store: Path, arm: str, seed: int, out: Path, **about: Any) -> None:
    """Scores a segmenter once on split test of a store, and keeps what is small."""
    result = out / f"{arm}_seed{seed}.json"
    if result.exists():
        return
    folder = segmenter.parent / "test"
    tte_tee(["evaluate", "segmenter", "--segmenter", str(segmenter), "--store", str(store), "--out", str(folder)])
    metrics = json.loads((folder / "metrics.json").read_text())
    kept = {name: published(metrics[name]) for name in KEPT}
    record = metrics["segmenter"]
    about |= {"val_dice": record["val_dice"], "seconds": record["seconds"], "config": published(record["config"])}
    out.mkdir(parents=True, exist_ok=True)
    result.write_text(json.dumps({"arm": arm, "seed": seed, **about, **kept}, indent=1) + "\n")


def make(path: Path, *words: str) -> Path:
    """A store made by ``data`` once."""
    if not path.exists():
        tte_tee(["data", *words, "--out", str(path)])
    return path


def phantom(work: Path, out: Path, seeds: int) -> None:
    """All arms on the frozen phantom, tested on its 60 test patients."""
    base, pool, test = (make(work / f"{name}.h5", "phantom", "--cohort", name) for name in ("base", "pool", "test"))
    tte = fit("seg_tte", "seg_tte", work, 0, f"--data.real={base}")
    for seed in range(seeds):
        first = ("--first", str(20 * seed))
        few = make(work / f"adaptation{seed}.h5", "phantom", "--cohort", "adaptation", *first)
        everyone = make(work / f"all{seed}.h5", "merge", str(few), str(pool))
        for arm in ARMS:
            real = everyone if arm == "seg_all_real" else few
            words = [f"--data.real={real}", f"--data.test={test}"]
            if arm == "seg_pretrained_tte":
                words.append(f"--model.pretrained={tte}")
            judge(fit(arm, f"{arm}_{seed}", work, seed, *words), test, arm, seed, out)


def camus(work: Path, out: Path, seeds: int, store: Path) -> None:
    """20 CAMUS patients against all 400, tested on the 50 that are kept for it; pretraining is on the phantom."""
    base = make(work / "base.h5", "phantom", "--cohort", "base")
    tte = fit("seg_tte", "seg_tte", work, 0, f"--data.real={base}")
    for seed in range(seeds):
        some = ("--split", "train", "--patients", "20", "--seed", str(seed))
        drawn = make(work / f"drawn{seed}.h5", "subset", str(store), *some)
        few = make(work / f"camus20_{seed}.h5", "split", str(drawn), "--val", "0.2", "--test", "0", "--seed", str(seed))
        for arm in ARMS:
            words = [f"--data.real={store if arm == 'seg_all_real' else few}", f"--data.test={store}"]
            if arm == "seg_pretrained_tte":
                words.append(f"--model.pretrained={tte}")
            judge(fit(arm, f"{arm}_{seed}", work, seed, *words), store, arm, seed, out)


def main() -> None:
    """Parses and runs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", choices=("phantom", "camus"))
    parser.add_argument("--work", type=Path, required=True, help="folder for stores and runs; not in the repository")
    parser.add_argument("--out", type=Path, required=True, help="folder for one JSON per run")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--store", type=Path, help="packed CAMUS, for study camus")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    if options.study == "phantom":
        phantom(options.work, options.out, options.seeds)
    else:
        camus(options.work, options.out, options.seeds, options.store)


if __name__ == "__main__":
    main()
