"""What a CE does when another one's guard tells of its death (ce/replication.py)."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from forces.effects import Effect, Journal
from forces.events import Event
from lab.backend import CellSettings
from lab.simulated.element import NetworkElement
from lab.simulated.network import Manners
from lab.simulated.process import Process
from lab.simulated.world import World
from topologies.loader import load_topology


class Looks:
    """When FEs were asked to look for themselves."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.at_ns: list[int] = []

    def handled(self, process: Process, event: Event | None, effects: Sequence[Effect]) -> None:
        self.at_ns += [
            self.world.now for e in effects if isinstance(e, Journal) and e.event == "look"
        ]

    def programmed(self, process: Process, program: object) -> None: ...


@pytest.mark.parametrize("deaf", [False, True])
def test_fes_are_asked_only_if_the_guards_word_did_not_reach_them(deaf: bool) -> None:
    """They move by themselves; one that hears nothing is asked 5 ms later."""
    settings = CellSettings(mode="hot+sync", routes=10, beacon_ms=5, guard=True)
    world = World("guarded")
    ne = NetworkElement(load_topology("pair"), settings, world, Manners(guard=True), 0.0)
    looks = Looks(world)
    for process in ne.processes.values():
        process.watchers.append(looks)
    ne.start()
    world.run_ms(2000)
    assert ne.lacking_backups() == []
    looks.at_ns.clear()
    crashed = world.now
    if deaf:
        ne.network.block(ne.processes["ce1"].id, ne.processes["fe1"].id)
    ne.crash("ce1")
    world.run_ms(200)
    assert {ne.master_of(fe.name) for fe in ne.fes} == {"ce2"}
    if deaf:
        assert len(looks.at_ns) == 1
        assert looks.at_ns[0] - crashed >= 5_000_000
    else:
        assert looks.at_ns == []
