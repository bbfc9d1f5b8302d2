"""Every shipped topology, and a network of the Zoo, with every mode in virtual time: the crash of
the master ends with another one that is ready, and no packet of any flow is lost."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from experiments import runner
from experiments.measures.records import Limits
from experiments.measures.verdict import Outcome
from experiments.plan import Cell, make_plan
from lab.backend import CellSettings, FaultSpec, Mode
from lab.simulated.lab import SimulatedLab
from tests.experiments.silent import Silent
from topologies.loader import available, load_topology
from topologies.model import Topology

MOST_FES = 25
"""The star is for more than what is asked here."""

ZOO = """\
graph [
  label "Square"
  node [ id 0 label "Bern" ]
  node [ id 1 label "Basel" ]
  node [ id 2 label "Chur" ]
  node [ id 3 label "Davos" ]
  edge [ source 0 target 1 ]
  edge [ source 1 target 2 ]
  edge [ source 2 target 3 ]
  edge [ source 3 target 0 ]
]
"""


def crash(topology: Topology, mode: Mode) -> Cell:
    many = len(topology.of_kind("fe")) > MOST_FES
    settings = CellSettings(
        mode=mode, routes=20, probe_pps=200, beacon_ms=25, fes=4 if many else None
    )
    back = 300.0 if mode == "none" else None
    spec = FaultSpec("crash", "master", 0.0, back)
    return Cell(mode, settings, "crash", (spec,), 1, 200, 1000, False, ())


def run(topology: Topology, folder: Path) -> list[Outcome]:
    cells = [crash(topology, mode) for mode in get_args(Mode)]
    plan = make_plan("crash", topology.name, cells, 1, 0)
    outcomes: list[Outcome] = []
    setting = runner.Setting(folder, topology, Limits())
    runner.run(plan, SimulatedLab(topology), setting, Silent(), outcomes)
    return outcomes


def check(topology: Topology, outcomes: list[Outcome]) -> None:
    assert {o.description.cell for o in outcomes} == set(get_args(Mode))
    for outcome in outcomes:
        assert outcome.verdict == "ok", (outcome.description.cell, outcome.reasons)
        assert len(outcome.probes) == 2 * len(topology.flows)
        assert outcome.data_sent > 0
        assert outcome.data_lost == 0
        assert {f.fe for f in outcome.failovers} == set(outcome.description.fes)
        assert outcome.ne is not None
        assert outcome.ne.dtime3_ms is not None


@pytest.mark.parametrize("name", available())
def test_every_topology_fails_over_in_every_mode(name: str, tmp_path: Path) -> None:
    topology = load_topology(name)
    check(topology, run(topology, tmp_path))


def test_a_network_of_the_zoo_fails_over_in_every_mode(tmp_path: Path) -> None:
    path = tmp_path / "square.gml"
    path.write_text(ZOO)
    topology = load_topology(path)
    assert [node.name for node in topology.of_kind("fe")] == ["bern", "basel", "chur", "davos"]
    check(topology, run(topology, tmp_path))
