"""One setting against what it changes: medians with their intervals, every trial behind them, and
the model beside the measurement where there is one."""

from __future__ import annotations

import math
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
    "interval. Dashed: a straight line fitted to the medians (a curve where x is logarithmic), "
    "with its slope in the legend; flat where the trials do not tell a slope from none (p > 0.05). "
    "Dotted: what the model says without having seen a trial."
)

WIDE = 20.0
"""A range of x beyond this ratio is drawn logarithmically."""
VERY_WIDE = 50.0
"""The same for y, where x is logarithmic too: a straight line stays one."""
MIN_FIT = 3
MAX_P = 0.05
"""Of a slope that is shown: how likely a flat cell's trials give one like it."""
SAMPLES = 400
"""Points of a line: on a logarithmic axis it is a curve."""
LEGEND_COLUMNS = 2

X_LABELS = {
    CONTROL_RTT: "control round trip (ms)",
    "cehdi_ms": "dead interval CEHDI (ms)",
    "cefti_ms": "failover timeout CEFTI (ms)",
    "ce_heartbeat_ms": "CE heartbeat interval (ms)",
    "fe_heartbeat_ms": "FE heartbeat interval (ms)",
    "fr_heartbeat_ms": "heartbeat interval between CEs (ms)",
    "beacon_ms": "beacon interval (ms)",
    "routes": "routes per FE",
    "probe_pps": "probe packets per second, each flow and direction",
    "ces": "CEs",
    "fes": "FEs",
    "load": "computing processes beside the lab",
}
UNITS = {
    "routes": (1000, "1000 routes"),
    "probe_pps": (1000, "1000 packets/s"),
    "ces": (1, "CE"),
    "fes": (1, "FE"),
    "load": (1, "process"),
}
"""What a slope is told per: of x, and in words. Else 1 ms."""

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
    parts: list[str] = [cell.settings.mode, "no fault" if cell.fault == "none" else cell.fault]
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


def along(xs: Sequence[float], wide: bool) -> np.ndarray:
    """Many points from the first to the last, as near to each other as the axis shows them."""
    first, last = min(xs), max(xs)
    even = np.linspace(first, last, SAMPLES)
    if not wide:
        return even
    start = min(x for x in xs if x > 0)
    return np.union1d(even, np.geomspace(start, last, SAMPLES))


def draw(
    axes: Mapping[str, object], cells: Sequence[CellResult], outcomes: Sequence[Outcome]
) -> Figure | None:
    """`axes`: the scenario's `sweep`. None if nothing was measured."""
    axis = str(axes["x"])
    measures = [str(each) for each in axes["y"]]  # type: ignore[attr-defined]
    shown = [cell for cell in cells if cell.counts["ok"]]
    if len({x_of(cell.cell, axis) for cell in shown}) < 2:
        return None
    figure = style.sheet(1.0 + 3.2 * len(measures))
    panels = figure.subplots(len(measures), 1, squeeze=False)[:, 0]
    for panel, measure in zip(panels, measures, strict=True):
        _panel(panel, axis, measure, shown, outcomes)
    panels[-1].set_xlabel(X_LABELS.get(axis, axis.replace("_", " ")))
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
    for (name, members), colour in zip(series.items(), style.SERIES * 9, strict=False):
        members.sort(key=lambda cell: x_of(cell.cell, axis))
        drawers(axes, axis, measure, members, outcomes, colour, name, wide)
    if wide:
        axes.set_xscale("symlog", linthresh=max(min((x for x in xs if x > 0), default=1.0), 1e-9))
        axes.set_xticks(sorted(set(xs)), map(style.number, sorted(set(xs))))
        _logarithmic(axes, [m for cell in cells if (m := _median(cell, measure)) is not None])
    axes.set_ylim(bottom=0)
    axes.set_ylabel(measure.replace("_ms", " (ms)").replace("_", " "))
    axes.grid(axis="y")
    if series:
        axes.legend(
            loc="lower left", bbox_to_anchor=(0, 1.0), ncols=LEGEND_COLUMNS, fontsize=8.5,
            borderaxespad=0.2,
        )  # fmt: skip


def _median(cell: CellResult, measure: str) -> float | None:
    return cell.metrics[measure].median if measure in cell.metrics else None


def _logarithmic(axes: Axes, medians: Sequence[float]) -> None:
    """Above the smallest median's power of ten, where they differ by orders of magnitude."""
    above = [value for value in medians if value > 0]
    if above and max(above) / min(above) > VERY_WIDE:
        axes.set_yscale("symlog", linthresh=10 ** math.floor(math.log10(min(above))), linscale=0.5)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: style.number(y)))


def _values(cell: CellResult, measure: str, outcomes: Sequence[Outcome]) -> list[float]:
    good = [o for o in measured(outcomes, cell.cell.name) if o.verdict == "ok"]
    return [v for o in good if (v := metric_values(o)[measure]) is not None]


def _medians(
    axes: Axes, axis: str, measure: str, cells: Sequence[CellResult],
    outcomes: Sequence[Outcome], colour: str, name: str, wide: bool,
) -> None:  # fmt: skip
    xs, medians, expected = [], [], []
    trials: list[tuple[float, float]] = []
    for cell in cells:
        x, values = x_of(cell.cell, axis), _values(cell, measure, outcomes)
        summary = cell.metrics[measure]
        assert summary.median is not None, "it has values"
        axes.plot([x] * len(values), values, "o", color=colour, alpha=0.3, markersize=3)
        if summary.interval is not None:
            axes.plot([x, x], summary.interval, color=colour, linewidth=2)
        trials += [(x, value) for value in values]
        xs.append(x)
        medians.append(summary.median)
        expected.append(model(axis, measure, cell.cell))
    label = name
    if len(set(xs)) >= MIN_FIT:
        if is_flat(trials):
            unit = " ms" if measure.endswith("_ms") else ""
            label = f"{name}: flat at {_short(float(np.median(medians)))}{unit}"
        else:
            slope, base = fit(xs, medians)
            line = along(xs, wide)
            axes.plot(line, base + slope * line, "--", color=colour, linewidth=0.9)
            label = f"{name}: {equation(slope, base, axis, measure)}"
    axes.plot(
        xs, medians, "o", markerfacecolor="white", color=colour, markersize=6, label=label,
        clip_on=False, zorder=3,
    )  # fmt: skip
    points = [(x, m) for x, m in zip(xs, expected, strict=True) if m is not None]
    if points:
        at, of_model = np.asarray(points, float).T
        line = along(list(at), wide)
        axes.plot(line, np.interp(line, at, of_model), ":", color=colour, label=f"{name}: model")


def fit(xs: Sequence[float], ys: Sequence[float]) -> tuple[float, float]:
    """(slope, value at 0) of the least squares line."""
    slope, base = np.polyfit(np.asarray(xs, float), np.asarray(ys, float), 1)
    return float(slope), float(base)


def is_flat(trials: Sequence[tuple[float, float]]) -> bool:
    """Whether these (x, y) may be what no slope gives."""
    from scipy.stats import linregress

    xs, ys = np.asarray(trials, float).T
    return bool(np.ptp(ys) == 0 or linregress(xs, ys).pvalue > MAX_P)


def equation(slope: float, base: float, axis: str, measure: str) -> str:
    """`3.9 + 7.1 ms per ms`, `0.25 − 0.0011 ms per ms`, `2.9 + 10 ms per 1000 routes`."""
    per, words = UNITS.get(axis, (1, "ms"))
    unit = " ms" if measure.endswith("_ms") else ""
    sign = "−" if slope < 0 else "+"
    return f"{_short(base)} {sign} {_short(abs(slope * per))}{unit} per {words}"


def _short(value: float) -> str:
    text = f"{value:.0f}" if abs(value) >= 100 else f"{value:.2g}"
    return text.replace("-", "−")


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
    outcomes: Sequence[Outcome], colour: str, name: str, _wide: bool,
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
    axes.plot(
        xs, rates, "o", markerfacecolor="white", color=colour, markersize=6, label=label,
        clip_on=False, zorder=3,
    )  # fmt: skip
