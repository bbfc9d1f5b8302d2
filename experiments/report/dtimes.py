"""The slides' figure: dtime1, dtime2, dtime3 as one bar per cell, and the beacon beside it."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from experiments.report import style
from experiments.results import CellResult

EXPLANATION = (
    "Each bar is one cell: the medians of the three times, one after the other, so its end is when "
    "the network element could be controlled again. The black mark under it is what the kernel "
    "saw: the median gap in the control beacon, with a line from the shortest to the longest. It "
    "is measured without the processes' journals and should end where the bar ends."
)


def draw(cells: Sequence[CellResult]) -> Figure | None:
    """None if no cell had a failover."""
    shown = [cell for cell in cells if cell.metrics["failover_ms"].n]
    if not shown:
        return None
    figure = style.sheet(1.2 + 0.62 * len(shown))
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
        if gap.median is not None and gap.min is not None and gap.max is not None:
            below = place + 0.33
            axes.plot([gap.min, gap.max], [below, below], color=style.BEACON, linewidth=1.2)
            axes.plot(gap.median, below, "D", color=style.BEACON, markersize=4.5)
            end = max(left, gap.max)
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
    axes.set_xlabel("ms after the fault (medians)")
    style.only_x_grid(axes)
    handles = [
        axes.barh(0, 0, color=colour, label=style.DTIME_NAMES[name])
        for name, colour in style.DTIMES.items()
    ]
    (mark,) = axes.plot([], [], "D-", color=style.BEACON, markersize=4.5, label="gap in the beacon")
    figure.legend(handles=[*handles, mark], loc="outside upper left", ncols=4, fontsize=9)
    return figure


def _room(cells: Sequence[CellResult]) -> float:
    """Of the longest bar or beacon line, with space for the figures behind it."""
    longest = max(
        max(cell.metrics["failover_ms"].max or 0.0, cell.metrics["control_outage_ms"].max or 0.0)
        for cell in cells
    )
    return longest * 1.3 or 1.0
