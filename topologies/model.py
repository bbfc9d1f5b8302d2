"""A topology, after its file was checked and every address and number was assigned.

Independent of everything else: the lab turns it into Mininet hosts and into the configurations of
FE and CE processes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

Kind = Literal["ce", "fe", "host"]


@dataclass(frozen=True, slots=True)
class Node:
    name: str
    kind: Kind
    id: int
    """ForCES ID of a CE (0x40000001 and up) or FE (1 and up); 0 for a host."""
    control_address: str | None
    """With prefix length, on `<name>-ctl`; None for a host."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    node: str
    port: int
    """Number of the data port on its node, from 1; PHYPortID on an FE."""
    interface: str
    """`<node>-eth<port>`."""
    addresses: tuple[str, ...]
    """With prefix length. A host may have several (one subnet each); the FE opposite then has
    one in each subnet."""


@dataclass(frozen=True, slots=True)
class Link:
    """A data link."""

    name: str
    """`<a>-<b>`, e.g. fe1-fe2: how faults name it."""
    a: Endpoint
    b: Endpoint
    cost: int = 1


@dataclass(frozen=True, slots=True)
class Impairment:
    """What a link does to frames (topologies/impairments.py)."""

    link: str
    """A data link, a CE or FE (its control link), `ces`, or `fes`."""
    towards: str | None = None
    """Only frames to this end; None: both directions."""
    rate_mbit: float | None = None
    delay_ms: float = 0.0
    jitter_ms: float = 0.0
    """Each frame's delay is drawn evenly from delay_ms - jitter_ms to delay_ms + jitter_ms."""
    loss_percent: float = 0.0


@dataclass(frozen=True, slots=True)
class Flow:
    """A probe's way, both directions are measured."""

    name: str
    source: str
    """Host name."""
    destination: str
    source_address: str
    destination_address: str
    """Without length. Different addresses take different paths (see the topology's drawing)."""


@dataclass(frozen=True, slots=True)
class Topology:
    name: str
    description: str
    nodes: tuple[Node, ...]
    links: tuple[Link, ...]
    flows: tuple[Flow, ...]
    control_subnet: str
    source: str
    """Path of the file it came from."""
    impairments: tuple[Impairment, ...] = ()

    def of_kind(self, kind: Kind) -> tuple[Node, ...]:
        return tuple(node for node in self.nodes if node.kind == kind)

    def of_first_fes(self, count: int) -> Topology:
        """The first so many FEs, and what of links, hosts and flows lies between them."""
        hosts_at = {a: b for link in self.links for a, b in _ways(link)}
        fes = {fe.name for fe in self.of_kind("fe")[:count]}
        hosts = {host.name for host in self.of_kind("host") if hosts_at.get(host.name) in fes}
        left = fes | hosts
        nodes = tuple(node for node in self.nodes if node.kind == "ce" or node.name in left)
        links = tuple(link for link in self.links if {link.a.node, link.b.node} <= left)
        named = {"ces", "fes", *(node.name for node in nodes), *(link.name for link in links)}
        return replace(
            self,
            nodes=nodes,
            links=links,
            impairments=tuple(each for each in self.impairments if each.link in named),
            flows=tuple(flow for flow in self.flows if {flow.source, flow.destination} <= hosts),
        )

    def node(self, name: str) -> Node:
        """KeyError for an unknown name."""
        for node in self.nodes:
            if node.name == name:
                return node
        raise KeyError(name)


def _ways(link: Link) -> tuple[tuple[str, str], tuple[str, str]]:
    return (link.a.node, link.b.node), (link.b.node, link.a.node)
