"""The ladder of any trial as a figure: a row for each thing that happened, so that microseconds
and seconds are read alike; the times stand at the left."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.ladders import LAB, Ladder, Rung
from experiments.report import style

ROW_INCHES = 0.21
MAX_ROWS = 160
"""A taller figure is drawn by nobody's viewer; the terminal shows the rest."""


def draw(ladder: Ladder) -> Figure:
    rungs = ladder.rungs[:MAX_ROWS]
    figure = style.sheet(1.1 + ROW_INCHES * (len(rungs) + 1))
    axes = figure.add_subplot()
    places = {lane: float(i) for i, lane in enumerate(ladder.lanes)}
    for lane, x in places.items():
        axes.annotate(lane, (x, -0.6), ha="left", va="bottom", weight="bold", annotation_clip=False)
        if lane != LAB:
            _lifeline(axes, ladder, lane, x, rungs)
    for row, rung in enumerate(rungs):
        _draw_rung(axes, row, rung, places)
    axes.set_ylim(len(rungs) - 0.4, -0.8)
    axes.set_xlim(-0.05, len(places) - 0.05)
    axes.set_yticks(range(len(rungs)), [f"{r.at_ms:.2f}" for r in rungs], fontsize=7.5)
    axes.set_xticks([])
    for spine in ("bottom", "left"):
        axes.spines[spine].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.set_ylabel("ms after the fault, not to scale")
    axes.set_title(ladder.title, pad=20)
    return figure


def _lifeline(axes: Axes, ladder: Ladder, lane: str, x: float, rungs: tuple[Rung, ...]) -> None:
    """Solid while the process lives, dotted while it does not."""
    for row, rung in enumerate(rungs):
        dead = ladder.is_dead(lane, rung.at_ms)
        axes.plot(
            [x, x], [row - 0.5, row + 0.5], ":" if dead else "-",
            color=style.LOSS if dead else style.FAINT, linewidth=1.1, zorder=1,
        )  # fmt: skip


def _draw_rung(axes: Axes, row: int, rung: Rung, places: dict[str, float]) -> None:
    x, colour = places[rung.node], _colour(rung)
    words = rung.label + (f" ×{rung.times}" if rung.times > 1 else "")
    if rung.node == LAB:
        axes.axhline(row, color=colour, linewidth=0.6, alpha=0.5, zorder=0)
    else:
        axes.plot(x, row, "o", color=colour, markersize=4.5, zorder=3)
    if rung.source in places:
        axes.annotate(
            "", xy=(x, row), xytext=(places[rung.source], row), zorder=2,
            arrowprops={"arrowstyle": "->", "color": style.FAINT, "linewidth": 0.9, "shrinkA": 0,
                        "shrinkB": 3},
        )  # fmt: skip
    # An arrow that comes from the right passes below the words.
    above = 0.34 if places.get(rung.source or "", x) > x else 0.12
    axes.text(
        x + 0.025, row - above, words, fontsize=7.8, color=colour, va="center",
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.4, "alpha": 0.85}, zorder=4,
    )  # fmt: skip


def _colour(rung: Rung) -> str:
    ends = {"detect": "dtime1_ms", "master": "dtime2_ms", "ready": "dtime3_ms"}
    if rung.event in ends:
        return style.DTIME_WORDS[ends[rung.event]]
    return style.LOSS if rung.event in ("fault", "fault_failed") else style.INK
