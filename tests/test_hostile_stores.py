"""Hostile stores and folders of pictures: they reach no other file, and end."""

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from conftest import write_store
from folders import RECIPE, refused, write_frame, write_image

from tte_tee.anatomy import TEE
from tte_tee.data.store import COLUMNS, EchoStore
from tte_tee.errors import UserError


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return write_store(tmp_path / "f.h5", TEE, patients={"train": 2})


def external_link(file: h5py.File, other: Path) -> None:
    del file["images"]
    file["images"] = h5py.ExternalLink(str(other), "/images")


def soft_link(file: h5py.File, other: Path) -> None:
    file.move("images", "mine")
    file["images"] = h5py.SoftLink("/mine")


def link_of_a_column(file: h5py.File, other: Path) -> None:
    del file["frames/patient"]
    file["frames/patient"] = h5py.ExternalLink(str(other), "/frames/patient")


def link_of_all_columns(file: h5py.File, other: Path) -> None:
    del file["frames"]
    file["frames"] = h5py.ExternalLink(str(other), "/frames")


def virtual(file: h5py.File, other: Path) -> None:
    shape = file["images"].shape
    layout = h5py.VirtualLayout(shape, np.uint8)
    layout[:] = h5py.VirtualSource(str(other), "images", shape)
    del file["images"]
    file.create_virtual_dataset("images", layout)


def stored_elsewhere(file: h5py.File, other: Path) -> None:
    shape = file["images"].shape
    del file["images"]
    file.create_dataset("images", shape, np.uint8, external=[(str(other), 0, int(np.prod(shape)))])


def packed(file: h5py.File, other: Path) -> None:
    images = file["images"][:]
    del file["images"]
    file.create_dataset("images", data=images, compression="gzip")


def long_texts(file: h5py.File, other: Path) -> None:
    count = len(file["images"])
    del file["frames/study"]
    file.create_dataset("frames/study", (count,), "S1000000000", chunks=(1,))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (external_link, "'images' is a link"),
        (soft_link, "'images' is a link"),
        (link_of_a_column, "'frames/patient' is a link"),
        (link_of_all_columns, "'frames' is a link"),
        (virtual, "'images' lies in other files"),
        (stored_elsewhere, "'images' lies in other files"),
        (packed, "'images' is compressed"),
        (long_texts, "column 'study' is"),
    ],
)
def test_a_store_that_reads_other_files_or_unfolds_is_refused(
    store: Path, tmp_path: Path, change: Callable[[h5py.File, Path], None], says: str
) -> None:
    other = write_store(tmp_path / "other.h5", TEE, patients={"train": 2})
    with h5py.File(store, "r+") as file:
        change(file, other)
    with pytest.raises(UserError, match=says):
        EchoStore(store)


def without_end(store: Path, text: bytes) -> None:
    """Spoils the collection that holds a text: HDF5 itself would step by 0 bytes for ever."""
    data = store.read_bytes()
    place = data.rindex(b"GCOL", 0, data.index(text)) + 16
    size = int.from_bytes(data[place + 8 : place + 16], "little")
    free = place + 16 + (size + 7) // 8 * 8
    store.write_bytes(data[:free] + bytes(16) + data[free + 16 :])


@pytest.mark.parametrize("where", ["column", "attribute", "schema", "fill value"])
def test_texts_without_end_are_refused(store: Path, where: str) -> None:
    text, long = b"train0/ME4C", "a long text, with a collection for itself. " * 90
    if where != "column":
        text = long.encode()
        with h5py.File(store, "r+", libver="earliest") as file:
            if where == "fill value":
                count = len(file["images"])
                del file["frames/study"]
                file.create_dataset("frames/study", (count,), h5py.string_dtype(), fillvalue=long, chunks=(1,))
            else:
                file.attrs["provenance" if where == "attribute" else "schema_version"] = long
    without_end(store, text)
    with pytest.raises(UserError, match=r"a collection of texts is damaged|filled with a value of its own"):
        EchoStore(store)


@pytest.mark.parametrize("where", ["of a later version", "behind a block of the user's", "of another kind"])
def test_attributes_that_cannot_be_checked_are_refused(store: Path, tmp_path: Path, where: str) -> None:
    other = tmp_path / "other.h5"
    options = {"userblock_size": 512} if "block" in where else {}
    with h5py.File(store) as file, h5py.File(other, "w", libver="v110" if "later" in where else None, **options) as to:
        for name in file:
            file.copy(name, to)
        to.attrs.update(file.attrs)
        if "kind" in where:
            to.attrs["licence"] = np.array(["a", "b"], dtype=object)
    with pytest.raises(UserError, match="not those of a store"):
        EchoStore(other)


def test_columns_hold_what_they_declare(store: Path) -> None:
    """A store that links nowhere is still read: the check is of links, not of names."""
    assert list(EchoStore(store).table) == list(COLUMNS)


def test_patterns_stay_in_their_folder(root: Path) -> None:
    write_frame(root.parent / "beside", "p9_2CH_ED.png", "p9_2CH_ED_gt.png")
    masks = {"masks": "../beside/{patient}_{view}_{phase}_gt.png"}
    assert "has no mask" in refused(root, {**RECIPE, **masks})
    absolute = {"masks": f"{root.parent}/beside/{{patient}}_{{view}}_{{phase}}_gt.png"}
    assert "has no mask" in refused(root, {**RECIPE, **absolute})


def test_a_folder_of_pictures_that_links_outside_is_refused(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tte_tee.evaluation import segment

    write_image(tmp_path / "secret.png", np.full((32, 32), 10, np.uint8))
    (root / "a.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(UserError, match=r"a\.png: leads outside of"):
        list(segment._frames([root]))
