"""A failover against the number of FEs: how long until the last one is served, and how many
messages it takes."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.report import style
from lab.simulated.scale import Point

MARKS = {"cold": "o", "hot": "s", "hot+sync": "^"}


def draw(points: Sequence[Point], handling_us: float) -> Figure:
    """Both axes logarithmic: a straight line at 45 degrees is one that grows with the FEs."""
    figure = style.sheet(4.2)
    times, messages = figure.subplots(1, 2)
    for mode in dict.fromkeys(point.mode for point in points):
        of = [point for point in points if point.mode == mode]
        sizes = [point.fes for point in of]
        mark = MARKS.get(mode, "x")
        times.plot(sizes, [point.ready_ms for point in of], marker=mark, label=mode)
        messages.plot(sizes, [point.messages for point in of], marker=mark, label=mode)
    _axes(times, "ms from the crash until the last FE is served")
    _axes(messages, "messages until then, heartbeats left out")
    times.set_title(f"simulated; an event costs a CE {handling_us:g} us")
    return figure


def _axes(axes: Axes, what: str) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("FEs")
    axes.set_ylabel(what)
    axes.legend(frameon=False)
