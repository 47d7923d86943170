"""Cells made up for tests: arms of known differences, written as the grid writes them."""

import json
from pathlib import Path
from typing import Any

import numpy as np

STRUCTURES = ("LV", "LA", "RV", "RA")
GAINS = {"seg_real": 0.0, "seg_real_strong_aug": -0.01, "seg_pretrained_tte": 0.02, "lora_mlp-ssm-1to1": 0.08}
COMMIT = "0123456789abcdef0123456789abcdef01234567"
ADAPTER = {
    "config": "lora_mlp",
    "method": "lora",
    "scope": ["cross_attention", "feed_forward", "time_embedding"],
    "rank": 4,
    "learnable": False,
    "trained": 91904,
    "share": 0.016,
    "steps": 300,
    "seconds": 240.0,
    "val_loss": 0.021,
}
SYNTHESIS = {"masks": "ssm", "ratio": 1.0, "guidance": 2.0, "steps": 20, "frames": 128, "seconds": 90.0}


def cell(arm: str, seed: int, gain: float, *, patients: int = 10, **changes: Any) -> dict[str, Any]:
    """One cell; Dice are .7 and the gain, with effects of seed and patient; ``changes`` replace parts."""
    rng = np.random.default_rng([seed, len(arm)])
    hearts = np.random.default_rng(99).normal(0, 0.03, patients)
    scores = {
        f"p{n:02}": {
            "global_dice": round(float(0.8 + gain + hearts[n]), 6),
            "class_weighted_dice": round(float(0.78 + gain + hearts[n]), 6),
            "structures": {
                name: {"dice": round(float(np.clip(0.7 + gain + hearts[n] + rng.normal(0, 0.01), 0, 1)), 6)}
                for name in STRUCTURES
            },
        }
        for n in range(patients)
    }
    drawn = arm.startswith(("lora", "full"))
    record = {
        "schema": 1,
        "study": "phantom",
        "arm": arm,
        "label": f"what {arm} is",
        "seed": seed,
        "tested_on": "test",
        "adapter": dict(ADAPTER) if drawn else None,
        "synthesis": dict(SYNTHESIS) if drawn else None,
        "segmenter": {"steps": 1000, "seconds": 125.1, "peak_memory_mib": 795},
        "patients": 20,
        "segmentation": {
            "summary": {"structures": {name: {} for name in STRUCTURES}},
            "patients": scores,
            "unit": "mm",
        },
        "validation": {"dice": 0.7 + gain, "structures": {"RV": 0.6 + gain, "RA": 0.62 + gain}},
        "mask_fidelity": _mask_fidelity(gain) if drawn else None,
        "fidelity": _fidelity(gain) if drawn else None,
        "copies": _copies() if drawn else None,
        "store": {"name": "test.h5", "hash": "a" * 64},
        "provenance": {
            "commit": COMMIT,
            "versions": {"numpy": "2.4.6"},
            "time": "2026-01-02T03:04:05+00:00",
            "commands": ["python -m tte_tee fit --config /home/someone/arm.yaml"],
            "key": f"key-{arm}-{seed}",
        },
    }
    return {**record, **changes}


def _mask_fidelity(gain: float) -> dict[str, Any]:
    def side(dice: float) -> dict[str, Any]:
        return {"summary": {"structures": {name: {"dice": dice} for name in STRUCTURES}}}

    return {"synthetic": side(0.61 + gain), "real": side(0.9)}


def _fidelity(gain: float) -> dict[str, Any]:
    roles = {"synthetic": {"mean": 0.2 - gain}, "floor": {"mean": 0.01}, "ceiling": {"mean": 0.4}}
    rows = [{"group": "mobilenet_v2 01234567", "measure": "KID", "better": "lower", **roles}]
    rows.append({"group": "texture", "measure": "contrast", "better": "lower", "structure": "LV", **roles})
    return {"rows": rows, "frames": 128, "stores": {"real": {"name": "pool.h5", "hash": "b" * 64}}}


def _copies() -> dict[str, Any]:
    share = {"share": 0.031, "low": 0.004, "high": 0.11}
    rates = {"ssm": {"frames": 128, "correlation": share, "any": share}}
    return {"rates": rates, "thresholds": {"correlation": {"from": "held_out", "false_alarms": share}}}


def write(folder: Path, record: dict[str, Any]) -> Path:
    """Where a cell belongs."""
    path = folder / record["study"] / f"{record['arm']}_seed{record['seed']}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record))
    return path


def study(folder: Path, seeds: int = 4, **changes: Any) -> Path:
    """The arms of :data:`GAINS`, each with so many seeds."""
    for arm, gain in GAINS.items():
        for seed in range(seeds):
            write(folder, cell(arm, seed, gain, **changes))
    return folder
