"""The sets of frames that are compared: who may be in them, and which frames of them are drawn.

All draws are made alike: the real patients are split into two halves; the frames of one half are the reference, and
as many frames each of the other half (floor), of the synthetic set and of the ceiling are compared with it. No set
shows a patient of the reference, so that floor, value and ceiling differ in nothing but whose frames they are.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from tte_tee.data.alike import refuse_other_labels, refuse_other_origin, refuse_other_size
from tte_tee.data.leakage import refuse_seen
from tte_tee.data.store import REAL_ORIGINS, EchoStore
from tte_tee.data.usable import usable_frames
from tte_tee.errors import UserError
from tte_tee.models.extractors import Extractor
from tte_tee.seen import learnt_from, seen_in

ROLES = ("synthetic", "floor", "ceiling")
"""What is compared with the reference."""


@dataclass(frozen=True)
class FrameSet:
    """Some frames of a store, counted by their place among ``indices``."""

    store: EchoStore
    indices: np.ndarray

    def __len__(self) -> int:
        return len(self.indices)

    @cached_property
    def patients(self) -> np.ndarray:
        """Patient of each frame."""
        return self.store.table["patient"].to_numpy(object)[self.indices]

    @cached_property
    def place_of(self) -> dict[str, int]:
        """Key of a frame -> its place."""
        return {key: place for place, key in enumerate(self.store.table["key"].iloc[self.indices])}

    def frame(self, place: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Image, black outside of the sector, mask and sector, each uint8 ``[H, W]``."""
        image, mask, sector = self.store.frame(int(self.indices[place]))
        return image * sector, mask, sector

    def images(self, places: Sequence[int] | np.ndarray) -> np.ndarray:
        """Pictures uint8 ``[N, H, W]``, black outside of the sector."""
        return np.stack([self.frame(int(place))[0] for place in places])

    def to_json(self) -> dict[str, object]:
        """Name and hash of the store, and how many frames of how many patients are looked at."""
        counts = {"frames": len(self), "patients": len(set(self.patients))}
        return {**self.store.to_json(), **counts}


def real_set(store: EchoStore, split: str | None, cohort: str | None) -> FrameSet:
    """Frames of a split and cohort, or of all; none was generated.

    Raises:
        UserError: there is none, one was generated, or it has no mask.
    """
    indices = usable_frames(store, split, plane=False)
    table = store.table.iloc[indices]
    if cohort is not None:
        indices = indices[(table["cohort"] == cohort).to_numpy()]
    if not len(indices):
        raise UserError(f"{store.path}: no frame of cohort '{cohort}'{f' in split {split!r}' if split else ''}")
    refuse_other_origin(store, indices, REAL_ORIGINS, "--real takes real ones")
    return FrameSet(store, indices)


def other_set(store: EchoStore, real: FrameSet, *, same_labels: bool) -> FrameSet:
    """All frames of a store that is compared with the real one.

    Raises:
        UserError: a frame has no image or mask, or the frames are of another size or label space.
    """
    refuse_other_size(real.store, store)
    if same_labels:
        refuse_other_labels(real.store, store)
    return FrameSet(store, usable_frames(store, None, plane=False))


def check_memory(real: FrameSet, synthetic: FrameSet, extractors: Sequence[Extractor], allow_seen: bool) -> list[str]:
    """Refuses real patients from whom the synthetic frames or an extractor learnt, or else says so.

    A patient whose mask alone a frame was drawn for is no such patient.

    Returns:
        what a reader has to know of who was seen.

    Raises:
        UserError: a real patient was seen, and ``allow_seen`` is false.
    """
    record = synthetic.store.provenance
    parties = [("the synthetic frames (adapter, base or masks)", learnt_from(record), "they may be memory")]
    parties += [(f"extractor {e.name}", seen_in(e.record), "its features are optimistic") for e in extractors]
    notes = []
    for what, seen, meaning in parties:
        if not allow_seen:
            refuse_seen(real.patients, seen, str(real.store.path), what)
        elif known := set(real.patients) & seen:
            notes.append(f"{len(known)} of {len(set(real.patients))} real patients went into {what}: {meaning}")
    generated = (synthetic.store.table["origin"] == "generated").any()
    if generated and not seen_in(record):
        notes.append("the synthetic store does not say from whom it learnt: a leak cannot be ruled out")
    return notes


@dataclass(frozen=True)
class Draw:
    """Places of the frames of one draw, N of each: in the real set, but for ``synthetic`` and ``ceiling``."""

    reference: np.ndarray
    synthetic: np.ndarray
    floor: np.ndarray | None = None
    ceiling: np.ndarray | None = None


@dataclass(frozen=True)
class Draws:
    """All draws, the N of each set in each of them, how many real patients are split, and why a role is missing."""

    frames: int
    patients: int
    draws: tuple[Draw, ...]
    lacking: dict[str, str]

    def used(self, role: str) -> np.ndarray:
        """Places of one set, ``real``, ``synthetic`` or ``ceiling``, that some draw needs."""
        names = ("reference", "floor") if role == "real" else (role,)
        parts = [places for draw in self.draws for name in names if (places := getattr(draw, name)) is not None]
        return np.unique(np.concatenate(parts)) if parts else np.empty(0, int)


def draw_sets(
    real: FrameSet, synthetic: FrameSet, ceiling: FrameSet | None, *, draws: int, most: int | None, seed: int
) -> Draws:
    """Draws the frames that are compared, keyed by the seed and the number of the draw.

    Real patients whom another set shows stay out, unless more frames are left with them in: then each draw leaves
    out those frames of the other set that show a patient of its reference.

    Raises:
        UserError: nothing is left to compare.
    """
    own = set(real.patients)
    shown = own & {*synthetic.patients, *(() if ceiling is None else ceiling.patients)}
    plans = [(_eligible(real, synthetic, ceiling, sorted(p), draws, seed), len(p)) for p in (own - shown, own) if p]
    plan, patients = max(plans, key=lambda planned: _fewest(planned[0]))
    count = min(_fewest(plan), most or len(real))
    if not count:
        raise UserError(
            f"{synthetic.store.path}: shows none but the {len(own)} patients of {real.store.path} that it is "
            "compared with; give more real patients"
        )
    lacking = {} if ceiling else {"ceiling": "no --ceiling"}
    if len(own) == 1:
        lacking["floor"] = "one real patient: no two halves without a patient in common"
    chosen = []
    for number, parts in enumerate(plan):
        drawn = {
            role: np.sort(np.random.default_rng([seed, number, stream]).choice(places, count, replace=False))
            for stream, (role, places) in enumerate(parts.items(), start=1)
        }
        chosen.append(Draw(**drawn))
    return Draws(count, patients, tuple(chosen), lacking)


_Plan = list[dict[str, np.ndarray]]
"""For each draw: role, and ``reference`` -> places that may be drawn for it."""


def _fewest(plan: _Plan) -> int:
    return min(len(places) for parts in plan for places in parts.values())


def _eligible(
    real: FrameSet, synthetic: FrameSet, ceiling: FrameSet | None, patients: list[str], draws: int, seed: int
) -> _Plan:
    alone = len(set(real.patients)) == 1
    plan = []
    for number in range(draws):
        order = np.random.default_rng([seed, number]).permutation(np.array(patients, object))
        other, reference = order[: len(order) // 2], order[len(order) // 2 :]
        parts = {"reference": np.isin(real.patients, reference)}
        if not alone:
            parts["floor"] = np.isin(real.patients, other)
        for role, part in (("synthetic", synthetic), ("ceiling", ceiling)):
            if part is not None:
                parts[role] = np.isin(part.patients, reference, invert=True) | alone
        plan.append({role: np.flatnonzero(may) for role, may in parts.items()})
    return plan
