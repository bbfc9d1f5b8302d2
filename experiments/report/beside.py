"""Contenders side by side: for each kind of failure, what each of them takes to notice it, to put
somebody in charge, until the kernel follows again, and what it loses."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter

from experiments.measures.verdict import Outcome
from experiments.report import style
from experiments.results import CellResult, measured, metric_values
from experiments.statistics import Summary, summarise

EXPLANATION = (
    "One row of panels for each kind of failure, one line for each contender; what applies to none "
    "of them has no panel. Bars are medians of "
    "the ok trials, the line across a bar's end is the median's 95 % interval. Detection is "
    "dtime1; takeover is dtime2 and dtime3, until somebody is in charge and can carry on; control "
    "outage is the gap in what the kernel (or the switch) was told; lost are all packets of a "
    "trial, the probes being the same for all. The scales are logarithmic above 1 and linear below."
)

Values = Mapping[str, float | None]


def _takeover(values: Values) -> float | None:
    whole, noticed = values["failover_ms"], values["dtime1_ms"]
    return None if whole is None or noticed is None else whole - noticed


COLUMNS: Mapping[str, Callable[[Values], float | None]] = {
    "detection (ms)": lambda values: values["dtime1_ms"],
    "takeover (ms)": _takeover,
    "control outage (ms)": lambda values: values["control_outage_ms"],
    "packets lost": lambda values: values["data_lost"],
}

COLOURS = dict(zip(("forces", "openflow", "frr"), style.SERIES, strict=False))
NAMES = {"forces": "ForCES", "openflow": "OpenFlow", "frr": "FRR"}
HEIGHT = 0.62
ROOM = 12.0
"""On a logarithmic axis, of the longest bar, for the figure behind it."""


def draw(
    groups: Mapping[str, Sequence[str]],
    cells: Sequence[CellResult],
    outcomes: Sequence[Outcome],
    seed: int = 0,
) -> Figure | None:
    """`groups`: the scenario's `beside`, title and names of cells. None without an `ok` trial."""
    found = {cell.cell.name: cell for cell in cells if cell.counts["ok"]}
    shown = {
        title: [found[name] for name in names if name in found] for title, names in groups.items()
    }
    shown = {title: members for title, members in shown.items() if members}
    if not shown:
        return None
    summaries = {
        label: [[_summary(c, figure_of, outcomes, seed) for c in each] for each in shown.values()]
        for label, figure_of in COLUMNS.items()
    }
    columns = {label: rows for label, rows in summaries.items() if any(map(_applies, rows))}
    if not columns:
        return None
    sizes = [len(members) for members in shown.values()]
    systems = dict.fromkeys(m.cell.settings.system for each in shown.values() for m in each)
    figure = style.sheet(0.9 + sum(0.55 + 0.27 * size for size in sizes))
    panels = figure.subplots(
        len(shown), len(columns), squeeze=False, height_ratios=[size + 0.6 for size in sizes]
    )
    for column, (label, rows) in zip(panels.T, columns.items(), strict=True):
        highest = max(1.0, *(_end(summary) for row in rows for summary in row))
        for axes, members, row in zip(column, shown.values(), rows, strict=True):
            if not _applies(row):
                axes.axis("off")
                continue
            _panel(axes, members, row)
            axes.set_xlim(0, highest * ROOM)
            axes.set_yticks(range(len(members)), [""] * len(members))
            last = axes
        last.set_xlabel(label)
    for line, (title, members) in zip(panels, shown.items(), strict=True):
        line[0].set_title(title, loc="left")
        _name(next(axes for axes in line if axes.axison), members, is_first=line[0].axison)
    if len(systems) > 1:
        handles = [Patch(color=COLOURS[system], label=NAMES[system]) for system in systems]
        figure.legend(handles=handles, loc="outside upper left", ncols=len(handles), fontsize=9)
    return figure


def _summary(
    cell: CellResult,
    figure_of: Callable[[Values], float | None],
    outcomes: Sequence[Outcome],
    seed: int,
) -> Summary:
    good = [o for o in measured(outcomes, cell.cell.name) if o.verdict == "ok"]
    return summarise((figure_of(metric_values(outcome)) for outcome in good), seed)


def _applies(summaries: Sequence[Summary]) -> bool:
    return any(summary.median is not None for summary in summaries)


def _name(axes: Axes, cells: Sequence[CellResult], is_first: bool) -> None:
    """The lines of the first panel that a row has; where that is not at the left, the names lie in
    the room of the panel that is left out."""
    axes.set_yticks(range(len(cells)), [cell.cell.name for cell in cells])
    for label in axes.get_yticklabels():
        label.set_in_layout(is_first)


def _end(summary: Summary) -> float:
    """Where the bar, or the line across its end, ends."""
    return max(summary.median or 0.0, summary.interval[1] if summary.interval else 0.0)


def _panel(axes: Axes, cells: Sequence[CellResult], summaries: Sequence[Summary]) -> None:
    for place, (cell, summary) in enumerate(zip(cells, summaries, strict=True)):
        if summary.median is None:
            axes.annotate(
                "–", (0.02, place), xycoords=("axes fraction", "data"), va="center",
                color=style.FAINT,
            )  # fmt: skip
            continue
        axes.barh(place, summary.median, HEIGHT, color=COLOURS[cell.cell.settings.system])
        if summary.interval is not None:
            axes.plot(summary.interval, [place, place], color=style.INK, linewidth=1.3)
        digits = 0 if summary.median >= 100 or summary.median == 0 else 1
        axes.annotate(
            f"{summary.median:.{digits}f}", (_end(summary), place), xytext=(4, 0),
            textcoords="offset points", va="center", fontsize=8.5,
        )  # fmt: skip
    axes.set_xscale("symlog", linthresh=1.0, linscale=0.5)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: style.number(x, zeros=2)))
    axes.set_ylim(len(cells) - 0.4, -0.6)
    style.only_x_grid(axes)
