"""Neighbour entries (rtnetlink(7), linux/neighbour.h): ours are permanent and carry our protocol
number; what the kernel has resolved is read beside them.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
from collections.abc import Callable

from fe_datapath.datapath import DelNeighbor, NeighborKey, SetNeighbor
from fe_datapath.linux.messages import Flag
from fe_datapath.linux.netlink import HEADER, NetlinkSocket, attributes, packed

RTM_NEWNEIGH, RTM_DELNEIGH, RTM_GETNEIGH = 28, 29, 30
_NDMSG = struct.Struct("=BxxxiHBB")
"""family, interface, state, flags, type."""
_NDA_DST, _NDA_LLADDR, _NDA_PROTOCOL = 1, 2, 12
_REACHABLE, _STALE, _DELAY, _PROBE, _PERMANENT = 0x02, 0x04, 0x08, 0x10, 0x80
_KNOWN = _REACHABLE | _STALE | _DELAY | _PROBE | _PERMANENT
"""NUD_VALID without NUD_NOARP."""


def set_neighbor(sequence: int, protocol: int, ifindex: int, change: SetNeighbor) -> bytes:
    address = ipaddress.ip_address(change.address)
    flags = Flag.REQUEST | Flag.ACK | Flag.CREATE | Flag.REPLACE
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    return packed(
        RTM_NEWNEIGH,
        flags,
        sequence,
        _NDMSG.pack(family, ifindex, _PERMANENT, 0, 0),
        (_NDA_DST, address.packed),
        (_NDA_LLADDR, change.mac),
        (_NDA_PROTOCOL, bytes((protocol,))),
    )


def delete_neighbor(sequence: int, ifindex: int, change: DelNeighbor) -> bytes:
    address = ipaddress.ip_address(change.address)
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    return packed(
        RTM_DELNEIGH,
        Flag.REQUEST | Flag.ACK,
        sequence,
        _NDMSG.pack(family, ifindex, 0, 0, 0),
        (_NDA_DST, address.packed),
    )


def read_neighbors(
    netlink: NetlinkSocket, port_of: Callable[[int], int | None], protocol: int | None = None
) -> dict[NeighborKey, bytes]:
    """Port and address -> MAC address; with `protocol` those alone that carry it. Raises
    DumpInterrupted."""
    found: dict[NeighborKey, bytes] = {}
    request = packed(
        RTM_GETNEIGH, Flag.REQUEST | Flag.DUMP, netlink.sequences(1), bytes(_NDMSG.size)
    )
    for datagram, offset, end in netlink.dump(request):
        _, ifindex, state, _, _ = _NDMSG.unpack_from(datagram, offset + HEADER.size)
        port = port_of(ifindex)
        if port is None or not state & _KNOWN:
            continue
        address = mac = b""
        theirs = 0
        for kind, start, stop in attributes(datagram, offset + HEADER.size + _NDMSG.size, end):
            if kind == _NDA_DST:
                address = datagram[start:stop]
            elif kind == _NDA_LLADDR:
                mac = datagram[start:stop]
            elif kind == _NDA_PROTOCOL:
                theirs = datagram[start]
        if address and len(mac) == 6 and protocol in (None, theirs):
            found[port, str(ipaddress.ip_address(address))] = mac
    return found
