"""What is no echo store, or no longer one, is refused by name."""

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from storing import INFO, write

from tte_tee.data.store import COLUMNS, EchoStore
from tte_tee.errors import UserError


def missing(path: Path) -> None:
    pass


def text(path: Path) -> None:
    path.write_text("not HDF5")


def foreign(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["x"] = 1


def newer(path: Path) -> None:
    write(path, INFO)
    with h5py.File(path, "r+") as file:
        file.attrs["schema_version"] = 99


def broken(path: Path) -> None:
    write(path, INFO)
    with h5py.File(path, "r+") as file:
        del file["masks"]


def edited(change: Callable[[h5py.File], object]) -> Callable[[Path], None]:
    """Makes a whole store, then changes it."""

    def make(path: Path) -> None:
        write(path, INFO)
        with h5py.File(path, "r+") as file:
            change(file)

    return make


def replaced(name: str, data: object, **options: object) -> Callable[[Path], None]:
    def change(file: h5py.File) -> None:
        del file[name]
        file.create_dataset(name, data=data, **options)

    return edited(change)


def declare(count: int) -> Callable[[h5py.File], None]:
    """Makes all of a store as long as ``count`` frames, of which none is written."""

    def change(file: h5py.File) -> None:
        for name in ("images", "masks", "sector", *(f"frames/{column}" for column in COLUMNS)):
            file[name].resize(count, axis=0)

    return change


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (edited(lambda file: file.attrs.update(label_space="{")), "readable"),
        (edited(lambda file: file.attrs.update(label_space="[1]")), "readable"),
        (edited(lambda file: file.attrs.update(provenance=3)), "readable"),
        (edited(lambda file: file.attrs.update(provenance='["seen"]')), "the provenance is no mapping"),
        (
            edited(lambda file: file.attrs.update(label_space='{"name": "x", "structures": ["spleen"]}')),
            "label space 'x': unknown structure spleen",
        ),
        (edited(lambda file: file.attrs.update(schema_version=[1, 1])), "readable"),
        (edited(lambda file: file.move("images", "old") or file.create_group("images")), "readable"),
        (replaced("frames/view", ["ME4C", "ME4C"], dtype=h5py.string_dtype()), "readable"),
        (replaced("frames/patient", [b"\xff"], dtype=h5py.string_dtype()), "readable"),
        (replaced("frames/view", ["XX"], dtype=h5py.string_dtype()), "view 'XX' is not one of"),
        (replaced("frames/split", ["dev"], dtype=h5py.string_dtype()), "split 'dev' is not one of"),
        (replaced("masks", np.zeros((1, 16, 16))), "uint8"),
        (replaced("masks", np.zeros((1, 16), np.uint8)), "differ in number"),
        (edited(lambda file: file.attrs.update(licence=7)), "'licence' is no text"),
        (edited(lambda file: file.attrs.update(command=np.bytes_(b"x"))), "'command' is no text"),
        (edited(lambda file: file.attrs.create("licence", b"\xff", dtype=h5py.string_dtype())), "readable"),
        (edited(lambda file: file.attrs.update(provenance="[" * 60_000)), "readable"),
        (replaced("frames/seed", ["x"]), "column 'seed' is object, and should be int64"),
        (replaced("frames/seed", [np.nan]), "column 'seed' is float64, and should be int64"),
        (replaced("frames/study", [1.0]), "column 'study' is float64, and should be text"),
        (replaced("images", np.zeros((1, 1, 2**14 + 1), np.uint8)), "declares 1 frames of 1x16385"),
        (edited(declare(10**9)), "declares 1000000000 frames"),
        (missing, "no such echo store.*data pack"),
        (text, "not a readable echo store"),
        (foreign, "found none"),
        (newer, "found 99"),
        (broken, "masks"),
    ],
)
def test_what_is_no_store_is_refused(tmp_path: Path, make: Callable[[Path], None], says: str) -> None:
    make(tmp_path / "f.h5")
    with pytest.raises(UserError, match=rf"f\.h5: .*{says}"):
        EchoStore(tmp_path / "f.h5")


@pytest.mark.parametrize(("array", "value"), [("masks", 5), ("sector", 2)])
def test_pixels_outside_of_the_label_space_are_refused(tmp_path: Path, array: str, value: int) -> None:
    edited(lambda file: file[array].write_direct(np.full((1, 16, 16), value, np.uint8)))(tmp_path / "f.h5")
    with pytest.raises(UserError, match=r"f\.h5: frame 'a': mask or sector holds"):
        EchoStore(tmp_path / "f.h5").frame(0)
