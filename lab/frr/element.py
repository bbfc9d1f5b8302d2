"""The network element of the FRR baseline: the FEs are routers, and there is no CE."""

from __future__ import annotations

import json
import os
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from lab.backend import CellSettings, LabError
from lab.emulated.config_for import journal_path, taking_part
from lab.emulated.forkserver import ForkServer
from lab.emulated.network import NetNode, Network
from lab.emulated.nodes import NetworkElement
from lab.frr import configuration
from lab.frr.configuration import LIBRARY, OSPF_PROTOCOL
from topologies.model import Node, Topology

CONVERGE_S = 30.0
"""Adjacencies and BFD sessions take seconds, on a busy machine more."""
END_BUDGET_S = 5.0
MAX_SEEDS = 33
"""Of the hash over paths of equal cost; half of them spread two flows."""
POLL_S = 0.002


class FrrElement(NetworkElement):
    """LabError for a cell that FRR has no counterpart of, and where FRR is not installed."""

    def __init__(
        self, network: Network, forkserver: ForkServer, settings: CellSettings, folder: Path
    ) -> None:
        configuration.check_possible(settings)
        self._sources = configuration.beacon_sources(taking_part(network.topology, settings))
        super().__init__(network, forkserver, settings, folder)

    def _nodes(self, topology: Topology, settings: CellSettings) -> tuple[Node, ...]:
        return topology.of_kind("fe")

    def start(self) -> None:
        super().start()
        for number, fe in enumerate(self._sources):
            self._procs[f"{fe} beacon"] = self._forkserver.spawn(
                self.network.node(fe),
                "lab.frr.beacon:run",
                {"source": number, "beacon_ms": self.settings.beacon_ms},
                fifo=self._priority(self.topology.node(fe)),
                log=self.log(fe),
                name=f"{fe} beacon",
            )

    def await_ready(self, budget_s: float) -> None:
        super().await_ready(budget_s + CONVERGE_S)
        self._spread()

    def _spread(self) -> None:
        """A CE gives the flows of two hosts disjoint paths where the costs are equal; a router
        leaves it to a hash of the addresses. Where the kernel lets the hash be seeded, the first
        seed is taken that spreads the flows that enter at each router."""
        for fe in self.topology.of_kind("fe"):
            node, flows = self.network.node(fe.name), self._flows_into(fe.name)
            for seed in range(1, MAX_SEEDS if len(flows) > 1 else 1):
                node.write_sysctls({"net/ipv4/fib_multipath_hash_seed": str(seed)})
                if len({_port_taken(node, flow) for flow in flows}) > 1:
                    break

    def _flows_into(self, fe: str) -> list[tuple[str, str, str]]:
        """Those that enter the network at this router."""
        hosts = {
            port.neighbor: port.interface
            for port in configuration.ports_of(self.topology, fe)
            if not port.is_router
        }
        both_ways = [
            (host, one, other)
            for flow in self.topology.flows
            for host, one, other in (
                (flow.source, flow.source_address, flow.destination_address),
                (flow.destination, flow.destination_address, flow.source_address),
            )
        ]
        return [(one, other, hosts[host]) for host, one, other in both_ways if host in hosts]

    def stop(self) -> None:
        """Daemons are not the router process's to take along: they changed their user, and the
        kernel forgets then who was to be told of whose death."""
        super().stop()
        for fe in self.topology.of_kind("fe"):
            node = self.network.node(fe.name)
            _end_daemons(os.stat(f"/proc/{node.pid}/ns/net").st_ino)
            for argv in (
                ("ip", "route", "flush", "proto", str(OSPF_PROTOCOL)),
                ("ip", "nexthop", "flush", "proto", "zebra"),
            ):
                node.run(*argv)

    def daemon(self, node: str, name: str) -> int | None:
        """See `Bench.daemon`."""
        if name not in configuration.DAEMONS:
            known = ", ".join(configuration.DAEMONS)
            raise LabError(f"{node} has no daemon {name!r} (daemons: {known})")
        self.journals.poll()
        pids = [e["pid"] for e in self.journals.entries(node, "daemon") if e.get("name") == name]
        return pids[-1] if pids and _daemon_namespace(pids[-1]) is not None else None

    def _target(self, node: Node) -> str:
        return "lab.frr.router:run"

    def _config(self, node: Node) -> dict[str, Any]:
        settings, topology = self.settings, self.topology
        ports = configuration.ports_of(topology, node.name)
        return {
            "name": node.name,
            "journal": str(journal_path(self._folder, node.name)),
            "files": configuration.daemon_configuration(topology, settings, node),
            "commands": {
                daemon: configuration.command(daemon, settings) for daemon in configuration.DAEMONS
            },
            "routes": configuration.own_routes(topology, node.name, settings.routes),
            "expected": configuration.expected_prefixes(topology, node.name, settings.routes),
            "routers": [port.neighbor for port in ports if port.is_router],
            "about": configuration.describe(settings),
        }


def _daemon_namespace(pid: int) -> int | None:
    """Inode of the network namespace, if the process lives and is one of FRR's."""
    with suppress(OSError):
        if Path(os.readlink(f"/proc/{pid}/exe")).parent == LIBRARY:
            return os.stat(f"/proc/{pid}/ns/net").st_ino
    return None


def _end_daemons(namespace: int) -> None:
    """SIGKILL to all of a node, seen to the end. /proc shows the sandbox's processes only."""
    deadline = time.monotonic() + END_BUDGET_S
    while True:
        left = [
            int(entry)
            for entry in os.listdir("/proc")
            if entry.isdigit() and _daemon_namespace(int(entry)) == namespace
        ]
        if not left:
            return
        if time.monotonic() > deadline:
            raise LabError(f"daemons of FRR do not end: {left}")
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(POLL_S)


def _port_taken(node: NetNode, flow: tuple[str, str, str]) -> str | None:
    """By which interface the kernel sends a packet of this flow on (source, destination, the
    interface it came in by)."""
    source, destination, interface = flow
    done = node.run("ip", "-json", "route", "get", destination, "from", source, "iif", interface)
    try:
        return str(json.loads(done.stdout)[0]["dev"])
    except (ValueError, LookupError):
        return None
