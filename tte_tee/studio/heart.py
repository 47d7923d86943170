"""A heart on the page: a mask in its sector, with what is known of where it comes from."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tte_tee.anatomy import VIEWS
from tte_tee.data.edits import MaskFrame, open_sector, opening
from tte_tee.data.leakage import OF_A_PATIENT
from tte_tee.data.shape_model import REASONS, ShapeModel
from tte_tee.data.store import EchoStore, FrameInfo
from tte_tee.errors import UserError
from tte_tee.seen import seen_in

SLIDERS, REACH = 5, 2.5  # modes of a shape model that the page moves, and how far, in standard deviations
DRAWN_VIEWS = tuple(view.name for view in VIEWS.values() if view.plane)
"""Views whose plane the generator knows."""

_BY_HAND = "by-hand"


@dataclass(frozen=True, eq=False)  # a page's state is told apart by identity
class Heart:
    """A mask to draw a frame for.

    Attributes:
        mask: ids uint8 ``[H, W]``.
        sector: uint8 ``[H, W]``, 1 inside.
        info: what a store says, or would say, of the mask; its view decides the plane.
        licence: of the mask.
        seen: patients known to whatever made the mask.
        record: how it was made, JSON.
    """

    mask: np.ndarray
    sector: np.ndarray
    info: FrameInfo
    licence: str
    seen: frozenset[str]
    record: Mapping[str, Any]

    @property
    def patient(self) -> str:
        """Whose heart it is, or empty where it is nobody's."""
        return self.info.patient if self.info.mask_source in OF_A_PATIENT else ""


def of_modes(model: ShapeModel, view: str, values: Sequence[float]) -> Heart:
    """The heart of a shape model at some standard deviations of its first modes; the other modes stay at the mean.

    Raises:
        UserError: the view is not in the model, or a value is beyond :data:`REACH`.
    """
    if view not in model.views:
        raise UserError(f"view {view}: the shape model has {', '.join(model.views)}; choose one of them, or fit it too")
    part = model.views[view]
    if any(not abs(value) <= REACH for value in values):
        raise UserError(f"modes {', '.join(f'{value:g}' for value in values)}: use -{REACH:g} to {REACH:g} sd")
    coefficients = np.zeros(len(part.sd))
    count = min(len(values), len(part.sd))
    coefficients[:count] = values[:count]
    frame = part.decode(coefficients, model.image_size, model.label_space)
    name = f"ssm-{model.hash[:8]}-{view}" + "".join(f"{value:+.2f}" for value in coefficients[:count])
    info = FrameInfo(name, name, view, "train", "mask", mask_source="ssm", spacing=frame.spacing)
    record = {
        "shape_model": {"hash": model.hash, "training_store": model.store},
        "modes_sd": [float(value) for value in coefficients[:count]],
    }
    licence = f"masks drawn from a shape model; its training masks: {model.licence}"
    return Heart(frame.mask, frame.sector, info, licence, frozenset(seen_in(model.record)), record)


def unlike_training(model: ShapeModel, heart: Heart) -> str:
    """Why a mask breaks the rules that the training masks of its view keep; empty where it does not."""
    part = model.views.get(heart.info.view)
    reason = part.rules.broken(heart.mask, heart.sector, model.label_space) if part else None
    return REASONS[reason] if reason else ""


def of_store(store: EchoStore, number: int) -> Heart:
    """The heart of a store's frame, by its place among those of :func:`frames_with_masks`.

    Raises:
        UserError: there is none of that number.
    """
    indices = frames_with_masks(store)
    if not 0 <= number < len(indices):
        raise UserError(f"{store.path.name}: no mask of number {number}; it has 0 to {len(indices) - 1}")
    index = int(indices[number])
    _, mask, sector = store.frame(index)
    seen = frozenset(seen_in(store.provenance))
    return Heart(mask, sector, store.info(index), store.licence, seen, store.as_source())


def frames_with_masks(store: EchoStore) -> np.ndarray:
    """Indices of the frames that have a mask and a view that the generator knows.

    Raises:
        UserError: there is none.
    """
    table = store.table
    found = np.flatnonzero((table["mask_source"] != "none") & table["view"].isin(DRAWN_VIEWS))
    if not len(found):
        raise UserError(f"{store.path.name}: has no mask of a view that the generator knows; give another store")
    return found


def by_hand(mask: np.ndarray, like: Heart, origin: str) -> Heart:
    """A mask of which nobody knows whose heart it shows, in the sector and view of another heart.

    It counts as a patient's own, since nothing tells from what it was traced; who must not learn from such patients
    then refuses its frames.

    Args:
        mask: ids ``[H, W]``.
        like: whose sector, view and spacing it takes.
        origin: where the mask comes from, for the record.
    """
    info = FrameInfo(_BY_HAND, _BY_HAND, like.info.view, "train", "mask", mask_source="annotated")
    info = replace(info, spacing=like.info.spacing, sector_confidence=like.info.sector_confidence)
    return Heart(mask, like.sector, info, "painted by hand", frozenset(), {"origin": origin})


def edited(heart: Heart, mask: np.ndarray, sector: np.ndarray, view: str) -> Heart:
    """The heart with another mask, sector or view; labels outside of the sector are cut.

    An edited heart of a patient is that patient's still (as in ``masks edit``); its key says that it was edited.

    Raises:
        UserError: the generator knows no plane of the view.
    """
    if view not in DRAWN_VIEWS:
        raise UserError(f"view '{view}': the generator knows {', '.join(DRAWN_VIEWS)}")
    same = {
        "mask": np.array_equal(mask, heart.mask),
        "sector": np.array_equal(sector, heart.sector),
        "view": view == heart.info.view,
    }
    changed = [name for name, equal in same.items() if not equal]
    if not changed and heart.info.patient != _BY_HAND:
        return heart
    mask = mask * sector
    digest = hashlib.sha256(mask.tobytes() + sector.tobytes() + view.encode()).hexdigest()[:8]
    if heart.info.patient == _BY_HAND:  # each is a heart of its own
        info = replace(heart.info, key=f"{_BY_HAND}-{digest}", patient=f"{_BY_HAND}-{digest}", view=view)
    else:
        info = replace(heart.info, key=f"{heart.info.key}~studio-{digest}", view=view)
    return replace(heart, mask=mask, sector=sector, info=info, record={**heart.record, "changed_in_studio": changed})


def opened(heart: Heart, percent: float) -> np.ndarray:
    """The heart's sector at a percentage of its opening angle, uint8 ``[H, W]``.

    Raises:
        UserError: the percentage is out of its range.
    """
    if not 40 <= percent <= 160:
        raise UserError(f"sector: {percent:g} % of its opening; use 40 to 160")
    frame = MaskFrame(heart.mask, heart.sector, heart.info.view, heart.info.spacing)
    if percent == 100:
        return heart.sector
    return open_sector(frame, min(opening(frame) * percent / 100, 150.0)).sector


def provenance_of(heart: Heart) -> dict[str, Any]:
    """What a store of frames remembers of the mask."""
    return json.loads(json.dumps({"key": heart.info.key, "made_by": heart.info.mask_source, **heart.record}))
