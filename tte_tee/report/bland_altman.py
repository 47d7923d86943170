"""The Bland-Altman plot: every patient's difference over the mean, with bias and limits of agreement."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tte_tee.data.pictures import write_png
from tte_tee.report.pixels import pixels

_POINTS, _BIAS, _LIMITS = "#4682dc", "#222222", "#d64541"


def draw_bland_altman(agreement: Mapping[str, Any], measure: str, unit: str) -> np.ndarray:
    """The plot as a picture.

    Args:
        agreement: what ``BlandAltman.to_json`` gives.
        measure: for the axes, such as ``LV volume``.
        unit: of the measure.

    Returns:
        uint8 RGB ``[H, W, 3]``.
    """
    figure = Figure(figsize=(6.4, 4.2), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    axes.scatter(agreement["means"], agreement["differences"], s=22, color=_POINTS, alpha=0.8, linewidths=0, zorder=3)
    for name, label, colour in (
        ("upper", "upper limit", _LIMITS),
        ("bias", "bias", _BIAS),
        ("lower", "lower limit", _LIMITS),
    ):
        _line(axes, agreement[name], agreement[f"{name}_interval"], label, colour)
    axes.axhline(0, color="0.75", linewidth=0.8, zorder=0)
    axes.set_xlabel(f"{measure}: mean of found and true ({unit})")
    axes.set_ylabel(f"found − true ({unit})")
    axes.set_title(
        f"{measure}, n = {agreement['n']} patients (mean over planes); bands: {100 * agreement['level']:g} % intervals",
        fontsize=10,
        loc="left",
    )
    axes.spines[["top", "right"]].set_visible(False)
    return pixels(figure)


def write_bland_altman(path: Path, agreement: Mapping[str, Any], measure: str, unit: str) -> None:
    """Writes the plot as PNG, atomically."""
    write_png(path, draw_bland_altman(agreement, measure, unit))


def _line(axes: Axes, height: float, interval: tuple[float, float], label: str, colour: str) -> None:
    axes.axhline(height, color=colour, linewidth=1.2, linestyle="-" if label == "bias" else "--")
    axes.axhspan(*interval, color=colour, alpha=0.10, linewidth=0)
    # Beside the axes, where no point can lie under it.
    axes.annotate(
        f"{label}\n{height:.3g}",
        (1.0, height),
        xycoords=("axes fraction", "data"),
        xytext=(5, 0),
        textcoords="offset points",
        va="center",
        fontsize=8,
        color=colour,
    )
