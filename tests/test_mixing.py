"""Mixing: counts exact in every epoch, one row for every batch size, rank and resume."""

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tte_tee.data.mixing import REAL, SYNTHETIC, FrameStream, MixedStream, epoch_counts
from tte_tee.errors import UserError

Position = tuple[int, int, int]
RATIOS = st.sampled_from([0.0, 0.5, 1.0, 2.0, 3.7, math.inf])


def stream(real: int = 6, synthetic: int = 5, ratio: float = 0.5, **options: int) -> MixedStream:
    options = {"seed": 0, "batch_size": 2, "steps": 18, **options}
    return MixedStream(np.arange(real) + 100, np.arange(synthetic) + 500, ratio, **options)


def epochs(made: MixedStream, count: int) -> list[list[Position]]:
    length = sum(made.per_epoch)
    return [[made.at(k) for k in range(e * length, (e + 1) * length)] for e in range(count)]


@given(real=st.integers(2, 12), synthetic=st.integers(1, 12), ratio=RATIOS, seed=st.integers(0, 99))
def test_every_epoch_holds_exactly_its_share(real: int, synthetic: int, ratio: float, seed: int) -> None:
    for number, epoch in enumerate(epochs(stream(real, synthetic, ratio, seed=seed), 4)):
        of_real = [(frame, draw) for source, frame, draw in epoch if source == REAL]
        wanted = [] if math.isinf(ratio) else range(100, 100 + real)
        assert sorted(of_real) == [(frame, number) for frame in wanted]
        assert len(epoch) - len(of_real) == (synthetic if math.isinf(ratio) else round(ratio * real))


@given(real=st.integers(2, 12), synthetic=st.integers(1, 12), ratio=RATIOS, seed=st.integers(0, 99))
def test_no_frame_comes_twice_before_all_came_once(real: int, synthetic: int, ratio: float, seed: int) -> None:
    made = stream(real, synthetic, ratio, seed=seed)
    used: dict[int, Counter[int]] = {
        REAL: Counter(range(100, 100 + real)),
        SYNTHETIC: Counter(range(500, 500 + synthetic)),
    }
    for source, frame, draw in (position for epoch in epochs(made, 4) for position in epoch):
        assert draw == used[source][frame] - 1  # as often as it was drawn before
        used[source][frame] += 1
        assert max(used[source].values()) - min(used[source].values()) <= 1


@given(ranks=st.integers(1, 3), batch_size=st.integers(1, 5), first=st.integers(0, 6), ratio=RATIOS)
def test_ranks_share_the_batches_of_one_process(ranks: int, batch_size: int, first: int, ratio: float) -> None:
    alone = list(stream(ratio=ratio, batch_size=batch_size * ranks, steps=6, first_step=first))
    parts = [
        list(stream(ratio=ratio, batch_size=batch_size, steps=6, first_step=first, world_size=ranks, rank=rank))
        for rank in range(ranks)
    ]
    for step in range(6 - first):
        own = slice(step * batch_size, (step + 1) * batch_size)
        whole = alone[step * batch_size * ranks : (step + 1) * batch_size * ranks]
        assert [key for part in parts for key in part[own]] == whole


@given(first=st.integers(0, 18), ratio=RATIOS)
def test_a_resumed_row_goes_on_where_it_stopped(first: int, ratio: float) -> None:
    assert list(stream(ratio=ratio, first_step=first)) == list(stream(ratio=ratio))[2 * first :]


@given(batch_size=st.sampled_from([1, 3, 4, 9, 12]), ratio=RATIOS)
def test_batch_size_does_not_change_the_row(batch_size: int, ratio: float) -> None:
    assert list(stream(ratio=ratio, batch_size=batch_size, steps=36 // batch_size)) == list(stream(ratio=ratio))


def test_real_alone_is_the_row_of_one_store() -> None:
    row = list(FrameStream(np.arange(6) + 100, seed=4, batch_size=2, steps=18))
    assert [(frame, draw) for _, frame, draw in stream(synthetic=0, ratio=0.0, seed=4)] == row


def test_the_real_frames_come_in_one_order_whatever_is_mixed_in() -> None:
    rows = [[key for key in stream(ratio=ratio, steps=60) if key[0] == REAL][:20] for ratio in (0.0, 0.5, 2.0)]
    assert rows[0] == rows[1] == rows[2]


def test_epochs_seeds_and_sources_have_orders_of_their_own() -> None:
    first, second = epochs(stream(30, 30, 1.0), 2)
    (other,) = epochs(stream(30, 30, 1.0, seed=1), 1)
    sources = [[source for source, _, _ in epoch] for epoch in (first, second, other)]
    assert sources[0] != sources[1] and sources[0] != sources[2]
    frames = [[frame % 100 for source, frame, _ in first if source == wanted] for wanted in (REAL, SYNTHETIC)]
    assert frames[0] != frames[1]


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ((6, 5, -1.0), "ratio -1.0"),
        ((6, 5, math.nan), "ratio nan"),
        ((6, 5, -math.inf), "ratio -inf"),
        ((6, 5, 1e308), r"give 0 to 1000"),
        ((6, 0, 1.0), "no synthetic frame to mix in"),
        ((6, 0, math.inf), "no synthetic frame to mix in"),
        ((0, 5, 1.0), "no real frame"),
        ((2, 5, 0.1), "gives no synthetic frame for 2 real ones"),
    ],
)
def test_what_cannot_be_mixed_is_refused(counts: tuple[int, int, float], message: str) -> None:
    with pytest.raises(UserError, match=message):
        epoch_counts(*counts)
