"""The single-patient demonstration: its parts stay apart, and its tables say what one patient does not give."""

import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

sys.path.insert(0, str(Path(__file__).parents[1] / "experiments"))
from real_demo import tables

ROOT = Path(__file__).parents[1]


def recipe(part: str) -> dict[str, Any]:
    return yaml.safe_load((ROOT / f"data/tee_cine_{part}.yaml").read_text())


def frames(part: str) -> set[int]:
    select = recipe(part)["select"]
    return set(range(select["from"], select["to"] + 1))


def test_parts_of_the_clip_stay_apart() -> None:
    assert frames("part_train") | frames("part_val") == frames("adapt") and frames("part_test") == frames("later")
    assert not frames("part_train") & frames("part_val") and not frames("adapt") & frames("later")
    # An adapter of tee_cine_adapt may be mixed into the part that bears its patient's name, and into no other.
    patients = [recipe(part)["patient"] for part in ("part_train", "part_val", "part_test")]
    assert patients[0] == recipe("adapt")["patient"] == recipe("later")["patient"] and len(set(patients)) == 3
    assert "ONE patient" in (ROOT / "data/tee_cine_part_train.yaml").read_text()


@pytest.fixture
def record() -> dict[str, Any]:
    missing = {"not_estimable": "one real patient: no floor"}
    rows = [
        {"group": "mobilenet_v2 ab", "measure": "KID", "synthetic": {"mean": 0.25, "sd": 0.01}, "floor": missing},
        {"group": "lpips_alexnet cd", "measure": "KID", "synthetic": {"mean": 9.0, "sd": 9.0}, "floor": missing},
        {
            "group": "texture",
            "measure": "grey level",
            "structure": "LV",
            "quantiles": {"real": [1.0, 31.0, 90.0], "synthetic": [2.0, 34.0, 95.0], "ceiling": []},
            "synthetic": missing,
            "floor": missing,
        },
        {"group": "pairs", "measure": "LPIPS (x)", "synthetic": {"mean": 0.125, "n": 9}, "floor": missing},
    ]
    audit = {
        "rates": {"annotated, training patients": {"any": {"not_estimable": "no verdict"}}},
        "thresholds": {"texture": {"not_estimable": "nobody held out"}},
        "median": {"texture": 0.7, "own_correlation": 0.9},
    }
    arm = {
        "parameters": {"trained": 92880, "share": 0.0162},
        "fidelity": {"rows": rows, "frames": 9},
        "copies": {"later": audit},
    }
    scores = {"squared_error": 0.02, "ssim": 0.9, "to_nearest_trained_on": 0.0}
    return {
        "what": "single-patient demonstration",
        "pairs": {"frames": 9, "scores": {"nearest training frame": scores, "maskr2_only": scores, "lora_mlp": scores}},
        "arms": {"maskr2_only": arm, "lora_mlp": arm},
        "acquired": {"texture": 0.5, "own_correlation": 0.8},
        "dice": {"real": {"LV": [90.0, 92.0, 94.0], "mean": [90.0, 92.0, 94.0]}},
    }


def test_tables_give_numbers_and_say_what_is_not_estimable(record: dict[str, Any]) -> None:
    lines = tables(record)
    assert lines[0] == "**single-patient demonstration**"
    assert "| lora_mlp | 92,880 (1.62 %) | 0.02 | 0.9 | 0.125 | 0.0 |" in lines
    assert "| N = 9 | KID (MobileNetV2) | grey level LV |" in lines
    assert "| acquired (floor: other real patients) | not estimable | 31 |" in lines
    assert "| maskr2_only (ceiling) | 0.25 ± 0.01 | 34 |" in lines
    assert "| lora_mlp | frames 24-32 | not estimable | 0.7 | 0.9 |" in lines
    assert "| frames 0-15 | 92.0 ± 2.0 | 92.0 ± 2.0 |" in lines
    assert lines[-2:] == [
        "- not estimable: one real patient: no floor",
        "- not estimable: copies: nobody held out",
    ]
