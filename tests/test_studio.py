"""The studio without its page: masks in, frames and stores out."""

import shutil
import struct
import zlib
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import SIZE, sector_of, write_store
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from studios import make_segmenter, make_shapes

from tte_tee.anatomy import CAMUS, STRUCTURES, TEE
from tte_tee.data.store import EchoStore
from tte_tee.errors import UserError
from tte_tee.models.folders import load_adapter
from tte_tee.seen import BASE_SEEN, MASK_SEEN, SEEN
from tte_tee.studio import uploads
from tte_tee.studio.album import Album
from tte_tee.studio.desk import Settings, empty_heart, first_heart, heart_now, heart_of_picture, remark, show
from tte_tee.studio.draw import draw
from tte_tee.studio.heart import edited, of_modes, of_store, opened
from tte_tee.studio.judge import learnt_elsewhere, neighbour
from tte_tee.studio.labels import from_text, resize_labels, snap, to_text
from tte_tee.studio.start import UNADAPTED, Studio, open_studio
from tte_tee.synthesis.frames import Sampling

FRAME = (SIZE, SIZE)
COLOURS = [STRUCTURES[name].colour for name in TEE.structures]
QUICK = Sampling(steps=2)


@pytest.fixture(scope="module")
def place(studio: Studio) -> Path:
    """Where its parts lie."""
    return studio.album.path.parent


def write_png(path: Path, pixels: np.ndarray) -> Path:
    """Grey, or RGB and RGBA."""
    orders = {3: cv2.COLOR_RGB2BGR, 4: cv2.COLOR_RGBA2BGRA}
    cv2.imwrite(str(path), pixels if pixels.ndim == 2 else cv2.cvtColor(pixels, orders[pixels.shape[2]]))
    return path


@given(arrays.arrays(np.uint8, (4, 5, 3)))
def test_every_pixel_ends_as_one_label(picture: np.ndarray) -> None:
    labels = snap(picture, TEE)
    assert labels.shape == (4, 5)
    assert set(np.unique(labels)) <= {0, 1, 2, 3, 4}


@pytest.mark.parametrize(("label", "colour"), list(enumerate(COLOURS, start=1)))
def test_colours_and_those_near_them_are_the_structures(label: int, colour: tuple[int, int, int]) -> None:
    row = np.array(
        [[colour, np.clip(np.array(colour) + 9, 0, 255), (0, 0, 0), (38, 38, 46), (255, 255, 255)]], np.uint8
    )
    assert snap(row, TEE).tolist() == [[label, label, 0, 0, 0]]
    half = np.dstack([row, np.array([[255, 100, 255, 255, 255]], np.uint8)])
    assert snap(half, TEE).tolist() == [[label, 0, 0, 0, 0]]


def test_a_smoothed_stroke_is_the_stroke() -> None:
    picture = np.zeros((8 * SIZE, 8 * SIZE, 3), np.uint8)
    cv2.circle(picture, (64, 64), 30, COLOURS[1], -1, cv2.LINE_AA)
    labels = resize_labels(snap(picture, TEE), FRAME)
    assert set(np.unique(labels)) == {0, 2}
    assert abs(int((labels == 2).sum()) - np.pi * (30 / 8) ** 2) < 4


@given(arrays.arrays(np.uint8, FRAME, elements=st.integers(0, 4)))
def test_what_is_painted_comes_back(mask: np.ndarray) -> None:
    assert np.array_equal(from_text(to_text(mask), FRAME, TEE), mask)


@pytest.mark.parametrize("text", [None, 3, "0" * 7, "5" * SIZE**2, "é" * SIZE**2, "/" * SIZE**2, ["0"] * SIZE**2])
def test_what_no_canvas_gives_is_refused(text: object) -> None:
    with pytest.raises(UserError, match="painted mask"):
        from_text(text, FRAME, TEE)


def test_modes_move_the_mask(studio: Studio) -> None:
    mean, moved, again = (of_modes(studio.shapes, "ME4C", values) for values in ([0.0] * 5, [2.5, 0, 0], [2.5]))
    assert not np.array_equal(mean.mask, moved.mask)
    assert np.array_equal(moved.mask, again.mask)
    assert mean.info.key != moved.info.key
    assert (moved.info.mask_source, moved.patient) == ("ssm", "")  # nobody's heart
    assert moved.seen == {f"train{number}" for number in range(12)}
    with pytest.raises(UserError, match=r"-2\.5 to 2\.5"):
        of_modes(studio.shapes, "ME4C", [2.6])
    with pytest.raises(UserError, match="A4C"):
        of_modes(studio.shapes, "A4C", [0.0])


def test_an_edited_heart_stays_its_patients(studio: Studio) -> None:
    heart = of_store(studio.stores["real.h5"], 1)
    assert edited(heart, heart.mask, heart.sector, heart.info.view) is heart
    painted = np.full_like(heart.mask, 3)
    other = edited(heart, painted, heart.sector, "ME4C")
    assert (other.info.patient, other.patient, other.info.split) == ("train0", "train0", "train")
    assert other.info.key.startswith("train0/ME2C~studio-")
    assert other.record["changed_in_studio"] == ["mask", "view"]
    assert np.array_equal(other.mask, 3 * heart.sector)  # what lies outside is cut
    with pytest.raises(UserError, match="other"):
        edited(heart, painted, heart.sector, "other")


def test_a_mask_of_unknown_origin_counts_as_a_patients(studio: Studio) -> None:
    blank = empty_heart(first_heart(studio))
    first, second = (edited(blank, np.full(FRAME, label, np.uint8), blank.sector, "ME2C") for label in (1, 2))
    assert first.patient.startswith("by-hand-")
    assert first.patient != second.patient
    assert first.info.mask_source == "annotated"


def test_the_sector_opens_and_closes(studio: Studio) -> None:
    heart = first_heart(studio)
    areas = [int(opened(heart, percent).sum()) for percent in (60, 100, 130)]
    assert areas[0] < areas[1] < areas[2]
    with pytest.raises(UserError, match="40 to 160"):
        opened(heart, 500)


def test_the_page_says_what_is_odd_about_a_mask(studio: Studio) -> None:
    heart = first_heart(studio)
    assert "empty" in remark(studio, edited(heart, np.zeros_like(heart.mask), heart.sector, "ME4C"))
    assert "Unlike" in remark(studio, edited(heart, np.full_like(heart.mask, 1), heart.sector, "ME4C"))


def test_pictures_become_masks(studio: Studio, tmp_path: Path) -> None:
    truth = np.repeat(np.repeat(np.arange(4, dtype=np.uint8).reshape(2, 2), 8, 0), 8, 1)
    palette = np.array([(0, 0, 0), *COLOURS], np.uint8)
    for pixels in (truth, palette[truth], cv2.resize(palette[truth], (40, 40), interpolation=cv2.INTER_LINEAR)):
        found = uploads.read_mask(write_png(tmp_path / "mask.png", pixels), FRAME, TEE)
        assert (found == truth).mean() > 0.95
    assert heart_of_picture(studio, tmp_path / "mask.png", first_heart(studio)).patient


def header(width: int, height: int) -> bytes:
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "no PNG"),
        (b"GIF89a" + bytes(60), "no PNG"),
        (header(60000, 60000), "sides end at"),
        (header(16, 16), "no whole PNG"),
        (header(0, 0), "sides end at"),
        (header(32, 16), "of that shape"),
        (bytes(5 * 2**20), "larger than 4 MiB"),
    ],
)
def test_what_is_no_mask_is_refused_in_one_line(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "mask.png").write_bytes(content)
    with pytest.raises(UserError, match=says) as refusal:
        uploads.read_mask(tmp_path / "mask.png", FRAME, TEE)
    assert "\n" not in str(refusal.value)
    assert str(tmp_path) not in str(refusal.value)  # nobody's business where uploads lie


def test_grey_values_that_are_no_ids_are_refused(tmp_path: Path) -> None:
    for pixels, says in ((np.full(FRAME, 5, np.uint8), "grey values are ids"), (np.ones(FRAME, np.uint16), "8 bits")):
        cv2.imwrite(str(tmp_path / "mask.png"), pixels)
        with pytest.raises(UserError, match=says):
            uploads.read_mask(tmp_path / "mask.png", FRAME, TEE)


def test_stores_that_cannot_be_drawn_are_refused(
    tmp_path: Path, tte_store: Path, tee_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(uploads.open_store(tee_store, FRAME, TEE)) == 16
    large = write_store(tmp_path / "large.h5", TEE, size=32)
    (tmp_path / "none.h5").write_bytes(b"none")
    for path, says in (
        (tte_store, "label space"),
        (large, "32x32"),
        (tmp_path / "none.h5", "^none.h5: not a readable"),
    ):
        with pytest.raises(UserError, match=says):
            uploads.open_store(path, FRAME, TEE)
    monkeypatch.setattr(uploads, "LARGEST_STORE", 1000)
    with pytest.raises(UserError, match="larger than"):
        uploads.open_store(tee_store, FRAME, TEE)


def test_adapters_draw_one_mask_with_one_noise(studio: Studio) -> None:
    heart = first_heart(studio)
    first, second = (artist.adapter for artist in studio.artists)
    image = draw(first, heart, QUICK).image
    assert (image.shape, image.dtype) == (FRAME, np.uint8)
    assert np.array_equal(draw(first, heart, QUICK).image, image)
    assert not np.array_equal(draw(second, heart, QUICK).image, image)
    assert not np.array_equal(draw(first, heart, replace(QUICK, seed=1)).image, image)
    assert not np.array_equal(draw(first, heart, replace(QUICK, guidance=3.0)).image, image)
    other = edited(heart, np.full_like(heart.mask, 2), heart.sector, "ME4C")
    assert not np.array_equal(draw(first, other, QUICK).image, image)


def test_what_is_shown_of_each_frame(studio: Studio) -> None:
    names = [artist.name for artist in studio.artists]
    shown = show(studio, first_heart(studio), Settings(names, 2))
    assert list(shown) == names
    for each in shown.values():
        assert each.picture.shape == (384, 384, 3)
        assert "Found back (Dice, %): LV **" in each.text
        assert "Nearest training frame: `train" in each.text
        assert each.neighbour is not None
    assert list(show(studio, first_heart(studio), Settings(names[:1], 2, outlined=True))) == names[:1]
    for wrong in ({"names": []}, {"steps": 51}, {"guidance": float("nan")}, {"seed": -1}):
        with pytest.raises(UserError):
            Settings(**{"names": names, **wrong})
    with pytest.raises(UserError, match="stranger"):
        show(studio, first_heart(studio), Settings(["stranger"]))


def test_a_segmenter_never_judges_whom_it_knows(studio: Studio, place: Path, tmp_path: Path) -> None:
    knows = str(make_segmenter(tmp_path, ["train3"]))
    given = {"shapes": str(place / "shapes"), "work": place / "work", "out": tmp_path / "out.h5"}
    with pytest.raises(UserError, match="train3 went into the segmenter"):
        open_studio([str(place / "first/adapter")], segmenter=knows, **given)
    heart = of_store(studio.stores["real.h5"], 0)
    known = replace(heart, info=replace(heart.info, patient="another"))
    text = show(studio, known, Settings([studio.artists[0].name], 2))[studio.artists[0].name].text
    assert "not judged: patient another went into the segmenter" in text


def test_the_nearest_training_frame_is_found(studio: Studio) -> None:
    training, store = studio.artists[0].training, studio.stores["real.h5"]
    assert training is not None
    index = int(store.indices(split="train")[7])
    image, _, sector = store.frame(index)
    drawing = replace(draw(studio.artists[0].adapter, first_heart(studio), QUICK), image=image[:, ::-1].copy())
    found = neighbour(replace(drawing, heart=replace(drawing.heart, sector=sector[:, ::-1].copy())), training)
    assert str(store.table["key"][index]) in found.line
    assert "mirrored: correlation 1.00" in found.line
    assert np.array_equal(found.image, (image * sector)[:, ::-1])


def test_frames_of_another_store_are_nobodys_training(studio: Studio, tee_store: Path) -> None:
    adapter = studio.artists[0].adapter
    assert "real.h5" in learnt_elsewhere(adapter, EchoStore(tee_store))
    assert "--trained-on" in learnt_elsewhere(adapter, None)


def test_saved_frames_are_a_proper_store(studio: Studio, tmp_path: Path) -> None:
    album = Album(tmp_path / "saved.h5", TEE, FRAME, "python -m tte_tee studio")
    real = of_store(studio.stores["real.h5"], 0)
    frames = [draw(artist.adapter, heart, QUICK) for heart in (first_heart(studio), real) for artist in studio.artists]
    assert album.add(frames[:2]) == 2
    assert album.add(frames) == 4  # those that are there are not added again
    store = EchoStore(tmp_path / "saved.h5")
    table = store.table
    assert set(table["origin"]) == {"generated"}
    assert list(table["seed"]) == [0] * 4
    assert list(table["parent"]) == [frame.heart.info.key for frame in frames]
    assert list(table["key"])[2:] == ["train0/ME4C#0.0", "train0/ME4C#0.1"]
    for index, frame in enumerate(frames):
        for saved, shown in zip(store.frame(index), (frame.image, frame.heart.mask, frame.heart.sector), strict=True):
            assert np.array_equal(saved, shown)
    drawn = store.provenance["drawings"]
    assert [each["adapter"]["hash"] for each in drawn] == [frame.adapter.hash for frame in frames]
    assert drawn[0]["sampling"]["steps"] == 2
    assert drawn[0]["masks"]["modes_sd"] == [0.0] * 5
    assert drawn[2]["masks"]["store"] == "real.h5"
    assert set(store.provenance[SEEN]) == {"somebody", *studio.stores["real.h5"].table["patient"]}
    assert store.provenance[BASE_SEEN] == ["somebody"]
    assert "real.h5" not in store.command
    assert (tmp_path / "saved.md").read_text().startswith("# saved.h5")


def test_a_mask_that_was_shown_is_not_learnt_from(studio: Studio, tmp_path: Path) -> None:
    album = Album(tmp_path / "saved.h5", TEE, FRAME)
    blank = empty_heart(first_heart(studio))
    frame = draw(studio.artists[0].adapter, edited(blank, np.full(FRAME, 1, np.uint8), blank.sector, "ME4C"), QUICK)
    album.add([frame])
    assert EchoStore(album.path).provenance[MASK_SEEN] == [frame.heart.patient]
    album.add([draw(studio.artists[1].adapter, frame.heart, QUICK)])
    assert EchoStore(album.path).provenance[MASK_SEEN] == [frame.heart.patient]


def test_what_cannot_be_saved_leaves_the_store_as_it_was(studio: Studio, tmp_path: Path, tee_store: Path) -> None:
    album, adapter = Album(tmp_path / "saved.h5", TEE, FRAME), studio.artists[0].adapter
    heart = of_store(studio.stores["real.h5"], 0)
    album.add([draw(adapter, heart, QUICK)])
    before = album.path.read_bytes()
    elsewhere = replace(heart, info=replace(heart.info, split="test"), mask=sector_of())
    for frames, says in (
        ([], "no frame"),
        ([draw(adapter, empty_heart(heart), QUICK)], "mask is empty"),
        ([draw(adapter, elsewhere, replace(QUICK, seed=5))], "more than one split"),
    ):
        with pytest.raises(UserError, match=says):
            album.add(frames)
        assert album.path.read_bytes() == before
    shutil.copy(tee_store, tmp_path / "real.h5")
    with pytest.raises(UserError, match="did not write"):
        Album(tmp_path / "real.h5", TEE, FRAME)


def test_things_that_do_not_fit_are_refused_at_the_start(
    studio: Studio, place: Path, tmp_path: Path, tte_store: Path
) -> None:
    write_store(tmp_path / "large.h5", TEE, patients={"train": 10}, size=32)
    for words, says in (
        ({"shapes": str(make_shapes(tmp_path, tmp_path / "large.h5"))}, "at 32x32, the adapters draw"),
        ({"shapes": str(place / "shapes"), "trained_on": str(tte_store)}, ", ".join(CAMUS.structures)),
        ({"shapes": str(tmp_path)}, "masks fit"),
    ):
        with pytest.raises(UserError, match=says):
            open_studio([str(place / "first/adapter")], **words, work=place / "work", out=tmp_path / "out.h5")


def test_masks_and_shapes_of_the_phantom_are_made_once(studio: Studio, place: Path, tmp_path: Path) -> None:
    words, work = [str(place / "first/adapter")], place / "work"
    first = open_studio(words, work=work, out=tmp_path / "out.h5")
    assert {"atlas hearts", "phantom patients"} <= set(first.stores)
    assert first.image_size == FRAME
    made = {path: path.stat().st_mtime_ns for path in work.rglob("*") if path.is_file()}
    assert open_studio(words, work=work, out=tmp_path / "out.h5").shapes.hash == first.shapes.hash
    assert {path: path.stat().st_mtime_ns for path in made} == made
    heart = of_store(first.stores["atlas hearts"], 3)
    assert (heart.info.mask_source, heart.patient) == ("atlas", "")


@pytest.mark.slow
def test_out_of_the_box_the_unadapted_base_draws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    studio = open_studio()
    assert list(studio.notes) == [UNADAPTED]
    (name,) = (artist.name for artist in studio.artists)
    heart = first_heart(studio)
    now = heart_now(studio, heart, to_text(heart.mask), "ME2C", 100)
    shown = show(studio, now, Settings([name]))[name]
    assert shown.drawing.image.std() > 10
    assert studio.album.add([shown.drawing]) == 1
    assert load_adapter("runs/studio/maskr2_only").hash == shown.drawing.adapter.hash
