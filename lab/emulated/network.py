"""The network of a lab: Mininet builds the nodes and links of a topology, this file gives them
addresses, neighbours and kernel settings, and does not return before packets can pass.

It runs inside a sandbox (lab/emulated/sandbox.py): pids are those of the sandbox, and nothing
here is taken apart at the end, the kernel does that when the namespaces go.
"""

from __future__ import annotations

import itertools
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from mininet.log import setLogLevel
from mininet.net import Mininet

from lab.backend import LabError
from lab.emulated.faults.reach import WHOLE
from lab.emulated.links import ControlSwitch, LabHost, LabLink, ip_batch
from lab.emulated.namespaces import network_of
from topologies.mininet_topos import CONTROL_SWITCH, LabTopo, control_interface, control_port
from topologies.model import Kind, Link, Node, Topology

FIRST_INDEX = 10
"""Interface indexes of the lab's veth ends; `lo` and bridges take the small ones."""

READY_BUDGET_S = 5.0

STOP_TIMEOUT_S = 2.0

SYSCTLS = {
    # Nothing but the lab's own packets: no IPv6 router solicitations, no redirects.
    "net/ipv6/conf/all/disable_ipv6": "1",
    "net/ipv6/conf/default/disable_ipv6": "1",
    "net/ipv4/conf/all/send_redirects": "0",
    "net/ipv4/conf/default/send_redirects": "0",
    "net/ipv4/conf/all/accept_redirects": "0",
    "net/ipv4/conf/default/accept_redirects": "0",
    # The two directions of a flow may take different paths; a new namespace inherits the
    # machine's setting, which Debian and Ubuntu do not agree on.
    "net/ipv4/conf/all/rp_filter": "0",
    "net/ipv4/conf/default/rp_filter": "0",
    # Errors to a dead CE's port are how a transport learns of the death: none may be left out.
    "net/ipv4/icmp_ratelimit": "0",
    "net/ipv4/icmp_msgs_per_sec": "1000000",
    "net/ipv4/icmp_msgs_burst": "1000000",
    # Should a neighbour ever have to be resolved, not with a second between attempts.
    "net/ipv4/neigh/default/retrans_time_ms": "50",
    # An FE forwards when it says so (FEState), not before.
    "net/ipv4/ip_forward": "0",
}


@dataclass(frozen=True, slots=True)
class NetNode:
    """A node's namespaces."""

    name: str
    kind: Kind | None
    """None for the control network's switch."""
    pid: int
    """Of the Mininet host's shell, which lives as long as the network does."""
    interfaces: tuple[str, ...]
    """Without `lo`; the control interface first."""

    def run(
        self, *argv: str, timeout: float = 10, text_input: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """A command in the node's network and mount namespace; its exit code is the caller's to
        judge. subprocess.TimeoutExpired after `timeout` seconds."""
        return subprocess.run(
            [*self.prefix(), *argv],
            input=text_input,
            stdin=subprocess.DEVNULL if text_input is None else None,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def prefix(self) -> list[str]:
        """argv that leads into the node; it execs, so the process keeps its pid."""
        return ["nsenter", "--target", str(self.pid), "--net", "--mount", "--"]

    def mac_of(self, interface: str) -> str:
        """Of one of the node's interfaces."""
        # The node's shell sees its own /sys; its root directory leads there from outside.
        path = Path(f"/proc/{self.pid}/root/sys/class/net/{interface}/address")
        return path.read_text().strip()

    @contextmanager
    def network(self) -> Iterator[None]:
        """The calling thread in the node's network namespace."""
        with network_of(self.pid):
            yield

    def ip(self, *lines: str) -> None:
        """`ip` commands in one batch; LabError where one fails."""
        ip_batch(list(lines), self.pid)

    def write_sysctls(self, values: dict[str, str]) -> None:
        """Those that this kernel has in a network namespace; the others are the machine's."""
        with self.network():
            for name, value in values.items():
                try:
                    Path("/proc/sys", name).write_text(value)
                except (FileNotFoundError, PermissionError):
                    continue


@dataclass(frozen=True, slots=True)
class _Neighbour:
    """Who is at the other end of an interface."""

    address: str
    mac: str


class Network:
    """`start()`, then ask for nodes."""

    def __init__(self, topology: Topology) -> None:
        self.topology = topology
        self._links = {link.name: link for link in topology.links}
        self._nodes: dict[str, NetNode] = {}
        self._addresses: dict[tuple[str, str], tuple[str, ...]] = {}
        self._neighbours: dict[tuple[str, str], list[_Neighbour]] = {}
        self._routes: dict[tuple[str, str], list[str]] = {}
        self._mininet: Any = None
        self.allowance = WHOLE
        """What witnesses have to grant its links, as they are impaired now."""

    def start(self) -> None:
        """LabError where the kernel refuses a part, or packets do not pass within a budget."""
        assert self._mininet is None, "a network starts once"
        # Raises the machine's limits otherwise (fs.file-max and more), sandbox or not.
        Mininet.inited = True
        setLogLevel("critical")
        batch: list[str] = []
        indexes = itertools.count(FIRST_INDEX)
        topo = LabTopo(topology=self.topology)
        self._mininet = Mininet(
            topo=topo,
            host=LabHost,
            switch=ControlSwitch,
            controller=None,
            link=partial(LabLink, batch=batch, indexes=indexes),
            build=False,
        )
        self._mininet.build()
        self._learn(topo)
        for node in self._nodes.values():
            # Before the links: an interface takes the `default` settings when it is made.
            node.write_sysctls(SYSCTLS)
        ip_batch(batch)
        for node in self._nodes.values():
            if node.kind is not None:
                node.ip("link set lo up", *self._configuration(node))
        for switch in self._mininet.switches:
            switch.start([])
        self._await_ready()

    def stop(self) -> None:
        """Ends the nodes' shells. Their namespaces, and with them the links, go when the last
        process in them has ended (28 ms per link less than taking each link apart)."""
        if self._mininet is None:
            return
        nodes = [*self._mininet.hosts, *self._mininet.switches]
        self._mininet = None
        for node in nodes:
            node.shell.kill()
        for node in nodes:
            node.shell.wait(STOP_TIMEOUT_S)
            node.cleanup()

    def node(self, name: str) -> NetNode:
        """LabError for an unknown name."""
        if name == CONTROL_SWITCH or name not in self._nodes:
            known = ", ".join(node.name for node in self.topology.nodes)
            raise LabError(f"no node {name!r} in {self.topology.name} (nodes: {known})")
        return self._nodes[name]

    @property
    def nodes(self) -> tuple[NetNode, ...]:
        """CEs, FEs and hosts in the topology's order."""
        return tuple(self._nodes[node.name] for node in self.topology.nodes)

    @property
    def control_switch_node(self) -> NetNode:
        """The namespace of the control network's bridge."""
        return self._nodes[CONTROL_SWITCH]

    def control_port(self, name: str) -> str:
        """The bridge's end of a CE's or FE's control link."""
        if self._node_of_topology(name).control_address is None:
            raise LabError(f"{name} is a host and has no control link")
        return control_port(name)

    def link(self, name: str) -> Link:
        """LabError for an unknown name; either order of the ends is known."""
        link = self._links.get(name) or self._links.get("-".join(reversed(name.split("-"))))
        if link is None:
            raise LabError(
                f"no link {name!r} in {self.topology.name} (links: {', '.join(self._links)})"
            )
        return link

    def configure(self, node: str, interface: str) -> None:
        """Bring an interface up again with its addresses, neighbours and routes: what the kernel
        forgot when the interface was down."""
        self.node(node).ip(*self._interface_lines(node, interface))

    def _node_of_topology(self, name: str) -> Node:
        self.node(name)
        return self.topology.node(name)

    def _learn(self, topo: LabTopo) -> None:
        """Names, pids, addresses and who sees whom, from the topology and Mininet's nodes."""
        nodes = self.topology.nodes
        control = {
            node.name: topo.linkInfo(node.name, CONTROL_SWITCH)
            for node in nodes
            if node.control_address
        }
        for node in nodes:
            if node.control_address is None:
                continue
            key = (node.name, control_interface(node.name))
            self._addresses[key] = (node.control_address,)
            self._neighbours[key] = [
                _Neighbour(_bare(other.control_address), control[other.name]["addr1"])
                for other in nodes
                if other.control_address is not None and other is not node
            ]
        for link in self.topology.links:
            info = topo.linkInfo(link.a.node, link.b.node)
            macs = {info["intfName1"]: info["addr1"], info["intfName2"]: info["addr2"]}
            for end, other in ((link.a, link.b), (link.b, link.a)):
                key = (end.node, end.interface)
                self._addresses[key] = end.addresses
                mac = macs[other.interface]
                self._neighbours[key] = [_Neighbour(_bare(a), mac) for a in other.addresses]
                if self.topology.node(end.node).kind == "host":
                    self._routes[key] = [f"default via {_bare(other.addresses[0])}"]
        for host in (*self._mininet.hosts, *self._mininet.switches):
            kind = None if host.name == CONTROL_SWITCH else self.topology.node(host.name).kind
            ports = sorted(
                (port, str(interface))
                for port, interface in host.intfs.items()
                if str(interface) != "lo"
            )
            names = tuple(interface for _port, interface in ports)
            self._nodes[host.name] = NetNode(host.name, kind, host.pid, names)

    def _configuration(self, node: NetNode) -> Iterator[str]:
        for interface in node.interfaces:
            yield from self._interface_lines(node.name, interface)

    def _interface_lines(self, node: str, interface: str) -> Iterator[str]:
        key = (node, interface)
        for address in self._addresses[key]:
            yield f"address replace {address} brd + dev {interface}"
        yield f"link set {interface} up"
        for other in self._neighbours[key]:
            # ARP would add up to a second to every repair, and noise to every measurement.
            yield f"neigh replace {other.address} lladdr {other.mac} nud permanent dev {interface}"
        for route in self._routes.get(key, ()):
            yield f"route replace {route} dev {interface}"

    def _await_ready(self) -> None:
        deadline = time.monotonic() + READY_BUDGET_S
        waiting = {node.name: list(node.interfaces) for node in self._nodes.values()}
        while True:
            for name, interfaces in waiting.items():
                waiting[name] = [each for each in interfaces if not self._is_ready(name, each)]
            left = [each for interfaces in waiting.values() for each in interfaces]
            if not left:
                return
            if time.monotonic() > deadline:
                raise LabError(f"links not up after {READY_BUDGET_S:g} s: {', '.join(left)}")
            time.sleep(0.005)

    def _is_ready(self, node: str, interface: str) -> bool:
        # The node's shell sees its own /sys; its root directory leads there from outside.
        device = Path(f"/proc/{self._nodes[node].pid}/root/sys/class/net/{interface}")
        own, peer = (int((device / name).read_text()) for name in ("ifindex", "iflink"))
        assert own != peer, f"{interface}: both ends have index {own}, carrier loss comes late"
        if (device / "operstate").read_text().strip() != "up":
            return False
        forwarding = device / "brport" / "state"
        return node != CONTROL_SWITCH or forwarding.read_text().strip() == "3"


def _bare(address: str | None) -> str:
    assert address is not None
    return address.split("/")[0]
