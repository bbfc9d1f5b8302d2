"""Routes that routing daemons have put into the kernel of the CE's namespace, read by netlink
(rtnetlink(7)). Pure parsing above, the socket below.

Level-triggered: any notification leads to one reading of the whole table a moment later. What a
kernel does without a word (it flushes routes when a carrier goes) is then seen all the same.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
import struct
from collections.abc import Callable, Iterator

ROUTING_DAEMONS = frozenset({8, 11, 12, 42, 186, 187, 188, 189, 192, 193, 194, 195, 196, 197})
"""rtm_protocol: gated, zebra, bird, babel, bgp, isis, ospf, rip, eigrp and zebra's own others
(linux/rtnetlink.h and FRR's zebra/rt_netlink.h)."""
SETTLE_S = 0.02
"""From a notification to the reading: a daemon installs many routes at once."""
RETRY_S = 0.2
MAX_ROUTES = 100_000

_HEADER = struct.Struct("=IHHII")
_RTMSG = struct.Struct("=BBBBBBBBI")
_ATTRIBUTE = struct.Struct("=HH")
_NEXT_HOP = struct.Struct("=HBBi")
_NEWROUTE, _DELROUTE, _GETROUTE = 24, 25, 26
_ERROR, _DONE = 2, 3
_REQUEST_DUMP = 0x301
_DUMP_INTERRUPTED = 0x10
_UNICAST, _MAIN = 1, 254
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_MULTIPATH, _RTA_TABLE = 1, 4, 5, 9, 15
_GROUPS = 0x1 | 0x40
"""RTMGRP_LINK, RTMGRP_IPV4_ROUTE."""
_RTNLGRP_NEXTHOP, _ADD_MEMBERSHIP, _SOL_NETLINK = 32, 1, 270
_BUFFER = 1 << 20

logger = logging.getLogger(__name__)

Routes = dict[str, tuple[int, str]]
"""Prefix -> (interface index, gateway); the first path where there are several."""


class Interrupted(Exception):
    """The table changed while it was read, or the kernel refused: read it again."""


def read_routes(datagram: bytes, routes: Routes) -> bool:
    """Add the daemons' routes of one datagram of a dump. True: it was the last one. Raises
    Interrupted."""
    offset = 0
    while offset + _HEADER.size <= len(datagram):
        length, kind, flags, _, _ = _HEADER.unpack_from(datagram, offset)
        if length < _HEADER.size or offset + length > len(datagram):
            raise Interrupted("a message of a wrong length")
        if flags & _DUMP_INTERRUPTED or kind == _ERROR:
            raise Interrupted("the kernel says so")
        if kind == _DONE:
            return True
        if kind == _NEWROUTE:
            try:
                _read_route(datagram[offset + _HEADER.size : offset + length], routes)
            except struct.error as error:
                raise Interrupted(f"a route that is cut short: {error}") from None
        offset += (length + 3) & ~3
    return False


def _read_route(body: bytes, routes: Routes) -> None:
    family, length, _, _, table, protocol, _, kind, _ = _RTMSG.unpack_from(body)
    if (family, kind) != (socket.AF_INET, _UNICAST) or protocol not in ROUTING_DAEMONS:
        return
    destination, oif, gateway = bytes(4), 0, b""
    for name, value in _attributes(body[_RTMSG.size :]):
        if name == _RTA_DST:
            destination = value
        elif name == _RTA_OIF:
            oif = int(struct.unpack("=i", value)[0])
        elif name == _RTA_GATEWAY:
            gateway = value
        elif name == _RTA_TABLE:
            table = int(struct.unpack("=I", value)[0])
        elif name == _RTA_MULTIPATH:
            size, _, _, oif = _NEXT_HOP.unpack_from(value)
            inner = dict(_attributes(value[_NEXT_HOP.size : size]))
            gateway = inner.get(_RTA_GATEWAY, b"")
    complete = table == _MAIN and oif and len(gateway) == 4 and len(destination) == 4
    if complete and len(routes) < MAX_ROUTES:
        prefix = f"{ipaddress.IPv4Address(destination)}/{length}"
        routes[prefix] = (oif, str(ipaddress.IPv4Address(gateway)))


def _attributes(octets: bytes) -> Iterator[tuple[int, bytes]]:
    offset = 0
    while offset + _ATTRIBUTE.size <= len(octets):
        length, kind = _ATTRIBUTE.unpack_from(octets, offset)
        if length < _ATTRIBUTE.size:
            return
        yield kind & 0x3FFF, octets[offset + _ATTRIBUTE.size : offset + length]
        offset += (length + 3) & ~3


class KernelRoutes:
    """Calls `changed` with the daemons' routes now, and whenever they are others."""

    def __init__(self, changed: Callable[[Routes], None]) -> None:
        self._changed = changed
        self._last: Routes | None = None
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._events = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        self._events.setblocking(False)
        self._events.bind((0, _GROUPS))
        self._events.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, _RTNLGRP_NEXTHOP)
        self._loop.add_reader(self._events, self._notified)
        self._later(0)

    def close(self) -> None:
        self._loop.remove_reader(self._events)
        self._events.close()
        if self._timer is not None:
            self._timer.cancel()

    def _notified(self) -> None:
        try:
            self._events.recv(_BUFFER)
        except OSError:  # notifications were lost: the reading has everything
            pass
        self._later(SETTLE_S)

    def _later(self, delay_s: float) -> None:
        if self._timer is None:
            self._timer = self._loop.call_later(delay_s, self._read)

    def _read(self) -> None:
        self._timer = None
        try:
            routes = dump_routes()
        except (Interrupted, OSError) as error:
            logger.info("routes are read again: %s", error)
            self._later(RETRY_S)
            return
        if routes != self._last:
            self._last = routes
            self._changed(routes)


def dump_routes() -> Routes:
    """The main table, now. Raises Interrupted or OSError."""
    routes: Routes = {}
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as reader:
        reader.bind((0, 0))
        reader.settimeout(1.0)
        body = _RTMSG.pack(socket.AF_INET, 0, 0, 0, 0, 0, 0, 0, 0)
        reader.send(_HEADER.pack(_HEADER.size + len(body), _GETROUTE, _REQUEST_DUMP, 1, 0) + body)
        while not read_routes(reader.recv(_BUFFER), routes):
            pass
    return routes
