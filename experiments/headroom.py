"""What a perfect generator could win: the simulator itself draws the frames that a synthesis would have to draw.

    python experiments/headroom.py --work W --out results/headroom [--seeds 3]

To the 16 training patients of a draw (``seg_real``) are added frames of the simulator, 8 for each of 16 or 80 more:

    frames    the same hearts and traits, seen again: other probe positions, shadows and speckle
    hearts    new hearts under the traits of the 16: what new masks could give to a faithful generator
    atlas     the same with hearts of the heart atlas's population, which are smaller and more alike
    traits    the 16 hearts under new traits: what a generator could give that knows more patients' pictures
    patients  new hearts with traits of their own: more real patients

And beside ``hearts``, what generators make of the masks of the same 16 new hearts:

    few       ``lora_mlp``, adapted to the 16 patients, as a study has it
    many      all weights, adapted to 80 other patients in twice the steps: no lack of frames or parameters

Segmenters are scored on the development patients of cohort ``pool``; no test patient is scored.
"""

import argparse
import json
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from baselines import fit, make
from sampling import USUAL, synthesize

from tte_tee.cli import main as tte_tee
from tte_tee.data.phantom import study_spec
from tte_tee.data.phantom.frame import Patient, acquire, draw_heart, draw_patient
from tte_tee.data.phantom.planes import PHASES, acquisition_seed, plane_names
from tte_tee.data.phantom.write import DOMAINS, LICENCE
from tte_tee.data.store import EchoStore, FrameInfo, StoreWriter
from tte_tee.provenance import provenance

GENERATORS = {"few": ("lora_mlp", 300), "many": ("full_finetune", 600)}
"""Config and steps."""
KINDS = ("frames", "hearts", "atlas", "traits", "patients")
COUNTS = (16, 80)
TRAIN, PER_SEED, ANGLES = 16, study_spec("adaptation").patients, (0, *study_spec("adaptation").angles, 90)
ADAPTATION, NEW = study_spec("adaptation").seed, 9001
"""Seeds of the adaptation cohort and of patients who are in no cohort."""


def added(kind: str, seed: int, number: int) -> Patient:
    """The ``number``-th patient that is added to draw ``seed``."""
    own = draw_patient("tee", ADAPTATION, PER_SEED * seed + number % TRAIN)
    new = draw_patient("tee", NEW, 1000 * seed + number)
    patients = {
        "frames": own,
        "hearts": replace(new, habitus=own.habitus),
        "atlas": replace(own, shape=draw_heart("tee", NEW, 1000 * seed + number, "atlas")),
        "traits": replace(own, habitus=new.habitus),
        "patients": new,
    }
    return patients[kind]


def write_added(work: Path, kind: str, seed: int, count: int) -> Path:
    """A store of the simulator's frames that are added, once."""
    path = work / f"{kind}{count}_{seed}.h5"
    if path.exists():
        return path
    with StoreWriter(path, DOMAINS["tee"], licence=LICENCE, command=f"headroom {kind}", provenance="{}") as store:
        for number in range(count):
            patient, name = added(kind, seed, number), f"{kind}-{number:04d}"
            for angle in ANGLES:
                view, study = plane_names("tee", angle)
                acquisition = acquisition_seed("tee", NEW, 1000 * seed + number, angle)
                for phase in PHASES:
                    frame = acquire(patient, "tee", angle, phase, acquisition, 64)
                    info = FrameInfo(
                        key=f"{name}/{study}/{phase}",
                        patient=name,
                        view=view,
                        study=study,
                        phase=phase,
                        split="train",
                        cohort="none",
                        origin="phantom",
                        mask_source="phantom",
                        spacing=frame.spacing,
                        seed=frame.seed,
                    )
                    store.append(frame.image, frame.mask, frame.sector, info)
    return path


def draw_added(work: Path, kind: str, seed: int) -> Path:
    """What a generator makes of the masks of the 16 new hearts, once."""
    path = work / f"{kind}_{seed}.h5"
    if path.exists():
        return path
    firsts = [seed] if kind == "few" else [other for other in range(5) if other != seed]
    cohort = ("phantom", "--cohort", "adaptation", "--first")
    stores = [make(work / f"adaptation{first}.h5", *cohort, str(PER_SEED * first)) for first in firsts]
    known = stores[0] if kind == "few" else make(work / f"others_{seed}.h5", "merge", *map(str, stores))
    config, steps = GENERATORS[kind]
    words = ("--data=EchoDataModule", f"--data.store={known}", f"--trainer.max_steps={steps}")
    adapter = fit(config, f"{kind}_{seed}", work, seed, *words, product="adapter")
    hearts, drawn = write_added(work, "hearts", seed, TRAIN), work / f"{kind}_{seed}_as_drawn.h5"
    synthesize(drawn, adapter, hearts, USUAL, f"--seed={seed}")
    return exchange(path, EchoStore(hearts), EchoStore(drawn))


def exchange(path: Path, hearts: EchoStore, drawn: EchoStore) -> Path:
    """The simulator's store with drawn frames in the place of its own, as if nobody else were known to them.

    A study refuses frames of a generator that knows patients the segmenter may not know, rightly; here that generator
    stands for a perfect one, as the simulator does.
    """
    with StoreWriter(path, DOMAINS["tee"], licence=LICENCE, command="headroom", provenance="{}") as store:
        for index in range(len(hearts)):
            store.append(drawn.frame(index)[0], *hearts.frame(index)[1:], hearts.info(index))
    return path


def score(segmenter: Path, pool: Path) -> dict[str, Any]:
    """Dice in percent on the development patients."""
    folder = segmenter.parent / "pool"
    if not folder.exists():
        words = ("--segmenter", str(segmenter), "--store", str(pool), "--split", "train", "--out", str(folder))
        tte_tee(["evaluate", "segmenter", *words])
    summary = json.loads((folder / "metrics.json").read_text())["summary"]
    dice = {name: 100 * values["dice"] for name, values in summary["structures"].items()}
    return {**dice, "RV and RA": (dice["RV"] + dice["RA"]) / 2, "global": 100 * summary["global_dice"]}


def run(work: Path, seeds: int) -> list[dict[str, Any]]:
    """Trains and scores every arm of every seed."""
    pool, test = (make(work / f"{name}.h5", "phantom", "--cohort", name) for name in ("pool", "test"))
    rows = []
    for seed in range(seeds):
        few = make(work / f"adaptation{seed}.h5", "phantom", "--cohort", "adaptation", "--first", str(PER_SEED * seed))
        arms = [("none", 0), *product(KINDS, COUNTS), *product(GENERATORS, COUNTS[:1])]
        for kind, count in arms:
            real = few
            if count:
                more = draw_added(work, kind, seed) if kind in GENERATORS else write_added(work, kind, seed, count)
                real = make(work / f"with_{kind}{count}_{seed}.h5", "merge", str(few), str(more))
            segmenter = fit(
                "seg_real", f"{kind}{count}_{seed}", work, seed, f"--data.real={real}", f"--data.test={test}"
            )
            rows.append({"seed": seed, "added": kind, "patients": count, **score(segmenter, pool)})
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """Means over seeds in Markdown, with the range of RV and RA."""
    lines = ["| added | patients | LV | LA | RV | RA | RV and RA | global |", "|---|---|---|---|---|---|---|---|"]
    for kind, count in dict.fromkeys((row["added"], row["patients"]) for row in rows):
        own = [row for row in rows if (row["added"], row["patients"]) == (kind, count)]
        cells = [
            f"{np.mean([row[name] for row in own]):.1f}" for name in ("LV", "LA", "RV", "RA", "RV and RA", "global")
        ]
        values = [row["RV and RA"] for row in own]
        cells[-2] += f" ({min(values):.1f} to {max(values):.1f})"
        lines.append(f"| {kind} | {count} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Parses, runs, writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for stores and runs; not in the repository")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    rows = run(options.work, options.seeds)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "headroom.json").write_text(json.dumps({**provenance(), "rows": rows}, indent=1) + "\n")
    print(table(rows))


if __name__ == "__main__":
    main()
