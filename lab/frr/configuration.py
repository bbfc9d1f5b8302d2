"""What zebra, ospfd and bfdd of a router are told: text, from a topology and a cell's settings.

Tuned as somebody would who cares for convergence: BFD on every link between routers with the
intervals that ForCES has for its heartbeats, hellos ten times a second, no pause before an LSA is
made or taken or before the first SPF, no pause in zebra's queue.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fe_datapath.config import ROUTE_PROTOCOL
from lab.backend import CellSettings, LabError
from topologies.model import Endpoint, Node, Topology

RUN = Path("/run/frr")
"""Sockets and files of the daemons; in each router's mount namespace a file system of its own."""
LIBRARY = Path("/usr/lib/frr")
CRASH_LOGS = Path("/var/tmp/frr")
"""Where a daemon makes a folder at its start; kept from the machine in the same way."""
DAEMONS = ("zebra", "bfdd", "ospfd")
"""In the order of their start."""
OSPF_PROTOCOL = 188
"""Of the routes that zebra puts into the kernel for ospfd (RTPROT_OSPF)."""

GRACE_PERIOD_S = 60
MIN_BFD_MS = 10
HELLOS_PER_S = 10
"""Fast hellos: the dead interval is 1 s, the shortest that OSPF has."""
RETRANSMIT_S = 1
"""The shortest; with the usual 5 s, one lost packet of a database exchange costs 5 s."""
MAXAGE_DELAY_S = 1
"""How long a withdrawn LSA stays in the database: the beacon withdraws one with each beat."""


@dataclass(frozen=True, slots=True)
class Port:
    """A router's data port and what is at its other end."""

    interface: str
    address: str
    """With prefix length."""
    cost: int
    neighbor: str
    neighbor_address: str
    is_router: bool


def ports_of(topology: Topology, name: str) -> list[Port]:
    return [
        Port(
            end.interface,
            end.addresses[0],
            link.cost,
            other.node,
            _bare(other),
            topology.node(other.node).kind == "fe",
        )
        for link in topology.links
        for end, other in ((link.a, link.b), (link.b, link.a))
        if end.node == name
    ]


def _bare(end: Endpoint) -> str:
    return end.addresses[0].split("/")[0]


def subnets(topology: Topology) -> dict[str, list[str]]:
    """Router -> the hosts' subnets that are attached to it."""
    found: dict[str, list[str]] = {fe.name: [] for fe in topology.of_kind("fe")}
    for host in topology.of_kind("host"):
        for link in topology.links:
            for end, other in ((link.a, link.b), (link.b, link.a)):
                if end.node == host.name and other.node in found:
                    nets = (ipaddress.ip_interface(address).network for address in end.addresses)
                    found[other.node] += [str(net) for net in nets]
    return found


def synthetic(topology: Topology, routes: int) -> tuple[str, str, list[str]]:
    """(router, gateway, prefixes): the same prefixes behind the same host as a CE has them
    (ce/routing.py)."""
    host = topology.of_kind("host")[-1].name
    fe, port = next(
        (fe.name, port)
        for fe in topology.of_kind("fe")
        for port in ports_of(topology, fe.name)
        if port.neighbor == host
    )
    first = int(ipaddress.IPv4Address("20.0.0.0"))
    prefixes = [f"{ipaddress.IPv4Address(first + (n << 8))}/24" for n in range(routes)]
    return fe, port.neighbor_address, prefixes


def own_routes(topology: Topology, name: str, routes: int) -> list[str]:
    """`ip route` lines of what this router has to offer beside its links."""
    fe, gateway, prefixes = synthetic(topology, routes)
    if fe != name:
        return []
    return [f"route replace {p} via {gateway} proto {ROUTE_PROTOCOL}" for p in prefixes]


def expected_prefixes(topology: Topology, name: str, routes: int) -> list[str]:
    """What OSPF has to bring to this router's kernel before a trial can begin."""
    fe, _gateway, prefixes = synthetic(topology, routes)
    attached = subnets(topology)
    remote = [net for router, nets in attached.items() if router != name for net in nets]
    return remote + (prefixes if fe != name else [])


def daemon_configuration(topology: Topology, settings: CellSettings, node: Node) -> dict[str, str]:
    """Daemon -> its configuration file."""
    ports = ports_of(topology, node.name)
    head = f"hostname {node.name}\nlog stdout warnings\nlog timestamp precision 6\n"
    return {
        "zebra": head + "ip forwarding\nzebra work-queue 0\nno zebra nexthop kernel enable\n",
        "bfdd": head + _bfd(settings),
        "ospfd": head + "".join(map(_interface, ports)) + _ospf(settings, node),
    }


def _bfd(settings: CellSettings) -> str:
    interval = max(MIN_BFD_MS, settings.ce_heartbeat_ms)
    multiplier = min(255, max(2, round(settings.cehdi_ms / interval)))
    return (
        "bfd\n profile lab\n"
        f"  detect-multiplier {multiplier}\n"
        f"  receive-interval {interval}\n  transmit-interval {interval}\n exit\nexit\n"
    )


def _interface(port: Port) -> str:
    lines = [f"interface {port.interface}", " ip ospf area 0", f" ip ospf cost {port.cost}"]
    if port.is_router:
        lines += [
            " ip ospf network point-to-point",
            f" ip ospf dead-interval minimal hello-multiplier {HELLOS_PER_S}",
            f" ip ospf retransmit-interval {RETRANSMIT_S}",
            " ip ospf bfd",
            " ip ospf bfd profile lab",
        ]
    else:
        lines.append(" ip ospf passive")
    return "\n".join([*lines, "exit", ""])


def _ospf(settings: CellSettings, node: Node) -> str:
    lines = [
        "router ospf",
        f" ospf router-id {ipaddress.IPv4Address(node.id)}",
        " timers throttle lsa all 0",
        " timers lsa min-arrival 0",
        " timers throttle spf 0 20 1000",
        f" ospf maxage-delay {MAXAGE_DELAY_S}",
        " redistribute kernel",
    ]
    if settings.policy == 1:
        lines += [
            f" graceful-restart grace-period {GRACE_PERIOD_S}",
            " graceful-restart helper enable",
        ]
    return "\n".join([*lines, "exit", ""])


def command(daemon: str, settings: CellSettings) -> list[str]:
    """argv; in the foreground, so that the pid is the daemon's own."""
    words = [str(LIBRARY / daemon), "-f", str(RUN / f"{daemon}.conf"), "-P", "0"]
    if daemon == "zebra" and settings.policy == 1:
        words += ["-K", str(GRACE_PERIOD_S)]
    return words


def check_possible(settings: CellSettings) -> None:
    """LabError unless FRR is installed, and the cell has a counterpart in it."""
    missing = [daemon for daemon in DAEMONS if not (LIBRARY / daemon).exists()]
    if missing:
        raise LabError(
            f"system frr needs FRR ({', '.join(missing)} is missing):"
            " apt-get install --no-install-recommends frr"
        )
    if settings.mode != "none":
        raise LabError(
            f"system frr has mode none only, not {settings.mode}: a router's control plane runs on"
            " the router"
        )
    if not settings.beacon_ms:
        raise LabError("system frr needs beacon_ms: nothing else tells when routes change again")


def beacon_sources(topology: Topology) -> tuple[str, ...]:
    """The routers that give the numbered routes to OSPF: two, for one does not learn its own."""
    fes = [fe.name for fe in topology.of_kind("fe")]
    if len(fes) < 3:
        raise LabError(f"system frr needs three routers at least, {topology.name} has {len(fes)}")
    return tuple(fes[-2:])


def describe(settings: CellSettings) -> Mapping[str, object]:
    """For the journal."""
    return {"tml": "ospf", "graceful_restart": settings.policy == 1}
