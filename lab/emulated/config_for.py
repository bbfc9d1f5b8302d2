"""What each FE and CE process is told: a topology and a cell's settings, as the FE manager and the
CE manager of RFC 3746 see them.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from ce.config import CeConfig, Destination, FeView, Peer, PortView
from fe_datapath.config import CePeer, FeConfig, PortConfig
from lab.backend import CellSettings, LabError, Mode
from topologies.model import Endpoint, Link, Node, Topology

HA_MODE: Mapping[Mode, Literal[0, 1, 2]] = {"none": 0, "cold": 1, "hot": 2, "hot+sync": 2}
"""FEPO.HAMode (RFC 7121 section 4). An FE does not know whether its CEs synchronise."""


FR_DEAD_HEARTBEATS = 8
"""The dead interval of Fr is FEPO.CEHDI, but no less than so many heartbeat intervals of Fr."""


def ces_in_use(topology: Topology, settings: CellSettings) -> tuple[Node, ...]:
    """In mode none an FE knows one CE, and no other is started."""
    ces = topology.of_kind("ce")
    if settings.ces is not None:
        if settings.ces > len(ces):
            raise LabError(f"{settings.ces} CEs are asked for, {topology.name} has {len(ces)}")
        ces = ces[: settings.ces]
    if settings.mode == "none":
        return ces[:1]
    if len(ces) < 2:
        raise LabError(f"mode {settings.mode} needs a second CE, and there is one")
    return ces


def taking_part(topology: Topology, settings: CellSettings) -> Topology:
    """What of a topology a cell uses. (Its CEs are all in it: see `ces_in_use`.)"""
    if settings.fes is None:
        return topology
    there = len(topology.of_kind("fe"))
    if settings.fes > there:
        raise LabError(f"{settings.fes} FEs are asked for, {topology.name} has {there}")
    part = topology.of_first_fes(settings.fes)
    if not part.flows:
        raise LabError(f"no flow is left with the first {settings.fes} FEs of {topology.name}")
    return part


def journal_path(folder: Path, node: str) -> Path:
    return folder / f"{node}.journal.jsonl"


def config_for(
    topology: Topology, settings: CellSettings, node: Node, folder: Path, api_socket: Path
) -> dict[str, Any]:
    """JSON values of an FeConfig or CeConfig; the journal is written into `folder`."""
    return dataclasses.asdict(configuration(topology, settings, node, folder, api_socket))


def configuration(
    topology: Topology, settings: CellSettings, node: Node, folder: Path, api_socket: Path
) -> FeConfig | CeConfig:
    if node.kind == "fe":
        return _fe_config(topology, settings, node, folder, api_socket)
    if node.kind == "ce":
        return _ce_config(topology, settings, node, folder, api_socket)
    raise LabError(f"{node.name} is a host: it runs neither an FE nor a CE")


def _fe_config(
    topology: Topology, settings: CellSettings, node: Node, folder: Path, api_socket: Path
) -> FeConfig:
    return FeConfig(
        id=node.id,
        name=node.name,
        control_address=_control(node),
        ces=tuple(CePeer(ce.id, ce.name, _control(ce)) for ce in ces_in_use(topology, settings)),
        ports=tuple(
            PortConfig(
                id=port.port,
                interface=port.interface,
                address=port.addresses[0],
                neighbor_fe=_node(topology, other.node).id or None,
            )
            for port, other, _link in _ports(topology, node.name)
        ),
        ha_mode=HA_MODE[settings.mode],
        failover_policy=settings.policy,
        profile=settings.profile,
        detect=settings.detect,
        cehdi_ms=settings.cehdi_ms,
        fe_heartbeat_ms=settings.fe_heartbeat_ms,
        cefti_ms=settings.cefti_ms,
        tml=settings.tml,  # type: ignore[arg-type]
        journal=str(journal_path(folder, node.name)),
        api_socket=str(api_socket),
    )


def _ce_config(
    topology: Topology, settings: CellSettings, node: Node, folder: Path, api_socket: Path
) -> CeConfig:
    fes = topology.of_kind("fe")
    return CeConfig(
        id=node.id,
        name=node.name,
        control_address=_control(node),
        fes=tuple(Peer(fe.id, fe.name, _control(fe)) for fe in fes),
        ces=tuple(Peer(ce.id, ce.name, _control(ce)) for ce in ces_in_use(topology, settings)),
        network=tuple(
            FeView(
                id=fe.id,
                name=fe.name,
                ports=tuple(
                    _port_view(topology, port, other, link)
                    for port, other, link in _ports(topology, fe.name)
                ),
            )
            for fe in fes
        ),
        destinations=tuple(_destinations(topology)),
        extra_routes=settings.routes,
        alternates=settings.alternates,
        ha_mode=HA_MODE[settings.mode],
        heartbeat_ms=settings.ce_heartbeat_ms,
        # The same patience in both directions.
        fe_dead_ms=settings.cehdi_ms,
        beacon_ms=settings.beacon_ms,
        guard=settings.guard,
        sync=settings.replication if settings.mode == "hot+sync" else "off",
        fr_heartbeat_ms=settings.fr_heartbeat_ms,
        fr_dead_ms=max(FR_DEAD_HEARTBEATS * settings.fr_heartbeat_ms, settings.cehdi_ms),
        tml=settings.tml,  # type: ignore[arg-type]
        journal=str(journal_path(folder, node.name)),
        api_socket=str(api_socket),
    )


def _port_view(topology: Topology, port: Endpoint, other: Endpoint, link: Link) -> PortView:
    neighbor = _node(topology, other.node)
    return PortView(
        id=port.port,
        address=port.addresses[0],
        neighbor_fe=neighbor.id or None,
        neighbor_port=other.port if neighbor.kind == "fe" else None,
        neighbor_address=other.addresses[0].split("/")[0],
        cost=link.cost,
    )


def _destinations(topology: Topology) -> list[Destination]:
    """Each host's subnets, in the order of the file: synthetic prefixes follow the last one."""
    destinations = []
    hosts = [node.name for node in topology.of_kind("host")]
    for host in hosts:
        for port, other, _link in _ports(topology, host):
            fe = _node(topology, other.node)
            for address in port.addresses:
                subnet = address.rpartition(".")[0] + ".0/24"
                destinations.append(Destination(subnet, fe.id, other.port))
    return destinations


class _Same:
    """A topology as a key, by identity: comparing thousands of nodes would cost more than what is
    remembered of them."""

    def __init__(self, topology: Topology) -> None:
        self.topology = topology

    def __hash__(self) -> int:
        return id(self.topology)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.topology is self.topology


@functools.lru_cache(maxsize=8)
def _wiring(
    key: _Same,
) -> tuple[Mapping[str, Node], Mapping[str, list[tuple[Endpoint, Endpoint, Link]]]]:
    ports: dict[str, list[tuple[Endpoint, Endpoint, Link]]] = {}
    for link in key.topology.links:
        for end, other in ((link.a, link.b), (link.b, link.a)):
            ports.setdefault(end.node, []).append((end, other, link))
    return {node.name: node for node in key.topology.nodes}, ports


def _node(topology: Topology, name: str) -> Node:
    return _wiring(_Same(topology))[0][name]


def _ports(topology: Topology, node: str) -> list[tuple[Endpoint, Endpoint, Link]]:
    """A node's data ports, with who is at the other end."""
    return _wiring(_Same(topology))[1].get(node, [])


def _control(node: Node) -> str:
    assert node.control_address is not None, f"{node.name} is on the control network"
    return node.control_address.split("/")[0]
