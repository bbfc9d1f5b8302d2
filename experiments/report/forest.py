"""Two runs beside each other: the difference of the medians of each figure, with its interval."""

from __future__ import annotations

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from experiments.comparison import Comparison, Row
from experiments.report import style

ROW_INCHES = 0.24
MAX_ROWS = 120


def draw(comparison: Comparison) -> Figure | None:
    """None if no cell is in both runs."""
    rows = comparison.rows[:MAX_ROWS]
    if not rows:
        return None
    figure = style.sheet(1.3 + ROW_INCHES * len(rows))
    axes = figure.add_subplot()
    for place, row in enumerate(rows):
        colour = style.LOSS if row.shift.differs else style.FAINT
        if row.shift.interval is not None:
            axes.plot(row.shift.interval, [place, place], color=colour, linewidth=2)
        axes.plot(row.shift.difference, place, "o", color=colour, markersize=5)
        axes.annotate(
            _words(row), (1.0, place), xycoords=("axes fraction", "data"), xytext=(6, 0),
            textcoords="offset points", va="center", fontsize=7.8, annotation_clip=False,
        )  # fmt: skip
    axes.axvline(0, color=style.INK, linewidth=0.9)
    axes.set_xscale("symlog", linthresh=1.0, linscale=0.7)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    axes.set_yticks(range(len(rows)), [f"{r.cell}  {r.measure}" for r in rows], fontsize=8)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlabel(
        f"median of {comparison.second} less median of {comparison.first}\n(ms or packets;"
        " linear between -1 and 1; line: 95 % interval; red: it leaves 0 out)"
    )
    style.only_x_grid(axes)
    return figure


def _words(row: Row) -> str:
    first, second = row.shift.medians
    return f"{first:.3g} → {second:.3g}  δ {row.shift.cliffs_delta:+.2f}"
