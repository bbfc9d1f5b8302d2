"""FEs that disagree about the master (a partition that not all of them see) keep working, and come
together when it heals."""

from __future__ import annotations

import pytest

from ce.fe_tables import Table
from lab.backend import CellSettings
from lab.simulated.element import NetworkElement
from lab.simulated.network import Manners
from lab.simulated.world import World
from topologies.loader import load_topology


@pytest.mark.parametrize("cut_off", [("fe1",), ("fe1", "fe2"), ("fe2", "fe3", "fe4")])
def test_fes_with_two_masters_have_one_after_the_partition(cut_off: tuple[str, ...]) -> None:
    settings = CellSettings(mode="hot+sync", routes=20, beacon_ms=10)
    world = World(f"reunite {cut_off}")
    ne = NetworkElement(load_topology("diamond"), settings, world, Manners(), 0.0)
    ne.start()
    world.run_ms(2000)
    assert ne.lacking_backups() == []
    assert {ne.master_of(fe.name) for fe in ne.fes} == {"ce1"}
    ways = [
        pair
        for fe in cut_off
        for pair in (
            (ne.processes["ce1"].id, ne.processes[fe].id),
            (ne.processes[fe].id, ne.processes["ce1"].id),
        )
    ]
    for way in ways:
        ne.network.block(*way)
    world.run_ms(6000)
    masters = {fe.name: ne.master_of(fe.name) for fe in ne.fes}
    assert masters == {fe.name: "ce2" if fe.name in cut_off else "ce1" for fe in ne.fes}
    for way in ways:
        ne.network.unblock(*way)
    world.run_ms(9000)
    found = {ne.master_of(fe.name) for fe in ne.fes}
    assert found == {"ce2" if len(cut_off) > 2 else "ce1"}
    (master,) = found
    assert master is not None
    assert ne.not_ready() == []
    assert ne.lacking_backups() == []
    for fe in ne.fes:
        tables = ne.ce(master).ne.tables[fe.id]
        assert tables.confirmed[Table.PREFIXES] == tables.intended[Table.PREFIXES]
    world.run_ms(8000)
    assert {ne.master_of(fe.name) for fe in ne.fes} == found, "nobody moves again"
