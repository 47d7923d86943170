"""Plots of the report as SVG: Okabe and Ito's colours, and a marker that says the same without colour."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tte_tee.report.analysis import SWEEPS, Analysis, Relation

_WIDTH = 6.4
_STYLES = {
    "real frames only": ("#0072B2", "o"),
    "real": ("#D55E00", "^"),
    "ssm": ("#009E73", "s"),
    "atlas": ("#CC79A7", "D"),
    "oracle": ("#000000", "v"),
}
_OTHER = ("#E69F00", "P")
_SERIES = [*_STYLES.values(), _OTHER, ("#56B4E9", "X")]


def dice_by_arm(analysis: Analysis, measure: str) -> bytes:
    """Every arm a line: its seeds as small marks, their mean as a large one; the baseline's mean as a line."""
    arms = sorted(
        (arm for arm in analysis.test_set.arms if (arm, measure) in analysis.means),
        key=lambda arm: analysis.means[arm, measure].mean,
    )
    figure, axes = _figure(0.9 + 0.3 * len(arms))
    for place, arm in enumerate(arms):
        colour, marker = _style(analysis, arm)
        mean = analysis.means[arm, measure]
        seeds = list(mean.by_seed.values())
        axes.scatter(seeds, [place] * len(seeds), s=12, color=colour, marker=marker, alpha=0.55, linewidths=0)
        axes.scatter(mean.mean, place, s=48, facecolor="white", edgecolor=colour, marker=marker, zorder=3)
    if analysis.choice.arm in arms:
        baseline = analysis.means[analysis.choice.arm, measure].mean
        axes.axvline(baseline, color="0.6", linewidth=0.8, linestyle="--", zorder=0)
    _lines(axes, arms)
    axes.set_xlabel(f"Dice of {measure} (%); small: seeds, large: mean, dashed: baseline", fontsize=9)
    _legend(figure, axes, analysis, arms)
    return _svg(figure)


def differences(analysis: Analysis, measure: str) -> bytes | None:
    """Each arm's difference from the baseline with its simultaneous interval; None where none is estimable."""
    found = {
        arm: comparison.interval
        for (arm, of), comparison in analysis.comparisons.items()
        if of == measure and comparison.interval
    }
    if not found:
        return None
    arms = sorted(found, key=lambda arm: found[arm].estimate)
    figure, axes = _figure(0.9 + 0.3 * len(arms))
    for place, arm in enumerate(arms):
        colour, marker = _style(analysis, arm)
        axes.plot([found[arm].low, found[arm].high], [place, place], color=colour, linewidth=1.6)
        axes.plot(found[arm].estimate, place, marker, color="white", markeredgecolor=colour, markersize=6)
    axes.axvline(0, color="0.6", linewidth=0.8, zorder=0)
    _lines(axes, arms)
    axes.set_xlabel(f"{measure}: points over {analysis.choice.arm}, simultaneous 95 %", fontsize=9)
    _legend(figure, axes, analysis, arms)
    return _svg(figure)


def sweep(analysis: Analysis, key: str, measure: str) -> bytes | None:
    """Dice against one setting, a line for all arms that share the others; None without two values of it."""
    series = analysis.sweep(key)
    if not series:
        return None
    figure, axes = _figure(3.6 + 0.2 * len(series))
    values = sorted({value for arms in series.values() for value in arms})
    for number, (name, arms) in enumerate(series.items()):
        colour, marker = _SERIES[number % len(_SERIES)]
        shift = 1 + 0.02 * (number - (len(series) - 1) / 2)
        kept = {value: analysis.means[arm, measure] for value, arm in arms.items() if (arm, measure) in analysis.means}
        axes.errorbar(
            [value * shift for value in kept],
            [mean.mean for mean in kept.values()],
            yerr=[mean.deviation or 0.0 for mean in kept.values()],
            color=colour,
            marker=marker,
            linestyle=("-", "--", ":", "-.")[number // len(_SERIES) % 4],
            capsize=3,
            label=name,
        )
    baseline = analysis.means.get((analysis.choice.arm or "", measure))
    if baseline and key != "patients":
        axes.axhline(baseline.mean, color="0.6", linewidth=0.8, linestyle="--", zorder=0, label=analysis.choice.arm)
    axes.set_xscale("log", base=2)
    axes.set_xticks(values, [f"{value:g}" for value in values])
    axes.minorticks_off()
    axes.set_xlabel(SWEEPS[key], fontsize=9)
    axes.set_ylabel(f"Dice of {measure} (%), SD over seeds", fontsize=9)
    figure.legend(loc="outside upper left", fontsize=8, frameon=False)
    return _svg(figure)


def relation(analysis: Analysis, relation: Relation) -> bytes | None:
    """Dice against one number, a mark for each arm; None without two arms."""
    if len(relation.points) < 2:
        return None
    figure, axes = _figure(3.8)
    for arm, (x, y) in relation.points.items():
        colour, marker = _style(analysis, arm)
        axes.scatter(x, y, s=36, facecolor="white", edgecolor=colour, marker=marker)
        if len(relation.points) <= 12:
            axes.annotate(arm, (x, y), xytext=(5, 3), textcoords="offset points", fontsize=7)
    axes.margins(x=0.2)
    if relation.kind == "parameters":
        axes.set_xscale("symlog", linthresh=1e4, linscale=0.5)
        axes.set_xlim(left=-3e3)
    direction = "" if relation.kind == "parameters" else f" ({relation.better} is better)"
    axes.set_xlabel(f"{relation.measure}{direction}", fontsize=9)
    axes.set_ylabel(f"Dice of {analysis.target} (%)", fontsize=9)
    _legend(figure, axes, analysis, relation.points)
    return _svg(figure)


def _lines(axes: Axes, arms: Sequence[str]) -> None:
    """A line for each arm, and room for its mark at both ends."""
    axes.set_yticks(range(len(arms)), arms)
    axes.set_ylim(-0.7, len(arms) - 0.3)


def _style(analysis: Analysis, arm: str) -> tuple[str, str]:
    return _STYLES.get(_kind(analysis, arm), _OTHER)


def _kind(analysis: Analysis, arm: str) -> str:
    return str(analysis.test_set.first(arm).part("synthesis").get("masks", "real frames only"))


def _legend(figure: Figure, axes: Axes, analysis: Analysis, arms: Sequence[str] | Mapping[str, Any]) -> None:
    kinds = list(dict.fromkeys(_kind(analysis, arm) for arm in arms))
    for kind in kinds:
        colour, marker = _STYLES.get(kind, _OTHER)
        name = kind if kind == "real frames only" else f"masks: {kind}"
        axes.plot([], [], marker, color="white", markeredgecolor=colour, label=name)
    figure.legend(loc="outside upper left", ncols=len(kinds), fontsize=8, frameon=False)


def _figure(height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(_WIDTH, height), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
    return figure, axes


def _svg(figure: Figure) -> bytes:
    """The same bytes for the same figure: without the date, and with ids that are no chance."""
    buffer = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": "tte_tee", "svg.fonttype": "path"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()
