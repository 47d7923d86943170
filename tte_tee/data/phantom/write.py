"""A whole phantom store: patients, views and phases, split by patient."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from tte_tee.anatomy import CAMUS
from tte_tee.data.phantom.frame import DOMAINS, Frame, acquire, derived_seed, draw_patient
from tte_tee.data.phantom.version import stamp
from tte_tee.data.store import HELD_OUT, FrameInfo, StoreWriter
from tte_tee.data.workers import in_order
from tte_tee.errors import UserError
from tte_tee.provenance import made_with

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

COHORT_OF = {
    ("tte", 1): "base",
    ("tee", 11): "adaptation",
    ("tee", 12): "pool",
    ("tee", 13): "test",
    ("tee", 14): "confirmatory",
}
"""(domain, seed) -> the cohort that all its hearts are in; those of other seeds are in none."""
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
        return COHORT_OF.get((self.domain, self.seed), "none")

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


def check_angles(kind: str, angles: Sequence[int]) -> None:
    """Refuses further omniplane angles that are no planes between the two standard ones.

    Raises:
        UserError: saying which are meant; ``kind`` begins the message.
    """
    if any(not 0 < angle < 90 for angle in angles) or len(set(angles)) != len(angles):
        raise UserError(
            f"{kind}: angles {', '.join(map(str, angles))}; name each once, strictly between 0 and 90 "
            "(ME4C at 0 and ME2C at 90 are always there)"
        )


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
    number, frames = spec.first + index, []
    patient = draw_patient(spec.domain, spec.seed, number)
    for angle in (0, *sorted(spec.angles), 90):
        view, study = plane_names(spec.domain, angle)
        seed = derived_seed(spec.domain, spec.seed, number, "acquisition", angle)
        for phase in ("ED", "ES"):
            frame = acquire(patient, spec.domain, angle, phase, seed, spec.size)
            info = FrameInfo(
                key=f"{spec.patient(index)}/{view if angle in (0, 90) else study}/{phase}",
                patient=spec.patient(index),
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


def plane_names(domain: str, angle: int) -> tuple[str, str]:
    """View and study of a plane; a plane between the two standard ones goes by the nearer."""
    chambers = 4 if angle <= 45 else 2
    if DOMAINS[domain] is CAMUS:
        return f"A{chambers}C", "apical"
    return f"ME{chambers}C", f"me-{angle:03d}"
