"""The version of the phantom: which pixels a spec stands for.

The phantom is frozen: results are comparable only while the same spec gives the same frames.
``tests/data/phantom_reference.npz`` holds frames of both domains, and a test compares them with
what the code draws. Whoever changes a pixel on purpose raises :data:`PHANTOM_VERSION`, runs
``python experiments/phantom_reference.py``, copies the hash it prints to :data:`REFERENCE`, and
publishes the difficulty anew (``experiments/results/phantom_frozen``). Stores of two versions
must not meet in one comparison.
"""

from collections.abc import Mapping
from typing import Any

PHANTOM_VERSION = "1"
REFERENCE = "75c164bba6877e630f6143d683cfcc50bcc994ee575ba5e90215cd1184b6c718"
"""SHA-256 of the reference frames of this version."""


def stamp() -> dict[str, str]:
    """What a phantom store records of the phantom that made it."""
    return {"version": PHANTOM_VERSION, "reference": REFERENCE}


def is_of_this_version(provenance: Mapping[str, Any]) -> bool:
    """Whether a store of such provenance was drawn by this version of the phantom."""
    said = provenance.get("phantom")
    return isinstance(said, dict) and said.items() >= stamp().items()
