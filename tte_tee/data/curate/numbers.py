"""The numbers of a store: counted once, shown by ``data inspect`` and by ``data card``."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from tte_tee.anatomy import PHASES, VIEWS
from tte_tee.data.sector import DOUBTFUL
from tte_tee.data.store import COHORTS, MASK_SOURCES, ORIGINS, SPLITS, EchoStore
from tte_tee.tables import Table

SAMPLE = 2000
"""Labelled frames whose pixels are read; more would not change a percentage that is shown."""

CUT = 0.1  # share of a mask outside of its sector; hand-drawn masks run a little past it


@dataclass(frozen=True)
class StructureNumbers:
    """One structure over the labelled frames that were read.

    Attributes:
        name: of the structure.
        frames: how many of them show it.
        area: its mean share of the sector where it shows, or None where it never does.
        area_cm2: its mean area where it shows and the spacing is known, or None.
    """

    name: str
    frames: int
    area: float | None
    area_cm2: float | None


@dataclass(frozen=True)
class StoreNumbers:
    """What a store holds, in numbers.

    Attributes:
        store: the store itself, for its attributes and its table.
        bytes: size of the file.
        labelled: frames with a mask, by their ``mask_source``.
        sampled: how many of those were read for ``structures``.
        structures: in the order of the label space.
        cut: those read of whose mask more than :data:`CUT` lies outside of the sector, the worst first; as a rule the
            sector was estimated wrong, and what is outside of it is never drawn.
    """

    store: EchoStore
    bytes: int
    labelled: int
    sampled: int
    structures: tuple[StructureNumbers, ...]
    cut: tuple[int, ...]

    @property
    def frames(self) -> int:
        """How many frames there are."""
        return len(self.store)

    @property
    def patients(self) -> int:
        """How many patients there are."""
        return int(self.store.table["patient"].nunique())

    def count(self, column: str, *values: str) -> int:
        """How many frames have one of ``values`` in ``column``."""
        return int(self.store.table[column].isin(values).sum())

    @property
    def spaced(self) -> pd.DataFrame:
        """The rows whose spacing is known."""
        return self.store.table.dropna(subset=["spacing_y", "spacing_x"])

    @property
    def estimated(self) -> int:
        """Frames whose sector was estimated."""
        return int((self.store.table["sector_confidence"] < 1).sum())

    @property
    def doubtful(self) -> int:
        """Frames whose sector has a confidence below :data:`DOUBTFUL`."""
        return int((self.store.table["sector_confidence"] < DOUBTFUL).sum())


def count_store(store: EchoStore, *, sample: int = SAMPLE) -> StoreNumbers:
    """Counts the table, and the pixels of at most ``sample`` labelled frames."""
    labelled = np.flatnonzero((store.table["mask_source"] != "none").to_numpy())
    read = labelled
    if len(labelled) > sample:
        # Drawn, not every n-th: views and phases alternate in the order of the file.
        read = np.sort(np.random.default_rng(0).choice(labelled, sample, replace=False))
    structures, cut = _read(store, read)
    return StoreNumbers(store, store.path.stat().st_size, len(labelled), len(read), structures, cut)


def _read(store: EchoStore, read: np.ndarray) -> tuple[tuple[StructureNumbers, ...], tuple[int, ...]]:
    """What the masks of some frames show, and those that their sector cuts."""
    names = store.label_space.structures
    pixels, sectors, outside = np.zeros((len(read), len(names))), np.zeros(len(read)), np.zeros(len(read))
    for row, index in enumerate(read):
        _, mask, sector = store.frame(int(index))
        pixels[row] = np.bincount(mask.ravel(), minlength=len(names) + 1)[1:]
        sectors[row] = sector.sum()
        outside[row] = (mask[sector == 0] > 0).sum() / max(1, (mask > 0).sum())
    spacing = store.table[["spacing_y", "spacing_x"]].to_numpy()[read].prod(axis=1)  # mm^2, NaN where unknown
    structures = tuple(_structure(name, pixels[:, i], sectors, spacing) for i, name in enumerate(names))
    worst = np.argsort(-outside, kind="stable")
    return structures, tuple(int(read[row]) for row in worst if outside[row] > CUT)


def _structure(name: str, pixels: np.ndarray, sectors: np.ndarray, spacing: np.ndarray) -> StructureNumbers:
    shown = pixels > 0
    inside, known = shown & (sectors > 0), shown & np.isfinite(spacing)
    return StructureNumbers(
        name,
        int(shown.sum()),
        float((pixels[inside] / sectors[inside]).mean()) if inside.any() else None,
        float((pixels[known] * spacing[known]).mean() / 100) if known.any() else None,
    )


def split_table(table: pd.DataFrame) -> Table:
    """Frames and patients of each split and cohort."""
    rows = [
        (split, cohort, *_size(part))
        for split in SPLITS
        for cohort in COHORTS
        if len(part := table[(table["split"] == split) & (table["cohort"] == cohort)])
    ]
    return Table(
        "Splits and cohorts", ("split", "cohort", "patients", "frames"), [*rows, ("all", "all", *_size(table))]
    )


def view_table(table: pd.DataFrame) -> Table:
    """Frames of each view and phase."""
    rows = [
        (view, *(f"{int((part['phase'] == phase).sum()):,}" for phase in PHASES), *_size(part))
        for view in VIEWS
        if len(part := table[table["view"] == view])
    ]
    return Table("Views and phases (frames)", ("view", *PHASES, "patients", "frames"), rows)


def source_table(table: pd.DataFrame) -> Table:
    """Who made picture and mask."""
    rows = [
        (origin, source, *_size(part))
        for origin in ORIGINS
        for source in MASK_SOURCES
        if len(part := table[(table["origin"] == origin) & (table["mask_source"] == source)])
    ]
    return Table("Who made picture and mask", ("origin", "mask source", "patients", "frames"), rows)


def structure_table(numbers: StoreNumbers) -> Table:
    """How often each structure shows, and how large it is where it does; says how many frames were read."""
    rows = [
        (
            str(label),
            structure.name,
            f"{structure.frames / numbers.sampled:.1%}" if numbers.sampled else "-",
            "-" if structure.area is None else f"{structure.area:.1%}",
            "-" if structure.area_cm2 is None else f"{structure.area_cm2:.1f}",
        )
        for label, structure in enumerate(numbers.structures, start=1)
    ]
    if not numbers.labelled:
        basis = "no frame has a mask"
    elif numbers.sampled == numbers.labelled:
        basis = f"over all {numbers.labelled:,} frames with a mask"
    else:
        basis = f"over {numbers.sampled:,} of {numbers.labelled:,} frames with a mask, drawn at random"
    return Table(f"Structures, {basis}", ("id", "structure", "shown in", "of the sector", "cm²"), rows)


def geometry_table(numbers: StoreNumbers) -> Table:
    """How far millimetres and sectors are known."""
    spaced, confidence = numbers.spaced, numbers.store.table["sector_confidence"]
    rows = [
        ("spacing known", _of(len(spaced), numbers.frames)),
        ("spacing unknown", _of(numbers.frames - len(spaced), numbers.frames)),
    ]
    if len(spaced):
        rows.append(
            (
                "spacing, rows x columns (mm)",
                f"{_range(spaced['spacing_y'])} x {_range(spaced['spacing_x'])}",
            )
        )
    rows += [
        ("sector known", _of(numbers.frames - numbers.estimated, numbers.frames)),
        ("sector estimated", _of(numbers.estimated, numbers.frames)),
        (f"sector confidence below {DOUBTFUL:g}", _of(numbers.doubtful, numbers.frames)),
        ("sector confidence, lowest and median", f"{confidence.min():.2f} and {confidence.median():.2f}"),
    ]
    if numbers.sampled:
        rows.append(("masks of which their sector cuts more than a tenth", _of(len(numbers.cut), numbers.sampled)))
    return Table("Spacing and sector", ("what", "frames"), rows)


def all_tables(numbers: StoreNumbers) -> list[Table]:
    """The composition of a store, table by table."""
    table = numbers.store.table
    return [
        split_table(table),
        view_table(table),
        source_table(table),
        structure_table(numbers),
        geometry_table(numbers),
    ]


def _size(part: pd.DataFrame) -> tuple[str, str]:
    return f"{part['patient'].nunique():,}", f"{len(part):,}"


def _of(some: int, total: int) -> str:
    return f"{some:,} of {total:,} ({some / total:.1%})"


def _range(values: pd.Series) -> str:
    low, high = f"{values.min():.3g}", f"{values.max():.3g}"
    return low if low == high else f"{low}-{high}"
