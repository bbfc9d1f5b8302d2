"""What a core asks its driver to do: the list that `handle` returns (DESIGN section 5).

The driver carries effects out in order and decides nothing.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import field
from typing import Any

from forces.messages import Message
from forces.values import value


@value
class Connect:
    """Open the three channels to this peer; ends in `PeerUp` or `ConnectFailed`."""

    peer: int


@value
class Disconnect:
    """Close the channels to this peer, or give up connecting. No event follows."""

    peer: int
    abort: bool = False
    """True: do not wait for unsent messages."""


@value
class Send:
    """Send on the channel that the message's type belongs to. A peer that is not up any more
    is not an error here: its `PeerLost` is already on the way."""

    peer: int
    message: Message


@value
class SetTimer:
    """Fire `TimerFired(key)` at `at_ns`. A timer of the same key is replaced."""

    key: Hashable
    at_ns: int


@value
class CancelTimer:
    """No error if there is none."""

    key: Hashable


@value
class Program:
    """Carry out datapath changes in order; ends in `ProgramDone` with the same token.

    Programs are carried out one after the other, in the order they were asked for."""

    token: int
    changes: tuple[Any, ...]
    """`fe_datapath.datapath.Change` values: opaque here."""
    stop_on_failure: bool = True
    """True: the changes after a failed one are not tried."""


@value
class Journal:
    """Write one line of the journal, stamped when its turn comes among the effects: a `master`
    after the `Send` of PrimaryCEChanged says when that had been sent."""

    event: str
    fields: Mapping[str, Any] = field(default_factory=dict)


@value
class Deliver:
    """The answer to a `Command`. `error` is a sentence for its user."""

    token: int
    value: Any = None
    error: str | None = None


@value
class InjectPacket:
    """Send a frame: on an FE out of the port, on a CE up into the port's image. Packets get lost;
    no event follows."""

    port: int
    """PHYPortID."""
    packet: bytes
    """The whole Ethernet frame."""
    fe: int = 0
    """On a CE: whose port it is."""


@value
class FollowPort:
    """On a CE: the port's image in its namespace shall have this carrier, and this address."""

    fe: int
    port: int
    up: bool
    mac: bytes | None = None
    """None: as it was."""


Effect = (
    Connect
    | Disconnect
    | Send
    | SetTimer
    | CancelTimer
    | Program
    | Journal
    | Deliver
    | InjectPacket
    | FollowPort
)
