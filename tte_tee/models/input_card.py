"""How the input of a denoiser is made, in words that need no code of this package; the code is models.conditioning."""

from collections.abc import Mapping
from typing import Any

from tte_tee.anatomy import PLANES, VIEWS
from tte_tee.models.conditioning import POSITION_WIDTH, token_width
from tte_tee.models.diffusion import DECIDES, SOLVER_ORDER, STEPS, TRAIN_STEPS


def input_words(shape: Mapping[str, Any], rule: Mapping[str, Any] | None = None) -> tuple[str, ...]:
    """The section ``## Input`` of a card.

    Args:
        shape: of the denoiser, as in ``base.json``.
        rule: ``maskr2.json``, where masks enter by one.
    """
    steps = (_mask(shape, rule), _condition(shape), _sample(shape), _tokens(shape), _plane(), _noise(shape))
    return (
        "## Input",
        "`unet(sample, t, encoder_hidden_states=tokens, class_labels=plane).sample` in single precision; nothing but "
        "the network has weights. Per frame:",
        "\n".join(f"{number}. {text}" for number, text in enumerate(steps, start=1)),
    )


def _mask(shape: Mapping[str, Any], rule: Mapping[str, Any] | None) -> str:
    channels, side = ", ".join(shape["structures"]), shape["image_size"]
    labels = rule["target"]["structures"] if rule else shape["structures"]
    named = ", ".join(f"{label} {name}" for label, name in enumerate(labels, start=1))
    mask = f"**Mask**: `{side}x{side}` labels, 0 background, {named}."
    if rule is None:
        return f"{mask} Each structure becomes a channel, 1 inside and 0 outside: `places`."
    return (
        f"{mask} `places[x] = sum over y of matrix[x][y] * (mask == y + 1)` with the matrix of `maskr2.json`: "
        f"{len(shape['structures'])} channels, {channels}."
    )


def _condition(shape: Mapping[str, Any]) -> str:
    count = len(shape["structures"]) + 1
    return (
        f"**Condition**: {count} channels, `2 * places - 1` and, last, `2 * sector - 1`; the sector is 1 where the "
        "probe sees and 0 elsewhere. Zeros in all structure channels say that no mask is given (for guidance)."
    )


def _sample(shape: Mapping[str, Any]) -> str:
    fold, count = shape["space_to_depth"], len(shape["structures"]) + 1
    alone = shape["conditioning"] == "tokens"
    joined = "the noisy frame alone" if alone else f"the noisy frame and the {count} channels of the condition"
    return (
        f"**`sample`**: {joined}, through `torch.nn.functional.pixel_unshuffle(..., {fold})`: "
        f"{(1 if alone else 1 + count) * fold**2} channels. `pixel_shuffle(..., {fold})` of the output is the "
        "prediction for the frame."
    )


def _tokens(shape: Mapping[str, Any]) -> str:
    patch, count = shape["patch"], len(shape["structures"]) + 1
    grid, quarter = shape["image_size"] // patch, POSITION_WIDTH // 4
    shown = " with zeros in its structure channels" if shape["conditioning"] == "concat" else ""
    return (
        f"**`tokens`**: `pixel_unshuffle(condition, {patch})`{shown}, row by row: {grid * grid} tokens of "
        f"{count * patch**2} numbers; to each, its place is appended, {POSITION_WIDTH} numbers: `sin(y * rates)`, "
        f"`cos(y * rates)`, `sin(x * rates)`, `cos(x * rates)`, with `y = (row + 0.5) / {grid}`, "
        f"`x = (column + 0.5) / {grid}` and `rates = pi * 2 ** torch.linspace(-1, 3, {quarter})`. "
        f"Width {token_width(count, patch)}."
    )


def _plane() -> str:
    views = [", ".join(view.name for view in VIEWS.values() if view.plane == plane) for plane in PLANES]
    planes = "; ".join(
        f"{number} {plane.replace('_', '-')} ({of_plane})"
        for number, (plane, of_plane) in enumerate(zip(PLANES, views, strict=True))
    )
    return f"**`plane`**: {planes}."


def _noise(shape: Mapping[str, Any]) -> str:
    side = shape["image_size"]
    return (
        "**Noise and steps**: `tte_tee synthesize --seed S` starts sample `n` (from 0) of the mask of key `K` at "
        f"`torch.randn(1, {side}, {side})` from a CPU generator seeded with `int.from_bytes(digest, 'little') >> 1`, "
        f"the BLAKE2b digest of 8 bytes of `sample/S/K#n`, and takes {STEPS} steps of `DPMSolverMultistepScheduler` "
        f"(`algorithm_type='sde-dpmsolver++'`, `solver_order={SOLVER_ORDER}`) on `scheduler/`: time step "
        f"{TRAIN_STEPS - 1}, then those at which `log(a / (1 - a)) / 2` of `a = alphas_cumprod` is nearest to "
        f"`{-DECIDES:g} + {2 * DECIDES:g} * i / {STEPS}`, `i` from 1 to {STEPS - 1}; its "
        "`step` takes the noise from the same generator. Frames are in [-1, 1], clipped; grey is "
        "`(frame + 1) * 127.5` within the sector and 0 outside, rounded. With `--gain drawn` that is the frame; else "
        "one offset to the grey levels of its sector makes their mean, clipped to 0 and 255, what the percentiles "
        "`gain` of `adapter.json` are at `100 * (r + .5) / N`, where `r` counts the darker ones of the `N` frames "
        "drawn together."
    )
