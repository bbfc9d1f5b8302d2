"""The seam between an FE's core and what forwards its packets.

A `Change` says what shall be true afterwards; applying one that is already true is no error.
`fe_datapath.linux` carries changes out in a kernel, `fe_datapath.fake` in memory; both pass the
same suite (tests/datapath/). Ports are PHYPortIDs, never kernel interface indexes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from forces.errors import ResultCode
from forces.values import value

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Octets = NDArray[np.uint8]
    Identifiers = NDArray[np.uint32]


@value
class Media:
    """Speed and duplex mode that a port shall have; None: what the two ends negotiate."""

    speed_mbit: int | None = None
    full_duplex: bool | None = None


@value
class SetPort:
    """What a port shall be; None leaves it as it is."""

    port: int
    admin_up: bool | None = None
    mtu: int | None = None
    promiscuous: bool | None = None
    mac: bytes | None = None
    """A station's: not a group's, not 0."""
    media: Media | None = None


@value
class SetNeighbor:
    """A neighbour's MAC address, which the kernel does not resolve then. It goes when the port is
    set down, and stays when the carrier goes."""

    port: int
    address: str
    """IPv4 or IPv6 in text form."""
    mac: bytes


@value
class DelNeighbor:
    port: int
    address: str


@value
class SetNextHop:
    """A next hop under an identifier that routes point to (a kernel nexthop object)."""

    id: int
    """1 and up; the IPv4NextHopTable row's index (RFC 6956 HopSelector)."""
    port: int
    gateway: str
    """Address in text form; "0.0.0.0" or "::": destinations are on the port's own link."""


@value
class SetNextHopGroup:
    """Several next hops under one identifier (a kernel nexthop group). One that takes the place
    of another moves every route over it at once. A member that goes with its port leaves the
    group; the group, and the routes over it, go with the last."""

    id: int
    """From the number space of next hops."""
    members: tuple[tuple[int, int], ...]
    """(next hop, weight 1..256): at least one, each once."""
    standby: int = 0
    """A next hop that gets no packet until all members are gone, and then gets all; 0: none."""


@value
class DelNextHop:
    """Of a next hop or a group. Routes over it must be gone or re-pointed before, and no group
    have it: refused with BUSY otherwise."""

    id: int


@value
class SetRoute:
    prefix: bytes
    """Network address, 4 or 16 octets, host bits zero."""
    length: int
    nexthop: int


@value
class DelRoute:
    prefix: bytes
    length: int


@dataclass(frozen=True, slots=True, eq=False)
class SetRoutes:
    """Many `SetRoute`s of one address family, in order, without an object for each."""

    prefixes: Octets
    """One row of 4 or 16 octets a route."""
    lengths: Octets
    nexthops: Identifiers

    def __len__(self) -> int:
        return len(self.lengths)

    def part(self, start: int, stop: int) -> SetRoutes:
        return SetRoutes(
            self.prefixes[start:stop], self.lengths[start:stop], self.nexthops[start:stop]
        )

    def singles(self) -> Iterator[SetRoute]:
        columns = self.prefixes, self.lengths.tolist(), self.nexthops.tolist()
        for prefix, length, nexthop in zip(*columns, strict=True):
            yield SetRoute(prefix.tobytes(), length, nexthop)


def columns(routes: Sequence[SetRoute], octets: int) -> SetRoutes:
    """Those of them that are of one address family, of 4 or 16 octets."""
    import numpy as np

    routes = [route for route in routes if len(route.prefix) == octets]
    prefixes = np.frombuffer(b"".join([route.prefix for route in routes]), np.uint8)
    return SetRoutes(
        prefixes.reshape(-1, octets),
        np.array([route.length for route in routes], np.uint8),
        np.array([route.nexthop for route in routes], np.uint32),
    )


@dataclass(frozen=True, slots=True, eq=False)
class DelRoutes:
    """Many `DelRoute`s, likewise."""

    prefixes: Octets
    lengths: Octets

    def __len__(self) -> int:
        return len(self.lengths)

    def part(self, start: int, stop: int) -> DelRoutes:
        return DelRoutes(self.prefixes[start:stop], self.lengths[start:stop])

    def singles(self) -> Iterator[DelRoute]:
        for prefix, length in zip(self.prefixes, self.lengths.tolist(), strict=True):
            yield DelRoute(prefix.tobytes(), length)


@value
class SetForwarding:
    """Forwarding of the whole FE on or off, atomically."""

    on: bool


Change = (
    SetPort
    | SetNeighbor
    | DelNeighbor
    | SetNextHop
    | SetNextHopGroup
    | DelNextHop
    | SetRoute
    | DelRoute
    | SetRoutes
    | DelRoutes
    | SetForwarding
)


def count(changes: Iterable[Change]) -> int:
    """Single changes that these stand for."""
    return sum(len(c) if isinstance(c, SetRoutes | DelRoutes) else 1 for c in changes)


def singles(changes: Iterable[Change]) -> Iterator[Change]:
    """The changes one by one: `Failure.index` counts these."""
    for change in changes:
        if isinstance(change, SetRoutes | DelRoutes):
            yield from change.singles()
        else:
            yield change


@dataclass(frozen=True, slots=True)
class PortState:
    """What the datapath knows of a port."""

    port: int
    name: str
    admin_up: bool
    carrier: bool
    mtu: int
    mac: bytes
    speed_mbit: int | None
    full_duplex: bool | None
    promiscuous: bool
    counters: Mapping[str, int] = field(default_factory=dict)
    """rx_packets, rx_dropped, tx_packets, tx_dropped."""
    media: tuple[Media, ...] = ()
    """What the port can be set to."""


@value
class Failure:
    """One change that was not carried out.

    BUSY: not now (the port has no carrier, or took the next hop with it; the next hop is in use).
    INVALID_PARAMETERS: it refers to what there is not, or to what cannot be (a gateway that is
    not on the link, host bits in a prefix, a neighbour that is no station). VALUE_OUT_OF_RANGE: a
    prefix length, MTU, MAC address or identifier. NOT_SUPPORTED: media that the port cannot be
    set to. NOT_FOUND: the port of a `SetPort`. Deleting what is not there is no failure."""

    index: int
    """Into `singles` of the changes given to `apply`: each row of a bulk change counts."""
    code: ResultCode
    reason: str


RouteKey = tuple[bytes, int]
"""Prefix and its length."""
NeighborKey = tuple[int, str]
"""Port and address."""


@dataclass(frozen=True, slots=True)
class Found:
    """What an earlier process of this FE left in force."""

    forwarding: bool = False
    routes: frozenset[RouteKey] = frozenset()
    nexthops: frozenset[int] = frozenset()
    groups: frozenset[int] = frozenset()
    """From the number space of next hops."""
    neighbors: frozenset[NeighborKey] = frozenset()


@dataclass(frozen=True, slots=True)
class Queue:
    """Of a port, on its way out."""

    packets: int
    """That wait."""
    octets: int
    limit: int
    """Octets that it takes at most."""


class Readings(Protocol):
    """What the LFBs show that comes from the datapath itself, as fresh as it can be had."""

    def ports(self) -> Mapping[int, PortState]: ...

    def neighbors(self) -> Mapping[NeighborKey, bytes]:
        """MAC addresses that are known, set or resolved by the kernel."""

    def counters(self) -> Mapping[int, Mapping[str, int]]:
        """4 and 6 -> of the whole FE since it has been there, by the names of RFC 4293: InReceives,
        InHdrErrors (a TTL that ran out among them), InTruncatedPkts, InNoRoutes, OutForwDatagrams;
        and InCsumErrors (counted in InHdrErrors too), OutTimeExcds."""

    def queues(self, port: int) -> Sequence[Queue]:
        """None where packets do not wait."""


LinkListener = Callable[[PortState, int], None]
"""Called with the new state and the monotonic ns at which the notification was read."""

PacketListener = Callable[[int, bytes, int | None], None]
"""Called with a port, the frame that came in by it and may be for the CE, and why: an ExceptionID,
or None where the frame itself says it (`punting`)."""


class Datapath(Readings, Protocol):
    """What an FE's driver needs of a forwarding plane."""

    async def start(self, on_link: LinkListener, on_packet: PacketListener | None = None) -> None:
        """Take the ports over, find what an earlier FE process left (our protocol number only),
        start watching links. OSError if such a process still lives. `on_packet` is used where the
        datapath was made with a `RedirectConfig`."""

    def found(self) -> Found:
        """What `start` found; it is in force until changes say otherwise."""

    def inject(self, port: int, frame: bytes) -> None:
        """Send a frame out of a port, never waiting: what cannot go now is lost."""

    async def apply(self, changes: Sequence[Change], stop_on_failure: bool) -> Sequence[Failure]:
        """Carry out in order, without blocking the event loop. With `stop_on_failure` the changes
        after the first failed one are not tried (and not reported); those before stay."""

    def routes(self) -> Mapping[tuple[bytes, int], int]:
        """(prefix, length) -> next hop, as the kernel has them, of our protocol number only."""

    def route_columns(self, octets: int) -> SetRoutes:
        """The same of one address family (4 or 16 octets), without an object for each."""

    def nexthops(self) -> Mapping[int, tuple[int, str]]:
        """id -> (port, gateway), as the kernel has them, of our protocol number only."""

    def groups(self) -> Mapping[int, frozenset[int]]:
        """Group -> its next hops, the standby among them; likewise."""

    async def close(self) -> None:
        """Stop watching. What is programmed stays (an FE that ends keeps forwarding)."""
