"""Pictures of fidelity, from ``fidelity.json``: texture inside structures, and features in two dimensions."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tte_tee.data.pictures import write_png
from tte_tee.report.pixels import pixels

# Okabe and Ito's colours, which every kind of colour vision tells apart; the marker says it once more.
_STYLES = {"real": ("#0072B2", "o"), "synthetic": ("#D55E00", "^"), "ceiling": ("#7F7F7F", "s")}


def write_texture(path: Path, record: Mapping[str, Any]) -> None:
    """For every statistic a panel: for every structure the median, the middle half and the middle 90 % of each set."""
    rows = [row for row in record["rows"] if row["group"] == "texture"]
    statistics = list(dict.fromkeys(row["measure"] for row in rows))
    columns = 4
    lines = -(-len(statistics) // columns)
    figure = _figure(3.4 * columns, 2.9 * lines)
    for number, statistic in enumerate(statistics):
        axes = figure.add_subplot(lines, columns, number + 1)
        own = [row for row in rows if row["measure"] == statistic]
        for place, row in enumerate(own):
            for shift, name in enumerate(row["quantiles"]):
                if row["quantiles"][name]:
                    _interval(
                        axes, place + 0.24 * (shift - (len(row["quantiles"]) - 1) / 2), row["quantiles"][name], name
                    )
        axes.set_xticks(range(len(own)), [row["structure"] for row in own])
        axes.set_xlim(-0.6, len(own) - 0.4)
        axes.set_title(f"{statistic} ({own[0]['unit']})", fontsize=9, loc="left")
    _legend(figure, record, "mark: median, bar: middle half, line: middle 90 %")
    write_png(path, pixels(figure))


def write_features(path: Path, record: Mapping[str, Any]) -> None:
    """For every extractor a panel: the frames of the first draw in their first two principal components."""
    planes = record["planes"]
    figure = _figure(4.2 * len(planes), 4.2)
    for number, (name, plane) in enumerate(planes.items()):
        axes = figure.add_subplot(1, len(planes), number + 1)
        for part, points in reversed(plane["points"].items()):
            colour, marker = _STYLES[part]
            x, y = np.array(points).T
            axes.scatter(x, y, s=14, color=colour, marker=marker, alpha=0.6, linewidths=0)
        first, second = (100 * share for share in plane["explained"])
        axes.set_title(name, fontsize=9, loc="left")
        axes.set_xlabel(f"first component ({first:.0f} % of the variance)", fontsize=8)
        axes.set_ylabel(f"second ({second:.0f} %)", fontsize=8)
    _legend(figure, record, "every mark a frame")
    write_png(path, pixels(figure))


_ENTRY = 2.0  # inches that an entry of the legend takes


def _figure(width: float, height: float) -> Figure:
    return Figure(figsize=(width, height + 0.4), dpi=130, layout="constrained")


def _interval(axes: Axes, at: float, quantiles: list[float], name: str) -> None:
    colour, marker = _STYLES[name]
    axes.plot([at, at], [quantiles[0], quantiles[4]], color=colour, linewidth=1)
    axes.plot([at, at], [quantiles[1], quantiles[3]], color=colour, linewidth=4, solid_capstyle="butt")
    axes.plot(at, quantiles[2], marker=marker, color="white", markeredgecolor=colour, markersize=5)


def _legend(figure: Figure, record: Mapping[str, Any], meaning: str) -> None:
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8)
    for name, store in record["stores"].items():
        colour, marker = _STYLES[name]
        figure.axes[0].plot([], [], color=colour, marker=marker, linestyle="", label=f"{name}: {store['name']}")
    figure.axes[0].plot([], [], linestyle="", label=f"({meaning})")
    entries, fitting = len(record["stores"]) + 1, max(1, int(figure.get_figwidth() // _ENTRY))
    figure.legend(loc="outside upper left", ncols=min(entries, fitting), fontsize=9, frameon=False)
