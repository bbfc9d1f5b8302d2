"""Where packets go: hop by hop through the datapaths, over the data links, as they are now.

A link may be cut (both ends lose their carrier), deaf in one direction or both (nobody is told),
or lossy. What a packet takes to cross the network is below anything that is measured here, so a
packet's fate is decided by the moment at which it is sent.
"""

from __future__ import annotations

import functools
import ipaddress
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from fe_datapath.fake import FakeDatapath
from topologies.model import Link, Topology

MAX_HOPS = 64
"""IP's default TTL: a loop ends here."""
_BEACON_PREFIXES = (b"\xc6\x12", b"\xc6\x13")
"""198.18.0.0/15."""


def is_beacon(prefix: bytes) -> bool:
    """The control beacon's range: no packet goes there."""
    return prefix[:2] in _BEACON_PREFIXES


@dataclass(frozen=True, slots=True)
class Way:
    """One direction of a flow."""

    flow: str
    direction: str
    """`fwd` or `rev`."""
    source: str
    destination: str
    address: str

    @property
    def name(self) -> str:
        return f"{self.flow} {self.direction}"


def ways_of(topology: Topology) -> Iterator[Way]:
    """Every probe's."""
    for flow in topology.flows:
        yield Way(flow.name, "fwd", flow.source, flow.destination, flow.destination_address)
        yield Way(flow.name, "rev", flow.destination, flow.source, flow.source_address)


@functools.lru_cache(maxsize=4096)
def _networks(text: str) -> tuple[tuple[bytes, int], ...]:
    """What an address may be a part of, the longest prefix first."""
    address = int(ipaddress.IPv4Address(text))
    return tuple(
        ((address >> (32 - length) << (32 - length)).to_bytes(4), length)
        for length in range(32, -1, -1)
    )


@dataclass(frozen=True, slots=True)
class Fate:
    """What becomes of a packet that is sent now."""

    hops: int
    """Links crossed; 0: it does not arrive."""
    passed: float
    """Share of such packets that no lossy link takes."""

    delay_us: float = 0.0
    """Of impaired links, beside what every hop takes."""
    jitter_us: float = 0.0
    """The delay is up to this much more, or less."""


NOWHERE = Fate(0, 0.0)


class DataPlane:
    def __init__(
        self,
        topology: Topology,
        datapath_of: Callable[[str], FakeDatapath | None],
        delays: Mapping[tuple[str, str], tuple[float, float]] = {},
    ) -> None:
        """`datapath_of`: of an FE; None for a host. `delays`: of impaired links, (from, to) ->
        (delay, jitter) in us."""
        self.ways = tuple(ways_of(topology))
        self.down: Counter[str] = Counter()
        """Link -> how many faults hold it down."""
        self.deaf: Counter[tuple[str, str]] = Counter()
        """(link, node that nothing arrives at) -> by how many faults."""
        self.lossy: dict[str, float] = {}
        """Link -> share of packets lost."""
        self._datapath_of = datapath_of
        self._delays = delays
        self._links = {link.name: link for link in topology.links}
        self._port_at = {
            (end.node, end.port): (link.name, other.node)
            for link in topology.links
            for end, other in ((link.a, link.b), (link.b, link.a))
        }
        self._connected: dict[str, dict[tuple[bytes, int], int]] = {}
        """Node -> (network, prefix length) -> port: the kernel's connected routes."""
        for link in topology.links:
            for end in (link.a, link.b):
                routes = self._connected.setdefault(end.node, {})
                for address in end.addresses:
                    network = ipaddress.IPv4Interface(address).network
                    routes[network.network_address.packed, network.prefixlen] = end.port

    def link(self, name: str) -> Link:
        """KeyError for an unknown name."""
        return self._links[name]

    def fate(self, way: Way) -> Fate:
        networks = _networks(way.address)
        here, out, passed = way.source, 1, 1.0
        delay = jitter = 0.0
        for hops in range(1, MAX_HOPS + 1):
            link, there = self._port_at[here, out]
            if self.down[link] or self.deaf[link, there]:
                return NOWHERE
            passed *= 1.0 - self.lossy.get(link, 0.0)
            if self._delays:
                more = self._delays.get((here, there), (0.0, 0.0))
                delay, jitter = delay + more[0], jitter + more[1]
            here = there
            if here == way.destination:
                return Fate(hops, passed, delay, jitter)
            datapath = self._datapath_of(here)
            if datapath is None or not datapath.forwarding:
                return NOWHERE
            port = self._out_port(here, datapath, networks)
            if port is None:
                return NOWHERE
            out = port
        return NOWHERE

    def broken(self) -> list[str]:
        """Ways on which no packet arrives."""
        return [way.name for way in self.ways if not self.fate(way).hops]

    def _out_port(
        self, fe: str, datapath: FakeDatapath, networks: tuple[tuple[bytes, int], ...]
    ) -> int | None:
        """Longest prefix first; the kernel's connected routes are among them."""
        connected, fib = self._connected[fe], datapath.fib
        for network in networks:
            if network in fib.routes:
                hop = fib.lookup(network)
                if hop is not None:
                    return hop
            if network in connected:
                return connected[network]
        return None
