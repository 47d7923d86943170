"""Writes the reference frames of the phantom and prints their hash; only for a new version of it.

python experiments/phantom_reference.py
"""

from pathlib import Path

import numpy as np

from tte_tee.data.phantom.reference import fingerprint, reference

arrays = reference()
path = Path(__file__).parents[1] / "tests" / "data" / "phantom_reference.npz"
path.parent.mkdir(exist_ok=True)
np.savez_compressed(path, **arrays)  # type: ignore[arg-type]  # its stub takes them for an option
print(f"{path.name}: {path.stat().st_size} bytes; REFERENCE = {fingerprint(arrays)}")
