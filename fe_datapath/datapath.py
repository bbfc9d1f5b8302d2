"""The seam between an FE's core and what forwards its packets.

A `Change` says what shall be true afterwards; applying one that is already true is no error.
`fe_datapath.linux` carries changes out in a kernel, `fe_datapath.fake` in memory; both pass the
same suite (tests/datapath/). Ports are PHYPortIDs, never kernel interface indexes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from forces.errors import ResultCode


@dataclass(frozen=True, slots=True)
class SetPort:
    """Administrative state, MTU and promiscuity of a port; None leaves it as it is."""

    port: int
    admin_up: bool | None = None
    mtu: int | None = None
    promiscuous: bool | None = None


@dataclass(frozen=True, slots=True)
class SetNextHop:
    """A next hop under an identifier that routes point to (a kernel nexthop object)."""

    id: int
    """1 and up; the IPv4NextHopTable row's index (RFC 6956 HopSelector)."""
    port: int
    gateway: str
    """Address in text form; "0.0.0.0" or "::": destinations are on the port's own link."""


@dataclass(frozen=True, slots=True)
class DelNextHop:
    """Routes over it must be gone or re-pointed before: refused with BUSY otherwise."""

    id: int


@dataclass(frozen=True, slots=True)
class SetRoute:
    prefix: bytes
    """Network address, 4 or 16 octets, host bits zero."""
    length: int
    nexthop: int


@dataclass(frozen=True, slots=True)
class DelRoute:
    prefix: bytes
    length: int


@dataclass(frozen=True, slots=True)
class SetForwarding:
    """Forwarding of the whole FE on or off, atomically."""

    on: bool


Change = SetPort | SetNextHop | DelNextHop | SetRoute | DelRoute | SetForwarding


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


@dataclass(frozen=True, slots=True)
class Failure:
    """One change that was not carried out.

    BUSY: not now (the port has no carrier, or took the next hop with it; the next hop is in use).
    INVALID_PARAMETERS: it refers to what there is not, or to what cannot be (a gateway that is
    not on the link, host bits in a prefix). VALUE_OUT_OF_RANGE: a prefix length, MTU or
    identifier. NOT_FOUND: the port of a `SetPort`. Deleting what is not there is no failure."""

    index: int
    """Into the changes given to `apply`."""
    code: ResultCode
    reason: str


LinkListener = Callable[[PortState, int], None]
"""Called with the new state and the monotonic ns at which the notification was read."""


class Datapath(Protocol):
    """What an FE's driver needs of a forwarding plane."""

    async def start(self, on_link: LinkListener) -> None:
        """Take the ports over, drop what an earlier FE process left (our protocol number only),
        start watching links."""

    def ports(self) -> Mapping[int, PortState]:
        """A fresh reading of every port."""

    async def apply(self, changes: Sequence[Change], stop_on_failure: bool) -> Sequence[Failure]:
        """Carry out in order, without blocking the event loop. With `stop_on_failure` the changes
        after the first failed one are not tried (and not reported); those before stay."""

    def routes(self) -> Mapping[tuple[bytes, int], int]:
        """(prefix, length) -> next hop, as the kernel has them, of our protocol number only."""

    def nexthops(self) -> Mapping[int, tuple[int, str]]:
        """id -> (port, gateway), as the kernel has them, of our protocol number only."""

    async def close(self) -> None:
        """Stop watching. What is programmed stays (an FE that ends keeps forwarding)."""
