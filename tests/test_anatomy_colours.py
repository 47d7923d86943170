"""Colours of the chambers can be told apart by readers who do not see red, green or blue as others do."""

from itertools import combinations

import numpy as np
import pytest

from tte_tee.anatomy import STRUCTURES

# Machado, Oliveira and Fernandes, IEEE Trans. Vis. Comput. Graph. 15(6), 2009: severity 1, linear RGB.
SEEN = {
    "all colours": np.eye(3),
    "no red": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "no green": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "no blue": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def _lab(name: str, seen: str) -> np.ndarray:
    encoded = np.array(STRUCTURES[name].colour) / 255
    linear = np.where(encoded < 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    xyz = _XYZ @ np.clip(np.array(SEEN[seen]) @ linear, 0, 1) / (0.9505, 1, 1.089)
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("seen", SEEN)
@pytest.mark.parametrize("together", [("LV", "LA", "RV", "RA"), ("LV", "LV_epi", "LA"), ("AML", "PML")])
def test_structures_of_one_mask_differ_for_every_reader(seen: str, together: tuple[str, ...]) -> None:
    for one, other in combinations(together, 2):
        assert np.linalg.norm(_lab(one, seen) - _lab(other, seen)) > 25, (one, other)
