"""Learning a shape model from the training masks of a store."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tte_tee.anatomy import VIEWS, WITHOUT_PLANE
from tte_tee.data.sector import fit_sector
from tte_tee.data.shape_model.fields import to_fields
from tte_tee.data.shape_model.model import ShapeModel, ViewModel
from tte_tee.data.shape_model.outline import to_outline
from tte_tee.data.shape_model.rules import Rules
from tte_tee.data.store import COHORTS, HELD_OUT, EchoStore
from tte_tee.data.workers import with_bar
from tte_tee.errors import UserError
from tte_tee.seen import SEEN, seen_in

FEWEST = 10  # masks of a view; fewer have hardly any modes, and the ranges of the rules are chance
VARIANCE = 0.95
_WEIGHT = 0.15  # variance of the sector, and of the spacing, as a share of that of the fields
_OPEN = tuple(cohort for cohort in COHORTS if cohort not in (*HELD_OUT, "pool"))


def fit_shape_model(
    store: EchoStore,
    *,
    views: Sequence[str] | None = None,
    cohorts: Sequence[str] | None = None,
    variance: float = VARIANCE,
    record: Mapping[str, Any] | None = None,
    progress: bool = False,
) -> ShapeModel:
    """Learns mean and modes of the masks in split ``train``, view by view.

    Both phases go into one population, so what is drawn has no phase.

    Args:
        store: frames without a mask are left out.
        views: to learn; by default all in split ``train`` that have a plane.
        cohorts: whose patients are learnt from; by default all but ``pool`` and the held-out ones.
        variance: share of the training variance that the modes keep.
        record: to be kept with the model.
        progress: shows a progress bar on stderr, if that is a terminal.

    Raises:
        UserError: a view or cohort is unknown or held out, there are too few masks, a mask shows what its
            view cannot show, or ``variance`` is no share.
    """
    if not 0 < variance < 1:
        raise UserError(f"variance {variance}; give the share that the modes keep, between 0 and 1")
    chosen = _choose(store, _checked_cohorts(cohorts))
    names = _checked_views(store, chosen, views)
    models = {name: _fit_view(store, name, chosen[name], variance, progress) for name in names}
    seen = seen_in(store.provenance).union(*(model.patients for model in models.values()))
    provenance = {**(record or {}), SEEN: sorted(seen)}
    return ShapeModel(models, store.label_space, store.image_size, store.content_hash, store.licence, provenance)


def _checked_cohorts(cohorts: Sequence[str] | None) -> Sequence[str]:
    for cohort in cohorts or ():
        if cohort in HELD_OUT:
            raise UserError(
                f"cohort {cohort} is held out; a shape model of its masks would leak the test into training"
            )
        if cohort not in COHORTS:
            raise UserError(f"cohort '{cohort}' is unknown; use {', '.join((*_OPEN, 'pool'))}")
    return cohorts or _OPEN


def _choose(store: EchoStore, cohorts: Sequence[str]) -> dict[str, np.ndarray]:
    """Indices of the frames to learn from, by view."""
    table = store.table
    usable = (table["split"] == "train") & (table["mask_source"] != "none") & table["cohort"].isin(list(cohorts))
    return {view: np.flatnonzero(usable & (table["view"] == view)) for view in VIEWS if view not in WITHOUT_PLANE}


def _checked_views(store: EchoStore, chosen: Mapping[str, np.ndarray], views: Sequence[str] | None) -> list[str]:
    names = list(dict.fromkeys(views)) if views else [name for name, found in chosen.items() if len(found)]
    if not names:
        raise UserError(f"{store.path}: no training mask to learn from: split train has none of an open cohort")
    for name in names:
        if name not in chosen:
            raise UserError(f"view '{name}' is unknown; use {', '.join(chosen)}")
        if len(chosen[name]) < FEWEST:
            raise UserError(
                f"{store.path}: {len(chosen[name])} training masks of {name}; a shape model needs {FEWEST} "
                "of each view, so name the views that have them with --views"
            )
    return names


def _fit_view(store: EchoStore, name: str, indices: np.ndarray, variance: float, progress: bool) -> ViewModel:
    frames = [store.frame(int(i))[1:] for i in indices]
    _check_frames(store, name, indices, frames)
    rules = Rules.learn(frames, store.label_space)
    structures = tuple(rules.area)
    labels = [store.label_space.ids[structure] for structure in structures]
    fields = np.stack([to_fields(mask, labels).ravel() for mask, _ in frames])
    blocks = [_sectors([sector for _, sector in frames], name, progress), _spacings(store, indices)]
    scale = np.concatenate([_scale(block, float(fields.var(axis=0).sum())) for block in blocks]).astype(np.float32)
    rest = (np.hstack(blocks) * scale).astype(np.float32)
    mean, modes, sd, explained = principal_modes(np.hstack([fields, rest]), variance)
    patients = tuple(sorted(set(store.table["patient"].iloc[indices])))
    return ViewModel(structures, mean, modes, sd, scale, explained, rules, len(frames), patients)


def _check_frames(store: EchoStore, view: str, indices: np.ndarray, frames: Sequence[tuple[np.ndarray, ...]]) -> None:
    foreign = {label: name for name, label in store.label_space.ids.items() if name not in VIEWS[view].shows}
    for index, (mask, sector) in zip(indices, frames, strict=True):
        where = f"{store.path}: frame '{store.table['key'].iloc[index]}'"
        if not mask.any() or not sector.any():
            raise UserError(
                f"{where}: its {'sector' if mask.any() else 'mask'} is empty; pack it without, or leave it out"
            )
        if shown := [name for label, name in foreign.items() if (mask == label).any()]:
            raise UserError(f"{where}: shows {shown[0]}, which {view} cannot show; correct its view or its mask")


def _sectors(sectors: Sequence[np.ndarray], name: str, progress: bool) -> np.ndarray:
    """Outlines of the sectors, ``[N, 30]``; frames of a cine share theirs, and it is fitted once."""
    known: dict[bytes, np.ndarray] = {}
    for sector in with_bar(sectors, f"sectors of {name}", progress):
        if (seen := sector.tobytes()) not in known:
            known[seen] = to_outline(fit_sector(sector), float(max(sector.shape)))
    return np.stack([known[sector.tobytes()] for sector in sectors])


def _spacings(store: EchoStore, indices: np.ndarray) -> np.ndarray:
    """Logarithm of the spacing, ``[N, 2]``, or ``[N, 0]`` where a frame does not know it."""
    spacing = store.table[["spacing_y", "spacing_x"]].to_numpy(np.float64)[indices]
    return np.log(spacing) if np.isfinite(spacing).all() and (spacing > 0).all() else np.empty((len(indices), 0))


def _scale(block: np.ndarray, variance: float) -> np.ndarray:
    """Factors ``[S]``, all the same, that give a block ``[N, S]`` its share of the variance of the fields."""
    own = float(block.var(axis=0).sum())
    return np.full(block.shape[1], np.sqrt(_WEIGHT * variance / own) if own > 1e-9 else 1.0)


def principal_modes(
    vectors: np.ndarray, variance: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, tuple[float, ...]]:
    """Principal components that keep a share of the variance, from the products of N vectors, as N is small.

    Args:
        vectors: float32 ``[N, D]``.
        variance: share to keep.

    Returns:
        Mean ``[D]``, modes ``[M, D]`` (orthonormal; the largest entry of each is positive), standard deviations
        ``[M]``, all float32, and the share of the variance of each mode.

    Raises:
        UserError: the vectors are all the same.
    """
    mean = vectors.mean(axis=0, dtype=np.float64).astype(np.float32)
    centred = vectors - mean
    values, weights = np.linalg.eigh((centred @ centred.T).astype(np.float64))
    values, weights = values[::-1].clip(0), weights[:, ::-1]
    total = float(values.sum())
    if total <= 1e-12:
        raise UserError("all training masks are the same; a shape model needs masks that differ")
    share = values / total
    kept = min(int(np.searchsorted(np.cumsum(share), variance) + 1), len(vectors) - 1)
    modes = (weights[:, :kept] / np.sqrt(values[:kept])).T.astype(np.float32) @ centred
    modes *= np.sign(modes[np.arange(kept), np.abs(modes).argmax(axis=1)])[:, None]
    sd = np.sqrt(values[:kept] / (len(vectors) - 1)).astype(np.float32)
    return mean, modes, sd, tuple(float(s) for s in share[:kept])
