"""Table of a copy audit, from its JSON."""

from collections.abc import Mapping
from typing import Any

from rich.table import Table


def copies_table(values: Mapping[str, Any]) -> Table:
    """Shares of copies by whose masks the frames were drawn for, and what the thresholds rest on."""
    measures = [*values["thresholds"], "any"]
    table = Table(
        title=f"copies among {values['synthetic']['frames']} synthetic frames of {values['trained_on']['frames']} "
        f"training frames, % [95 % interval]",
        caption="\n".join(_caption(values)),
        caption_justify="left",
    )
    table.add_column("masks")
    for heading in ("frames", *measures):
        table.add_column(heading, justify="right")
    for masks, rates in values["rates"].items():
        cells = (_cell(rates.get(measure)) for measure in measures)
        table.add_row(masks, str(rates["frames"]), *cells)
    return table


def _cell(rate: Mapping[str, Any] | None) -> str:
    if rate is None:
        return "-"
    if "not_estimable" in rate:
        return "not estimable"
    return share_words(rate)


def share_words(share: Mapping[str, Any]) -> str:
    """``1.2 [0.3, 4.0]``, in percent."""
    return f"{100 * share['share']:.1f} [{100 * share['low']:.1f}, {100 * share['high']:.1f}]"


def _caption(values: Mapping[str, Any]) -> list[str]:
    lines = [_basis(measure, threshold) for measure, threshold in values["thresholds"].items()]
    for masks, rates in values["rates"].items():
        for measure in (*values["thresholds"], "any"):
            if "not_estimable" in (rate := rates.get(measure, {})):
                lines.append(f"{masks}: {measure} not estimable ({rate['not_estimable']})")
    if not values["trained_on"]["recorded_by_synthetic"]:
        lines.append("the synthetic store does not record what its adapter learnt from; that is taken on trust")
    return lines


def _basis(measure: str, threshold: Mapping[str, Any]) -> str:
    source = {"held_out": "held-out", "control": "control"}[threshold["from"]]
    if "not_estimable" in threshold:
        return f"{measure}: no threshold from {source} frames ({threshold['not_estimable']})"
    ends = f"[{threshold['low']:.3f}, {threshold['high']:.3f}]"
    return (
        f"{measure}: above {threshold['threshold']:.3f} {ends}, which at most {100 * threshold['allowed']:g} % of "
        f"{threshold['frames']} {source} frames of {threshold['patients']} patients pass; of patients that it was not "
        f"set on, {share_words(threshold['false_alarms'])} %"
    )
