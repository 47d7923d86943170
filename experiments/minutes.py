"""Quality per minute: mask fidelity of adapters that were given 1, 2, 4 or 8 minutes of training.

    python experiments/minutes.py --work W --out results/minutes

Each budget is a run of its own, with a cosine of that length: so many steps as fit at the pace that a run of
:data:`PILOT` steps showed. Who draws, for which masks and who judges is that of ``sampling.py``; no test patient.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from baselines import fit
from sampling import USUAL, Study, mask_fidelity, prepare, synthesize

from tte_tee.provenance import provenance

ARMS = ("lora_mlp", "full_finetune")
BUDGETS = (1, 2, 4, 8)
PILOT = 30
Json = dict[str, Any]


def adapt(arm: str, steps: int, study: Study) -> Path:
    """An adapter of so many steps."""
    length = (f"--trainer.max_steps={steps}", f"--trainer.val_check_interval={steps}", "--previews.every_n_steps=0")
    data = ("--data=EchoDataModule", f"--data.store={study.few}")
    return fit(arm, f"{arm}_{steps}", study.work, 0, *data, *length, product="adapter")


def seconds(adapter: Path) -> float:
    """What its training took."""
    return float(json.loads((adapter / "adapter.json").read_text())["seconds"])


def measure(work: Path) -> list[Json]:
    """A row per arm and budget."""
    study = prepare(work)
    rows = []
    for arm in ARMS:
        pace = seconds(adapt(arm, PILOT, study)) / PILOT
        for minutes in BUDGETS:
            steps = round(60 * minutes / pace)
            adapter = adapt(arm, steps, study)
            store = work / f"{arm}_{minutes}min.h5"
            synthesize(store, adapter, study.masks, USUAL)
            found = np.mean(list(mask_fidelity(store, study).values()))
            rows.append({"arm": arm, "minutes": minutes, "steps": steps, "seconds": seconds(adapter),
                         "mask_fidelity": float(found)})  # fmt: skip
    return rows


def table(rows: list[Json]) -> str:
    """Mask fidelity in Markdown: arms by budgets, and the steps that fitted."""
    lines = [f"| arm | {' | '.join(f'{m} min' for m in BUDGETS)} |", "|---" * (len(BUDGETS) + 1) + "|"]
    for arm in ARMS:
        cells = [f"{row['mask_fidelity']:.1f} ({row['steps']} steps)" for row in rows if row["arm"] == arm]
        lines.append(f"| `{arm}` | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Adapts, draws, judges, writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--work", type=Path, required=True, help="folder for stores and runs; that of sampling.py will do"
    )
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    rows = measure(options.work)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "minutes.json").write_text(json.dumps({**provenance(), "rows": rows}, indent=1) + "\n")
    print(table(rows))


if __name__ == "__main__":
    main()
