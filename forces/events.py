"""What a driver tells a core: `core.handle(event, now)` (DESIGN section 5).

A peer is named by its ForCES ID: both sides know their peers, and the peers' addresses, by
configuration (the FE manager's and the CE manager's part of RFC 3746). `now` is CLOCK_MONOTONIC
in ns.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import field
from enum import StrEnum
from typing import Any

from forces.channels import Channel
from forces.errors import ProtocolError
from forces.messages import Message
from forces.values import value


class LossCause(StrEnum):
    """Why the transport to a peer is gone, as far as the transport can know."""

    ABORT = "abort"
    """The peer's stack aborted the association (also: a dead process's successor did)."""
    SHUTDOWN = "shutdown"
    """The peer closed in order."""
    GUARD = "guard"
    """The peer's guard aborted it: the peer's process has ended (forces/io/guard.py)."""
    ICMP = "icmp"
    """The peer's host answered for it: nobody listens there any more."""
    RETRANSMISSION = "retransmission"
    """The transport's own retransmission limit was reached."""
    PATH = "path"
    """It gave up, and there is no way to the peer's host: no route, or a router or the own host
    says that network or host cannot be reached."""
    REFUSED = "refused"
    """A connection attempt was turned down."""
    TIMEOUT = "timeout"
    """A connection attempt got no answer."""
    LOCAL = "local"
    """We closed it."""


@value
class PeerUp:
    """All three channels to this peer are up."""

    peer: int


@value
class PeerLost:
    """A channel of an established peer ended, hence all (RFC 5811 A.3). Never sent for a
    disconnect that the core itself asked for."""

    peer: int
    cause: LossCause
    detail: str = ""


@value
class ConnectFailed:
    """A `Connect` came to nothing."""

    peer: int
    cause: LossCause
    detail: str = ""


@value
class MessageReceived:
    """A well-formed message on the channel where it belongs."""

    peer: int
    channel: Channel
    message: Message
    size: int
    """Octets on the wire."""


@value
class BadMessage:
    """Octets that are no message, or came on a wrong channel, PPID or priority."""

    peer: int
    channel: Channel
    size: int
    error: ProtocolError


@value
class TimerFired:
    """The timer that `SetTimer` set under this key is due."""

    key: Hashable


@value
class LinkChanged:
    """The datapath saw a port change."""

    port: int
    """PHYPortID."""
    up: bool
    """Carrier and administrative state both up."""
    at_ns: int
    """When the kernel's notification was read."""
    attributes: Mapping[str, Any] = field(default_factory=dict)
    """What else is known: speed_mbit, duplex, mtu, mac, admin_up."""


@value
class ProgramDone:
    """The datapath has carried out a `Program`."""

    token: int
    failed: Mapping[int, str]
    """Index into the changes -> reason in words. Empty: all are in force."""
    codes: Mapping[int, int] = field(default_factory=dict)
    """Index into the changes -> `ResultCode`."""


@value
class Command:
    """Somebody asks through the local API; the answer is a `Deliver` with the same token."""

    name: str
    arguments: Mapping[str, Any]
    token: int


@value
class PacketPunted:
    """A packet that the port's kernel has for the core: on an FE one that came in by the port and
    is for the CE, on a CE one that was written to the port's image there (RFC 5810 section 7.9)."""

    port: int
    """PHYPortID."""
    packet: bytes
    """The whole Ethernet frame."""
    fe: int = 0
    """On a CE: whose port it is."""
    exception: int | None = None
    """On an FE: the ExceptionID (RFC 6956 section 4.4) that a forwarding plane has found; None:
    the packet itself says what it is."""


@value
class KernelRoutesRead:
    """What the routing daemons beside a CE have put into its namespace's kernel, all of it."""

    routes: Mapping[str, tuple[int, int, str]]
    """Prefix in text form -> (FE ID, PHYPortID, gateway)."""


Event = (
    PeerUp
    | PeerLost
    | ConnectFailed
    | MessageReceived
    | BadMessage
    | TimerFired
    | LinkChanged
    | ProgramDone
    | Command
    | PacketPunted
    | KernelRoutesRead
)
