"""Drawing masks from a shape model into an echo store."""

import json
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tte_tee.data.shape_model.model import ShapeModel
from tte_tee.data.shape_model.rules import REASONS
from tte_tee.data.store import MOST_FRAMES, FrameInfo, StoreWriter, check_target
from tte_tee.data.workers import with_bar
from tte_tee.errors import UserError
from tte_tee.seen import SEEN, seen_in

TRUNCATE = 3.0  # standard deviations; beyond, a mode says nothing of what was seen (Cootes et al., CVIU 61(1), 1995)
ATTEMPTS = 500  # draws for one mask


@dataclass
class Tally:
    """What became of the draws of a view."""

    accepted: int = 0
    rejected: Counter[str] = field(default_factory=Counter)


def sample_masks(
    model: ShapeModel,
    out: str | Path,
    count: int,
    *,
    views: Sequence[str] | None = None,
    seed: int = 0,
    command: str = "",
    record: Mapping[str, Any] | None = None,
    progress: bool = False,
) -> dict[str, Tally]:
    """Writes ``count`` masks, the views in turn, as an echo store of black images.

    Every mask is a patient of its own in split ``train``. Its draw depends on model, seed, view and
    its number alone: a larger count begins with the same masks, and fewer views change none.

    Args:
        model: to draw from.
        out: store to write, or to replace.
        count: of masks, all views together.
        views: to draw; by default all of the model.
        seed: decides every draw.
        command: to be recorded in the store.
        record: provenance to be recorded beside the model's hash and the rejected draws.
        progress: shows a progress bar on stderr, if that is a terminal.

    Returns:
        Accepted and rejected draws by view.

    Raises:
        UserError: a number or a view is wrong, the store cannot be written, or nearly all draws are rejected.
    """
    names = _checked(model, count, views, seed)
    check_target(Path(out))
    jobs = [(names[n % len(names)], n // len(names)) for n in range(count)]
    tallies = {name: Tally() for name in names}
    drawn = []
    for view, number in with_bar(jobs, "drawing masks", progress):
        coefficients, rejected = draw(model, view, seed, number)
        drawn.append(coefficients)
        tallies[view].accepted += 1
        tallies[view].rejected += rejected
    # The model's hash covers the patients of its views, and not its record.
    seen = seen_in(model.record).union(*(view.patients for view in model.views.values()))
    summary = {"shape_model": _summary(model, seed, tallies), SEEN: sorted(seen)}
    provenance = json.dumps({**(record or {}), **summary})
    licence = f"masks drawn from a shape model; its training masks: {model.licence}"
    with StoreWriter(out, model.label_space, licence=licence, command=command, provenance=provenance) as store:
        for (view, number), coefficients in zip(jobs, drawn, strict=True):
            _append(store, model, view, number, seed, coefficients)
    return tallies


def draw(model: ShapeModel, view: str, seed: int, number: int) -> tuple[np.ndarray, Counter[str]]:
    """Coefficients of the first valid mask in the stream of a number, and why those before it were rejected.

    Raises:
        UserError: none of the first :data:`ATTEMPTS` is valid.
    """
    part = model.views[view]
    rng = np.random.default_rng([int(model.hash[:8], 16), seed, zlib.crc32(view.encode()), number])
    rejected: Counter[str] = Counter()
    for _ in range(ATTEMPTS):
        coefficients = _truncated_normal(rng, len(part.sd))
        frame = part.decode(coefficients, model.image_size, model.label_space)
        reason = part.rules.broken(frame.mask, frame.sector, model.label_space)
        if reason is None:
            return coefficients, rejected
        rejected[reason] += 1
    reason, often = rejected.most_common(1)[0]
    raise UserError(
        f"{view}: {ATTEMPTS} draws in a row were rejected, {often} as '{reason}' ({REASONS[reason]}); "
        "fit on more masks, or keep fewer modes with 'masks fit --variance 0.9'"
    )


def _checked(model: ShapeModel, count: int, views: Sequence[str] | None, seed: int) -> list[str]:
    if count < 1:
        raise UserError(f"count {count}; ask for at least 1 mask")
    if count > MOST_FRAMES:
        raise UserError(f"count {count}; a store takes {MOST_FRAMES:,} masks; draw several, each with another seed")
    if not 0 <= seed < 2**63:
        raise UserError(f"seed {seed} is negative or too large; use 0 or more, below 2 ** 63")
    if unknown := [view for view in views or () if view not in model.views]:
        raise UserError(f"view '{unknown[0]}' is not in the shape model; it has {', '.join(model.views)}")
    return [name for name in model.views if views is None or name in views]


def _truncated_normal(rng: np.random.Generator, size: int) -> np.ndarray:
    """Standard normal values ``[size]``; those beyond :data:`TRUNCATE` are drawn again, so none pile up there."""
    values = rng.standard_normal(size)
    while (far := np.abs(values) > TRUNCATE).any():
        values[far] = rng.standard_normal(int(far.sum()))
    return values


def _append(store: StoreWriter, model: ShapeModel, view: str, number: int, seed: int, coefficients: np.ndarray) -> None:
    frame = model.views[view].decode(coefficients, model.image_size, model.label_space)
    patient = f"ssm-{model.hash[:8]}-s{seed}-{view}-{number:04d}"
    info = FrameInfo(
        key=patient,
        patient=patient,
        view=view,
        split="train",
        origin="mask",
        mask_source="ssm",
        spacing=frame.spacing,
        seed=seed,
    )
    store.append(np.zeros_like(frame.mask), frame.mask, frame.sector, info)


def _summary(model: ShapeModel, seed: int, tallies: Mapping[str, Tally]) -> dict[str, Any]:
    return {
        "hash": model.hash,
        "training_store": model.store,
        "seed": seed,
        "truncate_sd": TRUNCATE,
        "accepted": {view: tally.accepted for view, tally in tallies.items()},
        "rejected": {view: dict(tally.rejected) for view, tally in tallies.items()},
    }
