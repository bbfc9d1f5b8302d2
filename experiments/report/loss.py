"""Packets lost over time in one representative trial of each cell, the fault window shaded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from experiments.measures.failover import Failover
from experiments.measures.probe import lost_mask
from experiments.measures.records import Trial, read_trial
from experiments.measures.verdict import Outcome
from experiments.report import style
from experiments.results import CellResult, measured, metric_values
from experiments.runner import trial_folder

EXPLANATION = (
    "One trial of each cell, the one whose times are the cell's median. The coloured bands are its "
    "dtime1, dtime2 and dtime3, the black lines its faults. A red bar counts the packets, sent in "
    "that step of time, that never arrived, all flows and both directions together; the grey line "
    "is how many were sent. No red means that the data plane did not notice."
)

STEPS = 120
"""Bars across a panel, at most; each is a whole number of probe intervals wide, so that an even
rate looks even."""
COLUMNS = 2
BAND_ALPHA = 0.28
FAULTS_SHARE = 0.8
"""Of a panel, at most, until the last of several faults: the rest shows what it did."""


def representative(outcomes: Sequence[Outcome], cell: str) -> Outcome | None:
    """The `ok` trial in the middle: by failover time, or by data outage where no CE failed."""
    good = [o for o in measured(outcomes, cell) if o.verdict == "ok"]
    if not good:
        return None

    def key(outcome: Outcome) -> float:
        values = metric_values(outcome)
        return values["failover_ms"] or values["data_outage_ms"] or 0.0

    return sorted(good, key=key)[(len(good) - 1) // 2]


def draw(folder: Path, cells: Sequence[CellResult], outcomes: Sequence[Outcome]) -> Figure | None:
    """None without an `ok` trial."""
    chosen = [
        (cell, outcome)
        for cell in cells
        if (outcome := representative(outcomes, cell.cell.name)) is not None and outcome.probes
    ]
    if not chosen:
        return None
    rows = -(-len(chosen) // COLUMNS)
    figure = style.sheet(0.9 + 1.75 * rows)
    panels = figure.subplots(rows, COLUMNS, squeeze=False)
    for axes, (cell, outcome) in zip(panels.flat, chosen, strict=False):
        trial = read_trial(trial_folder(folder, outcome.description.trial))
        _panel(axes, cell, outcome, trial)
    for axes in panels.flat[len(chosen) :]:
        axes.set_visible(False)
    several = any(len(_strikes_ms(outcome)) > 1 for _, outcome in chosen)
    for axes in panels.flat[max(0, len(chosen) - COLUMNS) : len(chosen)]:
        axes.set_xlabel(f"ms after the {'first ' if several else ''}fault")
    handles = _legend([outcome for _, outcome in chosen])
    figure.legend(handles=handles, loc="outside upper left", ncols=len(handles), fontsize=9)
    return figure


def _legend(outcomes: Sequence[Outcome]) -> list[Artist]:
    """Of what is drawn."""
    bands: list[Artist] = [
        Patch(color=colour, alpha=BAND_ALPHA, linewidth=0, label=name.removesuffix("_ms"))
        for name, colour in style.DTIMES.items()
        if any(o.ne is not None and getattr(o.ne, name) for o in outcomes)
    ]
    if any(o.description.faults for o in outcomes):
        bands.append(Line2D([], [], color=style.INK, linewidth=1, label="fault"))
    sent = Line2D([], [], color=style.FAINT, linewidth=0.9, label="packets sent")
    return [*bands, sent, Patch(color=style.LOSS, label="of these lost")]


def _panel(axes: Axes, cell: CellResult, outcome: Outcome, trial: Trial) -> None:
    about = outcome.description
    t_fault = trial.t_fault_ns if trial.t_fault_ns is not None else about.start_ns
    end = _end_ms(outcome)
    start = -min(about.calibrate_ms, end / 3)
    interval = 1000 / about.settings.probe_pps
    step = interval * np.ceil((end - start) / STEPS / interval)
    edges = np.arange(start, end + step, step)
    sent = np.zeros(len(edges) - 1)
    lost = np.zeros(len(edges) - 1)
    for probe in trial.probes:
        tx = np.sort(probe.tx, order="seq")
        at_ms = (tx["sent_ns"] - t_fault) / 1e6
        mask, _ = lost_mask(probe)
        sent += np.histogram(at_ms, edges)[0]
        lost += np.histogram(at_ms[mask], edges)[0]
    if outcome.ne is not None:
        _bands(axes, outcome.ne, (outcome.ne.t_fault_ns - t_fault) / 1e6)
    for strike_ms in _strikes_ms(outcome):
        axes.axvline(strike_ms, color=style.INK, linewidth=1)
    axes.stairs(sent, edges, color=style.FAINT, linewidth=0.9)
    axes.stairs(lost, edges, fill=True, color=style.LOSS)
    axes.set_xlim(start, end)
    axes.set_ylim(0, max(1.0, float(sent.max())) * 1.25)
    axes.set_ylabel(f"packets per {step:.3g} ms", color=style.INK)
    axes.set_title(f"{cell.cell.name}: {outcome.data_lost} of {outcome.data_sent} packets lost")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=4))


def _bands(axes: Axes, ne: Failover, at: float) -> None:
    """From the fault that took the master away, which need not be the first one."""
    for name, colour in style.DTIMES.items():
        length = getattr(ne, name) or 0.0
        axes.axvspan(at, at + length, color=colour, alpha=BAND_ALPHA, linewidth=0)
        at += length


def _strikes_ms(outcome: Outcome) -> list[float]:
    """When the faults struck, after the first of them."""
    strikes_ns = sorted(fault.before_ns for fault in outcome.description.faults)
    return [(at_ns - strikes_ns[0]) / 1e6 for at_ns in strikes_ns]


def _end_ms(outcome: Outcome) -> float:
    """Enough to see all faults, and the traffic after the last thing that happened; no more."""
    last = max(
        (p.last_affected_ms for p in outcome.probes if p.last_affected_ms is not None), default=0.0
    )
    ready, ne = 0.0, outcome.ne
    if ne is not None and ne.total_ms is not None:
        first_ns = min(fault.before_ns for fault in outcome.description.faults)
        ready = (ne.t_fault_ns - first_ns) / 1e6 + ne.total_ms
    end = max(max(last, ready, 60.0) * 1.6, max(_strikes_ms(outcome), default=0.0) / FAULTS_SHARE)
    return float(min(outcome.description.observe_ms, end))
