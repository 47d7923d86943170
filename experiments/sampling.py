"""How few evaluations of the network a frame needs: mask fidelity and KID of cheap samplers against 100-step DDIM.

    python experiments/sampling.py --adapter A --masks M.h5 --real R.h5 --segmenter S --unadapted U.h5 \\
        --work W --out results/sampling

M.h5 holds masks of patients whom neither adapter nor segmenter S (a judge trained on other real frames) knows; R.h5
real frames of yet others; U.h5 frames drawn for M.h5 without adaptation, KID's ceiling. A cheap sampler is equivalent
where mask fidelity, a mean over structures, is less than 1 point below the reference's and KID less than 10 % of
ceiling minus floor above it, each at the worse end of its one-sided 95 % interval over patients.
"""

import argparse
import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from tte_tee.cli import main as tte_tee
from tte_tee.data.store import EchoStore
from tte_tee.metrics.fidelity import kernel_distance
from tte_tee.models.extractors import load_extractor
from tte_tee.synthesis.frames import Sampling
from tte_tee.synthesis.provenance import provenance

REFERENCE = "ddim 100"
SETTINGS = {
    REFERENCE: Sampling("ddim", 100, 2.0),
    "sde-dpm++ 20": Sampling("sde-dpm++", 20, 2.0),
    "sde-dpm++ 20, bf16": Sampling("sde-dpm++", 20, 2.0, precision="bf16"),
    "sde-dpm++ 10": Sampling("sde-dpm++", 10, 2.0, precision="bf16"),
    "sde-dpm++ 7": Sampling("sde-dpm++", 7, 2.0, precision="bf16"),
    "sde-dpm++ 5": Sampling("sde-dpm++", 5, 2.0, 0.6, precision="bf16"),
    "sde-dpm++ 8, unguided": Sampling("sde-dpm++", 8, precision="bf16"),
    "dpm++ 7": Sampling("dpm++", 7, 2.0, precision="bf16"),
    "unipc 7": Sampling("unipc", 7, 2.0, precision="bf16"),
    "ddim 7": Sampling("ddim", 7, 2.0, precision="bf16"),
}
MARGIN_DICE, MARGIN_KID = 1.0, 0.1
HALVES = 200
ONE_SIDED = 1.645
Json = dict[str, Any]


def draw(name: str, options: argparse.Namespace) -> tuple[EchoStore, float | None]:
    """The frames of a setting, and the seconds that drawing them took, unless that was done before."""
    store, sampling = options.work / f"{name.replace(',', '').replace(' ', '_')}.h5", SETTINGS[name]
    if store.exists():
        return EchoStore(store), None
    start = time.perf_counter()
    words = (f"--{key.replace('_', '-')}={value}" for key, value in asdict(sampling).items())
    tte_tee(["synthesize", "--adapter", options.adapter, "--masks", options.masks, *words,
             "--processes", "1", "--out", str(store)])  # fmt: skip
    return EchoStore(store), time.perf_counter() - start


def mask_fidelity(store: EchoStore, options: argparse.Namespace) -> dict[str, float]:
    """Dice in percent, mean over structures, by patient of the mask."""
    folder = store.path.with_suffix("")
    if not folder.exists():
        tte_tee(["evaluate", "masks", "--synthetic", str(store.path), "--segmenter", options.segmenter,
                 "--out", str(folder)])  # fmt: skip
    patients = json.loads((folder / "mask_fidelity.json").read_text())["synthetic"]["patients"]
    return {p: 100 * float(np.mean([s["dice"] for s in v["structures"].values()])) for p, v in patients.items()}


class Frames:
    """Features of a store's frames by patient."""

    def __init__(self, store: EchoStore, extractor: Any) -> None:
        images = np.stack([store.frame(index)[0] for index in range(len(store))])
        features = extractor(images)
        owners = np.asarray(store.table["patient"])
        self.patients = sorted(set(owners))
        self.of = {patient: features[owners == patient] for patient in self.patients}

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


def compare(options: argparse.Namespace) -> list[Json]:
    """A row per setting: cost, scores, and whether it is equivalent to the reference."""
    extractor = load_extractor(f"segmenter={options.segmenter}")
    real, unadapted = (Frames(EchoStore(path), extractor) for path in (options.real, options.unadapted))
    stores = {name: draw(name, options) for name in SETTINGS}
    dice = {name: mask_fidelity(store, options) for name, (store, _) in stores.items()}
    frames = {name: Frames(store, extractor) for name, (store, _) in stores.items()}
    room = kid(unadapted, real) - floor(real)
    rows = []
    for name, (store, seconds) in stores.items():
        lower = np.array([dice[REFERENCE][p] - value for p, value in dice[name].items()])
        nearer = kid(frames[name], real) - kid(frames[REFERENCE], real)
        seeds = range(HALVES)
        halves = [
            kid(frames[name], real, np.random.default_rng(s)) - kid(frames[REFERENCE], real, np.random.default_rng(s))
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
                "seconds": seconds,
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
            f"{row['name']}{', bf16' * (row['precision'] == 'bf16' and 'bf16' not in row['name'])}",
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
    for name in ("adapter", "masks", "real", "segmenter", "unadapted"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--work", type=Path, required=True, help="folder for stores; not in the repository")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    options.out.mkdir(parents=True, exist_ok=True)
    rows = compare(options)
    hashes = {name: EchoStore(getattr(options, name)).content_hash for name in ("masks", "real")}
    record = {**provenance(), "stores": hashes, "margins": {"dice": MARGIN_DICE, "kid": MARGIN_KID}, "rows": rows}
    (options.out / "sampling.json").write_text(json.dumps(record, indent=1) + "\n")
    print(table(rows))


if __name__ == "__main__":
    main()
