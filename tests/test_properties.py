"""What holds for every input: MaskR² as a module, rows of a mix over ranks and resumes, frames of a store."""

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from test_maskr2 import spaces
from test_mixing import RATIOS, stream

from tte_tee.anatomy import TEE, LabelSpace, MaskMap, solve
from tte_tee.data.store import EchoStore, FrameInfo, StoreWriter
from tte_tee.data.store.schema import COHORTS, HELD_OUT, MASK_SOURCES, ORIGINS, PHASES, SPLITS, VIEWS
from tte_tee.data.workers import in_order
from tte_tee.models.maskr2 import MaskR2

QUICK = settings(deadline=None, max_examples=40)


@st.composite
def ruled_masks(draw: st.DrawFn) -> tuple[MaskMap, torch.Tensor]:
    """A rule for two label spaces, and masks of the second."""
    source, target = draw(spaces), draw(spaces)
    free = [name for name in source if name not in target]
    places = {name: draw(st.sampled_from([*free, None])) for name in target if name not in source}
    merged = {f"on {place}": [name for name in places if places[name] == place] for place in free}
    merged = {name: members for name, members in merged.items() if members}
    rule = solve(
        source,
        target,
        reduce=merged,
        repurpose={name: name.removeprefix("on ") for name in merged},
        background=[name for name in places if places[name] is None],
    )
    assert {name: rule.place[name] for name in places} == places
    return rule, torch.from_numpy(draw(arrays(np.int64, (2, 4, 4), elements=st.integers(0, len(target)))))


@QUICK
@given(ruled_masks(), st.booleans())
def test_every_pixel_lights_the_one_channel_of_its_place(case: tuple[MaskMap, torch.Tensor], learnable: bool) -> None:
    rule, mask = case
    channels = MaskR2(rule, learnable=learnable)(mask).detach()
    assert set(channels.unique().tolist()) <= {0.0, 1.0}
    placed = [number for number, name in enumerate(rule.target, 1) if rule.place[name] is not None]
    assert torch.equal(channels.sum(1), torch.isin(mask, torch.tensor(placed)).float())
    for number, name in enumerate(rule.target, 1):
        if name in rule.source:  # in both label spaces: as it was, and by itself
            assert torch.equal(channels[:, rule.source.index(name)], (mask == number).float())


@QUICK
@given(ruled_masks())
def test_what_can_be_learnt_starts_at_the_rule(case: tuple[MaskMap, torch.Tensor]) -> None:
    rule, mask = case
    assert torch.equal(MaskR2(rule, learnable=True)(mask), MaskR2(rule)(mask))


@QUICK
@given(st.sampled_from([1, 2, 3, 6]), st.sampled_from([1, 2, 3, 6]), st.integers(0, 6), RATIOS, st.integers(0, 99))
def test_a_row_goes_on_over_another_number_of_ranks(
    before: int, after: int, first: int, ratio: float, seed: int
) -> None:
    """The global batch of 6 is what counts: no position is lost or comes twice, however it is dealt out."""

    def steps(ranks: int, start: int, stop: int) -> list[tuple[int, int, int]]:
        size = 6 // ranks
        parts = [
            list(
                stream(ratio=ratio, seed=seed, batch_size=size, steps=stop, first_step=start, world_size=ranks, rank=r)
            )
            for r in range(ranks)
        ]
        return [key for n in range(stop - start) for part in parts for key in part[n * size : (n + 1) * size]]

    row = steps(before, 0, first) + steps(after, first, 6)
    assert row == list(stream(ratio=ratio, seed=seed, batch_size=6, steps=6))
    assert len(set(row)) == len(row) == 36  # (source, frame, draw) is drawn by one rank, once


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
names = texts.filter(bool)
sizes = st.floats(0.0625, 10, width=32)


@st.composite
def frames(draw: st.DrawFn) -> tuple[LabelSpace, list[tuple[tuple[np.ndarray, ...], FrameInfo]]]:
    """A label space, and frames of it that may stand together."""
    side = draw(st.tuples(st.integers(1, 9), st.integers(1, 9)))
    space = LabelSpace(draw(names), TEE.structures[: draw(st.integers(1, 4))])
    made = []
    for number, patient in enumerate(draw(st.lists(names, min_size=1, max_size=4, unique=True))):
        cohort = draw(st.sampled_from(COHORTS))
        info = FrameInfo(
            f"{number}/{draw(texts)}",
            patient,
            draw(st.sampled_from(tuple(VIEWS))),
            "test" if cohort in HELD_OUT else draw(st.sampled_from(SPLITS)),
            draw(st.sampled_from(ORIGINS)),
            study=draw(texts),
            phase=draw(st.sampled_from(PHASES)),
            spacing=draw(st.none() | st.tuples(sizes, sizes)),
            parent=draw(texts),
            seed=draw(st.integers(-1, 2**63 - 1)),
            cohort=cohort,
            mask_source=draw(st.sampled_from(MASK_SOURCES)),
            sector_confidence=draw(st.floats(0, 1, width=32, allow_subnormal=False)),
        )
        for again in range(draw(st.integers(1, 2))):
            pixels = [
                draw(arrays(np.uint8, side, elements=st.integers(0, top))) for top in (255, len(space.structures), 1)
            ]
            made.append((tuple(pixels), replace(info, key=f"{info.key}/{again}")))
    return space, made


@QUICK
@given(frames(), texts)
def test_any_frames_come_back_as_they_went_in(case: tuple, text: str) -> None:
    space, made = case
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "f.h5"
        with StoreWriter(path, space, licence=text, command=text) as writer:
            for pixels, info in made:
                writer.append(*pixels, info)
        store = EchoStore(path)
        assert (store.label_space, store.licence, store.command) == (space, text, text)
        assert [store.info(i) for i in range(len(store))] == [info for _, info in made]
        for found, (pixels, _) in zip(store, made, strict=True):
            assert all(map(np.array_equal, found, pixels))
        assert [entry.name for entry in Path(folder).iterdir()] == ["f.h5"]


READ = """(lambda store, hashlib: hashlib.sha256(b"".join(
    array.tobytes() for i in range(len(store)) for array in store.frame((i * 7 + {start}) % len(store))
)).hexdigest())(__import__("tte_tee.data.store").data.store.EchoStore({path!r}), __import__("hashlib"))"""


@pytest.mark.slow
def test_processes_that_read_at_once_read_the_same(tee_store: Path) -> None:
    words = [(READ.format(path=str(tee_store), start=start),) for start in (0, 1) * 6]
    alone = [eval(text) for (text,) in words[:2]]
    together = list(in_order(eval, words, workers=3, description="", progress=False))
    assert together == alone * 6
