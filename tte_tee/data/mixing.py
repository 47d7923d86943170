"""The order of training: endless rows of frames, of one store or of a real and a synthetic one.

Position ``k`` of a row depends on the seed and ``k`` alone, so the same frames come in the same
order whatever the batch size, the number of ranks or the moment a run was resumed.
"""

import math
from collections.abc import Iterator
from typing import TypeVar

import numpy as np
from torch.utils.data.distributed import DistributedSampler

from tte_tee.errors import UserError

REAL, SYNTHETIC = 0, 1
_SYNTHETIC_ORDER, _EPOCH_ORDER = 1, 2  # beside the order of the real frames, which has no word of its own
_MOST = 1000  # synthetic frames per real one: the order of an epoch is in memory
Key = TypeVar("Key", covariant=True)


class Passes:
    """Frames in one permutation after the other, so that none comes twice before all came once.

    Item ``n`` is ``(frame, draw)``: frame ``permutation(seed, n // N)[n % N]``, drawn ``n // N`` times before.

    Args:
        frames: ``[N]`` indices.
        seed: of the permutations.
        words: that set them apart from other permutations of the same seed.
    """

    def __init__(self, frames: np.ndarray, seed: int, *words: int) -> None:
        self.frames, self._seed, self._words = frames, seed, words
        self._draw, self._order = -1, np.empty(0, int)

    def __getitem__(self, number: int) -> tuple[int, int]:
        draw, place = divmod(number, len(self.frames))
        if draw != self._draw:
            self._draw = draw
            self._order = np.random.default_rng([self._seed, draw, *self._words]).permutation(len(self.frames))
        return int(self.frames[self._order[place]]), draw


class Row(DistributedSampler[Key]):
    """An endless row cut into global batches; rank ``r`` of ``W`` takes the ``r``-th part of each.

    A ``DistributedSampler`` by name, so that Lightning leaves it alone.

    Args:
        frames: whatever is drawn from.
        seed: of the order.
        batch_size: of one rank.
        steps: length of the whole run in global batches.
        first_step: where a resumed run goes on.
        world_size, rank: of the run.
    """

    def __init__(
        self,
        frames: np.ndarray,
        *,
        seed: int,
        batch_size: int,
        steps: int,
        first_step: int = 0,
        world_size: int = 1,
        rank: int = 0,
    ) -> None:
        super().__init__(frames, num_replicas=world_size, rank=rank, seed=seed)  # type: ignore[arg-type]  # reads its length
        self.batch_size, self.steps, self.first_step = batch_size, steps, first_step

    def at(self, position: int) -> Key:
        """What stands at a position of the row."""
        raise NotImplementedError

    def __len__(self) -> int:
        return self.steps * self.batch_size

    def __iter__(self) -> Iterator[Key]:
        for step in range(self.first_step, self.steps):
            start = (step * self.num_replicas + self.rank) * self.batch_size
            yield from map(self.at, range(start, start + self.batch_size))


class FrameStream(Row[tuple[int, int]]):
    """A row of ``(frame, draw)``: all frames once, then all again in another order, and so on.

    Args:
        frames: ``[N]`` indices to draw from.
        seed: of the order.
        options: of :class:`Row`.
    """

    def __init__(self, frames: np.ndarray, *, seed: int, **options: int) -> None:
        super().__init__(frames, seed=seed, **options)
        self._passes = Passes(frames, seed)

    def at(self, position: int) -> tuple[int, int]:
        """``(frame, draw)``."""
        return self._passes[position]


class MixedStream(Row[tuple[int, int, int]]):
    """A row of ``(source, frame, draw)`` from real and synthetic frames, in exact proportion.

    An epoch is every real frame once and :func:`epoch_counts` synthetic ones, shuffled together.
    The synthetic frames go through passes of their own that run on from epoch to epoch, so over
    time each is used equally often. A ratio of 0 gives the frames and draws of
    :class:`FrameStream`; an infinite one is synthetic alone, and its epoch is one pass.

    Args:
        real: ``[N]`` indices in the real store.
        synthetic: ``[M]`` indices in the synthetic store.
        ratio: synthetic frames per real frame.
        seed: of the order.
        options: of :class:`Row`.

    Attributes:
        per_epoch: real and synthetic frames in an epoch.

    Raises:
        UserError: see :func:`epoch_counts`.
    """

    def __init__(self, real: np.ndarray, synthetic: np.ndarray, ratio: float, *, seed: int, **options: int) -> None:
        super().__init__(real, seed=seed, **options)
        self.per_epoch = epoch_counts(len(real), len(synthetic), ratio)
        self._passes = (Passes(real, seed), Passes(synthetic, seed, _SYNTHETIC_ORDER))
        self._epoch, self._sources, self._numbers = -1, np.empty(0, int), np.empty(0, int)

    def at(self, position: int) -> tuple[int, int, int]:
        """``(source, frame, draw)``; the source is :data:`REAL` or :data:`SYNTHETIC`."""
        epoch, place = divmod(position, sum(self.per_epoch))
        if epoch != self._epoch:
            self._epoch, (self._sources, self._numbers) = epoch, self._shuffle(epoch)
        source = int(self._sources[place])
        return source, *self._passes[source][epoch * self.per_epoch[source] + int(self._numbers[place])]

    def _shuffle(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """Sources of an epoch's positions, and how many of that source the epoch had before each."""
        ordered = np.repeat((REAL, SYNTHETIC), self.per_epoch)
        sources = np.random.default_rng([self.seed, epoch, _EPOCH_ORDER]).permutation(ordered)
        synthetic_before = np.cumsum(sources) - sources
        return sources, np.where(sources == SYNTHETIC, synthetic_before, np.arange(len(sources)) - synthetic_before)


def epoch_counts(real: int, synthetic: int, ratio: float) -> tuple[int, int]:
    """Real and synthetic frames in one epoch.

    All real frames and ``round(ratio * real)`` synthetic ones (a half goes to the even number);
    for an infinite ratio no real frame and all synthetic ones.

    Args:
        real: frames in the real store.
        synthetic: frames in the synthetic store.
        ratio: synthetic frames per real frame.

    Raises:
        UserError: the ratio is no number or below 0, or so small that no synthetic frame comes
            in; or a source that it needs is empty.
    """
    check_ratio(ratio)
    counts = (0, synthetic) if math.isinf(ratio) else (real, round(ratio * real))
    if not math.isinf(ratio) and not real:
        raise UserError(f"ratio {ratio}: there is no real frame to train on")
    if ratio > 0 and not synthetic:
        raise UserError(f"ratio {ratio}: there is no synthetic frame to mix in; give a synthetic store, or ratio 0")
    if ratio > 0 and not counts[SYNTHETIC]:
        raise UserError(f"ratio {ratio}: gives no synthetic frame for {real} real ones; raise it, or give 0")
    return counts


def check_ratio(ratio: float) -> None:
    """Refuses a ratio that is no number, below 0, or finite and beyond 1000.

    Raises:
        UserError: saying what a ratio is.
    """
    if not 0 <= ratio <= _MOST and ratio != math.inf:
        raise UserError(
            f"ratio {ratio}: synthetic frames per real frame; give 0 to {_MOST} ('.inf' for synthetic alone)"
        )
