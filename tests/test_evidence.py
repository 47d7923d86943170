"""How long each arm of ``experiments/evidence.py`` trains on its own account."""

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "experiments"))
import evidence
from evidence import Run, converged


@pytest.mark.parametrize(
    ("losses", "chosen"),
    [
        ({300: 0.100, 600: 0.0997, 150: 0.101}, 300),  # neither way gains half a percent
        ({300: 0.100, 600: 0.090, 1200: 0.080}, 1200),  # as far as a run may go
        ({300: 0.100, 600: 0.090, 1200: 0.095}, 600),
        ({300: 0.100, 600: 0.110, 150: 0.090, 75: 0.080, 38: 0.081}, 75),  # shorter is better
    ],
)
def test_the_length_at_which_validation_no_longer_gains(
    losses: dict[int, float], chosen: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def adapt(arm: str, steps: int, rate: float, study: Any) -> Run:
        return Run(arm, steps, rate, Path(), losses[steps])

    monkeypatch.setattr(evidence, "adapt", adapt)
    study: Any = None
    assert converged(adapt("lora_mlp", 300, 2e-3, study), study).steps == chosen
