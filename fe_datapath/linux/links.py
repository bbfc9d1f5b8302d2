"""RTM_NEWLINK and RTM_DELLINK as values (rtnetlink(7), linux/if_link.h).

Read without pyroute2: decoding one takes it 0.25-0.4 ms, which a link event would be late by.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass

from fe_datapath.linux.netlink import attributes

_IFINFOMSG = struct.Struct("=BxHiII")
"""family, type, index, flags, change."""
_U32 = struct.Struct("=I")
_STATS64 = struct.Struct("=8Q")
"""The start of struct rtnl_link_stats64."""
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_LINK, _IFLA_STATS64 = 1, 3, 4, 5, 23
_IFLA_TXQLEN = 13


@dataclass(frozen=True, slots=True)
class Link:
    """An interface as one message tells it."""

    index: int
    name: str
    flags: int
    mtu: int
    mac: bytes
    peer_index: int | None
    """IFLA_LINK: of a veth, the index of the other end in its own namespace."""
    counters: Mapping[str, int]
    queue_length: int = 0
    """Packets, of a queue that says nothing else."""


def read_link(datagram: bytes, offset: int, end: int) -> Link:
    """`offset` is that of the message's header."""
    _, _, index, flags, _ = _IFINFOMSG.unpack_from(datagram, offset + 16)
    name, mtu, mac, peer, queue_length = "", 0, b"", None, 0
    counters: dict[str, int] = {}
    for kind, start, stop in attributes(datagram, offset + 16 + _IFINFOMSG.size, end):
        if kind == _IFLA_IFNAME:
            name = datagram[start:stop].rstrip(b"\0").decode("utf-8", "surrogateescape")
        elif kind == _IFLA_MTU:
            (mtu,) = _U32.unpack_from(datagram, start)
        elif kind == _IFLA_ADDRESS:
            mac = datagram[start:stop]
        elif kind == _IFLA_TXQLEN:
            (queue_length,) = _U32.unpack_from(datagram, start)
        elif kind == _IFLA_LINK:
            (peer,) = _U32.unpack_from(datagram, start)
        elif kind == _IFLA_STATS64:
            rx, tx, _, _, _, _, rx_dropped, tx_dropped = _STATS64.unpack_from(datagram, start)
            counters = {
                "rx_packets": rx,
                "rx_dropped": rx_dropped,
                "tx_packets": tx,
                "tx_dropped": tx_dropped,
            }
    return Link(index, name, flags, mtu, mac, peer, counters, queue_length)
