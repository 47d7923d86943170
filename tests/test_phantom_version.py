"""The phantom is frozen: no pixel changes without a new version."""

from pathlib import Path

import numpy as np
import pytest

from tte_tee.data.phantom import PHANTOM_VERSION, PhantomSpec, write_phantom
from tte_tee.data.phantom.reference import fingerprint, reference
from tte_tee.data.phantom.version import REFERENCE
from tte_tee.data.store import EchoStore

HOW = "the phantom draws other frames than its version says; see tte_tee/data/phantom/version.py"


@pytest.fixture(scope="module")
def kept() -> dict[str, np.ndarray]:
    with np.load(Path(__file__).parent / "data" / "phantom_reference.npz") as file:
        return {name: file[name] for name in file.files}


@pytest.fixture(scope="module")
def drawn() -> dict[str, np.ndarray]:
    return reference()


def test_the_reference_is_the_versions(kept: dict[str, np.ndarray]) -> None:
    assert fingerprint(kept) == REFERENCE, HOW


@pytest.mark.parametrize("name", ["masks", "labels"])
def test_no_label_changed(name: str, kept: dict[str, np.ndarray], drawn: dict[str, np.ndarray]) -> None:
    np.testing.assert_array_equal(drawn[name], kept[name], err_msg=HOW)


def test_no_pixel_changed(kept: dict[str, np.ndarray], drawn: dict[str, np.ndarray]) -> None:
    """One grey level is left to the rounding of other processors."""
    away = np.abs(drawn["images"].astype(int) - kept["images"].astype(int))
    assert away.max() <= 1, HOW
    np.testing.assert_allclose(drawn["moments"], kept["moments"], atol=0.05, err_msg=HOW)


def test_a_fingerprint_sees_one_grey_level(kept: dict[str, np.ndarray]) -> None:
    images = kept["images"].copy()
    images[0, 0, 0] ^= 1
    assert fingerprint({**kept, "images": images}) != REFERENCE


def test_a_store_says_which_phantom_made_it(tmp_path: Path) -> None:
    write_phantom(PhantomSpec("tee", 1, size=16), tmp_path / "tee.h5")
    assert EchoStore(tmp_path / "tee.h5").provenance["phantom"] == {
        "version": PHANTOM_VERSION,
        "reference": REFERENCE,
    }
