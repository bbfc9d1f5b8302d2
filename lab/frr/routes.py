"""The kernel's word on OSPF's routes, as it changes them (rtnetlink(7))."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import suppress

from lab.frr.configuration import OSPF_PROTOCOL

_HEADER = struct.Struct("=IHHII")
_RTMSG = struct.Struct("=BBBBBBBBI")
_ATTRIBUTE = struct.Struct("=HH")
_RTM_NEWROUTE, _RTM_DELROUTE = 24, 25
_RTA_DST = 1
_SOL_NETLINK, _NETLINK_ADD_MEMBERSHIP, _RTNLGRP_IPV4_ROUTE = 270, 1, 7
_SO_RCVBUFFORCE = 33
_BUFFER = 4 << 20


class RouteWatch:
    """A socket in the namespace that we are in."""

    def __init__(self) -> None:
        kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        self._socket = socket.socket(socket.AF_NETLINK, kind, socket.NETLINK_ROUTE)
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
        self._socket.bind((0, 0))
        self._socket.setsockopt(_SOL_NETLINK, _NETLINK_ADD_MEMBERSHIP, _RTNLGRP_IPV4_ROUTE)

    def fileno(self) -> int:
        return self._socket.fileno()

    def changes(self) -> list[tuple[bool, str]]:
        """(added, prefix) of what zebra did for ospfd since the last time."""
        found: list[tuple[bool, str]] = []
        # An overrun (ENOBUFS) loses notices, not routes: the next beat is a notice again.
        with suppress(OSError):
            while True:
                found += parse(self._socket.recv(1 << 16))
        return found


def parse(datagram: bytes) -> Iterator[tuple[bool, str]]:
    offset = 0
    while offset + _HEADER.size <= len(datagram):
        length, kind, *_ = _HEADER.unpack_from(datagram, offset)
        if length < _HEADER.size or offset + length > len(datagram):
            return
        if kind in (_RTM_NEWROUTE, _RTM_DELROUTE) and length >= _HEADER.size + _RTMSG.size:
            _family, bits, _, _, _, protocol, *_ = _RTMSG.unpack_from(
                datagram, offset + _HEADER.size
            )
            destination = _destination(
                datagram, offset + _HEADER.size + _RTMSG.size, offset + length
            )
            if protocol == OSPF_PROTOCOL and destination is not None:
                yield kind == _RTM_NEWROUTE, f"{socket.inet_ntoa(destination)}/{bits}"
        offset += (length + 3) & ~3


def _destination(datagram: bytes, offset: int, end: int) -> bytes | None:
    while offset + _ATTRIBUTE.size <= end:
        length, kind = _ATTRIBUTE.unpack_from(datagram, offset)
        if length < _ATTRIBUTE.size or offset + length > end:
            return None
        if kind == _RTA_DST and length == _ATTRIBUTE.size + 4:
            return datagram[offset + 4 : offset + 8]
        offset += (length + 3) & ~3
    return None
