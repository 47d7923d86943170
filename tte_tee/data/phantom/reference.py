"""The frames that a version of the phantom is recognised by."""

import hashlib

import numpy as np

from tte_tee.data.phantom.body import Array
from tte_tee.data.phantom.frame import DOMAINS, Frame, acquire, draw_patient
from tte_tee.data.phantom.planes import acquisition_seed

SEED = 90
SIZE = 64
FRAMES = (
    *(("tte", index, angle, phase) for index, angle, phase in ((0, 0, "ED"), (1, 90, "ES"), (2, 0, "ES"))),
    *(("tee", index, (0, 90, 15)[index % 3], ("ED", "ES")[index % 2]) for index in range(8)),
)
"""Domain, patient, angle and phase of the frames that are kept whole."""
COUNTED = 40
"""Patients per domain of whose frames the moments are kept."""


def reference() -> dict[str, Array]:
    """What is kept of a version.

    Returns:
        ``images`` and ``masks``, uint8 ``[len(FRAMES), SIZE, SIZE]``; ``moments``, float32
        ``[2, COUNTED, 2]``, mean and standard deviation of the grey levels of one frame of each
        patient; ``labels``, int64 ``[2, COUNTED, 5]``, its pixels per label.
    """
    frames = [_frame(*which) for which in FRAMES]
    moments, labels = [], []
    for domain in DOMAINS:
        for index in range(COUNTED):
            frame = _frame(domain, index, (0, 90)[index % 2], ("ED", "ES")[index // 2 % 2])
            moments.append([frame.image.mean(), frame.image.std()])
            labels.append(np.bincount(frame.mask.ravel(), minlength=5))
    return {
        "images": np.stack([frame.image for frame in frames]),
        "masks": np.stack([frame.mask for frame in frames]),
        "moments": np.array(moments, np.float32).reshape(len(DOMAINS), COUNTED, 2),
        "labels": np.array(labels, np.int64).reshape(len(DOMAINS), COUNTED, 5),
    }


def fingerprint(arrays: dict[str, Array]) -> str:
    """SHA-256 over names, shapes and values, whatever file they came from."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _frame(domain: str, index: int, angle: int, phase: str) -> Frame:
    patient = draw_patient(domain, SEED, index)
    return acquire(patient, domain, angle, phase, acquisition_seed(domain, SEED, index, angle), SIZE)
