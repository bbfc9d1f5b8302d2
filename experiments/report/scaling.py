"""A failover against the number of FEs: how long until the last one is served, and how many
messages it takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from experiments.report import style
from lab.simulated.scale import Point

MODES = ("cold", "hot", "hot+sync")
MARKS = dict(zip(MODES, ("o", "s", "^"), strict=True))
COLOURS = dict(zip(MODES, style.SERIES, strict=False))


def draw(points: Sequence[Point], handling_us: float) -> Figure:
    """Both axes logarithmic: a straight line at 45 degrees is one that grows with the FEs."""
    figure = style.sheet(4.2)
    times, messages = figure.subplots(1, 2)
    for mode in dict.fromkeys(point.mode for point in points):
        of = [point for point in points if point.mode == mode]
        sizes = [point.fes for point in of]
        of_mode: dict[str, Any] = {"marker": MARKS[mode], "color": COLOURS[mode], "label": mode}
        times.plot(sizes, [point.ready_ms for point in of], **of_mode)
        messages.plot(sizes, [point.messages for point in of], **of_mode)
    for axes, what in (
        (times, "ms from the crash until the last FE is served"),
        (messages, "messages until then, heartbeats left out"),
    ):
        _axes(axes, what)
    figure.suptitle(
        f"simulated; an event costs a CE {handling_us:g} µs",
        x=0.01,
        ha="left",
        size=10.5,
        weight="bold",
    )
    handles, labels = times.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper right", ncols=len(labels))
    return figure


def _axes(axes: Axes, what: str) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
    for line in (axes.xaxis, axes.yaxis):
        line.set_major_formatter(FuncFormatter(lambda value, _: style.number(value)))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("FEs")
    axes.set_ylabel(what)
    axes.grid(axis="y")
