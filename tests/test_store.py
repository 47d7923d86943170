"""The echo store: what goes in comes out, what does not fit is refused, and no half file is left."""

import os
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import draw_frame
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from storing import INFO, write
from torch.utils.data import DataLoader

from tte_tee.anatomy import CAMUS, TEE
from tte_tee.data.datamodule import FrameDataset
from tte_tee.data.store import COLUMNS, EchoStore, FrameInfo, StoreWriter
from tte_tee.errors import UserError

FULL = FrameInfo(
    key="p2/ED",
    patient="p2",
    view="ME2C",
    split="test",
    origin="generated",
    study="s1",
    phase="ES",
    spacing=(0.5, 0.25),
    parent="a",
    seed=2**62,
    cohort="test",
    mask_source="ssm",
    sector_confidence=0.5,
)


def test_everything_written_is_read_back(tmp_path: Path) -> None:
    store = write(tmp_path / "deep" / "f.h5", INFO, FULL, provenance='{"adapter": 1}')
    assert [store.info(0), store.info(1)] == [INFO, FULL]
    assert list(store.table) == list(COLUMNS)
    assert (store.label_space, store.licence, store.command) == (TEE, "CC0-1.0", "a test")
    assert store.provenance == {"adapter": 1}
    assert (len(store), store.image_size) == (2, (16, 16))
    for seed, frame in enumerate(store):
        for array, expected in zip(frame, draw_frame(4, seed), strict=True):
            assert array.dtype == np.uint8
            np.testing.assert_array_equal(array, expected)


def test_unknown_spacing_stays_unknown(tmp_path: Path) -> None:
    store = write(tmp_path / "f.h5", INFO)
    assert np.isnan(store.table["spacing_y"][0])
    assert store.info(0).spacing is None


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    text=st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=12),
    spacing=st.none() | st.tuples(*[st.floats(2**-6, 8, width=32)] * 2),
    seed=st.integers(-1, 2**63 - 1),
)
def test_any_text_and_number_survives(
    tmp_path: Path, text: str, spacing: tuple[float, float] | None, seed: int
) -> None:
    info = FrameInfo(
        text, text, "A4C", "val", "phantom", study=text, parent=text, spacing=spacing, seed=seed, mask_source="none"
    )
    assert write(tmp_path / "f.h5", info).info(0) == info


def test_splits_are_a_column(tee_store: Path) -> None:
    store = EchoStore(tee_store)
    parts = [store.indices(split=split) for split in ("train", "val", "test")]
    assert [len(part) for part in parts] == [8, 4, 4]
    np.testing.assert_array_equal(np.concatenate(parts), store.indices())


def other(**changes: object) -> FrameInfo:
    return FrameInfo(**{**INFO.__dict__, "key": "b", **changes})


@pytest.mark.parametrize(
    ("second", "says"),
    [
        (other(split="test"), ["p1", "more than one split", "by patient"]),
        (other(key="a"), ["frame key a", "twice"]),
    ],
)
def test_leaks_and_twins_are_refused(tmp_path: Path, second: FrameInfo, says: list[str]) -> None:
    with pytest.raises(UserError) as error:
        write(tmp_path / "f.h5", INFO, second)
    assert all(words in str(error.value) for words in ("f.h5", *says))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [("view", "PLAX", "ME4C"), ("phase", "systole", "ES"), ("origin", "drawn", "phantom"), ("split", "dev", "val")],
)
def test_unknown_words_are_refused_with_the_known_ones(field: str, value: str, says: str) -> None:
    with pytest.raises(UserError, match=f"'b': {field} '{value}' .*{says}"):
        other(**{field: value})


def spoilt(**changes: Callable[[np.ndarray], np.ndarray]) -> list[np.ndarray]:
    frame = dict(zip(("image", "mask", "sector"), draw_frame(4, 1), strict=True))
    return [changes.get(name, lambda a: a)(array) for name, array in frame.items()]


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        (spoilt(mask=lambda a: a * 0 + 5), ["'b'", "label 5", "'tee'", "1 LV", "4 RA"]),
        (spoilt(image=lambda a: a[:-1]), ["'b'", "images", r"(15, 16)", "(16, 16)"]),
        (spoilt(mask=lambda a: a[None]), ["'b'", "masks", "(1, 16, 16)"]),
        (spoilt(sector=lambda a: a.astype(bool)), ["'b'", "sector", "bool", "uint8"]),
        (spoilt(image=lambda a: a.astype(np.float32)), ["'b'", "images", "float32"]),
        (spoilt(sector=lambda a: a * 255), ["'b'", "sector", "255"]),
    ],
)
def test_frames_that_do_not_fit_are_refused(tmp_path: Path, arrays: list[np.ndarray], says: list[str]) -> None:
    with pytest.raises(UserError) as error, StoreWriter(tmp_path / "f.h5", TEE, licence="", command="") as writer:
        writer.append(*draw_frame(4, 0), INFO)
        writer.append(*arrays, other())
    assert all(words in str(error.value) for words in says), error.value
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("array", [np.zeros((2, 16, 16), np.uint8), np.zeros(16, np.uint8)])
def test_a_first_frame_that_is_no_picture_is_refused(tmp_path: Path, array: np.ndarray) -> None:
    with pytest.raises(UserError, match="'a'"), StoreWriter(tmp_path / "f.h5", TEE, licence="", command="") as writer:
        writer.append(array, array, array, INFO)


def test_a_store_without_frames_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no frame"):
        write(tmp_path / "f.h5")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt])
def test_an_interrupted_write_leaves_the_older_file_alone(tmp_path: Path, kind: type[BaseException]) -> None:
    before = write(tmp_path / "f.h5", INFO).content_hash
    with pytest.raises(kind), StoreWriter(tmp_path / "f.h5", TEE, licence="", command="") as writer:
        writer.append(*draw_frame(4, 3), FULL)
        raise kind
    assert [path.name for path in tmp_path.iterdir()] == ["f.h5"]
    assert EchoStore(tmp_path / "f.h5").content_hash == before


@pytest.mark.parametrize("frames", [1, 200])
def test_a_disk_that_would_be_full_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, frames: int) -> None:
    old = write(tmp_path / "f.h5", INFO).content_hash
    free = iter([2**30] * (frames > 1) + [0])
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=next(free)))
    with pytest.raises(UserError, match=r"f\.h5: cannot write there \(No space left on device\)"):
        write(tmp_path / "f.h5", *[replace(INFO, key=str(n)) for n in range(frames)])
    assert EchoStore(tmp_path / "f.h5").content_hash == old
    assert [path.name for path in tmp_path.iterdir()] == ["f.h5"]


def test_a_whole_write_replaces_the_older_file(tmp_path: Path) -> None:
    write(tmp_path / "f.h5", INFO)
    assert write(tmp_path / "f.h5", FULL).info(0) == FULL
    assert [path.name for path in tmp_path.iterdir()] == ["f.h5"]


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file/f\.h5: cannot write"):
        write(tmp_path / "file" / "f.h5", INFO)


def a_text(path: Path) -> None:
    path.write_text("a recipe, say")


def a_pipe(path: Path) -> None:
    os.mkfifo(path)  # stands for /dev/null, which a rename would turn into a file


@pytest.mark.parametrize("make", [a_text, a_pipe, Path.mkdir])
def test_only_a_store_is_replaced(tmp_path: Path, make: Callable[[Path], None]) -> None:
    path = tmp_path / "f.h5"
    make(path)
    kind = path.stat().st_mode
    with pytest.raises(UserError, match=r"f\.h5: is "):
        write(path, INFO)
    assert path.stat().st_mode == kind and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["", ".", "x" * 300, "x" * 250])
def test_a_name_that_no_file_can_have_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError):
        write(Path(name), INFO)
    assert not list(tmp_path.iterdir())


def test_hash_is_of_the_content_alone(tmp_path: Path) -> None:
    first = write(tmp_path / "a.h5", INFO, FULL).content_hash
    assert write(tmp_path / "b.h5", INFO, FULL, command="another", licence="x").content_hash == first
    others = [
        write(tmp_path / "c.h5", FULL, INFO).content_hash,
        write(tmp_path / "d.h5", INFO, other()).content_hash,
        write(tmp_path / "e.h5", INFO).content_hash,
    ]
    assert len({first, *others}) == 4


@pytest.mark.parametrize("array", range(3), ids=["image", "mask", "sector"])
def test_hash_changes_with_one_pixel(tmp_path: Path, array: int) -> None:
    hashes = []
    for change in (0, 1):
        frame = draw_frame(4, 0)
        frame[array][8, 8] ^= change
        with StoreWriter(tmp_path / "f.h5", TEE, licence="", command="") as writer:
            writer.append(*frame, INFO)
        hashes.append(EchoStore(tmp_path / "f.h5").content_hash)
    assert hashes[0] != hashes[1]


def test_hash_changes_with_the_label_space(tmp_path: Path) -> None:
    frame = draw_frame(3, 0)
    hashes = set()
    for space in (CAMUS, TEE):
        with StoreWriter(tmp_path / "f.h5", space, licence="", command="") as writer:
            writer.append(*frame, INFO)
        hashes.add(EchoStore(tmp_path / "f.h5").content_hash)
    assert len(hashes) == 2


def test_an_open_store_can_be_copied_to_another_process(tee_store: Path) -> None:
    store = EchoStore(tee_store)
    expected = store.frame(5)
    copy = pickle.loads(pickle.dumps(store))
    np.testing.assert_array_equal(copy.frame(5), expected)


def test_forked_workers_read_what_the_parent_reads(tee_store: Path) -> None:
    dataset = FrameDataset(EchoStore(tee_store))
    keys = [(i, 0) for i in range(len(dataset))]
    expected = [dataset[key] for key in keys]  # opens the file in the parent first
    loader = DataLoader(dataset, sampler=keys, batch_size=None, num_workers=2, multiprocessing_context="fork")
    for batch, frame in zip(loader, expected, strict=True):
        assert all((batch[name] == frame[name]).all() for name in frame)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"cohort": "pool"}, "more than one cohort"),
        ({"split": "val"}, "more than one split"),
        ({"patient": "p2", "cohort": "confirmatory"}, "held-out cohort is in split test alone"),
    ],
)
def test_a_cohort_is_kept_apart(tmp_path: Path, changes: dict[str, str], says: str) -> None:
    other = FrameInfo(**{**INFO.__dict__, "key": "b", **changes})
    with pytest.raises(UserError, match=says):
        write(tmp_path / "f.h5", INFO, other)
    assert not list(tmp_path.iterdir())


def test_more_frames_than_a_block(tmp_path: Path) -> None:
    infos = [FrameInfo(**{**INFO.__dict__, "key": str(i)}) for i in range(150)]
    store = write(tmp_path / "f.h5", *infos)
    assert list(store.table["key"]) == [str(i) for i in range(150)]
    np.testing.assert_array_equal(store.frame(149)[0], draw_frame(4, 149)[0])


def test_what_a_killed_writer_left_is_swept_and_a_living_ones_is_not(tmp_path: Path) -> None:
    import socket

    left, living = (tmp_path / f"f.h5.tmp-{socket.gethostname()}-{pid}-abc" for pid in (2**22 + 1, os.getpid()))
    elsewhere = tmp_path / f"f.h5.tmp-{socket.gethostname()}-2-{2**22 + 1}-abc"  # of a host whose name begins alike
    left.touch(), living.touch(), elsewhere.touch()
    write(tmp_path / "f.h5", INFO)
    assert not left.exists()
    assert living.exists() and elsewhere.exists()
