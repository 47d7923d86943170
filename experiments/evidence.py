"""What the frames of every arm are worth before anything is trained on them: do they obey, are they real, are they new.

    python experiments/evidence.py --work W --out results/evidence [--arms A ...] [--extractor mobilenet_v2=FILE ...]

Every arm leaves its ``ARM.json``, which is not made again, and the table is of all that are there.
All arms adapt to the same 20 patients, twice. At **equal compute**, the floating-point operations of :data:`STEPS`
steps of ``lora_mlp``, with three learning rates, of which the lowest loss on validation patients decides. And
**converged**: from there twice as many steps, and again, as long as that loss falls by :data:`GAIN` of itself; where
the first doubling does not help, half as many, likewise. Each run is one of its own, with a cosine of its length.

Who draws, for which masks and who judges is that of ``sampling.py``; no test patient is read.
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import yaml
from baselines import CONFIGS, fit
from cell import last_scalar, small
from sampling import USUAL, Study, prepare, synthesize
from torch.utils.flop_counter import FlopCounterMode

from tte_tee.cli import main as tte_tee
from tte_tee.files import write_json
from tte_tee.provenance import provenance

REFERENCE, CONTROL = "lora_mlp", "maskr2_only"
ARMS = (
    "lora_ca_only",
    "lora_linear_only",
    "lora_attention",
    REFERENCE,
    "lora_conv",
    "lora_full",
    "full_finetune",
    "scratch",
)
STEPS, MOST = 300, 1200
"""Of the reference at equal compute, and of any run."""
RATES = (1 / 3, 1.0, 3.0)
"""Times the learning rate of the arm's config."""
GAIN = 0.005
CONVERGED = "converged"
Json = dict[str, Any]


@dataclass(frozen=True)
class Run:
    """An adapter, how it was trained, and how well.

    Attributes:
        arm: its config.
        steps: how many.
        rate: learning rate.
        adapter: folder.
        loss: on the validation patients at the end.
    """

    arm: str
    steps: int
    rate: float
    adapter: Path
    loss: float


def adapt(arm: str, steps: int, rate: float, study: Study) -> Run:
    """Trains once."""
    words = (
        f"--model.learning_rate={rate:.3g}",
        f"--trainer.max_steps={steps}",
        f"--trainer.val_check_interval={steps}",
    )
    data = ("--data=EchoDataModule", f"--data.store={study.few}", "--previews.every_n_steps=0")
    adapter = fit(arm, f"{arm}_{steps}_{rate:.3g}", study.work, 0, *data, *words, product="adapter")
    loss = last_scalar(adapter.parent, "val/loss")
    assert loss is not None, f"{adapter.parent} has no val/loss"
    return Run(arm, steps, rate, adapter, loss)


def operations(arm: str, study: Study) -> int:
    """Floating-point operations of one step."""
    data = ("--data=EchoDataModule", f"--data.store={study.few}", "--previews.every_n_steps=0")
    # In a folder of its own: a run that is there is not run again, and arms may be measured side by side.
    with TemporaryDirectory() as folder, FlopCounterMode(display=False) as counter:
        fit(arm, f"{arm}_one", Path(folder), 0, *data, "--trainer.max_steps=1", "--trainer.limit_val_batches=0",
            product="adapter")  # fmt: skip
    return int(counter.get_total_flops())


def trials(arm: str, steps: int, study: Study) -> list[Run]:
    """The learning rates at equal compute, the best first."""
    config = yaml.safe_load((CONFIGS / f"{arm}.yaml").read_text())
    usual = config["model"]["init_args"]["learning_rate"]
    return sorted((adapt(arm, steps, usual * factor, study) for factor in RATES), key=lambda run: run.loss)


def converged(run: Run, study: Study) -> Run:
    """The length at which the validation loss of this arm and learning rate no longer falls."""
    best = run
    for factor in (2.0, 0.5):
        while 1 <= (steps := round(factor * best.steps)) <= MOST:
            other = adapt(run.arm, steps, run.rate, study)
            if other.loss > (1 - GAIN) * best.loss:
                break
            best = other
        if best is not run:
            break
    return best


def audit(adapter: Path, extractors: list[str], study: Study) -> Json:
    """What the frames of an adapter are worth: the audits that the package has, without cases."""
    folder = adapter.parent / "audit"
    folder.mkdir(exist_ok=True)
    new, own = folder / "new.h5", folder / "own.h5"
    synthesize(new, adapter, study.masks, USUAL)
    synthesize(own, adapter, study.few, USUAL, "--split", "train")
    audits: dict[str, tuple[Any, ...]] = {
        "mask_fidelity": ("masks", "--real", study.masks, "--split", "test", "--segmenter", study.judge),
        "fidelity": ("fidelity", "--real", study.real, "--ceiling", study.unadapted,
                     "--extractor", f"segmenter={study.judge}", *extractors),
        "copies": ("copies", "--trained-on", study.few, "--held-out", study.pool, "--control", new),
    }  # fmt: skip
    found: Json = {}
    for name, (command, *words) in audits.items():
        result = folder / name / f"{name}.json"
        if not result.exists():
            frames = own if name == "copies" else new
            tte_tee(["evaluate", command, *map(str, words), "--synthetic", str(frames), "--out", str(result.parent)])
        values = json.loads(result.read_text())
        found[name] = small(name, values)
        if name == "mask_fidelity":
            found["obedience"] = mean_over_patients(values["synthetic"]["patients"])
    return found


def mean_over_patients(patients: Json) -> Json:
    """Mask fidelity, a mean over structures, with a 95 % interval over the patients of the masks."""
    dice = [np.mean([scores["dice"] for scores in one["structures"].values()]) for one in patients.values()]
    mean, error = float(np.mean(dice)), float(np.std(dice, ddof=1) / len(dice) ** 0.5)
    return {"mean": mean, "low": mean - 1.96 * error, "high": mean + 1.96 * error, "patients": len(dice)}


def row(compute: str, run: Run, cost: int, extractors: list[str], study: Study) -> Json:
    """A run in the record."""
    record = json.loads((run.adapter / "adapter.json").read_text())
    return {
        "arm": run.arm,
        "compute": compute,
        "stopped_at_most": compute == CONVERGED and 2 * run.steps > MOST,
        "trained": record["parameters"],
        "steps": run.steps,
        "learning_rate": run.rate,
        "operations": cost * run.steps,
        "seconds": record["seconds"],
        "val_loss": run.loss,
        **audit(run.adapter, extractors, study),
    }


def measure(arm: str, extractors: list[str], study: Study) -> Json:
    """Adapts and audits an arm; the control trains nothing."""
    if arm == CONTROL:
        return {
            **provenance(),
            "rows": [{"arm": CONTROL, "compute": "none", **audit(study.control, extractors, study)}],
        }
    cost = operations(arm, study)
    runs = trials(arm, round(STEPS * operations(REFERENCE, study) / cost), study)
    tried = [{"learning_rate": run.rate, "steps": run.steps, "val_loss": run.loss} for run in runs]
    chosen = {"equal": runs[0], CONVERGED: converged(runs[0], study)}
    rows = [row(compute, run, cost, extractors, study) for compute, run in chosen.items()]
    return {**provenance(), "trials": tried, "rows": rows}


def shown(values: Json, digits: int = 3) -> str:
    """A number of fidelity with its range."""
    if "not_estimable" in values:
        return "not estimable"
    return f"{values['mean']:.{digits}f} [{values['low']:.{digits}f}, {values['high']:.{digits}f}]"


def percent(values: Json, key: str) -> str:
    """A share with its interval, in percent."""
    if "not_estimable" in values:
        return "not estimable"
    return f"{100 * values[key]:.1f} [{100 * values['low']:.1f}, {100 * values['high']:.1f}]"


def cells(one: Json, measures: list[str]) -> list[str]:
    """A row of the table."""
    fidelity, how = one["fidelity"]["rows"], ["0", "-", "-", "-"]
    unfinished = " (might go on)" if one.get("stopped_at_most") else ""
    if one["arm"] != CONTROL:
        numbers = (f"{one['steps']:,}", f"{one['learning_rate']:.2g}", f"{one['val_loss']:.4f}")
        how = [f"{one['trained']['trained']:,}", *numbers]
    structures = one["mask_fidelity"]["synthetic"]["summary"]["structures"].values()
    found = {name_of(line): shown(line["synthetic"]) for line in fidelity}
    copied = next(iter(one["copies"]["rates"].values()))["any"]
    return [
        one["arm"],
        one["compute"] + unfinished,
        *how,
        percent(one["obedience"], "mean"),
        *(f"{100 * scores['dice']:.0f}" for scores in structures),
        *(found[name] for name in measures),
        percent(copied, "share"),
    ]


def name_of(line: Json) -> str:
    """Of a row of fidelity."""
    return f"{line['group'].split()[0]}: {line['measure']} {line.get('structure', '')}".strip()


def table(rows: list[Json]) -> str:
    """Every run in Markdown; of fidelity KID and recall, with floor and ceiling below."""
    first = rows[0]
    lines = {name_of(line): line for line in first["fidelity"]["rows"]}
    measures = [name for name in lines if name.endswith((": KID", ": recall"))]
    real = first["mask_fidelity"]["real"]["summary"]["structures"]
    heads = [
        "arm",
        "compute",
        "trained",
        "steps",
        "learning rate",
        "val. loss",
        "mask fidelity",
        *real,
        *measures,
        "copies",
    ]
    body = [cells(one, measures) for one in rows]
    blank = [""] * 5
    body.append(["real (floor)", *blank, "", *(f"{100 * scores['dice']:.0f}" for scores in real.values()),
                 *(shown(lines[name]["floor"]) for name in measures), ""])  # fmt: skip
    body.append(["unadapted (ceiling)", *blank, "", *([""] * len(real)),
                 *(shown(lines[name]["ceiling"]) for name in measures), ""])  # fmt: skip
    return "\n".join(f"| {' | '.join(line)} |" for line in [heads, ["---"] * len(heads), *body])


def main() -> None:
    """Adapts, draws, judges, writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for stores and runs, as of sampling.py")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--arms", nargs="+", default=[CONTROL, *ARMS], choices=[CONTROL, *ARMS], metavar="ARM")
    parser.add_argument("--extractor", nargs="+", default=[], help="beside the judge's features: KIND=FILE")
    options = parser.parse_args()
    study = prepare(options.work)
    options.out.mkdir(parents=True, exist_ok=True)
    results = {arm: options.out / f"{arm}.json" for arm in (CONTROL, *ARMS)}
    for arm in options.arms:
        if not results[arm].exists():
            write_json(results[arm], measure(arm, options.extractor, study))
    records = [json.loads(result.read_text()) for result in results.values() if result.exists()]
    print(table([line for record in records for line in record["rows"]]))


if __name__ == "__main__":
    main()
