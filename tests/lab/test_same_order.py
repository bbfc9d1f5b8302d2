"""The same scenario file in the simulator and in the lab: the same events, in the same order.

Times differ (virtual time has no machine in it), the order of events must not: what the simulator
found, or did not find, is about the protocol that runs on the wire.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from experiments import ladders, runner
from experiments.measures.records import Limits, Trial, read_trial
from experiments.measures.verdict import measure_trial
from experiments.plan import Plan, make_plan
from experiments.scenario import load_scenario
from lab.backend import Lab
from lab.emulated import sandbox
from lab.emulated.lab import EmulatedLab
from lab.simulated.lab import SimulatedLab
from tests.experiments.silent import Silent
from tests.lab.sandboxed import skip_unless_possible
from topologies.loader import load_topology
from topologies.model import Topology

pytestmark = pytest.mark.lab

SCENARIO = "sync"
FE = "fe2"
CELLS = ("cold-crash-routes100", "hot-crash-routes100", "hot+sync-crash-routes100")
LIMITS = Limits(jitter_ms=1000, sender_pause_ms=1000)
"""A busy machine is late; that is not what this is about."""
MILESTONES = ("fault", "detect", "takeover", "ready")
"""Each follows from the one before it, on another node: their order is one order."""


def plan_of(topology: Topology) -> Plan:
    chosen = [replace(c, trials=1) for c in load_scenario(SCENARIO).cells if c.name in CELLS]
    assert len(chosen) == len(CELLS)
    return make_plan(SCENARIO, topology.name, chosen, 1, 0, 1)


def run(plan: Plan, lab: Lab, folder: Path, topology: Topology) -> None:
    folder.mkdir()
    runner.start(folder, plan)
    runner.run(plan, lab, runner.Setting(folder, topology, LIMITS), Silent(), [])


def story(trial: Trial, fe: str) -> dict[str, list[str]]:
    """What this FE and its next CE wrote down, from the crash until the new master's first beat,
    and the milestones of both together."""
    ladder = ladders.build(trial, measure_trial(trial), fe)
    failover = next(f for f in measure_trial(trial).failovers if f.fe == fe)
    assert failover.new_master is not None
    told: dict[str, list[str]] = {"FE": [], "next CE": [], "all": []}
    for rung in ladder.rungs:
        if rung.event in MILESTONES and rung.at_ms >= 0:
            told["all"].append(rung.event)
        if rung.node == fe:
            told["FE"].append(rung.label.partition(" (")[0])
        elif rung.node == failover.new_master and not rung.label.endswith(failover.old_master):
            told["next CE"].append(rung.label.replace(fe, "the FE"))
        if rung.node == failover.new_master and rung.event == "beacon":
            break
    return told


def stories(folder: Path, plan: Plan) -> dict[str, dict[str, list[str]]]:
    """Cell -> the story of one FE, the same one everywhere, of the last trial."""
    found = {}
    for path in sorted((folder / "trials").iterdir(), key=lambda path: int(path.name)):
        trial = read_trial(path)
        outcome = measure_trial(trial)
        assert outcome.ne is not None, outcome.reasons
        found[trial.description.cell] = story(trial, FE)
    assert set(found) == {cell.name for cell in plan.cells}
    return found


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict, dict]:
    skip_unless_possible()
    topology = load_topology(load_scenario(SCENARIO).content.topology)
    plan = plan_of(topology)
    place = tmp_path_factory.mktemp("order")
    run(plan, SimulatedLab(topology), place / "simulated", topology)

    def entry() -> int:
        lab = EmulatedLab(topology, place)
        try:
            run(plan, lab, place / "emulated", topology)
        finally:
            lab.close()
        return 0

    assert sandbox.run(entry) == 0
    return stories(place / "simulated", plan), stories(place / "emulated", plan)


@pytest.mark.parametrize("cell", CELLS)
def test_the_order_of_events_is_that_of_the_simulator(both: tuple[dict, dict], cell: str) -> None:
    simulated, emulated = both
    assert emulated[cell] == simulated[cell]
    assert simulated[cell]["all"] == list(MILESTONES)


def test_the_modes_are_told_apart(both: tuple[dict, dict]) -> None:
    """Else equal stories would say nothing."""
    cold, hot, sync = (both[0][cell] for cell in CELLS)
    assert "associated with ce2" in cold["FE"]
    assert "associated with ce2" not in hot["FE"]
    assert any("discovered" in label for label in hot["next CE"])
    assert not any("discovered" in label for label in sync["next CE"])
