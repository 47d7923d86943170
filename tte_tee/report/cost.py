"""What an arm costs: parameters, steps, time and memory."""

from collections.abc import Mapping

from tte_tee.report.analysis import Analysis
from tte_tee.report.cells import Cell
from tte_tee.report.tables import NOTHING, parameter_words
from tte_tee.tables import Table

_MEASURED = {
    "adapting, s": ("adapter", "seconds", 0),
    "adapting, MiB": ("adapter", "peak_memory_mib", 0),
    "frames drawn": ("synthesis", "frames", 0),
    "drawing, s": ("synthesis", "seconds", 0),
    "drawing, MiB": ("synthesis", "peak_memory_mib", 0),
    "segmenter, s": ("segmenter", "seconds", 0),
    "segmenter, MiB": ("segmenter", "peak_memory_mib", 0),
    "val. loss": ("adapter", "val_loss", 4),
}


def cost_table(analysis: Analysis) -> Table:
    """What was trained, how large it is, and what an arm took: means over seeds, ``-`` where nothing was recorded."""
    rows = []
    for arm, seeds in analysis.test_set.arms.items():
        cell = analysis.test_set.first(arm)
        adapter = cell.part("adapter")
        about = (arm, parameter_words(cell), str(adapter.get("config", NOTHING)), str(adapter.get("steps", NOTHING)))
        rows.append((*about, *(_average(seeds, *where) for where in _MEASURED.values())))
    header = ("arm", "parameters", "config", "steps", *_MEASURED)
    return Table("Size, wall time and peak memory; '-': not recorded, or not done", header, rows)


def _average(seeds: Mapping[int, Cell], part: str, name: str, digits: int) -> str:
    values = [value for cell in seeds.values() if (value := cell.part(part).get(name)) is not None]
    return f"{sum(values) / len(values):,.{digits}f}" if values else NOTHING
