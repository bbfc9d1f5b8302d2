"""All routes of one protocol number, and all nexthop objects, as a kernel tells them over a raw
rtnetlink socket (rtnetlink(7), linux/nexthop.h).

Shares no code with the FE under test. The octets are parsed in columns: 100,000 routes take some
0.1 s, where `ip` needs seconds of a core.
"""

from __future__ import annotations

import os
import socket
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np

ROUTE_ATTRIBUTES = {"dst": 1, "oif": 4, "gateway": 5, "table": 15, "nexthop": 30}
"""rtattr types whose contents are one 32-bit number; 0 where a route has none."""

_ROUTE_HEADER = np.dtype([("family", "u1"), ("length", "u1"), ("src_len", "u1"), ("tos", "u1"),
                          ("table", "u1"), ("protocol", "u1"), ("scope", "u1"), ("kind", "u1"),
                          ("flags", "u4")])  # fmt: skip
_NLMSG = struct.Struct("=IHHII")
_NHMSG = struct.Struct("=BBBBI")
_ATTRIBUTE = struct.Struct("=HH")
_MEMBER = struct.Struct("=IBBH")
_ERROR, _DONE, _NEWROUTE, _GETROUTE, _NEWNEXTHOP, _GETNEXTHOP = 2, 3, 24, 26, 104, 106
_REQUEST, _DUMP_INTERRUPTED, _DUMP = 0x1, 0x10, 0x300
_SOL_NETLINK, _GET_STRICT_CHK = 270, 12
_NHA_ID, _NHA_GROUP, _NHA_OIF, _NHA_GATEWAY = 1, 2, 5, 6
_READ_OCTETS = 1 << 18
_RECEIVE_S = 5.0
_ATTEMPTS = 20
_MAX_ATTRIBUTES = 64
"""Of one message; a route of ours has six."""


class DumpFailed(Exception):
    """The kernel did not tell everything; the text says why."""


class Interrupted(DumpFailed):
    """What was being told changed meanwhile."""


@dataclass(frozen=True, slots=True)
class Nexthop:
    """A nexthop object: a way out, or a group of others."""

    oif: int
    """Interface index; 0 for a group."""
    gateway: bytes
    """Empty: none."""
    members: tuple[tuple[int, int], ...]
    """(identifier, weight) of each."""


@dataclass(frozen=True, slots=True)
class Dump:
    """What one network namespace holds."""

    routes: np.ndarray
    """`dst`, `length`, `kind` (RTN_*), and the columns of ROUTE_ATTRIBUTES."""
    nexthops: dict[int, Nexthop]
    interfaces: dict[int, str]


ROUTES = np.dtype(
    [("length", "u1"), ("kind", "u1"), *((name, "u4") for name in ROUTE_ATTRIBUTES)]
)  # fmt: skip


def dump(protocol: int) -> Dump:
    """Of the calling thread's network namespace. DumpFailed where the kernel does not answer, or
    the tables never stand still."""
    with socket.socket(
        socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE
    ) as link:
        link.settimeout(_RECEIVE_S)
        link.setsockopt(_SOL_NETLINK, _GET_STRICT_CHK, 1)
        link.bind((0, 0))
        route = struct.pack("=8BI", socket.AF_INET, 0, 0, 0, 0, protocol, 0, 0, 0)
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                routes = parse_routes(_ask(link, _GETROUTE, route, 2 * attempt), protocol)
                nexthops = parse_nexthops(_ask(link, _GETNEXTHOP, bytes(8), 2 * attempt + 1))
                return Dump(routes, nexthops, dict(socket.if_nameindex()))
            except Interrupted:
                continue
            except OSError as error:
                raise DumpFailed(f"rtnetlink: {error.strerror or error}") from None
    raise DumpFailed(f"changed during each of {_ATTEMPTS} dumps")


def _ask(link: socket.socket, kind: int, body: bytes, sequence: int) -> bytes:
    """Everything that is told, message after message, without the end mark."""
    head = _NLMSG.pack(_NLMSG.size + len(body), kind, _REQUEST | _DUMP, sequence, 0)
    link.send(head + body)
    told: list[bytes] = []
    interrupted = False
    while True:
        datagram = link.recv(_READ_OCTETS)
        if _NLMSG.unpack_from(datagram)[3] != sequence:
            continue  # the rest of an earlier one, which was given up
        last = int(messages(datagram)[-1])
        _size, what, flags, _sequence, _pid = _NLMSG.unpack_from(datagram, last)
        interrupted |= bool((flags | _NLMSG.unpack_from(datagram)[2]) & _DUMP_INTERRUPTED)
        if what not in (_ERROR, _DONE):
            told.append(datagram)
            continue
        (code,) = struct.unpack_from("=i", datagram, last + _NLMSG.size)
        if code < 0:
            raise OSError(-code, os.strerror(-code))
        if interrupted:
            raise Interrupted
        return b"".join((*told, datagram[:last]))


def messages(octets: bytes) -> np.ndarray:
    """Where each message begins. DumpFailed for octets that are no row of messages."""
    if len(octets) % 4:
        raise DumpFailed("a message of the kernel's has no end")
    words = memoryview(octets).cast("I")
    starts: list[int] = []
    at, end = 0, len(words)
    while at < end:
        starts.append(at)
        size = words[at]
        at += (size + 3) >> 2
        if size < _NLMSG.size or at > end:
            raise DumpFailed("a message of the kernel's has no end")
    return 4 * np.array(starts, np.int64)


def parse_routes(octets: bytes, protocol: int) -> np.ndarray:
    """The routes of this protocol number, in columns. DumpFailed for octets that are none."""
    starts = messages(octets)
    raw = np.frombuffer(octets, "u1")
    at = starts + _NLMSG.size
    kinds = _numbers(raw, starts + 4, "=u2")
    ends = starts + _numbers(raw, starts, "=u4")
    if np.any(kinds != _NEWROUTE) or np.any(at + _ROUTE_HEADER.itemsize > ends):
        raise DumpFailed("a message that is no route")
    heads = raw[at[:, None] + np.arange(_ROUTE_HEADER.itemsize)].view(_ROUTE_HEADER).reshape(-1)
    ours = heads["protocol"] == protocol
    heads, at, ends = heads[ours], at[ours] + _ROUTE_HEADER.itemsize, ends[ours]
    routes = np.zeros(len(heads), ROUTES)
    routes["length"], routes["kind"], routes["table"] = (
        heads["length"], heads["kind"], heads["table"],
    )  # fmt: skip
    names = {number: name for name, number in ROUTE_ATTRIBUTES.items()}
    left = np.arange(len(heads))
    # All routes side by side: first attribute of each, second of each, and so on.
    for _ in range(_MAX_ATTRIBUTES):
        left = left[at[left] + _ATTRIBUTE.size <= ends[left]]
        if not len(left):
            return routes
        size = _numbers(raw, at[left], "=u2").astype(np.int64)
        kind = _numbers(raw, at[left] + 2, "=u2")
        if np.any(size < _ATTRIBUTE.size) or np.any(at[left] + size > ends[left]):
            raise DumpFailed("an attribute of a route has no end")
        for number in np.unique(kind):
            name = names.get(int(number))
            if name is None:
                continue
            has = (kind == number) & (size == _ATTRIBUTE.size + 4)
            order = ">u4" if name in ("dst", "gateway") else "=u4"
            routes[name][left[has]] = _numbers(raw, at[left[has]] + _ATTRIBUTE.size, order)
        at[left] += (size + 3) & ~3
    raise DumpFailed(f"a route with more than {_MAX_ATTRIBUTES} attributes")


def _numbers(raw: np.ndarray, at: np.ndarray, kind: str) -> np.ndarray:
    """The numbers that begin at these octets."""
    dtype = np.dtype(kind)
    found: np.ndarray = raw[at[:, None] + np.arange(dtype.itemsize)].view(dtype).reshape(-1)
    return found


def parse_nexthops(octets: bytes) -> dict[int, Nexthop]:
    """By identifier."""
    found = {}
    for start in messages(octets).tolist():
        size, kind, *_ = _NLMSG.unpack_from(octets, start)
        if kind != _NEWNEXTHOP:
            raise DumpFailed("a message that is no nexthop object")
        told = dict(_attributes(octets, start + _NLMSG.size + _NHMSG.size, start + size))
        members = tuple(
            (identifier, weight + 1)
            for identifier, weight, _high, _reserved in _MEMBER.iter_unpack(
                told.get(_NHA_GROUP, b"")
            )
        )
        oif = int.from_bytes(told.get(_NHA_OIF, b"\0" * 4), "little")
        identifier = int.from_bytes(told.get(_NHA_ID, b"\0" * 4), "little")
        found[identifier] = Nexthop(oif, told.get(_NHA_GATEWAY, b""), members)
    return found


def _attributes(octets: bytes, at: int, end: int) -> list[tuple[int, bytes]]:
    found: list[tuple[int, Any]] = []
    while at + _ATTRIBUTE.size <= end:
        size, kind = _ATTRIBUTE.unpack_from(octets, at)
        if size < _ATTRIBUTE.size or at + size > end:
            raise DumpFailed("an attribute of a nexthop object has no end")
        found.append((kind & 0x3FFF, octets[at + _ATTRIBUTE.size : at + size]))
        at += (size + 3) & ~3
    return found
