"""How few evaluations of the network a frame needs: mask fidelity and KID of cheap samplers against 100-step DDIM.

    python experiments/sampling.py --work W --out results/sampling

One adapter, ``lora_mlp`` of the adaptation cohort's first 20 patients, draws for the masks of 24 pool patients; a
segmenter of the other pool patients judges, and KID, in its features, is against as many frames, drawn at random, of
the adaptation cohort's other 80. KID's ceiling are frames of the unadapted base. A cheap sampler is equivalent where
mask fidelity, a mean over structures, is less than 1 point below the reference's and KID less than 10 % of ceiling
minus floor above it, each at the worse end of its one-sided 95 % interval over patients. What is not guided is set
against 100 steps not guided.
"""

import argparse
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from baselines import PRECISION, fit, make

from tte_tee.cli import main as tte_tee
from tte_tee.data.store import EchoStore
from tte_tee.metrics.fidelity import kernel_distance
from tte_tee.models.extractors import load_extractor
from tte_tee.provenance import provenance
from tte_tee.synthesis.frames import Sampling

REFERENCE, UNGUIDED = "ddim 100", "ddim 100, unguided, bf16"
GUIDED = Sampling("sde-dpm++", 12, 2.0, 0.6)
HALF = replace(GUIDED, precision="bf16")
USUAL = replace(GUIDED, precision=PRECISION)
"""Of the grids."""
SETTINGS = {
    REFERENCE: Sampling("ddim", 100, 2.0, 0.6),
    "sde-dpm++ 20": replace(GUIDED, steps=20),
    "sde-dpm++ 12": GUIDED,
    "sde-dpm++ 12, bf16": HALF,
    "sde-dpm++ 8": replace(GUIDED, steps=8),
    "sde-dpm++ 5": replace(GUIDED, steps=5, guided_below=0.8),
    "dpm++ 5": replace(GUIDED, sampler="dpm++", steps=5, guided_below=0.8),
    "unipc 5": replace(GUIDED, sampler="unipc", steps=5),
    "ddim 5": replace(GUIDED, sampler="ddim", steps=5),
    "dpm++ 12, bf16": replace(HALF, sampler="dpm++"),
    "dpm++ 20, bf16": replace(HALF, sampler="dpm++", steps=20),
    "unipc 12, bf16": replace(HALF, sampler="unipc"),
    "ddim 20, bf16": replace(HALF, sampler="ddim", steps=20),
    UNGUIDED: Sampling("ddim", 100, precision="bf16"),
    "sde-dpm++ 8, unguided": replace(GUIDED, steps=8, guidance=1.0),
    "dpm++ 8, unguided, bf16": replace(HALF, sampler="dpm++", steps=8, guidance=1.0),
    "unipc 8, unguided, bf16": replace(HALF, sampler="unipc", steps=8, guidance=1.0),
}
MARGIN_DICE, MARGIN_KID = 1.0, 0.1
HALVES = 200
ONE_SIDED = 1.645
Json = dict[str, Any]


@dataclass(frozen=True)
class Study:
    """Who draws, for which masks, and who judges.

    Attributes:
        work: folder of stores and runs.
        few: store of the patients that adapters learn from.
        adapter: folder.
        control: folder of the one that has learnt nothing.
        pool: store of the judge's patients and those of the masks.
        masks: store of patients whom neither adapter nor judge knows.
        real: store of yet other patients.
        judge: folder of a segmenter.
        unadapted: frames for ``masks`` of the base as it is.
    """

    work: Path
    few: Path
    adapter: Path
    control: Path
    pool: Path
    masks: Path
    real: Path
    judge: Path
    unadapted: Path


def prepare(work: Path) -> Study:
    """Makes what is not there yet."""
    work.mkdir(parents=True, exist_ok=True)
    few, *others = (
        make(work / f"adaptation{first}.h5", "phantom", "--cohort", "adaptation", "--first", str(first))
        for first in range(0, 100, 20)
    )
    pool = make(work / "pool.h5", "phantom", "--cohort", "pool")
    dealt = make(work / "dealt.h5", "split", str(pool), "--val", "0.1", "--test", "0.12")
    masks = make(work / "masks.h5", "subset", str(dealt), "--split", "test")
    real = make(work / "real.h5", "merge", *map(str, others))
    judge = fit("seg_others", "judge", work, 0, f"--data.real={dealt}", f"--data.test={few}")
    data = ("--data=EchoDataModule", f"--data.store={few}")
    adapter, control = (fit(arm, arm, work, 0, *data, product="adapter") for arm in ("lora_mlp", "maskr2_only"))
    unadapted = work / "unadapted.h5"
    synthesize(unadapted, control, masks, GUIDED)
    return Study(work, few, adapter, control, pool, masks, real, judge, unadapted)


def synthesize(out: Path, adapter: Path, masks: Path, sampling: Sampling, *words: str) -> None:
    """Draws a store once."""
    if out.exists():
        return
    how = (f"--{key.replace('_', '-')}={value}" for key, value in asdict(sampling).items())
    tte_tee(["synthesize", "--adapter", str(adapter), "--masks", str(masks), *how, *words,
             "--processes", "1", "--out", str(out)])  # fmt: skip


def draw(name: str, study: Study) -> EchoStore:
    """The frames of a setting."""
    path = study.work / f"{name.replace(',', '').replace(' ', '_')}.h5"
    synthesize(path, study.adapter, study.masks, SETTINGS[name])
    return EchoStore(path)


def mask_fidelity(store: Path, study: Study) -> dict[str, float]:
    """Dice in percent, mean over structures, by patient of the mask."""
    folder = store.with_suffix("")
    if not folder.exists():
        words = ("--segmenter", str(study.judge), "--real", str(study.masks), "--split", "test", "--out", str(folder))
        tte_tee(["evaluate", "masks", "--synthetic", str(store), *words])
    patients = json.loads((folder / "mask_fidelity.json").read_text())["synthetic"]["patients"]
    return {p: 100 * float(np.mean([s["dice"] for s in v["structures"].values()])) for p, v in patients.items()}


class Frames:
    """Features ``[N, D]`` by patient, of whom ``owners`` has one for each."""

    def __init__(self, features: np.ndarray, owners: np.ndarray) -> None:
        self.patients = sorted(set(owners))
        self.of = {patient: features[owners == patient] for patient in self.patients}

    @classmethod
    def of_store(cls, store: EchoStore, extractor: Any) -> "Frames":
        """Of a store's frames."""
        images = np.stack([store.frame(index)[0] for index in range(len(store))])
        return cls(extractor(images), np.asarray(store.table["patient"]))

    def some(self, patients: Any) -> np.ndarray:
        """Features of these patients, standardised by nobody: KID's kernel takes them as they are."""
        return np.concatenate([self.of[patient] for patient in patients])


def kid(sample: Frames, real: Frames, halves: np.random.Generator | None = None) -> float:
    """KID of all frames, or of those of a random half of the patients of each."""
    chosen = [sample.patients, real.patients]
    if halves is not None:
        chosen = [list(halves.choice(names, len(names) // 2, replace=False)) for names in chosen]
    x, y = sample.some(chosen[0]), real.some(chosen[1])
    size = min(len(x), len(y))
    return kernel_distance(x, y, size, 1, np.random.default_rng(0)).mean


def compare(study: Study) -> list[Json]:
    """A row per setting: cost, scores, and whether it is equivalent to the reference."""
    extractor = load_extractor(f"segmenter={study.judge}")
    real, unadapted = (Frames.of_store(EchoStore(path), extractor) for path in (study.real, study.unadapted))
    stores = {name: draw(name, study) for name in SETTINGS}
    dice = {name: mask_fidelity(store.path, study) for name, store in stores.items()}
    frames = {name: Frames.of_store(store, extractor) for name, store in stores.items()}
    room = kid(unadapted, real) - floor(real)
    rows = []
    for name, store in stores.items():
        reference = UNGUIDED if SETTINGS[name].guidance == 1 else REFERENCE
        lower = np.array([dice[reference][p] - value for p, value in dice[name].items()])
        nearer = kid(frames[name], real) - kid(frames[reference], real)
        seeds = range(HALVES)
        halves = [
            kid(frames[name], real, np.random.default_rng(s)) - kid(frames[reference], real, np.random.default_rng(s))
            for s in seeds
        ]
        # The spread over halves drawn without replacement is the standard error of the whole (the delete-half
        # jackknife; Shao & Wu, Ann Statist 17(3), 1989).
        worst_dice = float(lower.mean() + ONE_SIDED * lower.std(ddof=1) / len(lower) ** 0.5)
        worst_kid = float(nearer + ONE_SIDED * np.std(halves, ddof=1)) / room
        rows.append(
            {
                "name": name,
                **asdict(SETTINGS[name]),
                "evaluations": SETTINGS[name].evaluations,
                "frames": len(store),
                "mask_fidelity": float(np.mean(list(dice[name].values()))),
                "kid": kid(frames[name], real),
                "dice_lost_at_worst": worst_dice,
                "kid_lost_at_worst": worst_kid,
                "equivalent": worst_dice < MARGIN_DICE and worst_kid < MARGIN_KID,
            }
        )
    return [*rows, {"name": "floor", "kid": floor(real)}, {"name": "ceiling", "kid": kid(unadapted, real)}]


def floor(real: Frames) -> float:
    """KID of one half of the real patients against the other, mean over random halves."""
    distances = []
    for seed in range(20):
        shuffled = list(np.random.default_rng(seed).permutation(real.patients))
        one, other = (real.some(shuffled[start::2]) for start in (0, 1))
        size = min(len(one), len(other))
        distances.append(kernel_distance(one, other, size, 1, np.random.default_rng(0)).mean)
    return float(np.mean(distances))


def table(rows: list[Json]) -> str:
    """The rows in Markdown."""
    lines = [
        "| sampler | evaluations | mask fidelity | lost at worst | KID | lost at worst | equivalent |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        if "evaluations" not in row:
            lines.append(f"| {row['name']} | | | | {row['kid']:.4f} | | |")
            continue
        cells = [
            row["name"],
            str(row["evaluations"]),
            f"{row['mask_fidelity']:.1f}",
            f"{row['dice_lost_at_worst']:.1f}",
            f"{row['kid']:.4f}",
            f"{100 * row['kid_lost_at_worst']:.0f} %",
            "yes" if row["equivalent"] else "no",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Draws, judges, compares, writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for stores and runs; not in the repository")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    study = prepare(options.work)
    rows = compare(study)
    options.out.mkdir(parents=True, exist_ok=True)
    hashes = {name: EchoStore(path).content_hash for name, path in (("masks", study.masks), ("real", study.real))}
    record = {**provenance(), "stores": hashes, "margins": {"dice": MARGIN_DICE, "kid": MARGIN_KID}, "rows": rows}
    (options.out / "sampling.json").write_text(json.dumps(record, indent=1) + "\n")
    print(table(rows))


if __name__ == "__main__":
    main()
