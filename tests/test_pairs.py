"""Pair metrics: zero for the same frame, blind outside the sector, nearest finds the copy."""

import sys
from pathlib import Path

import pytest
import torch

from tte_tee.metrics.pairs import similarity

sys.path.insert(0, str(Path(__file__).parents[1] / "experiments"))
from pairs import errors_to, squared_error


@pytest.fixture
def frames() -> torch.Tensor:
    return torch.randint(0, 256, (4, 32, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def test_same_frame_scores_perfectly(frames):
    sector = torch.ones(4, 32, 32)
    assert torch.equal(squared_error(frames, frames, sector), torch.zeros(4))
    torch.testing.assert_close(similarity(frames, frames), torch.ones(4))


def test_squared_error_is_on_the_scale_from_minus_one_to_one():
    black, white = torch.zeros(1, 8, 8, dtype=torch.uint8), torch.full((1, 8, 8), 255, dtype=torch.uint8)
    assert squared_error(black, white, torch.ones(1, 8, 8)).item() == pytest.approx(4.0)


def test_what_lies_outside_the_sector_does_not_count(frames):
    sector = torch.zeros(4, 32, 32)
    sector[:, :, :16] = 1
    other = frames.clone()
    other[:, :, 16:] = 255 - other[:, :, 16:]
    assert torch.equal(squared_error(other, frames, sector), torch.zeros(4))


def test_nearest_finds_the_copy(frames):
    sector = torch.ones(2, 32, 32)
    found = errors_to(frames[1:], frames[:2], sector)
    assert found.shape == (3, 2)
    assert (found[:, 0] > 0).all()
    assert found[:, 1].argmin() == 0 and found[0, 1] == 0


def test_similarity_falls_with_noise(frames):
    assert (similarity(frames, frames.flip(0)) < 0.5).all()
