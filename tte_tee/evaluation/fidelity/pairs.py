"""Likeness of a drawn frame and the real frame that has its mask."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
import torch

from tte_tee.data.phantom.again import acquire_again
from tte_tee.errors import UserError
from tte_tee.evaluation.fidelity.estimates import Estimate, Rows, Sets, missing, over_patients, row
from tte_tee.evaluation.fidelity.features import label
from tte_tee.evaluation.fidelity.frames import FrameSet
from tte_tee.metrics.pairs import similarity
from tte_tee.models.extractors import Extractor


def pair_rows(sets: Sets, extractors: Sequence[Extractor], most: int | None, seed: int) -> Rows:
    """SSIM and LPIPS between a frame and the real frame that has its mask.

    The floor is the phantom's: the same frame acquired again, with other speckle. Nobody acquires a patient twice
    with one mask, so other frames have none.
    """
    real = sets["real"]
    found = {name: _partners(sets[name], real) for name in ("synthetic", "ceiling") if name in sets}
    parents = set(found["synthetic"])
    parents = parents & set(found.get("ceiling", ())) or parents
    places = np.array(sorted(parents), int)
    if most is not None and len(places) > most:
        places = np.sort(np.random.default_rng(seed).choice(places, most, replace=False))
    lacking = {} if "ceiling" in sets else {"ceiling": "no --ceiling"}
    pictures: dict[str, np.ndarray] = {}
    for name, partner in found.items():
        if len(places) and partner.keys() >= set(places):
            pictures[name] = sets[name].images([partner[int(place)] for place in places])
        else:
            lacking[name] = (
                f"no frame of {sets[name].store.path.name} was drawn for the mask of a real frame that is compared"
            )
    if len(places):
        try:
            pictures["floor"] = np.stack(
                [acquire_again(real.store, int(real.indices[place]), seed + 1) for place in places]
            )
        except UserError as error:
            lacking["floor"] = str(error)
    else:
        lacking["floor"] = lacking["synthetic"]
    return _pair_rows(real, places, pictures, lacking, extractors)


def _partners(part: FrameSet, real: FrameSet) -> dict[int, int]:
    """Place of a real frame -> place of the first frame that was drawn for its mask."""
    found: dict[int, int] = {}
    for place, parent in enumerate(part.store.table["parent"].iloc[part.indices]):
        at = real.place_of.get(parent) if parent else None
        # A key may be another store's too; the mask tells.
        if at is not None and at not in found and np.array_equal(part.frame(place)[1], real.frame(at)[1]):
            found[at] = place
    return found


def _pair_rows(
    real: FrameSet,
    places: np.ndarray,
    pictures: Mapping[str, np.ndarray],
    lacking: Mapping[str, str],
    extractors: Sequence[Extractor],
) -> Rows:
    acquired = real.images(places) if len(places) else np.empty(0)

    def alike(drawn: np.ndarray) -> np.ndarray:
        return similarity(torch.from_numpy(drawn), torch.from_numpy(acquired)).numpy()

    measures: dict[str, Callable[[np.ndarray], np.ndarray]] = {"SSIM": alike}
    for extractor in extractors:
        if extractor.distance is not None:
            measures[f"LPIPS ({label(extractor)})"] = partial(extractor.between, acquired)
    rows = []
    for name, measure in measures.items():
        roles: dict[str, Estimate] = {role: missing(reason) for role, reason in lacking.items()}
        roles |= {role: over_patients(measure(drawn), real.patients[places]) for role, drawn in pictures.items()}
        rows.append(row("pairs", name, roles, higher=name == "SSIM"))
    return rows
