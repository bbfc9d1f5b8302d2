"""The figure of what failovers are made of: its note, and its line where nothing failed."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure

from experiments.report import dtimes
from experiments.results import CellResult
from experiments.scenario import load_scenario
from experiments.statistics import summarise

TIMES = {"dtime1_ms": 0.0, "dtime2_ms": 0.2, "dtime3_ms": 0.0, "failover_ms": 0.2}


def drawn(scenario: str, name: str) -> Figure:
    cell = next(c for c in load_scenario(scenario).cells if c.name == name)
    values = TIMES | {"control_outage_ms": 5.2}
    metrics = {metric: summarise([value] * 3) for metric, value in values.items()}
    result = CellResult(cell, {"ok": 3}, metrics, 0, 0, None, {}, ())
    figure = dtimes.draw([result])
    assert figure is not None
    return figure


@pytest.mark.parametrize(
    ("scenario", "cell", "label"),
    [("sync-switch", "switch", "ms after the switch"), ("quickstart", "hot", "ms after the fault")],
)
def test_a_beacon_interval_is_the_measure_of_a_planned_switch(
    scenario: str, cell: str, label: str
) -> None:
    figure = drawn(scenario, cell)
    (axes,) = figure.axes
    assert axes.get_xlabel() == label
    assert figure.get_supxlabel() == dtimes.NOTE
    dotted = [np.asarray(line.get_xdata()) for line in axes.lines if line.get_linestyle() == ":"]
    named = [text.get_text() for text in figure.legends[0].get_texts()]
    if scenario == "sync-switch":
        assert list(dotted[0]) == [10, 10]
    assert ("beacon interval" in named) is bool(dotted) is (scenario == "sync-switch")
