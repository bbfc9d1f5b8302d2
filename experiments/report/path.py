"""Where each millisecond of a failover went: a stacked bar per cell, and the table beside it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from experiments.measures.path import STEP_NAMES, STEPS, Path
from experiments.measures.verdict import Outcome
from experiments.report import style
from experiments.results import CellResult, measured

EXPLANATION = (
    "From the fault to the new master's first change in the FE's kernel, step by step: the upper "
    "bar is the mean of all FEs, the lower one that of the FE that was last in its trial (all FEs "
    "share the machine's cores, and the next CE serves one after the other). Means add up, medians "
    "would not; the line is the median of the whole with its 95th percentile."
)

COLOURS = ("#E69F00", "#56B4E9", "#CC79A7", "#0072B2", "#009E73", "#8C564B")


def of_cell(outcomes: Sequence[Outcome], cell: str) -> tuple[list[Path], list[Path]]:
    """(of all FEs, of the last FE of each trial) in the ok trials."""
    every, last = [], []
    for outcome in measured(outcomes, cell):
        if outcome.verdict == "ok" and outcome.paths:
            every += list(outcome.paths.values())
            last.append(max(outcome.paths.values(), key=lambda path: path.total_ms))
    return every, last


def rows(cells: Sequence[CellResult], outcomes: Sequence[Outcome]) -> list[tuple[str, ...]]:
    """The table beside the figure: cell, whose, each step's mean, median and p95 of the whole."""
    table = []
    for cell in cells:
        every, last = of_cell(outcomes, cell.cell.name)
        for whose, chosen in (("all FEs", every), ("last FE", last)):
            if chosen:
                totals = [path.total_ms for path in chosen]
                table.append(
                    (
                        cell.cell.name,
                        f"{whose}, n = {len(chosen)}",
                        *(f"{mean:.2f}" for mean in _means(chosen)),
                        f"{np.median(totals):.2f}",
                        f"{np.percentile(totals, 95):.2f}",
                    )
                )
    return table


def _means(paths: Sequence[Path]) -> list[float]:
    return [float(each) for each in np.mean([path.steps_ms for path in paths], axis=0)]


def draw(cells: Sequence[CellResult], outcomes: Sequence[Outcome]) -> Figure | None:
    """None if no cell had a failover with a way to show."""
    found = {cell.cell.name: of_cell(outcomes, cell.cell.name) for cell in cells}
    shown = {name: both for name, both in found.items() if both[0]}
    if not shown:
        return None
    figure = style.sheet(1.4 + 0.9 * len(shown))
    axes = figure.add_subplot()
    for place, both in enumerate(shown.values()):
        for offset, chosen in zip((-0.19, 0.19), both, strict=True):
            left = 0.0
            for mean, colour in zip(_means(chosen), COLOURS, strict=True):
                axes.barh(place + offset, mean, 0.3, left, color=colour, edgecolor="white")
                left += mean
            totals = [path.total_ms for path in chosen]
            ends = [float(np.median(totals)), float(np.percentile(totals, 95))]
            below = place + offset + 0.17
            axes.plot(ends, [below, below], color=style.BEACON, linewidth=1.2)
            axes.plot(ends[0], below, "D", color=style.BEACON, markersize=4)
            axes.annotate(
                f"median {ends[0]:.1f}, p95 {ends[1]:.1f} ms", (max(left, ends[1]), place + offset),
                xytext=(8, 0), textcoords="offset points", va="center", fontsize=8.5,
            )  # fmt: skip
    names = [f"{name}\nn = {len(last)}" for name, (_, last) in shown.items()]
    axes.set_yticks(range(len(shown)), names)
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.set_xlim(0, axes.get_xlim()[1] * 1.3)
    axes.set_xlabel("ms after the fault")
    style.only_x_grid(axes)
    handles = [
        axes.barh(0, 0, color=colour, label=STEP_NAMES[step].partition(":")[0])
        for step, colour in zip(STEPS, COLOURS, strict=True)
    ]
    figure.legend(handles=handles, loc="outside upper left", ncols=6, fontsize=8.5)
    return figure
