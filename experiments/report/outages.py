"""How long each trial was without control, and without data: every trial is a dot."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from experiments.measures.verdict import Outcome
from experiments.report import style
from experiments.results import CellResult, measured, metric_values

EXPLANATION = (
    "Every dot is one ok trial. Left: how long no CE could change the kernel (the gap in the "
    "control beacon). Right: how long the worst flow lost its packets (lost packets over offered "
    "load). The tick is the median. The scale is logarithmic above 1 ms and linear below, so that "
    "0 can be shown."
)

PANELS = (
    ("control_outage_ms", "control outage (ms)", style.BEACON),
    ("data_outage_ms", "data outage (ms)", style.LOSS),
)
SPREAD = 0.26


def draw(cells: Sequence[CellResult], outcomes: Sequence[Outcome]) -> Figure | None:
    """None without an `ok` trial."""
    shown = [cell for cell in cells if cell.counts["ok"]]
    if not shown:
        return None
    figure = style.sheet(1.1 + 0.42 * len(shown))
    panels = figure.subplots(1, len(PANELS), sharey=True)
    for axes, (metric, label, colour) in zip(panels, PANELS, strict=True):
        for place, cell in enumerate(shown):
            good = [o for o in measured(outcomes, cell.cell.name) if o.verdict == "ok"]
            values = [v for o in good if (v := metric_values(o)[metric]) is not None]
            _dots(axes, place, values, colour)
        axes.set_xscale("symlog", linthresh=1.0, linscale=0.5)
        axes.set_xlim(-0.15, max(axes.get_xlim()[1], 1.0))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
        axes.set_xlabel(label)
        style.only_x_grid(axes)
    panels[0].set_yticks(range(len(shown)), [cell.cell.name for cell in shown])
    panels[0].set_ylim(len(shown) - 0.4, -0.6)
    return figure


def _dots(axes: Axes, place: int, values: Sequence[float], colour: str) -> None:
    if not values:
        axes.annotate(
            "does not apply", (0.02, place), xycoords=("axes fraction", "data"),
            va="center", color=style.FAINT, fontsize=8.5,
        )  # fmt: skip
        return
    offsets = np.linspace(-SPREAD, SPREAD, len(values)) if len(values) > 1 else np.zeros(1)
    axes.plot(values, place + offsets, "o", color=colour, alpha=0.45, markersize=4, clip_on=False)
    median = float(np.median(values))
    axes.plot([median] * 2, [place - 0.36, place + 0.36], color=colour, linewidth=2)
    far = max(values)
    axes.annotate(
        f"{median:.3g}", (far, place), xytext=(9, 0), textcoords="offset points",
        va="center", color=colour, fontsize=9,
    )  # fmt: skip
