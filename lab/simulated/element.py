"""A whole network element in virtual time: its processes, its data links, and what can be done to
them. Configurations are the emulated lab's own (`configuration`), so both run the same NE.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from ce.config import CeConfig
from ce.controller import Controller
from fe_datapath.config import FeConfig
from fe_datapath.datapath import PortState
from fe_datapath.element import ForwardingElement
from fe_datapath.fake import FakeDatapath
from forces.effects import Deliver
from forces.events import LinkChanged
from lab.backend import CellSettings, LabError
from lab.emulated.config_for import ces_in_use, configuration, taking_part
from lab.simulated.dataplane import DataPlane
from lab.simulated.honesty import Honesty
from lab.simulated.impaired import ControlLinks, probe_delays
from lab.simulated.network import Manners, Network
from lab.simulated.process import Process, Watcher
from lab.simulated.world import World
from topologies.model import Link, Node, Topology

LINK_EVENT_MS = 0.3
"""From a carrier's loss to the FE's reading of it (docs: platform, 0.3 ms at p50)."""
START_MS = 2.0
"""From the start of a process to its first act; CEs come first, as in the lab."""


@functools.lru_cache(maxsize=4096)
def _configs(topology: Topology, settings: CellSettings) -> dict[str, FeConfig | CeConfig]:
    """By node name. Cached: a hunt builds the same NE thousands of times."""
    nodes = (*ces_in_use(topology, settings), *topology.of_kind("fe"))
    return {node.name: configuration(topology, settings, node, Path(), Path()) for node in nodes}


class NetworkElement:
    def __init__(
        self,
        topology: Topology,
        settings: CellSettings,
        world: World,
        manners: Manners = Manners(),
        honest_share: float = 0.02,
        watchers: Iterable[Watcher] = (),
    ) -> None:
        """LabError for settings that the topology cannot have."""
        topology = taking_part(topology, settings)
        self.topology = topology
        self.settings = settings
        self.world = world
        self.honesty = Honesty(world.rng, honest_share)
        self.network = Network(world, manners, self.honesty)
        if topology.impairments or settings.impairments:
            links = ControlLinks(topology, settings)
            self.network.links = links if links else None
        self.processes: dict[str, Process] = {}
        self.data = DataPlane(topology, self._datapath_of, probe_delays(topology, settings))
        self.ces: tuple[Node, ...] = ces_in_use(topology, settings)
        self.fes: tuple[Node, ...] = topology.of_kind("fe")
        self._configs = _configs(topology, settings)
        ids = {node.id for node in (*self.ces, *self.fes)}
        ce_ids = {node.id for node in self.ces}
        for node in self.ces:
            peers = frozenset(ids - {node.id})
            self._add(node, functools.partial(self._controller, node), peers, True, None)
        for node in self.fes:
            datapath = FakeDatapath(self._fe_config(node).ports)
            make = functools.partial(self._forwarding_element, node)
            self._add(node, make, frozenset(ce_ids), False, datapath)
        for process in self.processes.values():
            process.watchers.extend(watchers)

    def _add(
        self,
        node: Node,
        make: Callable[[], Any],
        peers: frozenset[int],
        listens: bool,
        datapath: FakeDatapath | None,
    ) -> None:
        self.processes[node.name] = Process(
            self.world, self.network, node.id, node.name, make, peers, listens, datapath
        )

    def _fe_config(self, node: Node) -> FeConfig:
        config = self._configs[node.name]
        assert isinstance(config, FeConfig)
        return config

    def _controller(self, node: Node) -> Controller:
        config = self._configs[node.name]
        assert isinstance(config, CeConfig)
        return Controller(config)

    def _forwarding_element(self, node: Node) -> ForwardingElement:
        """What `fe_datapath.main` does, without a loop: the datapath's start waits for nothing."""
        datapath = self.datapath(node.name)
        starting = datapath.start(lambda state, at_ns: self._link_event(node.name, state))
        try:
            starting.send(None)
        except StopIteration:
            pass
        else:
            raise LabError("the fake datapath waited while it started")
        return ForwardingElement(
            self._fe_config(node),
            datapath.ports(),
            rng_seed=self.world.rng.getrandbits(32),
            readings=datapath,
            found=datapath.found(),
        )

    def datapath(self, fe: str) -> FakeDatapath:
        datapath = self.processes[fe].datapath
        assert datapath is not None, f"{fe} is an FE"
        return datapath

    def _datapath_of(self, node: str) -> FakeDatapath | None:
        process = self.processes.get(node)
        return None if process is None else process.datapath

    def start(self) -> None:
        """CEs, and then FEs; whether they are ready is another question."""
        for node in self.ces:
            self.processes[node.name].start()
        self.world.run_ms(START_MS)
        for node in self.fes:
            self.processes[node.name].start()

    # What it is like

    def ce(self, name: str) -> Controller:
        core = self.processes[name].core
        assert isinstance(core, Controller)
        return core

    def fe(self, name: str) -> ForwardingElement:
        core = self.processes[name].core
        assert isinstance(core, ForwardingElement)
        return core

    def master_of(self, fe: str) -> str | None:
        """By the FE's own word."""
        if not self.processes[fe].alive:
            return None
        master = self.fe(fe).ha.master
        return next((node.name for node in self.ces if node.id == master), None)

    def not_ready(self) -> list[str]:
        """What is missing for every FE to have a master that is ready, and to forward."""
        missing = []
        for node in self.fes:
            process = self.processes[node.name]
            if not process.alive or process.frozen:
                missing.append(f"{node.name} does not run")
                continue
            master = self.master_of(node.name)
            if master is None:
                missing.append(f"{node.name} has no master")
                continue
            if not self._ready(master, node.id):
                missing.append(f"{master} is not ready for {node.name}")
            if process.datapath is not None and not process.datapath.forwarding:
                missing.append(f"{node.name} does not forward")
        return missing

    def _ready(self, ce: str, fe: int) -> bool:
        process = self.processes[ce]
        session = self.ce(ce).sessions.get(fe) if process.alive and not process.frozen else None
        return session is not None and session.ready

    def lacking_backups(self) -> list[str]:
        """Hot standby: every FE is associated with every CE, and every backup follows."""
        if self.settings.mode not in ("hot", "hot+sync") or self.settings.policy != 1:
            return []
        return [
            f"{fe.name} is not associated with {ce.name}"
            for fe in self.fes
            for ce in self.ces
            if self.processes[fe.name].alive and not self.fe(fe.name).ha.associated(ce.id)
        ] or [
            f"{ce.name} does not follow {fe.name}"
            for fe in self.fes
            for ce in self.ces
            if self.settings.mode == "hot+sync" and self._lacks_replica(ce, fe)
        ]

    def _lacks_replica(self, ce: Node, fe: Node) -> bool:
        if ce.name == self.master_of(fe.name) or not self.processes[ce.name].alive:
            return False
        fr = self.ce(ce.name).fr
        return fr is not None and not fr.replicas[fe.id].following

    def ask(self, name: str, command: str, arguments: Mapping[str, Any]) -> Any:
        """What a core answers at once; None if it does not."""
        answers: list[Deliver] = []
        self.processes[name].command(command, arguments, answers.append)
        return answers[0].value if answers else None

    # What can be done to it

    def crash(self, name: str) -> None:
        self.processes[name].kill()

    def restart(self, name: str) -> None:
        process = self.processes[name]
        if not process.alive:
            process.start()

    def link(self, name: str) -> Link:
        try:
            return self.data.link(name)
        except KeyError:
            raise LabError(f"{self.topology.name} has no link {name!r}") from None

    def empty(self, fe: str) -> None:
        """As after a reboot of its machine: nothing is left of what it forwarded by."""
        process = self.processes[fe]
        assert not process.alive, f"{fe} is running"
        process.datapath = FakeDatapath(self._fe_config(self.topology.node(fe)).ports)
        for name in self.data.down:
            link = self.link(name)
            for end in (link.a, link.b):
                if end.node == fe:
                    process.datapath.set_carrier(end.port, False, self.world.now)

    def cut_link(self, name: str) -> None:
        link = self.link(name)
        self.data.down[name] += 1
        if self.data.down[name] == 1:
            self._carrier(link, False)

    def mend_link(self, name: str) -> None:
        link = self.link(name)
        self.data.down[name] -= 1
        if self.data.down[name] <= 0:
            del self.data.down[name]
            self._carrier(link, True)

    def _carrier(self, link: Link, up: bool) -> None:
        for end in (link.a, link.b):
            process = self.processes.get(end.node)
            if process is not None and process.datapath is not None:
                process.datapath.set_carrier(end.port, up, self.world.now)

    def _link_event(self, fe: str, state: PortState) -> None:
        event = LinkChanged(
            port=state.port,
            up=state.admin_up and state.carrier,
            at_ns=self.world.now,
            attributes={
                "admin_up": state.admin_up,
                "mtu": state.mtu,
                "mac": state.mac,
                "speed_mbit": state.speed_mbit,
                "duplex": state.full_duplex,
                "promiscuous": state.promiscuous,
            },
        )
        process = self.processes[fe]
        delay_ms = LINK_EVENT_MS * self.world.rng.uniform(0.5, 1.5)
        self.world.after_ms(delay_ms, self._deliver_link_event, process, process.starts, event)

    def _deliver_link_event(self, process: Process, life: int, event: LinkChanged) -> None:
        if process.starts == life:
            process.inject(event)

    def isolate(self, name: str, on: bool) -> None:
        """All directions between this node and every other one."""
        for other in self.processes.values():
            if other.name != name:
                self.partition(name, other.name, on)
                self.partition(other.name, name, on)

    def partition(self, sender: str, receiver: str, on: bool) -> None:
        """One direction."""
        pair = (self.processes[sender].id, self.processes[receiver].id)
        if on:
            self.network.block(*pair)
        else:
            self.network.unblock(*pair)
