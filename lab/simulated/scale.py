"""How a failover grows with the network element: from ten FEs to ten thousand, in virtual time.

The FEs form a tree of degree 8 with a host at its root and one at its last leaf. Handling one event
costs a CE some time, one event after the other (a CE is one process); FEs are machines of their
own, and theirs is left out. So the last FE waits for its turn: without that no number of FEs would
change anything.
"""

from __future__ import annotations

import resource
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from forces.effects import Effect, Journal, Send
from forces.events import Event
from forces.wire import encoded_length
from lab.backend import CellSettings, LabError, Mode
from lab.simulated.element import NetworkElement
from lab.simulated.network import Manners
from lab.simulated.process import Process
from lab.simulated.world import NS_PER_MS, World
from topologies.model import Endpoint, Flow, Link, Node, Topology

DEGREE = 8
FIRST_CE_ID = 0x40000001
MAX_FES = 20_000
HANDLING_US = 100.0
"""What an event costs a CE: a handling and the codec, about what this machine takes."""
READY_BUDGET_MS = 120_000
STEP_MS = 50
CALM_MS = 500


def tree(fes: int) -> Topology:
    """LabError for a number that is none."""
    if not 2 <= fes <= MAX_FES:
        raise LabError(f"{fes} FEs are outside 2..{MAX_FES}")
    nodes = [Node(f"ce{n + 1}", "ce", FIRST_CE_ID + n, f"10.255.0.{n + 1}/8") for n in range(2)]
    nodes += [Node(f"fe{n}", "fe", n, f"10.{n >> 8}.{n & 255}.1/8") for n in range(1, fes + 1)]
    nodes += [Node("h1", "host", 0, None), Node("h2", "host", 0, None)]
    ports: Counter[str] = Counter()
    links = [_host_link("h1", "fe1", 1, ports)]
    for child in range(2, fes + 1):
        parent = (child - 2) // DEGREE + 1
        links.append(_fe_link(child, f"fe{parent}", f"fe{child}", ports))
    links.append(_host_link("h2", f"fe{fes}", 2, ports))
    flow = Flow("a", "h1", "h2", "192.168.1.10", "192.168.2.10")
    return Topology(
        f"tree-{fes}", f"{fes} FEs", tuple(nodes), tuple(links), (flow,), "10.0.0.0/8", ""
    )


def _end(node: str, address: str, ports: Counter[str]) -> Endpoint:
    ports[node] += 1
    return Endpoint(node, ports[node], f"{node}-eth{ports[node]}", (address,))


def _host_link(host: str, fe: str, number: int, ports: Counter[str]) -> Link:
    near = _end(host, f"192.168.{number}.10/24", ports)
    return Link(f"{host}-{fe}", near, _end(fe, f"192.168.{number}.1/24", ports))


def _fe_link(number: int, upper: str, lower: str, ports: Counter[str]) -> Link:
    base = (172 << 24) + (16 << 16) + 4 * number
    one, other = (_dotted(base + k) + "/30" for k in (1, 2))
    return Link(f"{upper}-{lower}", _end(upper, one, ports), _end(lower, other, ports))


def _dotted(address: int) -> str:
    return ".".join(str(address >> shift & 255) for shift in (24, 16, 8, 0))


@dataclass(frozen=True, slots=True)
class Point:
    """One failover of one network element."""

    fes: int
    mode: str
    detected_ms: float
    """The last FE's dtime1."""
    mastered_ms: float
    """When the last FE had a new master."""
    ready_ms: float
    """When the new master was ready for the last FE: the NE's failover."""
    median_ready_ms: float
    messages: int
    """Sent from the crash until then, heartbeats left out."""
    octets: int
    heartbeats: int
    events: int
    """Handled from the start of the NE to the end."""
    computing_s: float
    """Of this process, for all of it."""
    memory_mib: float
    """Peak of this process."""

    @property
    def messages_per_fe(self) -> float:
        return self.messages / self.fes


class _Counter:
    """A watcher."""

    def __init__(self, world: World) -> None:
        self.messages = self.octets = self.heartbeats = self.events = 0
        self.instants: dict[tuple[str, str], int] = {}
        """(event, FE) -> when, since `begin`."""
        self._world = world
        self._counting = False

    def begin(self) -> None:
        self._counting = True

    def handled(self, process: Process, event: Event | None, effects: Sequence[Effect]) -> None:
        self.events += 1
        if not self._counting:
            return
        for effect in effects:
            if type(effect) is Send:
                message = effect.message
                if not message.lfbs and message.type.name == "HEARTBEAT":
                    self.heartbeats += 1
                else:
                    self.messages += 1
                    self.octets += encoded_length(message)
            elif type(effect) is Journal and effect.event in ("detect", "master", "ready"):
                fe = str(effect.fields.get("fe", process.name))
                self.instants[effect.event, fe] = self._world.now

    def programmed(self, process: Process, program: object) -> None:
        pass


def settings_of(mode: Mode) -> CellSettings:
    """Slow heartbeats: at ten thousand FEs a CE of 100 us an event has its hands full of them."""
    return CellSettings(
        mode=mode,
        routes=10,
        ce_heartbeat_ms=3000,
        fe_heartbeat_ms=3000,
        cehdi_ms=30_000,
        cefti_ms=120_000,
        beacon_ms=0,
        fr_heartbeat_ms=500,
    )


def failover(fes: int, mode: Mode, handling_us: float = HANDLING_US, seed: int = 1) -> Point:
    """Boot, crash the master, and wait for the last FE. LabError if that does not end."""
    begun = time.process_time()
    world = World(f"{seed}/{fes}/{mode}")
    ne = NetworkElement(tree(fes), settings_of(mode), world, Manners(guard=True), 0.0)
    counter = _Counter(world)
    for process in ne.processes.values():
        process.watchers.append(counter)
    for ce in ne.ces:
        ne.processes[ce.name].handling_ns = round(handling_us * 1000)
    ne.start()
    _await(ne, "after the start")
    world.run_ms(CALM_MS)
    counter.begin()
    struck = world.now
    ne.crash(ne.master_of("fe1") or "ce1")
    _await(ne, "after the crash")
    last = {
        event: [at for (name, _), at in counter.instants.items() if name == event]
        for event in ("detect", "master", "ready")
    }
    if any(len(times) != fes for times in last.values()):
        raise LabError(f"{fes} FEs: not every one has failed over, or one did twice")
    ready = sorted(last["ready"])
    return Point(
        fes=fes,
        mode=mode,
        detected_ms=(max(last["detect"]) - struck) / NS_PER_MS,
        mastered_ms=(max(last["master"]) - struck) / NS_PER_MS,
        ready_ms=(ready[-1] - struck) / NS_PER_MS,
        median_ready_ms=(ready[len(ready) // 2] - struck) / NS_PER_MS,
        messages=counter.messages,
        octets=counter.octets,
        heartbeats=counter.heartbeats,
        events=counter.events,
        computing_s=time.process_time() - begun,
        memory_mib=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    )


def _await(ne: NetworkElement, when: str) -> None:
    deadline = ne.world.now + READY_BUDGET_MS * NS_PER_MS
    while missing := ne.not_ready() or _standing_by(ne):
        if ne.world.now >= deadline:
            raise LabError(f"{READY_BUDGET_MS} ms {when}: {len(missing)} missing: {missing[0]}")
        ne.world.run_ms(STEP_MS)


def _standing_by(ne: NetworkElement) -> list[str]:
    """Of the CEs that are alive."""
    living = [ce for ce in ne.ces if ne.processes[ce.name].alive]
    if len(living) < len(ne.ces):
        return []
    return ne.lacking_backups()
