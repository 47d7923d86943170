"""Augmentation: keyed random numbers, an intact sector, ranges that change the frame and keep it a frame."""

import pickle

import numpy as np
import pytest

from tte_tee.data.augment import PIPELINES, Augmentation
from tte_tee.data.phantom import PhantomSpec, write_phantom
from tte_tee.data.store import EchoStore
from tte_tee.errors import UserError

Frame = tuple[np.ndarray, np.ndarray, np.ndarray]
KEYS = [(0, frame, draw) for frame in range(3) for draw in range(12)]
MOVING = [name for name in PIPELINES if name != "none"]


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> list[Frame]:
    path = tmp_path_factory.mktemp("phantom") / "tee.h5"
    write_phantom(PhantomSpec(domain="tee", patients=3, seed=31), path)
    return list(EchoStore(path))[::4]


def same(first: Frame, second: Frame) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


def transform(name: str, **options):
    """One custom transform, always applied, as a function of a frame and a seed."""
    import albumentations as A

    from tte_tee.data import transforms

    pipeline = A.Compose([getattr(transforms, name)(p=1.0, **options)], additional_targets={"sector": "mask"})

    def apply(frame: Frame, seed: int = 0) -> Frame:
        pipeline.set_random_seed(seed)
        moved = pipeline(image=frame[0], mask=frame[1], sector=frame[2])
        return moved["image"], moved["mask"], moved["sector"]

    return apply


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UserError, match="augmentation 'weak' is not one of none, standard, strong"):
        Augmentation("weak")


def test_none_leaves_a_frame_alone(frames: list[Frame]) -> None:
    assert same(Augmentation("none")(*frames[0], (0, 0, 0)), frames[0])


@pytest.mark.parametrize("name", MOVING)
def test_the_key_alone_decides(name: str, frames: list[Frame]) -> None:
    used, fresh = Augmentation(name), Augmentation(name)
    first = [used(*frames[key[1]], key) for key in KEYS]
    np.random.seed(5)  # the global stream has no say
    for key, frame in reversed(list(zip(KEYS, first, strict=True))):
        assert same(fresh(*frames[key[1]], key), frame)
    copy = pickle.loads(pickle.dumps(used))
    assert same(copy(*frames[0], KEYS[0]), first[0])


@pytest.mark.parametrize("name", MOVING)
def test_every_part_of_the_key_counts(name: str, frames: list[Frame]) -> None:
    augmentation = Augmentation(name)
    images = [augmentation(*frames[0], key)[0].tobytes() for key in ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1))]
    assert len(set(images)) == 4


@pytest.mark.parametrize("name", MOVING)
def test_frames_stay_frames(name: str, frames: list[Frame]) -> None:
    augmentation = Augmentation(name)
    for key in KEYS:
        before = tuple(array.copy() for array in frames[key[1]])
        image, mask, sector = augmentation(*frames[key[1]], key)
        assert same(before, frames[key[1]])  # the store's arrays are not written to
        assert image.shape == mask.shape == sector.shape == before[0].shape
        assert image.dtype == mask.dtype == sector.dtype == np.uint8
        assert set(np.unique(mask)) <= set(np.unique(before[1]))
        assert set(np.unique(sector)) == {0, 1}
        assert not image[sector == 0].any()
        assert not mask[sector == 0].any()
        assert (mask == np.unique(before[1])[-1]).sum() > 0


@pytest.mark.parametrize("name", MOVING)
def test_no_black_wedge_in_the_sector(name: str, frames: list[Frame]) -> None:
    _, mask, sector = frames[0]
    for key in KEYS:
        image, _, moved = Augmentation(name)(np.full_like(mask, 200), mask, sector, key)
        assert (image[moved == 1] > 0).all()


@pytest.mark.parametrize("name", MOVING)
def test_up_stays_up_and_left_stays_left(name: str, frames: list[Frame]) -> None:
    mask = frames[0][1]
    quarter = np.indices(mask.shape) // (mask.shape[0] // 2)
    corners = (quarter[0] * 2 + quarter[1] + 1).astype(np.uint8)
    for key in KEYS:
        _, moved, _ = Augmentation(name)(frames[0][0], corners, frames[0][2], key)
        above, below, left, right = (
            np.argwhere(np.isin(moved, ids)).mean(0) for ids in ((1, 2), (3, 4), (1, 3), (2, 4))
        )
        assert above[0] < below[0]
        assert left[1] < right[1]


def test_annotation_beyond_the_sector_moves_along(frames: list[Frame]) -> None:
    image, mask, sector = frames[0]
    everywhere = np.ones_like(mask)
    _, moved, _ = Augmentation("standard")(image, everywhere, sector, (0, 0, 0))
    assert moved.mean() > 0.8


def test_an_empty_sector_is_refused(frames: list[Frame]) -> None:
    image, mask, sector = frames[0]
    with pytest.raises(UserError, match="empty sector"):
        Augmentation("standard")(image, mask, 0 * sector, (0, 0, 0))


@pytest.mark.parametrize("far", [0.5, 1.2])
def test_attenuation_grows_with_depth(far: float, frames: list[Frame]) -> None:
    flat = np.full_like(frames[0][0], 100)
    image, mask, sector = transform("DepthAttenuation", far_gain=(far, far))((flat, *frames[0][1:]))
    rows = np.flatnonzero(sector.any(1))
    middle = image[:, image.shape[1] // 2].astype(int)
    assert abs(middle[rows[0]] - 100) <= 2
    assert abs(middle[rows[-1]] - 100 * far) <= 3
    assert same((image, mask, sector), (image, *frames[0][1:]))


def test_a_shadow_darkens_one_bundle_of_beams_behind_its_start(frames: list[Frame]) -> None:
    flat = np.full_like(frames[0][0], 100)
    shadow = transform("BeamShadow", width=(0.05, 0.05), start=(0.5, 0.5), strength=(0.8, 0.8))
    image, _, sector = shadow((flat, *frames[0][1:]), seed=1)
    upper = np.s_[: np.flatnonzero(sector.any(1))[-1] // 3]
    assert (image[upper][sector[upper] > 0] == 100).all()
    dark = (image < 60) & (sector > 0)
    assert 0.005 < dark.sum() / sector.sum() < 0.2


def test_speckle_keeps_the_mean_and_correlates_neighbours(frames: list[Frame]) -> None:
    flat = np.full_like(frames[0][0], 100)
    image = transform("Speckle", strength=(0.4, 0.4))((flat, *frames[0][1:]))[0].astype(float)
    assert abs(image.mean() - 100) < 1
    assert 10 < image.std() < 30
    assert np.corrcoef(image[:, :-1].ravel(), image[:, 1:].ravel())[0, 1] > 0.3
    assert abs(np.corrcoef(image[:, :-5].ravel(), image[:, 5:].ravel())[0, 1]) < 0.15


def test_bending_leaves_the_sector_and_its_edge(frames: list[Frame]) -> None:
    bend = transform("SectorElastic", shift=(0.04, 0.04))
    for seed in range(20):
        for frame in frames:
            image, mask, sector = bend(frame, seed)
            np.testing.assert_array_equal(sector, frame[2])
            assert not mask[sector == 0].any()
            assert 0.005 < (mask != frame[1]).mean() < 0.25
            assert set(np.unique(mask)) == set(np.unique(frame[1]))
            assert not np.array_equal(image, frame[0])


def test_narrowing_takes_whole_beams_from_the_sides(frames: list[Frame]) -> None:
    for seed in range(10):
        image, mask, sector = transform("NarrowSector", kept=(0.75, 0.75))(frames[0], seed)
        assert 0.6 < sector.sum() / frames[0][2].sum() < 0.9
        np.testing.assert_array_equal(mask, frames[0][1] * sector)
        np.testing.assert_array_equal(image, frames[0][0] * sector)


def test_beams_run_from_the_probe(frames: list[Frame]) -> None:
    from tte_tee.data.transforms import beams

    depth, beam = beams(frames[0][2])
    row, column = np.argwhere(frames[0][2])[0]
    assert depth[row, column] < 0.05
    lower = depth.shape[0] * 3 // 4
    assert (np.diff(beam[lower]) >= 0).all()
    assert beam[lower, 0] < 0.05 and beam[lower, -1] > 0.95


def test_a_frame_without_a_black_border_has_beams() -> None:
    frame = tuple(np.ones((16, 16), np.uint8) for _ in range(3))
    for key in KEYS:
        image, _, sector = Augmentation("strong")(200 * frame[0], frame[1], frame[2], key)
        assert (image[sector == 1] > 0).all()
