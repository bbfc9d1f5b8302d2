"""The seam between the protocol layer and its transports (RFC 5811's TML service interface).

A back end is one class with this interface; `forces.io.driver` is its only user. Every method is
called, and every callback made, in the event loop's thread.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from forces.channels import Channel
from forces.events import LossCause
from forces.header import MAX_MESSAGE_LENGTH


@dataclass(frozen=True, slots=True)
class TmlConfig:
    """What both sides know before they talk (RFC 3746: the managers' part)."""

    local_address: str
    """IPv4 address on the control network; sockets bind to it and to nothing else."""
    peers: Mapping[int, str]
    """ForCES ID -> control address. Whoever is not in here is refused."""
    listen: bool
    """True at a CE, False at an FE (the FE dials; RFC 5811 section 4.2)."""
    connect_timeout_ms: int = 400
    """Of each channel: three in turn over a long way take longer than one that nobody answers."""
    mp_lifetime_ms: int = 1000
    """SCTP-PR lifetime on MP (RFC 5811 section 4.2.1.3)."""
    lp_lifetime_ms: int = 100
    """SCTP-PR lifetime on LP, shorter than on MP (section 4.2.1.4)."""
    rto_initial_ms: int = 50
    rto_min_ms: int = 20
    rto_max_ms: int = 200
    heartbeat_ms: int = 500
    """SCTP's own HEARTBEAT; not the ForCES one."""
    max_retransmissions: int = 6
    queue_limit: int = 4 << 20
    """Octets waiting per peer, after which `send` answers False (back-pressure)."""


def send_buffer(config: TmlConfig, channel: Channel) -> int:
    """A channel's part of the peer's queue limit; never less than two of the longest messages."""
    share = config.queue_limit // (2 if channel is Channel.HP else 4)
    return max(share, 2 * MAX_MESSAGE_LENGTH)


class TmlUser(Protocol):
    """What a transport calls."""

    def peer_up(self, peer: int) -> None: ...

    def peer_lost(self, peer: int, cause: LossCause, detail: str) -> None: ...

    def connect_failed(self, peer: int, cause: LossCause, detail: str) -> None: ...

    def received(self, peer: int, channel: Channel, ppid: int, data: bytes) -> None:
        """One whole message. `ppid` is the channel's own where the transport has none (TCP)."""

    def writable(self, peer: int) -> None:
        """After a `send` that answered False: there is room again."""


class Tml(Protocol):
    """A transport back end."""

    name: str
    """For the journal and the report: "sctp", "usrsctp", "usrsctp-udp", "tcp", "memory"."""

    async def start(self, user: TmlUser) -> None:
        """Bind, and listen if the configuration says so. Raises OSError with a clear text."""

    def connect(self, peer: int) -> None:
        """Open LP, MP, HP in this order (RFC 5811 section 4.2.2); then `peer_up`, once, when all
        three are up, or `connect_failed`, once."""

    def disconnect(self, peer: int, abort: bool) -> None:
        """Silent: no callback follows."""

    def send(self, peer: int, channel: Channel, data: bytes) -> bool:
        """False: the queue limit is reached and the message was not taken."""

    def prefer(self, peer: int | None) -> None:
        """Of what is read in one turn, hand this peer's over first, on all channels; None: all
        alike. An FE prefers its master (RFC 6984 section 4.3)."""

    async def close(self) -> None:
        """Close everything in order (SHUTDOWN / FIN), quickly."""
