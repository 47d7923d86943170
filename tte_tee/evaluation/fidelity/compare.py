"""One comparison of synthetic with real frames, from stores and extractors to one record."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tte_tee.errors import UserError
from tte_tee.evaluation.fidelity.features import feature_rows, features_of, label, plane_of
from tte_tee.evaluation.fidelity.frames import FrameSet, check_memory, draw_sets
from tte_tee.evaluation.fidelity.pairs import pair_rows
from tte_tee.evaluation.fidelity.textures import texture_rows
from tte_tee.models.extractors import Extractor
from tte_tee.provenance import provenance
from tte_tee.seen import seen_in

_DIFFERENT = 0.1  # in the share of a view, from which on the reader is told


@dataclass(frozen=True)
class Options:
    """How frames are compared.

    Attributes:
        draws: how often the real patients are split into halves.
        frames: at most so many of each set in each draw; None takes as many as all have.
        kid_subset: frames that one estimate of KID takes.
        kid_subsets: how many such estimates.
        seed: of every draw.
        allow_seen: takes real patients who were seen, and says so.

    Raises:
        UserError: a number is out of its range.
    """

    draws: int = 5
    frames: int | None = None
    kid_subset: int = 100
    kid_subsets: int = 50
    seed: int = 0
    allow_seen: bool = False

    def __post_init__(self) -> None:
        if min(self.draws, self.kid_subsets, self.kid_subset - 1, 1 if self.frames is None else self.frames) < 1:
            raise UserError("fidelity: draws, frames and subsets are 1 or more, frames of a subset 2 or more")
        if self.seed < 0:
            raise UserError(f"fidelity: seed {self.seed}; use a whole number of 0 or more")


def compare(
    real: FrameSet, synthetic: FrameSet, ceiling: FrameSet | None, extractors: Sequence[Extractor], options: Options
) -> dict[str, Any]:
    """Every measure, under ``rows``, and all that it rests on.

    Args:
        real: frames, acquired or phantom, of patients whom neither the synthetic frames nor an extractor learnt from.
        synthetic: what is judged.
        ceiling: frames that should be further from the real ones: of TTE, or of the base before it was adapted.
        extractors: in whose features frames are compared.
        options: draws, subsets, seed.

    Raises:
        UserError: a real patient was seen, or nothing is left to compare.
    """
    notes = check_memory(real, synthetic, extractors, options.allow_seen)
    draws = draw_sets(real, synthetic, ceiling, draws=options.draws, most=options.frames, seed=options.seed)
    sets = {"real": real, "synthetic": synthetic} | ({} if ceiling is None else {"ceiling": ceiling})
    rows, planes = [], {}
    for extractor in extractors:
        values = features_of(extractor, sets, draws)
        rows += feature_rows(extractor, values, draws, options.kid_subset, options.kid_subsets, options.seed)
        planes[label(extractor)] = plane_of(values, draws)
    rows += texture_rows(sets, draws, options.seed)
    rows += pair_rows(sets, extractors, options.frames, options.seed)
    return {
        **provenance(),
        "options": asdict(options),
        "stores": {name: part.to_json() for name, part in sets.items()},
        "frames": draws.frames,
        "patients": draws.patients,
        "notes": [*notes, *_patient_notes(real), *_view_notes(sets)],
        "extractors": {label(e): _described(e) for e in extractors},
        "rows": rows,
        "planes": planes,
    }


def _described(extractor: Extractor) -> dict[str, Any]:
    return {
        "name": extractor.name,
        "version": extractor.version,
        "prepared": extractor.prepared,
        "patients_seen": len(seen_in(extractor.record)),
    }


def _patient_notes(real: FrameSet) -> list[str]:
    """Numbers of a single patient look like any others, and are not."""
    lone = len(set(real.patients)) == 1
    words = "one real patient: a demonstration; no floor, no interval, and SD is over draws of frames of that patient"
    return [words] if lone else []


def _view_notes(sets: dict[str, FrameSet]) -> list[str]:
    """Sets whose views differ are far apart for that reason alone."""
    shares = {n: p.store.table["view"].iloc[p.indices].value_counts(normalize=True) for n, p in sets.items()}
    real, drawn = shares["real"], shares["synthetic"]
    differing = [v for v in sorted({*real.index, *drawn.index}) if abs(real.get(v, 0) - drawn.get(v, 0)) > _DIFFERENT]
    return [
        f"{view}: {100 * real.get(view, 0):.0f} % of the real frames, {100 * drawn.get(view, 0):.0f} % of the "
        "synthetic ones; part of the distance is that"
        for view in differing
    ]
