"""Masks without frames: hearts of a population sliced at the TEE planes.

They stand in for the masks that the paper slices from a statistical shape model of the whole
heart. Hearts come from the population ``atlas``, whose shapes are distributed otherwise than
the phantom's TEE patients (see :mod:`.population`), or, as ``oracle``, from the patients' own
population. Nothing is imaged: no ultrasound is rendered.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tte_tee.anatomy import TEE
from tte_tee.data.phantom.frame import PATIENTS, derived_seed, draw_heart, trace
from tte_tee.data.phantom.planes import PHASES, acquisition_seed, check_angles, frame_key, plane_names, planes
from tte_tee.data.phantom.probe import transoesophageal
from tte_tee.data.phantom.version import stamp
from tte_tee.data.phantom.write import LICENCE, MAXIMUM_SIZE, MINIMUM_SIZE, command_of
from tte_tee.data.store import FrameInfo, StoreWriter
from tte_tee.data.workers import with_bar
from tte_tee.errors import UserError
from tte_tee.provenance import made_with

SOURCES = {"atlas": "atlas", "oracle": PATIENTS["tee"]}
"""The population of hearts behind each source of masks."""


@dataclass(frozen=True)
class HeartMasks:
    """What to slice.

    Attributes:
        source: ``atlas`` (shifted from the test population) or ``oracle`` (the same population).
        hearts: how many.
        seed: of the hearts; none of them is a phantom patient's, whatever the seed.
        size: pixels per side.
        angles: further omniplane angles beside 0 (ME4C) and 90 (ME2C), degrees strictly between.

    Raises:
        UserError: a value is out of its range.
    """

    source: str = "atlas"
    hearts: int = 100
    seed: int = 0
    size: int = 64
    angles: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.source not in SOURCES:
            raise UserError(f"masks: source '{self.source}' is unknown; use {' or '.join(SOURCES)}")
        if self.hearts < 1 or self.seed < 0:
            raise UserError(f"masks: {self.hearts} hearts of seed {self.seed}; ask for 1 or more, of seed 0 or more")
        if not MINIMUM_SIZE <= self.size <= MAXIMUM_SIZE:
            raise UserError(f"masks: size {self.size}; use {MINIMUM_SIZE} to {MAXIMUM_SIZE} pixels")
        check_angles("masks", self.angles)

    def patient(self, index: int) -> str:
        """Identifier of heart ``index``, unlike any phantom patient's."""
        return f"{self.source}-s{self.seed}-{index:04d}"

    def command(self, out: str) -> str:
        """The command line that makes this store as ``out``."""
        return command_of(self, "masks heart", out)


def write_heart_masks(spec: HeartMasks, path: str | Path, *, progress: bool = False) -> None:
    """Writes every heart's planes at ED and ES into one store: masks, sectors and spacing; images are zeros.

    Args:
        spec: what to slice.
        path: store to write, or to replace.
        progress: shows a bar on stderr, if that is a terminal.

    Raises:
        UserError: the folder cannot be written.
    """
    path = Path(path)
    phantom = {**stamp(), "masks": spec.source, "population": SOURCES[spec.source]}
    provenance = json.dumps({**made_with(), "phantom": phantom})
    with StoreWriter(path, TEE, licence=LICENCE, command=spec.command(path.name), provenance=provenance) as store:
        for index in with_bar(range(spec.hearts), f"{spec.source} masks", progress):
            _append_heart(store, spec, index)


def _append_heart(store: StoreWriter, spec: HeartMasks, index: int) -> None:
    # The source's name parts its hearts from the phantom's, which are drawn under ``tte`` and ``tee``.
    shape = draw_heart(spec.source, spec.seed, index, SOURCES[spec.source])
    for angle in planes(spec.angles):
        seed = acquisition_seed(spec.source, spec.seed, index, angle)
        rng = np.random.default_rng(derived_seed(seed, "probe"))
        plane, sector = transoesophageal(shape.at("ED"), angle, rng)
        for phase in PHASES:
            mask, inside = trace(shape.at(phase), plane, sector, TEE, spec.size)
            info = _info(spec, index, angle, phase, sector.spacing(spec.size), seed)
            store.append(np.zeros_like(mask), mask, inside, info)


def _info(spec: HeartMasks, index: int, angle: int, phase: str, spacing: tuple[float, float], seed: int) -> FrameInfo:
    """What the store says of one mask: there is no image, and who made the mask is its source."""
    view, study = plane_names("tee", angle)
    patient = spec.patient(index)
    return FrameInfo(
        key=frame_key(patient, "tee", angle, phase),
        patient=patient,
        view=view,
        split="train",
        origin="mask",
        mask_source=spec.source,
        study=study,
        phase=phase,
        spacing=spacing,
        seed=seed,
    )
