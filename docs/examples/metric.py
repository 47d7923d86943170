"""How sharp the outlines of structures are, beside a floor: python docs/examples/metric.py REAL.h5 SYNTHETIC.h5."""

import sys

import cv2
import numpy as np

from tte_tee.data.leakage import refuse_seen
from tte_tee.data.store import EchoStore
from tte_tee.metrics.fidelity import NotEstimableError
from tte_tee.metrics.texture import between_values
from tte_tee.seen import seen_in


def sharpness(image: np.ndarray, inside: np.ndarray) -> float:
    """Mean gradient of uint8 ``[H, W]`` along the outline of bool ``[H, W]``, grey levels per pixel."""
    outline = cv2.morphologyEx(inside.astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
    return float(np.hypot(*np.gradient(image.astype(float)))[outline].mean()) if inside.any() else float("nan")


def compare(real: EchoStore, synthetic: EchoStore) -> dict[str, str]:
    """By structure: Wasserstein-1 distance of synthetic to real frames, and of real patients to others."""
    patients = real.table["patient"].to_numpy()
    refuse_seen(patients, seen_in(synthetic.provenance), str(real.path), "the synthetic frames")
    some = np.isin(patients, sorted(set(patients))[::2])
    found = {}
    for name, label in real.label_space.ids.items():
        ours, theirs = (np.array([sharpness(i, m == label) for i, m, _ in store]) for store in (synthetic, real))
        try:
            found[name] = f"{between_values(ours, theirs[some]):.2f}"
            found[name] += f" ({between_values(theirs[~some], theirs[some]):.2f})"
        except NotEstimableError as reason:
            found[name] = f"not estimable: {reason}"
    return found


if __name__ == "__main__":
    for structure, numbers in compare(*map(EchoStore, sys.argv[1:])).items():
        print(f"{structure}: {numbers}")
