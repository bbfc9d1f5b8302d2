"""One side of one association: liveness, heartbeats, correlators, counters.

RFC 5810 section 4.3.3: heartbeats are traffic-sensitive, sent only when nothing else went that
way for an interval, and any message from the peer is a sign of life. The same class serves an FE
(about a CE) and a CE (about an FE). Pure: the owner asks `deadline()`, sets one timer, and calls
`due(now)` when it fires.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from forces.header import Ack, Header, MessageType
from forces.messages import Message, flags_for

OVERSLEPT_SHARE = 0.1
"""Of the dead interval: a timer may be so late before it tells that we were not running."""


class Due(Enum):
    """What time has brought."""

    HEARTBEAT = "heartbeat"
    """Nothing was sent for the heartbeat interval: send one."""
    DEAD = "dead"
    """Nothing was received for the dead interval: the peer is lost."""

    __hash__ = object.__hash__  # asked for at every timer


_DUE = {
    (dead, beat): frozenset([Due.DEAD] * dead + [Due.HEARTBEAT] * beat)
    for dead in (False, True)
    for beat in (False, True)
}


@dataclass(slots=True)
class Statistics:
    """AllCEs.Statistics (RFC 7121 section 3.1); all in messages and octets."""

    recv_packets: int = 0
    recv_err_packets: int = 0
    recv_bytes: int = 0
    recv_err_bytes: int = 0
    txmit_packets: int = 0
    txmit_err_packets: int = 0
    txmit_bytes: int = 0
    txmit_err_bytes: int = 0


@dataclass(slots=True)
class Association:
    """What one side keeps about one associated peer. Times are CLOCK_MONOTONIC in ns."""

    own_id: int
    peer_id: int
    now: int
    """ns; when the association was made."""
    heartbeat_ns: int | None
    """Interval of our heartbeats; None: we send none by ourselves."""
    dead_ns: int | None
    """Silence after which the peer is lost; None: we do not watch."""
    statistics: Statistics = field(default_factory=Statistics)
    last_received_ns: int = field(init=False)
    last_sent_ns: int = field(init=False)
    _correlator: int = 0
    _excused_ns: int = 0
    """Until when our own sleep has been taken off the peer's silence."""
    _beat: Message | None = None
    """Our heartbeat that asks for no answer: one value is enough."""

    def __post_init__(self) -> None:
        self.last_received_ns = self.last_sent_ns = self.now

    def received(self, now: int, size: int) -> None:
        """A well-formed message of `size` octets came; any kind of it shows life."""
        self.last_received_ns = now
        self.statistics.recv_packets += 1
        self.statistics.recv_bytes += size

    def fired(self, now: int, due_ns: int) -> None:
        """A timer of ours that was due then fires. If it is much too late, we were not running,
        and the peer's messages of that time may still wait to be read (or it stood still as we
        did): that time is taken off its silence, once."""
        if self.dead_ns is None or now - due_ns <= self.dead_ns * OVERSLEPT_SHARE:
            return
        slept_ns = now - max(due_ns, self._excused_ns)
        self._excused_ns = now
        self.last_received_ns = min(now, self.last_received_ns + slept_ns)

    def refused(self, size: int) -> None:
        """A malformed message, or a good one that this peer may not send (RFC 7121 section 3.1:
        RecvErrPackets). Counted only: whether it shows life, `received` says."""
        self.statistics.recv_err_packets += 1
        self.statistics.recv_err_bytes += size

    def sent(self, now: int, size: int = 0) -> None:
        """A message of `size` octets went out: no heartbeat is due for an interval."""
        self.last_sent_ns = now
        self.statistics.txmit_packets += 1
        self.statistics.txmit_bytes += size

    def next_correlator(self) -> int:
        """For a request of ours; never 0."""
        self._correlator += 1
        return self._correlator

    def deadline(self) -> int | None:
        """When `due` has something to say next, in ns; None: never."""
        beat, dead = self.heartbeat_ns, self.dead_ns
        if beat is None:
            return None if dead is None else self.last_received_ns + dead
        beat += self.last_sent_ns
        return beat if dead is None else min(beat, self.last_received_ns + dead)

    def due(self, now: int) -> frozenset[Due]:
        """What is due at `now`. The owner sends the heartbeat and calls `sent`."""
        dead, beat = self.dead_ns, self.heartbeat_ns
        return _DUE[
            dead is not None and now - self.last_received_ns >= dead,
            beat is not None and now - self.last_sent_ns >= beat,
        ]

    def heartbeat(self, ack: Ack = Ack.NO_ACK) -> Message:
        """A heartbeat of ours. Only a CE may ask for an answer (RFC 5810 section 7.10)."""
        if ack is Ack.NO_ACK and self._beat is not None:
            return self._beat
        flags = flags_for(MessageType.HEARTBEAT, ack)
        correlator = self.next_correlator() if ack is Ack.ALWAYS_ACK else 0
        beat = Message(Header(MessageType.HEARTBEAT, self.own_id, self.peer_id, correlator, flags))
        if ack is Ack.NO_ACK:
            self._beat = beat
        return beat


def heartbeat_answer(request: Message) -> Message | None:
    """The FE's answer to a CE's heartbeat, due at once if AlwaysACK asks for it. Every other ACK
    value counts as NoACK, and an answer never asks for an answer (RFC 5810 section 7.10)."""
    if request.header.flags.ack is not Ack.ALWAYS_ACK:
        return None
    return Message(request.header.reply(MessageType.HEARTBEAT, flags_for(MessageType.HEARTBEAT)))
