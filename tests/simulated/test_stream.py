"""A master that dies in the middle of a stream of changes (docs/ce-ce-sync.md): what its FEs have
acknowledged stays, the one under way comes or does not, and nothing comes twice or out of order.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from ce.fe_tables import Table
from ce.routes import FIRST_RUN_TIME_ROW
from fe_datapath.datapath import Change, DelRoute, SetRoute
from forces.effects import Effect, Program
from forces.events import Event
from lab.backend import CellSettings
from lab.simulated.element import NetworkElement
from lab.simulated.network import Manners
from lab.simulated.process import Process
from lab.simulated.world import World
from topologies.loader import load_topology

CHANGES = 1000
STEP_MS = 0.1
BOOT_MS = 3000
REPETITIONS = 2
"""By hand: 100, and a window of 600 ms."""
WINDOW_MS = 100


def _index(change: Change) -> tuple[str, int] | None:
    """Which change of the stream this is; None: it is none."""
    if isinstance(change, SetRoute | DelRoute) and change.prefix[0] == 30:
        kind = "set" if isinstance(change, SetRoute) else "del"
        return kind, change.prefix[1] << 8 | change.prefix[2]
    return None


class Stream:
    """One change after the other, the next when every FE has acknowledged the last."""

    def __init__(self, seed: int, replication: str) -> None:
        settings = CellSettings(
            mode="hot+sync",
            routes=10,
            beacon_ms=5,
            ce_heartbeat_ms=10,
            fe_heartbeat_ms=10,
            replication=replication,  # type: ignore[arg-type]
        )
        self.world = World(f"{seed}/stream")
        manners = Manners(jitter_ms=0.2)
        self.ne = NetworkElement(load_topology("pair"), settings, self.world, manners, 0.02)
        self.told = 0
        self.seen: dict[str, list[tuple[str, int]]] = {fe.name: [] for fe in self.ne.fes}
        """FE -> what its datapath was asked for, in order."""
        for process in self.ne.processes.values():
            process.watchers.append(self)

    def handled(self, process: Process, event: Event | None, effects: Sequence[Effect]) -> None: ...

    def programmed(self, process: Process, program: Program) -> None:
        found = [_index(change) for change in program.changes]
        self.seen[process.name] += [each for each in found if each is not None]

    @property
    def acknowledged(self) -> int:
        """By every FE that gets the route (the one it is attached to has it from its kernel)."""
        tables = self.ne.ce("ce1").ne.tables
        counts = []
        for fe in self.ne.fes:
            intended = _run_time(tables[fe.id].intended[Table.PREFIXES])
            if intended or self.told == 0:
                counts.append(len(_run_time(tables[fe.id].confirmed[Table.PREFIXES])))
        return min(counts)

    def start(self) -> None:
        self.ne.start()
        deadline = self.world.now + BOOT_MS * 1_000_000
        while self.ne.not_ready() or self.ne.lacking_backups():
            assert self.world.now < deadline, (self.ne.not_ready(), self.ne.lacking_backups())
            self.world.run_ms(5)
        self.step()

    def step(self) -> None:
        if not self.ne.processes["ce1"].alive or self.told == CHANGES:
            return
        if self.acknowledged == self.told:
            prefix = f"30.{self.told >> 8}.{self.told & 255}.0/24"
            route = {"prefix": prefix, "fe": "fe2", "port": 2, "gateway": self.gateway()}
            answer = self.ne.ask("ce1", "routes", route)
            assert answer is not None
            self.told += 1
        self.world.after_ms(STEP_MS, self.step)

    def gateway(self) -> str:
        """The host behind FE 2."""
        views = {view.id: view for view in self.ne.ce("ce1").config.network}
        ports = views[self.ne.fes[1].id].ports
        return next(port.neighbor_address for port in ports if port.id == 2)


def _run_time(rows: dict[int, bytes]) -> list[int]:
    return [row for row in rows if row >= FIRST_RUN_TIME_ROW]


@pytest.mark.parametrize("replication", ["async", "semi"])
@pytest.mark.parametrize("seed", range(REPETITIONS))
def test_no_change_is_lost_doubled_or_turned_round_by_a_crash(seed: int, replication: str) -> None:
    stream = Stream(seed, replication)
    stream.start()
    stream.world.run_ms(random.Random(seed).uniform(1, WINDOW_MS))
    acknowledged, told = stream.acknowledged, stream.told
    assert 0 < told <= CHANGES
    assert told - acknowledged <= 1
    stream.ne.crash("ce1")
    stream.world.run_ms(400)
    down = {node.name for node in stream.ne.ces if not stream.ne.processes[node.name].alive}
    assert down == {"ce1"}
    for fe in stream.ne.fes:
        master = stream.ne.master_of(fe.name)
        assert master == "ce2"
        assert stream.ne.ce(master).sessions[fe.id].ready
        had = stream.seen[fe.name]
        assert had in ([("set", n) for n in range(acknowledged)], [("set", n) for n in range(told)])


def test_whoever_waits_for_a_route_is_answered_when_every_fe_has_it() -> None:
    stream = Stream(1, "async")
    stream.told = CHANGES  # no stream of its own
    stream.start()
    answers: list[object] = []
    route = {"prefix": "30.0.0.0/24", "fe": "fe2", "port": 2, "gateway": stream.gateway()}
    ce = stream.ne.processes["ce1"]
    ce.command("routes", {**route, "wait": True}, answers.append)
    assert answers == []
    stream.told = 1
    assert stream.acknowledged == 0
    while not answers and stream.world.now < 10**11:
        stream.world.run_ms(0.05)
    assert stream.acknowledged == 1
    for fe in stream.ne.fes:
        assert stream.seen[fe.name] == [("set", 0)]
