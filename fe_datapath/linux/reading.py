"""Routes and nexthop objects as the kernel has them, of one protocol number only.

Dumps are read without pyroute2, which needs 9-12 s for 100,000 routes. The kernel tells our
routes in messages that are alike but for destination and nexthop ID: their places are looked up
once per message length, and whole datagrams of such messages are unpacked at once, each checked.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from fe_datapath.datapath import SetRoutes
from fe_datapath.linux import messages
from fe_datapath.linux.messages import RT_TABLE_MAIN, Flag, MessageType
from fe_datapath.linux.netlink import (
    DATAGRAM,
    HEADER,
    DumpInterrupted,
    NetlinkSocket,
    Octets,
    again,
    attributes,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    _Block = tuple[NDArray[np.uint32], NDArray[np.uint8], NDArray[np.uint32]]
    """Columns: prefixes as words, their lengths, next hops."""

_RTA_DST, _RTA_PRIORITY, _RTA_TABLE, _RTA_NH_ID = 1, 6, 15, 30
_LENGTH_AT = 17
"""Offset of rtm_dst_len in a message."""
_NHA_ID, _NHA_GROUP, _NHA_OIF, _NHA_GATEWAY = 1, 2, 5, 6
_GROUP_MEMBER_OCTETS = 8
_RTMSG = struct.Struct("=8BI")
"""family, dst_len, src_len, tos, table, protocol, scope, type, flags."""
_U32 = struct.Struct("=I")
TOGETHER = 1 << 19
"""Octets of a dump that are looked at together."""
_OCTETS: dict[int, int] = {socket.AF_INET: 4, socket.AF_INET6: 16}

RouteKey = tuple[bytes, int]


@dataclass(frozen=True, slots=True)
class KernelRoute:
    """A route in as much detail as deleting it takes."""

    prefix: bytes
    length: int
    nexthop: int
    """0: it is not on a nexthop object."""
    metric: int
    table: int


class KernelReader:
    """Reads on a socket of its own, in whatever thread calls (one at a time)."""

    def __init__(self, protocol: int) -> None:
        self._protocol = protocol
        self.netlink = NetlinkSocket(strict=True)

    def routes(self) -> dict[RouteKey, int]:
        """(prefix, length) -> nexthop ID; two routes that differ in metric only count once."""
        found: dict[RouteKey, int] = {}
        for family in _OCTETS:
            found.update(again(partial(self._read_routes, family)))
        return found

    def columns(self, octets: int) -> SetRoutes:
        """The routes of one family as `SetRoutes`, in the kernel's order."""
        family = {size: family for family, size in _OCTETS.items()}[octets]
        return again(partial(self._read_columns, family))

    def routes_in_detail(self) -> list[KernelRoute]:
        found: list[KernelRoute] = []
        for family in _OCTETS:
            found += again(partial(self._read_details, family))
        return found

    def nexthops(self) -> dict[int, tuple[int, str]]:
        """Nexthop ID -> (ifindex, gateway); no groups."""
        return again(self._read_nexthops)[0]

    def groups(self) -> dict[int, frozenset[int]]:
        """Group ID -> its next hops."""
        return again(self._read_nexthops)[1]

    def close(self) -> None:
        self.netlink.close()

    def _read_routes(self, family: int) -> dict[RouteKey, int]:
        found: dict[RouteKey, int] = {}
        layouts: dict[int, _RouteLayout] = {}

        def take(given: Octets, sequence: int) -> bool:
            datagram = bytes(given)
            (size,) = _U32.unpack_from(datagram)
            layout = layouts.get(size)
            if layout is None or len(datagram) % size:
                return False
            head = (size, layout.kind, sequence, layout.dst, _NH_ID)
            rows = []
            for one, two, three, length, four, prefix, five, nexthop in layout.each(datagram):
                if (one, two, three, four, five) != head:
                    return False
                rows.append(((prefix, length), nexthop))
            found.update(rows)
            return True

        request = messages.dump_routes(self.netlink.sequences(1), self._protocol, family)
        for datagram, offset, end in self.netlink.dump(request, take):
            route = _route(datagram, offset, end, self._protocol, family)
            if route is not None:
                found[route.prefix, route.length] = route.nexthop
                if end - offset not in layouts:
                    layout = _RouteLayout.of(datagram, offset, end, _OCTETS[family])
                    if layout is not None:
                        layouts[end - offset] = layout
        return found

    def _read_columns(self, family: int) -> SetRoutes:
        """Datagrams of messages that are alike are received one after the other into one place,
        and looked at together, some at a time: while they are still in the processor's cache."""
        import numpy as np  # large tables only: an FE without them starts faster

        octets = _OCTETS[family]
        layouts: dict[int, _RouteLayout] = {}
        blocks: list[_Block] = []
        received = memoryview(bytearray(TOGETHER + DATAGRAM))
        start = end_of_all = alike = 0  # received[start:end_of_all] are messages of so many octets

        def look() -> None:
            nonlocal start, end_of_all
            if end_of_all > start:
                blocks.append(layouts[alike].columns(sequence, received[start:end_of_all]))
            start = end_of_all = 0

        def take(datagram: Octets, number: int) -> bool:
            nonlocal start, end_of_all, alike
            size = _alike(datagram, number)
            if not size:
                return False
            if size not in layouts:
                if _route(datagram, 0, size, self._protocol, family) is None:
                    return False
                layout = _RouteLayout.of(datagram, 0, size, octets)
                if layout is None:
                    return False
                layouts[size] = layout
            if size != alike:
                here = end_of_all
                look()
                start, end_of_all, alike = here, here, size
            end_of_all += len(datagram)
            if end_of_all >= TOGETHER:
                look()
            return True

        sequence = self.netlink.sequences(1)
        others: list[KernelRoute] = []
        request = messages.dump_routes(sequence, self._protocol, family)
        for datagram, offset, end in self.netlink.dump(
            request, take, lambda: received[end_of_all:]
        ):
            route = _route(datagram, offset, end, self._protocol, family)
            if route is not None:
                others.append(route)
        look()
        if others:
            prefixes = np.frombuffer(b"".join([route.prefix for route in others]), np.uint32)
            lengths = np.array([route.length for route in others], np.uint8)
            nexthops = np.array([route.nexthop for route in others], np.uint32)
            blocks.append((prefixes.reshape(len(others), -1), lengths, nexthops))
        if not blocks:
            nothing = np.empty(0, np.uint32)
            blocks.append((nothing.reshape(0, octets // 4), nothing.astype(np.uint8), nothing))
        columns = (np.concatenate(column) for column in zip(*blocks, strict=True))
        words, lengths, nexthops = columns
        return SetRoutes(words.view(np.uint8), lengths, nexthops)

    def _read_details(self, family: int) -> list[KernelRoute]:
        request = messages.dump_routes(self.netlink.sequences(1), self._protocol, family)
        routes = [
            _route(*message, self._protocol, family) for message in self.netlink.dump(request)
        ]
        return [route for route in routes if route is not None]

    def _read_nexthops(self) -> tuple[dict[int, tuple[int, str]], dict[int, frozenset[int]]]:
        found: dict[int, tuple[int, str]] = {}
        groups: dict[int, frozenset[int]] = {}
        request = messages.dump_nexthops(self.netlink.sequences(1))
        for datagram, offset, end in self.netlink.dump(request):
            family, _, protocol = datagram[offset + 16 : offset + 19]
            if protocol != self._protocol:
                continue
            identifier = ifindex = 0
            members: frozenset[int] | None = None
            gateway = "::" if family == socket.AF_INET6 else "0.0.0.0"
            for kind, start, stop in attributes(datagram, offset + 24, end):
                if kind == _NHA_ID:
                    (identifier,) = _U32.unpack_from(datagram, start)
                elif kind == _NHA_OIF:
                    (ifindex,) = _U32.unpack_from(datagram, start)
                elif kind == _NHA_GATEWAY:
                    gateway = str(ipaddress.ip_address(datagram[start:stop]))
                elif kind == _NHA_GROUP:
                    members = frozenset(
                        _U32.unpack_from(datagram, at)[0]
                        for at in range(start, stop, _GROUP_MEMBER_OCTETS)
                    )
            if members is None:
                found[identifier] = (ifindex, gateway)
            else:
                groups[identifier] = members
        return found, groups


_NH_ID = _U32.unpack(struct.pack("=HH", 8, _RTA_NH_ID))[0]
"""rta_len and rta_type of RTA_NH_ID as one word."""


@dataclass(frozen=True, slots=True)
class _RouteLayout:
    """How to read a datagram of route messages that all have one length, if they are all alike:
    message length, type with flags, sequence number, prefix length, header of RTA_DST, its
    value, header of RTA_NH_ID, its value."""

    each: Callable[[bytes], Iterator[tuple[int, int, int, int, int, bytes, int, int]]]
    size: int
    kind: int
    """nlmsg_type and nlmsg_flags as one word: a dump that was interrupted is not taken."""
    dst: int
    """rta_len and rta_type of RTA_DST as one word."""
    dst_at: int
    nexthop_at: int
    """Offsets of the two attributes in a message."""
    octets: int

    @classmethod
    def of(cls, datagram: Octets, offset: int, end: int, octets: int) -> _RouteLayout | None:
        """None if this message has no destination followed by a nexthop ID, or is interrupted."""
        at: dict[int, int] = {}
        for kind, start, stop in attributes(datagram, offset + 28, end):
            if kind != _RTA_DST or stop - start == octets:
                at[kind] = start - 4 - offset
        flags = HEADER.unpack_from(datagram, offset)[2]
        dst, nexthop = at.get(_RTA_DST, 0), at.get(_RTA_NH_ID, 0)
        if not 0 < dst < nexthop or flags & Flag.DUMP_INTERRUPTED or (end - offset) % 4:
            return None
        layout = struct.Struct(
            f"=III5xB{dst - 18}xI{octets}s{nexthop - dst - 4 - octets}xII"
            f"{end - offset - nexthop - 8}x"
        )
        (kind,) = _U32.unpack_from(datagram, offset + 4)
        (header,) = _U32.unpack_from(datagram, offset + dst)
        return cls(layout.iter_unpack, end - offset, kind, header, dst, nexthop, octets)

    def columns(self, sequence: int, routes: memoryview) -> _Block:
        """Of messages of this length. Raises DumpInterrupted also where one is not like the
        others: then it is read again."""
        import numpy as np

        rows = np.frombuffer(routes, np.uint8).reshape(-1, self.size)
        words = rows.view(np.uint32)  # netlink aligns everything to 4
        prefix, hop = self.dst_at // 4 + 1, self.nexthop_at // 4
        constants = {0: self.size, 1: self.kind, 2: sequence, prefix - 1: self.dst, hop: _NH_ID}
        if not all(bool((words[:, at] == value).all()) for at, value in constants.items()):
            raise DumpInterrupted
        return (
            words[:, prefix : prefix + self.octets // 4].copy(),
            rows[:, _LENGTH_AT].copy(),
            words[:, hop + 1].copy(),
        )


def _alike(datagram: Octets, sequence: int) -> int:
    """The length of each of its messages if they seem to be routes of one length, else 0."""
    size, kind, _, number, _ = HEADER.unpack_from(datagram)
    if kind != MessageType.NEWROUTE or number != sequence or len(datagram) % size:
        return 0
    last: int = _U32.unpack_from(datagram, len(datagram) - size)[0]
    return size if last == size else 0


def _route(
    datagram: Octets, offset: int, end: int, wanted: int, wanted_family: int
) -> KernelRoute | None:
    family, length, _, _, table, protocol, *_ = _RTMSG.unpack_from(datagram, offset + HEADER.size)
    if protocol != wanted or family != wanted_family:
        return None  # a kernel without strict filters, or without this family, sends them all
    prefix = bytes(_OCTETS[family])
    nexthop = metric = 0
    table = table or RT_TABLE_MAIN
    for kind, start, stop in attributes(datagram, offset + 28, end):
        if kind == _RTA_DST:
            prefix = bytes(datagram[start:stop])
        elif kind == _RTA_NH_ID:
            (nexthop,) = _U32.unpack_from(datagram, start)
        elif kind == _RTA_PRIORITY:
            (metric,) = _U32.unpack_from(datagram, start)
        elif kind == _RTA_TABLE:
            (table,) = _U32.unpack_from(datagram, start)
    return KernelRoute(prefix, length, nexthop, metric, table)
