"""A whole phantom store: patients, views and phases, split by patient."""

import json
from dataclasses import dataclass, fields
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from tte_tee.data.phantom.frame import DOMAINS, Frame, acquire, draw_patient
from tte_tee.data.phantom.planes import acquisition_seed, check_angles, frame_key, plane_names, shots
from tte_tee.data.phantom.version import stamp
from tte_tee.data.store import HELD_OUT, FrameInfo, StoreWriter
from tte_tee.data.workers import in_order
from tte_tee.errors import UserError
from tte_tee.provenance import made_with

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

COHORTS = {
    "base": ("tte", 1),
    "adaptation": ("tee", 11),
    "pool": ("tee", 12),
    "test": ("tee", 13),
    "confirmatory": ("tee", 14),
}
"""Domain and seed of each cohort: all their hearts are in it, however many are drawn; those of others are in none."""
LICENCE = "CC0-1.0 (synthetic)"
MINIMUM_SIZE, MAXIMUM_SIZE = 16, 4096
_UNSAID = ("angles", "first", "val", "test")


@dataclass(frozen=True)
class PhantomSpec:
    """What to put into a phantom store.

    Attributes:
        domain: ``tte`` (views A4C and A2C, labels of CAMUS) or ``tee`` (ME4C and ME2C, labels of TEE).
        patients: how many hearts.
        seed: of the population; two seeds have no heart in common, and neither have the two domains.
        size: pixels per side.
        angles: further omniplane angles of ``tee``, degrees strictly between 0 and 90.
        first: number of the first heart, so that a population can be drawn from in parts.
        val, test: shares of the patients; the first patients are train, then val, then test.

    Raises:
        UserError: a value is out of its range.
    """

    domain: str
    patients: int
    seed: int = 0
    size: int = 64
    angles: tuple[int, ...] = ()
    first: int = 0
    val: float = 0.15
    test: float = 0.25

    def __post_init__(self) -> None:
        if self.domain not in DOMAINS:
            raise UserError(f"phantom: domain '{self.domain}' is unknown; use {' or '.join(DOMAINS)}")
        if self.patients < 1:
            raise UserError(f"phantom: {self.patients} patients; ask for at least 1")
        if min(self.seed, self.first) < 0:
            raise UserError(f"phantom: seed {self.seed}, first heart {self.first}; neither may be negative")
        if not MINIMUM_SIZE <= self.size <= MAXIMUM_SIZE:
            raise UserError(f"phantom: size {self.size}; use {MINIMUM_SIZE} to {MAXIMUM_SIZE} pixels")
        if self.angles and self.domain != "tee":
            raise UserError("phantom: only a TEE probe turns its plane; leave angles out or use domain tee")
        check_angles("phantom", self.angles)
        if not (self.val >= 0 and self.test >= 0 and self.val + self.test < 1):
            raise UserError(
                f"phantom: val {self.val} and test {self.test}; use shares of 0 or more that leave some for train"
            )
        if self.cohort not in HELD_OUT and self.split(0) != "train":
            raise UserError(
                f"phantom: val {self.val} and test {self.test} leave none of {self.patients} patients for train; "
                "ask for more patients or smaller shares"
            )

    @property
    def cohort(self) -> str:
        """Cohort of every patient."""
        return next((name for name, whose in COHORTS.items() if whose == (self.domain, self.seed)), "none")

    def split(self, index: int) -> str:
        """Split of patient ``index``; held-out cohorts are for testing alone."""
        if self.cohort in HELD_OUT:
            return "test"
        val, test = (int(self.patients * share + 0.5) for share in (self.val, self.test))
        if index >= self.patients - test:
            return "test"
        return "val" if index >= self.patients - test - val else "train"

    def patient(self, index: int) -> str:
        """Identifier of patient ``index``, unique over domains and seeds."""
        return f"phantom-{self.domain}-s{self.seed}-{self.first + index:04d}"

    def command(self, out: str) -> str:
        """The command line that makes this store as ``out``."""
        return command_of(self, "data phantom", out)


def command_of(spec: "DataclassInstance", command: str, out: str) -> str:
    """The command line whose options are the fields of ``spec``; some are left out where they are as by default."""
    words = [f"python -m tte_tee {command}"]
    for field in fields(spec):
        value = getattr(spec, field.name)
        if field.name not in _UNSAID or value != field.default:
            words.append(f"--{field.name} {' '.join(map(str, value)) if field.name == 'angles' else value}")
    return " ".join([*words, f"--out {out}"])


def write_phantom(spec: PhantomSpec, path: str | Path, *, workers: int | None = 0, progress: bool = False) -> None:
    """Writes every patient's views at end-diastole and end-systole into one echo store.

    Args:
        spec: what to put into it.
        path: store to write, or to replace.
        workers: processes that draw, which change nothing of it; None takes one per CPU core, 0 this one alone.
        progress: shows a bar.

    Raises:
        UserError: the folder cannot be written.
    """
    path = Path(path)
    command, provenance = spec.command(path.name), json.dumps({**made_with(), "phantom": stamp()})
    with StoreWriter(path, DOMAINS[spec.domain], licence=LICENCE, command=command, provenance=provenance) as store:
        jobs = [(spec, index) for index in range(spec.patients)]
        drawn = in_order(_views, jobs, workers=workers, description=f"{spec.domain} phantom", progress=progress)
        for frame, info in chain.from_iterable(drawn):
            store.append(frame.image, frame.mask, frame.sector, info)


def _views(spec: PhantomSpec, index: int) -> list[tuple[Frame, FrameInfo]]:
    """Every frame of one patient."""
    number, patient, frames = spec.first + index, spec.patient(index), []
    drawn = draw_patient(spec.domain, spec.seed, number)
    for angle, phase in shots(spec.angles):
        view, study = plane_names(spec.domain, angle)
        seed = acquisition_seed(spec.domain, spec.seed, number, angle)
        frame = acquire(drawn, spec.domain, angle, phase, seed, spec.size)
        info = FrameInfo(
            key=frame_key(patient, spec.domain, angle, phase),
            patient=patient,
            view=view,
            split=spec.split(index),
            origin="phantom",
            mask_source="phantom",
            cohort=spec.cohort,
            study=study,
            phase=phase,
            spacing=frame.spacing,
            seed=frame.seed,
        )
        frames.append((frame, info))
    return frames
