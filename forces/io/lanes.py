"""SCTP packets that have come and are not looked at yet, in a queue per channel.

All channels of all peers share one socket under userland SCTP, and so one queue of the kernel: a
heartbeat would wait there behind a megabyte of Configs. What the kernel has is taken out quickly,
sorted by channel, and each turn of the loop takes some of each: the work of a turn is bounded, and
no channel waits for another one's backlog.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Iterator

from forces.channels import Channel

SHARES = {Channel.MP: 16, Channel.LP: 16, Channel.HP: 32}
"""Packets of each in a turn, in this order. Taking one costs some 35 us, most of it for the SACK
that it is answered with; messages are still delivered HP first, at the end of the turn."""
LIMIT = 4096
"""Packets that may wait, some 6 MB. The rest stays with the kernel, whose queue overflows."""

_PORTS = struct.Struct("!HH")
_CHUNK = struct.Struct("!BxH")
_HEADER = 12
"""Octets before the first chunk."""
_PASSING = frozenset({0, 3, 4, 5, 192})
"""DATA, SACK, HEARTBEAT, HEARTBEAT ACK and FORWARD TSN: they leave the association as it is."""
_LANE_OF = {channel.port: channel for channel in Channel}


class Lanes:
    def __init__(self) -> None:
        self._waiting: dict[Channel, deque[tuple[str, bytes]]] = {
            channel: deque() for channel in SHARES
        }

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def put(self, address: str, packet: bytes) -> None:
        self._waiting[lane_of(packet)].append((address, packet))

    def turn(self) -> Iterator[tuple[str, bytes]]:
        """The next turn's packets, with the addresses that they are from."""
        for channel, share in SHARES.items():
            waiting = self._waiting[channel]
            for _ in range(min(share, len(waiting))):
                yield waiting.popleft()


def lane_of(packet: bytes) -> Channel:
    """The packet's channel; but what begins or ends an association goes with HP. The end of one
    channel is the end of all: it must not overtake what was sent on HP before."""
    if len(packet) < _HEADER:
        return Channel.LP  # nobody will miss it
    source, destination = _PORTS.unpack_from(packet)
    lane = _LANE_OF.get(destination, _LANE_OF.get(source, Channel.LP))
    if lane is Channel.HP:
        return lane
    at = _HEADER
    while at + _CHUNK.size <= len(packet):
        kind, length = _CHUNK.unpack_from(packet, at)
        if kind not in _PASSING:
            return Channel.HP
        at += max(_CHUNK.size, length + 3 & ~3)
    return lane
