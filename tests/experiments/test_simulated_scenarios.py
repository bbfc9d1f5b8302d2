"""Every scenario of the catalogue in virtual time, so that it cannot rot: each cell's faults
strike, and its records give a figure. `ceha simulate` does the same from the command line.
"""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from experiments import cli as experiments_cli
from experiments import laboratory, runner
from experiments.measures.records import Limits
from experiments.measures.verdict import Outcome
from experiments.plan import Cell, make_plan
from experiments.scenario import available, load_scenario
from experiments.verbs.run import possible
from lab import cli as lab_cli
from lab.simulated.faults import KINDS
from lab.simulated.lab import SimulatedLab
from tests.experiments.silent import Silent
from topologies.loader import load_topology

SOFTENED = {"routes": 50, "probe_pps": 1000}
"""What is a matter of size, and not of what happens, is kept small."""
MOST_FES = 8
SLOWEST_BEACON_MS = 25


def softened(cell: Cell) -> Cell:
    settings = cell.settings
    smaller: dict[str, Any] = {
        name: min(getattr(settings, name), most) for name, most in SOFTENED.items()
    }
    if settings.fes is not None:
        smaller["fes"] = min(settings.fes, MOST_FES)
    if settings.beacon_ms:
        smaller["beacon_ms"] = max(settings.beacon_ms, SLOWEST_BEACON_MS)
    return replace(cell, settings=replace(settings, **smaller))


@pytest.mark.parametrize("name", available())
def test_a_scenario_runs_in_virtual_time(name: str, tmp_path: Path) -> None:
    scenario = load_scenario(name)
    topology = load_topology(scenario.content.topology)
    plan = make_plan(name, topology.name, [softened(cell) for cell in scenario.cells], 1, 0, 1)
    reasons = laboratory.cannot(plan, topology, "simulated")
    left = [cell for cell in plan.cells if cell.name not in reasons]
    if not left:
        pytest.skip("; ".join(f"{cell}: {why}" for cell, why in reasons.items()))
    plan = make_plan(name, topology.name, left, 1, 0, 1)
    limits = Limits(**scenario.content.limits.model_dump())
    outcomes: list[Outcome] = []
    setting = runner.Setting(tmp_path, topology, limits)
    runner.run(plan, SimulatedLab(topology), setting, Silent(), outcomes)
    for outcome in outcomes:
        assert outcome.verdict in ("ok", "disagree"), (outcome.description.cell, outcome.reasons)
        faults = outcome.description.faults
        assert all(fault.verified for fault in faults)
        assert len(faults) == len(plan.cell(outcome.description.cell).faults)
        assert outcome.data_sent > 0


def test_what_has_a_core_of_ours_can_be_simulated() -> None:
    """But for faults of the machine itself, which virtual time does not have."""
    for name in available():
        scenario = load_scenario(name)
        topology = load_topology(scenario.content.topology)
        plan = make_plan(name, topology.name, scenario.cells, 1, 0, 1)
        for cell in laboratory.cannot(plan, topology, "simulated"):
            made = plan.cell(cell)
            kinds = {fault.kind for fault in made.faults}
            of_the_machine = made.settings.load or not kinds <= KINDS.keys()
            assert made.settings.system != "forces" or of_the_machine, f"{name}, {cell}"


def _simulate(folder: Path, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setenv("CEHA_RUNS", str(folder))
    with pytest.raises(SystemExit) as ended:
        lab_cli.run(experiments_cli.app, ["simulate", *arguments])
    return int(ended.value.code or 0)


def test_simulate_leaves_a_run_like_any_other_and_says_what_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = _simulate(tmp_path, monkeypatch, "quickstart", "--trials", "1", "--only", "hot")
    assert code == 0
    folder = (tmp_path / "latest").resolve()
    assert json.loads((folder / "manifest.json").read_text())["laboratory"] == "simulated"
    with (folder / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["cell"], row["verdict"], row["tml"]) for row in rows] == [
        ("hot", "ok", "simulated")
    ]
    page = (folder / "report.html").read_text()
    assert "<b>Simulated.</b>" in page
    assert "(simulated)" in page.partition("</title>")[0]


def test_what_cannot_be_simulated_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _simulate(tmp_path, monkeypatch, "versus", "--only", "openflow-crash") == 2
    text = capsys.readouterr().err
    assert text.strip() == (
        "ceha: openflow-crash: system openflow cannot be simulated: it has no core of ours"
    )


def test_cells_that_cannot_be_simulated_are_left_out_with_the_reason(
    capsys: pytest.CaptureFixture[str],
) -> None:
    scenario = load_scenario("versus")
    topology = load_topology(scenario.content.topology)
    whole = make_plan("versus", topology.name, scenario.cells, 1, 0, 1)
    plan = possible(whole, laboratory.cannot(whole, topology, "simulated"), named=False)
    assert {cell.settings.system for cell in plan.cells} == {"forces"}
    assert {trial.cell for trial in plan.trials} == {cell.name for cell in plan.cells}
    assert "openflow-hang" in capsys.readouterr().err
