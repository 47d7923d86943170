"""Diffusion: draws that depend on the frame alone, the loss as written, samplers that find what they should."""

import itertools
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from tte_tee.anatomy import CAMUS
from tte_tee.anatomy.maskr2 import identity
from tte_tee.errors import UserError
from tte_tee.models.conditioning import without_mask
from tte_tee.models.denoiser import Denoiser, DenoiserConfig
from tte_tee.models.diffusion import (
    diffusion_loss,
    generator_for,
    keyed_draws,
    loss_weight,
    noise_schedule,
    sample,
    time_steps,
)
from tte_tee.models.maskr2 import MaskR2
from tte_tee.synthesis.frames import Sampling, draw_frames

SAMPLERS = ("sde-dpm++", "dpm++", "ddim", "ddpm", "unipc")
PREDICTIONS = ("epsilon", "v_prediction")
SHAPE = (1, 8, 8)
USUAL = {"sampler": "sde-dpm++", "steps": 12, "guidance": 1.0, "guided_below": 1.0}


def draws_of(frames: list[int], draws: list[int], key: tuple[str, int] = ("train", 0)) -> list[Tensor]:
    return list(keyed_draws(key, torch.tensor(frames), torch.tensor(draws), SHAPE))


def test_draws_of_a_frame_do_not_depend_on_its_batch() -> None:
    together = draws_of([3, 11, 7], [0, 2, 1])
    for position, (frame, draw) in enumerate([(3, 0), (11, 2), (7, 1)]):
        for all_of_them, alone in zip(together, draws_of([frame], [draw]), strict=True):
            assert torch.equal(all_of_them[position], alone[0])
    for first, turned in zip(together, draws_of([7, 11, 3], [1, 2, 0]), strict=True):
        assert torch.equal(first, turned.flip(0))


@pytest.mark.parametrize(
    "other", [([4], [0], ("train", 0)), ([3], [1], ("train", 0)), ([3], [0], ("train", 1)), ([3], [0], ("eval", 0))]
)
def test_another_frame_draw_seed_or_purpose_has_other_noise(other: tuple) -> None:
    assert not torch.equal(draws_of([3], [0])[1], draws_of(*other)[1])


def test_draws_do_not_touch_the_global_random_state() -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    draws_of([1, 2], [0, 0])
    assert torch.equal(torch.rand(3), expected)


def test_draws_are_uniform_steps_and_standard_noise() -> None:
    timesteps, noise, uniform = draws_of(list(range(600)), [0] * 600)
    assert 0 <= timesteps.min() < 20 and 980 < timesteps.max() < 1000
    assert abs(timesteps.float().mean() - 499.5) < 40
    assert abs(noise.mean()) < 0.02 and abs(noise.std() - 1) < 0.02
    assert uniform.min() >= 0 and uniform.max() < 1 and abs(uniform.mean() - 0.5) < 0.04


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("gamma", [1.0, 5.0])
def test_loss_weights_are_the_papers(prediction: str, gamma: float) -> None:
    schedule = noise_schedule(prediction)
    steps = [0, 100, 500, 900, 999]
    found = loss_weight(schedule, torch.tensor(steps), gamma).tolist()
    for step, weight in zip(steps, found, strict=True):
        signal = schedule.alphas_cumprod[step].item()
        snr = signal / (1 - signal)
        expected = min(snr, gamma) / (snr if prediction == "epsilon" else snr + 1)
        assert math.isclose(weight, expected, rel_tol=1e-4)


def test_without_gamma_all_steps_weigh_alike() -> None:
    assert loss_weight(noise_schedule(), torch.tensor([0, 500, 999]), None).tolist() == [1.0, 1.0, 1.0]


def exact(schedule, mean: float, std: float = 0.0) -> Callable[..., Tensor]:
    """The best prediction for data of independent pixels N(mean, std²)."""

    def denoise(noisy: Tensor, timesteps: Tensor, *_: Tensor) -> Tensor:
        signal = schedule.alphas_cumprod[timesteps].double().view(-1, 1, 1, 1)
        x, a, s = noisy.double(), signal.sqrt(), (1 - signal).sqrt()
        clean = mean + a * std**2 / (signal * std**2 + 1 - signal) * (x - a * mean)
        epsilon = (x - a * clean) / s
        return (epsilon if schedule.config.prediction_type == "epsilon" else a * epsilon - s * clean).float()

    return denoise


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_loss_of_a_perfect_predictor_is_zero_and_of_no_other(prediction: str) -> None:
    schedule = noise_schedule(prediction)
    timesteps, noise, _ = draws_of(list(range(8)), [0] * 8)
    image = torch.full((8, *SHAPE), 0.3)
    perfect = diffusion_loss(exact(schedule, 0.3), schedule, image, timesteps, noise, 5.0)
    assert perfect.shape == (8,)
    assert perfect.max() < 1e-6
    assert (diffusion_loss(exact(schedule, 0.5), schedule, image, timesteps, noise, 5.0) > 1e-3).all()


def test_loss_is_the_weighted_error_of_the_noise() -> None:
    schedule = noise_schedule("epsilon")
    timesteps, noise, _ = draws_of([0, 1], [0, 0])
    loss = diffusion_loss(lambda x, t: torch.zeros_like(x), schedule, torch.zeros(2, *SHAPE), timesteps, noise, 5.0)
    expected = loss_weight(schedule, timesteps, 5.0) * noise.square().mean((1, 2, 3))
    assert torch.allclose(loss, expected)


def generators(count: int, seed: int = 0) -> list[torch.Generator]:
    return [generator_for("sample", seed, n) for n in range(count)]


def drawn(denoiser: Callable[..., Tensor], schedule, count: int = 4, side: int = 8, **options: object) -> Tensor:
    condition, plane = torch.zeros(count, 4, side, side), torch.zeros(count, dtype=torch.long)
    return sample(denoiser, schedule, condition, plane, generators(count), **{**USUAL, **options})


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_samplers_find_a_constant(sampler: str, prediction: str) -> None:
    schedule = noise_schedule(prediction)
    frames = drawn(exact(schedule, 0.4), schedule, sampler=sampler, steps=20)
    assert (frames - 0.4).abs().max() < 0.02


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_samplers_find_a_gaussian(sampler: str, prediction: str) -> None:
    schedule = noise_schedule(prediction)
    frames = drawn(exact(schedule, -0.2, 0.2), schedule, count=8, side=16, sampler=sampler, steps=50)
    assert abs(frames.mean() + 0.2) < 0.02
    assert 0.17 < frames.std() < 0.22


def one_brightness(schedule, std: float) -> Callable[..., Tensor]:
    """The best velocity for frames of one grey level each, N(0, std²) over frames."""

    def denoise(noisy: Tensor, timesteps: Tensor, *_: Tensor) -> Tensor:
        signal = schedule.alphas_cumprod[timesteps].double().view(-1, 1, 1, 1)
        x, a, s = noisy.double(), signal.sqrt(), (1 - signal).sqrt()
        pixels = x[0].numel()
        level = a * std**2 * x.sum((1, 2, 3), keepdim=True) / (1 - signal + signal * std**2 * pixels)
        return (a * (x - a * level) / s - s * level).float()

    return denoise


def test_few_steps_are_enough_for_brightness_and_speckle() -> None:
    """One is decided in noise that hides every pixel, the other in the last of it: time steps have to lie there."""
    schedule, count, side = noise_schedule(), 256, 48
    condition, plane = torch.zeros(count, 2, side, side), torch.zeros(count, dtype=torch.long)
    keys = generators(count)
    frames = sample(one_brightness(schedule, 0.25), schedule, condition, plane, keys, **USUAL)
    assert frames.mean((1, 2, 3)).std() == pytest.approx(0.25, rel=0.15)
    speckle = sample(exact(schedule, 0.0, 0.15), schedule, condition[:8], plane[:8], keys[:8], **USUAL)
    assert speckle.std() == pytest.approx(0.15, rel=0.1)


@pytest.mark.parametrize("count", [1, 2, 12, 50, 1000])
def test_time_steps_go_down_from_the_noisiest(count: int) -> None:
    steps = time_steps(noise_schedule(), count)
    assert steps[0] == 999 and steps[-1] >= 0 and len(steps) <= count
    assert all(later < earlier for earlier, later in itertools.pairwise(steps))
    assert len(steps) == count or count > 50


BATCH = {
    "mask": torch.ones(2, 8, 8, dtype=torch.long),
    "sector": torch.ones(2, 1, 8, 8),
    "plane": torch.zeros(2, dtype=torch.long),
}


def test_frames_stay_in_range() -> None:
    schedule, maskr2 = noise_schedule(), MaskR2(identity(CAMUS.structures))
    frames = draw_frames(exact(schedule, 1.7), schedule, maskr2, BATCH, ["a", "b"], Sampling(steps=10))
    assert frames.min() == frames.max() == 255


def test_what_is_infinite_is_no_frame() -> None:
    """Clipped, it would be white."""
    schedule, maskr2 = noise_schedule(), MaskR2(identity(CAMUS.structures))

    def endless(noisy: Tensor, *_: Tensor) -> Tensor:
        return torch.full_like(noisy, -torch.inf)

    with pytest.raises(UserError, match="what is no number"):
        draw_frames(endless, schedule, maskr2, BATCH, ["a", "b"], Sampling(steps=1))


@pytest.fixture(scope="module")
def denoiser() -> Denoiser:
    torch.manual_seed(0)
    config = DenoiserConfig(
        image_size=16, channels=(8, 16), heads=(1, 2), attention=(False, True), patch=4, token_channels=8, norm_groups=4
    )
    return Denoiser(config).eval()


@pytest.fixture(scope="module")
def condition() -> Tensor:
    condition = torch.randint(0, 2, (3, 4, 16, 16), generator=torch.Generator().manual_seed(0)).float()
    return 2 * condition - 1


def draw(denoiser: Denoiser, condition: Tensor, seeds: list[int], **options: object) -> Tensor:
    plane = torch.zeros(len(condition), dtype=torch.long)
    keys = [generator_for("sample", 0, seed) for seed in seeds]
    return sample(denoiser, noise_schedule(), condition, plane, keys, **{**USUAL, "steps": 4, **options})


@pytest.mark.parametrize("guidance", [1.0, 2.0])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_sample_depends_on_its_key_and_not_on_its_batch(
    denoiser: Denoiser, condition: Tensor, sampler: str, guidance: float
) -> None:
    options = {"sampler": sampler, "guidance": guidance}
    together = draw(denoiser, condition, [0, 1, 2], **options)
    assert torch.equal(draw(denoiser, condition, [0, 1, 2], **options), together)
    alone = torch.cat([draw(denoiser, condition[i : i + 1], [i], **options) for i in range(3)])
    assert torch.allclose(alone, together, atol=1e-4)
    assert not torch.allclose(draw(denoiser, condition[:1], [9], **options), together[:1], atol=0.1)


def test_guidance_goes_from_the_withheld_mask_past_the_mask(denoiser: Denoiser, condition: Tensor) -> None:
    one, nearly_one, two, none = (draw(denoiser, condition, [0, 1, 2], guidance=g) for g in (1.0, 1.0 + 1e-6, 2.0, 0.0))
    assert torch.allclose(one, nearly_one, atol=1e-3)
    assert not torch.allclose(one, two, atol=1e-3)
    assert torch.allclose(none, draw(denoiser, without_mask(condition), [0, 1, 2]), atol=1e-4)


def test_guidance_acts_below_a_share_of_the_steps_alone(denoiser: Denoiser, condition: Tensor) -> None:
    asked: list[tuple[int, int]] = []

    def watched(noisy: Tensor, timestep: Tensor, *rest: Tensor) -> Tensor:
        asked.append((timestep[0].item(), len(noisy)))
        return denoiser(noisy, timestep, *rest)

    draw(watched, condition, [0, 1, 2], guidance=2.0, guided_below=0.4)  # type: ignore[arg-type]
    assert [count for _, count in asked] == [3, 3, 3, 6]
    assert asked[2][0] >= 400 > asked[3][0]


def test_a_guided_step_costs_two_evaluations() -> None:
    assert Sampling(steps=10).evaluations == 10
    assert Sampling("ddim", steps=10, guidance=2.0, guided_below=0.45).evaluations == 14
    assert Sampling(steps=10, guidance=2.0, guided_below=1.0).evaluations == 20
