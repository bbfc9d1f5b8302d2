"""One setting against what it changes: medians with their intervals, every trial behind them, and
the model beside the measurement where there is one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from experiments.measures.verdict import Outcome
from experiments.plan import Cell
from experiments.report import style
from experiments.results import CellResult, measured, metric_values
from experiments.scenario import CONTROL_RTT, FALSE_ALARMS
from lab.backend import CellSettings

EXPLANATION = (
    "Every dot is one ok trial, the ring is the median of its cell and the bar the median's 95 % "
    "interval. Dashed: a straight line fitted to the medians, with its slope in the legend. "
    "Dotted: what the model says without having seen a trial."
)

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#8C564B")
WIDE = 20.0
"""A range of x beyond this ratio is drawn logarithmically."""
VERY_WIDE = 100.0
"""The same for y."""
MIN_FIT = 3

COLD_ROUND_TRIPS = 3 * 2 + 1
"""The three channels are connected one after the other (RFC 5811 section 5: LP, MP, HP), each
by SCTP's four messages; then the association is set up (RFC 5810 section 4.4.1)."""

READY_ROUND_TRIPS = 1.5
"""Of a master that is associated already: the FE's news of it is half a round trip on its way, the
question what the FE holds (its state, or with synchronisation its generation) takes a whole one."""


def x_of(cell: Cell, axis: str) -> float:
    if axis != CONTROL_RTT:
        value = getattr(cell.settings, axis)
        return float(value if value is not None else 0)
    delays = {
        towards: max(
            (i.delay_ms for i in cell.settings.impairments
             if i.link == "ces" and i.towards in (None, towards)), default=0.0,
        )
        for towards in ("ctl", "ces")
    }  # fmt: skip
    return sum(delays.values())


def series_of(cell: Cell, axis: str) -> str:
    parts: list[str] = [cell.settings.mode, cell.fault]
    if axis != "tml" and cell.settings.tml != "auto":
        parts.append(cell.settings.tml)
    return ", ".join(parts)


def detection_ms(settings: CellSettings) -> float:
    """The model of detection by silence: the dead interval runs from the last message, which was
    half of an interval between messages ago on average."""
    between = min(settings.beacon_ms or settings.ce_heartbeat_ms, settings.ce_heartbeat_ms)
    return settings.cehdi_ms - between / 2


def model(axis: str, measure: str, cell: Cell) -> float | None:
    """What is expected of a cell; None where there is no model."""
    silent = any(f.kind in ("hang", "isolate-silent", "isolate-carrier") for f in cell.faults)
    if axis == "cehdi_ms" and measure == "dtime1_ms" and silent:
        return detection_ms(cell.settings)
    if axis == CONTROL_RTT and measure == "dtime2_ms" and cell.settings.mode == "cold":
        return COLD_ROUND_TRIPS * x_of(cell, axis)
    if axis == CONTROL_RTT and measure == "dtime3_ms" and cell.settings.mode in ("hot", "hot+sync"):
        return READY_ROUND_TRIPS * x_of(cell, axis)
    return None


def draw(
    axes: Mapping[str, object], cells: Sequence[CellResult], outcomes: Sequence[Outcome]
) -> Figure | None:
    """`axes`: the scenario's `sweep`. None if nothing was measured."""
    axis = str(axes["x"])
    measures = [str(each) for each in axes["y"]]  # type: ignore[attr-defined]
    shown = [cell for cell in cells if cell.counts["ok"]]
    if len({x_of(cell.cell, axis) for cell in shown}) < 2:
        return None
    figure = style.sheet(1.0 + 2.9 * len(measures))
    panels = figure.subplots(len(measures), 1, squeeze=False)[:, 0]
    for panel, measure in zip(panels, measures, strict=True):
        _panel(panel, axis, measure, shown, outcomes)
    panels[-1].set_xlabel(axis.replace("_ms", " (ms)").replace("_", " "))
    return figure


def _panel(
    axes: Axes, axis: str, measure: str, cells: Sequence[CellResult], outcomes: Sequence[Outcome]
) -> None:
    series: dict[str, list[CellResult]] = {}
    for cell in cells:
        applies = cell.cell.fault == "none" if measure == FALSE_ALARMS else _values(
            cell, measure, outcomes
        )  # fmt: skip
        if applies:
            series.setdefault(series_of(cell.cell, axis), []).append(cell)
    xs = [x_of(cell.cell, axis) for cell in cells]
    wide = max(xs) / max(min((x for x in xs if x > 0), default=1.0), 1e-9) > WIDE
    drawers: Callable[..., None] = _rates if measure == FALSE_ALARMS else _medians
    for (name, members), colour in zip(series.items(), COLOURS * 9, strict=False):
        members.sort(key=lambda cell: x_of(cell.cell, axis))
        drawers(axes, axis, measure, members, outcomes, colour, name)
    if wide:
        axes.set_xscale("symlog", linthresh=max(min((x for x in xs if x > 0), default=1.0), 1e-9))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    _height(axes, [value for cell in cells if (value := _median(cell, measure)) is not None])
    axes.set_ylabel(measure.replace("_ms", " (ms)").replace("_", " "))
    axes.grid(axis="y")
    if series:
        axes.legend(fontsize=8.5)


def _median(cell: CellResult, measure: str) -> float | None:
    return cell.metrics[measure].median if measure in cell.metrics else None


def _height(axes: Axes, medians: Sequence[float]) -> None:
    """From 0; where the figures differ by orders of magnitude, logarithmic above the smallest."""
    above = [value for value in medians if value > 0]
    if above and max(above) / min(above) > VERY_WIDE:
        axes.set_yscale("symlog", linthresh=min(above))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
    axes.set_ylim(bottom=0)


def _values(cell: CellResult, measure: str, outcomes: Sequence[Outcome]) -> list[float]:
    good = [o for o in measured(outcomes, cell.cell.name) if o.verdict == "ok"]
    return [v for o in good if (v := metric_values(o)[measure]) is not None]


def _medians(
    axes: Axes, axis: str, measure: str, cells: Sequence[CellResult],
    outcomes: Sequence[Outcome], colour: str, name: str,
) -> None:  # fmt: skip
    xs, medians, expected = [], [], []
    for cell in cells:
        x, values = x_of(cell.cell, axis), _values(cell, measure, outcomes)
        summary = cell.metrics[measure]
        assert summary.median is not None, "it has values"
        axes.plot([x] * len(values), values, "o", color=colour, alpha=0.3, markersize=3)
        if summary.interval is not None:
            axes.plot([x, x], summary.interval, color=colour, linewidth=2)
        xs.append(x)
        medians.append(summary.median)
        expected.append(model(axis, measure, cell.cell))
    label = name
    if len(set(xs)) >= MIN_FIT:
        slope, base = fit(xs, medians)
        line = np.linspace(min(xs), max(xs), 200)
        axes.plot(line, base + slope * line, "--", color=colour, linewidth=0.9)
        label = f"{name}: {base:.2g} + {slope:.2g} per {axis.removesuffix('_ms')}"
    axes.plot(xs, medians, "o", markerfacecolor="white", color=colour, markersize=6, label=label)
    points = [(x, m) for x, m in zip(xs, expected, strict=True) if m is not None]
    if points:
        axes.plot(*zip(*points, strict=True), ":", color=colour, label=f"{name}: model")


def fit(xs: Sequence[float], ys: Sequence[float]) -> tuple[float, float]:
    """(slope, value at 0) of the least squares line."""
    slope, base = np.polyfit(np.asarray(xs, float), np.asarray(ys, float), 1)
    return float(slope), float(base)


def per_hour(outcomes: Sequence[Outcome]) -> tuple[float, float]:
    """False alarms per hour of observed time, and the 95 % bound above it: the
    exact upper limit of a Poisson count, 3.0 where there were none (the rule of three)."""
    from scipy.stats import chi2

    hours = sum(
        (o.description.calibrate_ms + o.description.observe_ms) / 3_600_000 for o in outcomes
    )
    count = sum(o.false_alarms for o in outcomes)
    above = float(chi2.ppf(0.95, 2 * (count + 1)) / 2)
    return (count / hours, above / hours) if hours else (0.0, 0.0)


def _rates(
    axes: Axes, axis: str, _measure: str, cells: Sequence[CellResult],
    outcomes: Sequence[Outcome], colour: str, name: str,
) -> None:  # fmt: skip
    xs = [x_of(cell.cell, axis) for cell in cells]
    pairs = [
        per_hour([o for o in measured(outcomes, cell.cell.name) if o.verdict == "ok"])
        for cell in cells
    ]
    for x, (rate, above) in zip(xs, pairs, strict=True):
        axes.plot([x, x], [rate, above], color=colour, linewidth=1.5)
    rates = [rate for rate, _ in pairs]
    label = f"{name}: line up to the 95 % bound"
    axes.plot(xs, rates, "o", markerfacecolor="white", color=colour, markersize=6, label=label)
