"""The slides' figure: dtime1, dtime2, dtime3 as one bar per cell, and the beacon beside it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure

from experiments.measures.records import PLANNED
from experiments.report import style
from experiments.results import CellResult

EXPLANATION = (
    "Each bar is one cell: the medians of the three times, one after the other, so its end is "
    "about when the network element could be controlled again (medians of parts need not add up to "
    "the median of the whole). The black mark under it is what the kernel saw: the median gap in "
    "the control beacon, with a line from the shortest to the longest. It is measured without the "
    "processes' journals and should end where the bar ends, or up to one beacon interval later: "
    "the gap begins with the last beacon before the fault."
)
NOTE = (
    "bars: median of each part; mark: median of the gap,"
    " which may contain up to one beacon interval before the fault"
)


def draw(cells: Sequence[CellResult]) -> Figure | None:
    """None if no cell had a failover."""
    shown = [cell for cell in cells if cell.metrics["failover_ms"].n]
    if not shown:
        return None
    switched = _only_switches(shown)
    figure = style.sheet(1.5 + 0.62 * len(shown))
    axes = figure.add_subplot()
    for place, cell in enumerate(shown):
        left = 0.0
        parts = []
        for name, colour in style.DTIMES.items():
            median = cell.metrics[name].median or 0.0
            axes.barh(place, median, 0.42, left, color=colour, edgecolor="white", linewidth=0.6)
            parts.append(f"{median:.1f}")
            left += median
        gap = cell.metrics["control_outage_ms"]
        end = left
        if switched:
            interval_ms = cell.cell.settings.beacon_ms
            axes.plot([interval_ms] * 2, [place - 0.4, place + 0.5], ":", color=style.FAINT)
            end = max(end, interval_ms)
        if gap.median is not None and gap.min is not None and gap.max is not None:
            below = place + 0.33
            axes.plot([gap.min, gap.max], [below, below], color=style.BEACON, linewidth=1.2)
            axes.plot(gap.median, below, "D", color=style.BEACON, markersize=4.5)
            end = max(end, gap.max)
        axes.annotate(
            f"{' + '.join(parts)} ms",
            (end, place),
            xytext=(8, 0),
            textcoords="offset points",
            va="center",
            color=style.INK,
        )
    axes.set_yticks(range(len(shown)), [f"{c.cell.name}\nn = {c.counts['ok']}" for c in shown])
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.set_xlim(0, _room(shown))
    axes.set_xlabel(f"ms after the {'switch' if switched else 'fault'}")
    figure.supxlabel(NOTE, x=0.01, ha="left", fontsize=9, color=style.INK)
    style.only_x_grid(axes)
    handles: list[Any] = [
        axes.barh(0, 0, color=colour, label=style.DTIME_NAMES[name])
        for name, colour in style.DTIMES.items()
    ]
    (mark,) = axes.plot([], [], "D-", color=style.BEACON, markersize=4.5, label="gap in the beacon")
    handles.append(mark)
    if switched:
        handles += axes.plot([], [], ":", color=style.FAINT, label="beacon interval")
    columns = 3 if switched else 4
    figure.legend(handles=handles, loc="outside upper left", ncols=columns, fontsize=9)
    return figure


def _only_switches(cells: Sequence[CellResult]) -> bool:
    """Nothing fails: how long a gap is then, the beacon interval tells."""
    kinds = {fault.kind for cell in cells for fault in cell.cell.faults}
    return kinds == {PLANNED} and all(cell.cell.settings.beacon_ms for cell in cells)


def _room(cells: Sequence[CellResult]) -> float:
    """Of the longest bar or beacon line, with space for the figures behind it."""
    longest = max(
        max(cell.metrics["failover_ms"].max or 0.0, cell.metrics["control_outage_ms"].max or 0.0)
        for cell in cells
    )
    return longest * 1.36 or 1.0
