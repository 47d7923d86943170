"""The grid of arms: from ``grid.yaml`` to stages, each one command of the package, and their keys.

A stage is known by its content: its key is a hash of its rule's version, of its command, of the config that the
command names, and of the keys of the stages whose artefacts it reads. So cells share whatever they have in common,
and a change gives new keys to what depends on it and to nothing else. Where a stage runs (folders, device) is no
part of its key.
"""

import hashlib
import json
import math
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

from grid_file import GridError, Json, read_grid_file

HERE = Path(__file__).parent
CONFIGS = Path("lightning_configs")
FITS = ("pretrain", "adapt", "segment")
ON_DEVICE = ("synthesise", "audit_masks", "audit_fidelity", "audit_copies", "evaluate")
MASKS = {"real": "real masks", "ssm": "SSM masks", "atlas": "atlas masks"}
"""Sources of masks, and what tables call them."""


@dataclass(frozen=True)
class Artefact:
    """What a stage leaves at a place in its folder; ``prefix`` stands before its path in a command."""

    stage: "Stage"
    place: str
    prefix: str = ""

    @property
    def keyed(self) -> str:
        """What it is to the key of a stage."""
        return f"{self.prefix}<{self.stage.key}/{self.place}>"

    def of(self, kind: str) -> "Artefact":
        """As an extractor: ``kind=PATH``."""
        return Artefact(self.stage, self.place, f"{kind}=")


@dataclass(frozen=True)
class Given:
    """A folder of the user's own, known by the environment variable that says where it is."""

    variable: str

    @property
    def keyed(self) -> str:
        """What it is to the key of a stage: where the folder is decides nothing."""
        return f"${self.variable}"


@dataclass(frozen=True, eq=False)
class Stage:
    """One command of the package; two of one key are one.

    Attributes:
        rule: of :data:`RULES`.
        slug: for people, in the name of its folder; it follows from what the key is made of.
        words: of the command, without where it writes.
        basis: what else its result depends on: version of the rule, content of the config.
        writes: what ``--out`` names in the stage's folder; empty for training, whose logger is told.
        units: of work, for the estimate of its cost.
        processes: that train together.
    """

    rule: str
    slug: str
    words: tuple[str | Artefact | Given, ...]
    basis: str
    writes: str = ""
    units: float = 1.0
    processes: int = 1

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Stage) and other.key == self.key

    def __hash__(self) -> int:
        return hash(self.key)

    @cached_property
    def key(self) -> str:
        """12 hexadecimal digits."""
        words = [word if isinstance(word, str) else word.keyed for word in self.words]
        return digest([self.rule, words, self.basis, self.writes])

    @property
    def name(self) -> str:
        """Of its folder."""
        return f"{self.slug}-{self.key}"

    @property
    def inputs(self) -> list["Stage"]:
        """Stages whose artefacts it reads."""
        return list(dict.fromkeys(w.stage for w in self.words if isinstance(w, Artefact)))

    def leaves(self, place: str = "") -> Artefact:
        """One of its artefacts, by default what ``--out`` names."""
        return Artefact(self, place or self.writes)

    def folder(self, work: Path) -> Path:
        """Where it runs."""
        return work / self.rule / self.name

    def done(self, work: Path) -> Path:
        """The empty file that says that it has ended well."""
        return self.folder(work) / "done"

    def command(self, work: Path, device: str = "cpu") -> str:
        """The command line, from the root of the repository."""
        words = [f"{w.prefix}{w.stage.folder(work) / w.place}" if isinstance(w, Artefact) else w for w in self.words]
        if self.writes:
            words += ["--out", str(self.folder(work) / self.writes)]
        if self.rule in FITS:
            logger = {"save_dir": work / self.rule, "name": self.name, "version": 0}
            words += [f"--trainer.logger.init_args.{key}={value}" for key, value in logger.items()]
            words += ["--resume", "auto"]  # from its checkpoint where it was cut short
        if self.rule == "synthesise":
            words += ["--processes", "1"]
        if self.rule in ON_DEVICE and device != "cpu":
            words += ["--device", device]
        quoted = (f'"${word.variable}"' if isinstance(word, Given) else shlex.quote(word) for word in words)
        return " ".join(["python -m tte_tee", *quoted])

    def shell(self, work: Path, device: str = "cpu", *, slurm: bool = False) -> str:
        """The command; in Slurm, srun starts its ranks."""
        ranks = f"srun --kill-on-bad-exit=1 --nodes=1 --ntasks-per-node={self.processes} "
        return (ranks if slurm and self.processes > 1 else "") + self.command(work, device)


@dataclass(frozen=True)
class Cell:
    """One arm with one seed.

    Attributes:
        study, arm, seed, label: as in the cell's file.
        parts: what the cell reads, by what it is to it: ``adapt``, ``synthesise``, ``evaluate`` and so on.
        about: what no file of a stage says: config of the adapter, masks, ratio, ...
    """

    study: str
    arm: str
    seed: int
    label: str
    parts: dict[str, Stage]
    about: Json

    @cached_property
    def key(self) -> str:
        """Of everything that the cell is made from."""
        return digest([self.study, self.arm, self.seed, {name: stage.key for name, stage in self.parts.items()}])

    @property
    def name(self) -> str:
        """Of its file and of the folder where it is gathered."""
        return f"{self.arm}_seed{self.seed}"

    def result(self, results: Path) -> Path:
        """The cell's file."""
        return results / self.study / f"{self.name}.json"

    def finished(self, results: Path) -> bool:
        """Whether that file is there and of this key."""
        try:
            record = json.loads(self.result(results).read_text())
        except (OSError, ValueError):
            return False
        return bool(record["provenance"]["key"] == self.key)

    def stages(self) -> list[Stage]:
        """Everything that has to be done for it, inputs first."""
        seen: dict[Stage, None] = {}

        def visit(stage: Stage) -> None:
            for before in stage.inputs:
                visit(before)
            seen.setdefault(stage)

        for part in self.parts.values():
            visit(part)
        return list(seen)


def digest(content: Any) -> str:
    """12 hexadecimal digits of plain content."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Arm:
    """One line of a table: configs, overrides and what is mixed."""

    segmenter: str = ""
    adapter: str = ""
    masks: str = ""
    ratio: float = 0.0
    patients: int | None = None
    pretrained: bool = False
    first: bool = False
    overrides: Json = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Unique within the study, and a file's name."""
        parts = [self.adapter or self.segmenter]
        parts += [f"{key.rpartition('.')[2]}{'' if value is True else value}" for key, value in self.overrides.items()]
        if self.adapter:
            parts += [self.masks, "synthetic_only" if math.isinf(self.ratio) else f"1to{self.ratio:g}"]
        if self.patients:
            parts.append(f"{self.patients}patients")
        parts += [word for word in ("first", "pretrained") if getattr(self, word)]
        return "-".join("".join(c if c.isalnum() or c in "._" else "_" for c in part) for part in parts)

    def label(self, labels: Json) -> str:
        """For tables."""
        text = [labels.get(self.adapter or self.segmenter, self.adapter or self.segmenter)]
        text += [f"{key.rpartition('.')[2]} {value}" for key, value in self.overrides.items()]
        if self.adapter:
            text.append(MASKS[self.masks])
            if self.ratio != 1:
                text.append("synthetic alone" if math.isinf(self.ratio) else f"1:{self.ratio:g}")
        if self.patients:
            text.append(f"{self.patients} training patients")
        if self.first:
            text.append("synthetic frames first")
        if self.pretrained:
            text.append("pretrained on TTE")
        return ", ".join(text)


KEYS = ("segmenter", "adapter", "masks", "ratio", "patients", "pretrained", "first", "seeds")


def arms(entries: list[Json], seeds: int) -> Iterator[tuple[Arm, int]]:
    """Every arm of a grid with its number of seeds."""
    for entry in entries:
        if unknown := [key for key in entry if key not in KEYS and "." not in key]:
            raise GridError(f"grid: '{unknown[0]}' is no key of an arm; use {', '.join(KEYS)} or a key of the config")
        if ("adapter" in entry) == ("segmenter" in entry):
            raise GridError(f"grid: an arm has either an adapter or a segmenter: {entry}")
        if "adapter" in entry and not {"masks", "ratio"} <= set(entry):
            raise GridError(f"grid: an arm with an adapter says masks and ratio: {entry}")
        if "segmenter" in entry and "pretrained" in entry:
            raise GridError(
                f"grid: pretrained is for arms with an adapter; the segmenter is seg_pretrained_tte: {entry}"
            )
        if "segmenter" in entry and "first" in entry:
            raise GridError(f"grid: first is for arms with an adapter, whose frames come first: {entry}")
        values = [value if isinstance(value, list) else [value] for value in entry.values()]
        for chosen in product(*values):
            one = dict(zip(entry, chosen, strict=True))
            count = one.pop("seeds", seeds)
            if one.get("masks", "real") not in MASKS:
                raise GridError(f"grid: masks '{one['masks']}' are unknown; use {', '.join(MASKS)}")
            overrides = {key: one.pop(key) for key in sorted(one) if "." in key}
            yield Arm(**one, overrides=overrides), count


def load_grid(name: str, file: Path = HERE / "grid.yaml") -> "Grid":
    """A grid of the file.

    Raises:
        GridError: there is none of that name, or something is wrong with it.
    """
    return Grid(read_grid_file(file, name), name)


class Grid:
    """The cells of one grid and the stages behind them.

    Attributes:
        name: of the grid.
        values: of its entry in the file.
        cells: every arm with every seed.
        stages: by rule and folder's name, inputs first.
        given: environment variables that name the folders of data that nobody may pass on.
    """

    def __init__(self, file: Json, name: str) -> None:
        from stages import Stages

        self.name, self.values = name, file["grids"][name]
        study = self.values["study"]
        self.device = self.values["device"]
        self.processes: dict[str, int] = self.values.get("processes", {})
        self.given: list[str] = file["studies"][study].get("given", [])
        self.cells: list[Cell] = []
        makers: dict[int, Stages] = {}
        for arm, count in arms(self.values["arms"], self.values["seeds"]):
            for seed in range(count):
                maker = makers.setdefault(seed, Stages(file, name, seed))
                self.cells.append(
                    Cell(study, arm.name, seed, arm.label(file["labels"]), maker.parts(arm), maker.about(arm))
                )
        names = [(cell.arm, cell.seed) for cell in self.cells]
        if twice := [name for name in names if names.count(name) > 1]:
            raise GridError(f"grid {name}: arm {twice[0][0]} stands there twice")
        self.stages = {(s.rule, s.name): s for cell in self.cells for s in cell.stages()}

    def cell(self, arm: str, seed: int) -> Cell:
        """The cell of that arm and seed."""
        return next(cell for cell in self.cells if (cell.arm, cell.seed) == (arm, seed))

    def pending(self, results: Path) -> list[Cell]:
        """Cells that have no file of their key."""
        return [cell for cell in self.cells if not cell.finished(results)]
