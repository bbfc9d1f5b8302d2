"""The control beacon's instrument: when did the kernel's table change (DESIGN section 3, 2).

A raw RTNLGRP_IPV4_ROUTE socket in each FE's namespace, parsed by hand; shares no code with the FE
that makes the changes. One process holds the sockets of all FEs; the fork server starts it in any
namespace as `lab.emulated.meters.beacon_listener:run`. A socket filter lets only routes within
198.18.0.0/15, and those of a stream of changes, through, so that programming 100,000 routes
neither wakes this process nor overruns it; an overrun (ENOBUFS) is kept as a time at which the
instrument was blind.
"""

from __future__ import annotations

import ctypes
import errno
import os
import select
import signal
import socket
import struct
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from lab.emulated.clock import LISTENER_PRIORITY, become_punctual
from lab.emulated.meters.beacon_record import (
    BEACON_MASK,
    BEACON_NETWORK,
    STREAM_MASK,
    STREAM_NETWORK,
    BeaconRecord,
)
from lab.emulated.namespaces import network_of

_SOL_NETLINK = 270
_NETLINK_ADD_MEMBERSHIP = 1
_RTNLGRP_IPV4_ROUTE = 7
_SO_ATTACH_FILTER = 26
_SO_RCVBUFFORCE = 33
_RECEIVE_BUFFER_OCTETS = 16 << 20
_RTM_NEWROUTE, _RTM_DELROUTE = 24, 25
_NLMSG_HEADER = struct.Struct("=IHHII")
_RTMSG_OCTETS = 12
_PROTOCOL_OFFSET = _NLMSG_HEADER.size + 5
_RTA_HEADER = struct.Struct("=HH")
_RTA_DST = 1


def _filter() -> bytes:
    """cBPF: pass a message whose RTA_DST lies in one of the two networks, drop all others."""
    find_attribute = 0xFFFFF000 + 12  # SKF_AD_OFF + SKF_AD_NLATTR: A = offset of type X from A on
    attributes = _NLMSG_HEADER.size + _RTMSG_OCTETS
    program = (
        (0x00, 0, 0, attributes),  # ld #attributes
        (0x01, 0, 0, _RTA_DST),  # ldx #RTA_DST
        (0x20, 0, 0, find_attribute),  # ld [find_attribute]
        (0x15, 8, 0, 0),  # jeq #0, drop (a default route has no RTA_DST)
        (0x07, 0, 0, 0),  # tax
        (0x40, 0, 0, _RTA_HEADER.size),  # ld [x + 4]
        (0x54, 0, 0, BEACON_MASK),  # and #mask
        (0x15, 3, 0, BEACON_NETWORK),  # jeq #network, pass
        (0x40, 0, 0, _RTA_HEADER.size),  # ld [x + 4]
        (0x54, 0, 0, STREAM_MASK),  # and #mask
        (0x15, 0, 1, STREAM_NETWORK),  # jeq #network, pass, drop
        (0x06, 0, 0, 0x40000),  # ret (pass)
        (0x06, 0, 0, 0),  # ret (drop)
    )
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in program)


@dataclass(slots=True)
class _Watch:
    """One FE's socket and record."""

    record: BeaconRecord
    stream: BeaconRecord
    """Of a stream of changes; written only if there was one."""
    socket: socket.socket
    protocol: int | None = None

    def read(self) -> None:
        """Everything that is queued; the stamp of a datagram is taken right after its read."""
        while True:
            try:
                datagram = self.socket.recv(1 << 16, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                self.record.blind_ns.append(time.monotonic_ns())
                continue
            now = time.monotonic_ns()
            for added, destination in beacon_changes(datagram, self.protocol):
                of_beacon = destination & BEACON_MASK == BEACON_NETWORK
                (self.record if of_beacon else self.stream).note(now, added, destination)


def beacon_changes(datagram: bytes, protocol: int | None = None) -> list[tuple[bool, int]]:
    """(added, destination) of every IPv4 route message in it that lies in the beacon's network or
    the stream's, and, where one is named, was made by this routing protocol."""
    changes = []
    offset = 0
    while offset + _NLMSG_HEADER.size <= len(datagram):
        length, kind, _flags, _sequence, _pid = _NLMSG_HEADER.unpack_from(datagram, offset)
        if length < _NLMSG_HEADER.size or offset + length > len(datagram):
            break
        attributes = offset + _NLMSG_HEADER.size + _RTMSG_OCTETS
        if (
            kind in (_RTM_NEWROUTE, _RTM_DELROUTE)
            and offset + length >= attributes
            and protocol in (None, datagram[offset + _PROTOCOL_OFFSET])
        ):
            destination = _destination(datagram, attributes, offset + length)
            if destination is not None and (
                destination & BEACON_MASK == BEACON_NETWORK
                or destination & STREAM_MASK == STREAM_NETWORK
            ):
                changes.append((kind == _RTM_NEWROUTE, destination))
        offset += (length + 3) & ~3
    return changes


def _destination(datagram: bytes, offset: int, end: int) -> int | None:
    while offset + _RTA_HEADER.size <= end:
        length, kind = _RTA_HEADER.unpack_from(datagram, offset)
        if length < _RTA_HEADER.size or offset + length > end:
            return None
        if kind == _RTA_DST and length == _RTA_HEADER.size + 4:
            return int.from_bytes(datagram[offset + 4 : offset + 8], "big")
        offset += (length + 3) & ~3
    return None


def open_watch(pid: int, receive_buffer: int = _RECEIVE_BUFFER_OCTETS) -> socket.socket:
    """A socket that hears of beacon routes in the namespace of `pid`."""
    with network_of(pid):
        kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC
        listener = socket.socket(socket.AF_NETLINK, kind, socket.NETLINK_ROUTE)
    try:
        listener.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, receive_buffer)
        program = _filter()
        octets = ctypes.create_string_buffer(program)
        described = struct.pack("HL", len(program) // 8, ctypes.addressof(octets))
        listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, described)
        listener.bind((0, 0))
        listener.setsockopt(_SOL_NETLINK, _NETLINK_ADD_MEMBERSHIP, _RTNLGRP_IPV4_ROUTE)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener


def run(config: Mapping[str, Any]) -> None:
    """Keys: `fes` (name -> pid in its namespace), `folder`, `run_s`; optional `fifo`, `ready` (a
    file that is made when the sockets are open), `receive_buffer`, `protocol` (rtm_protocol: no
    other routes count)."""
    stopping = False

    def stop(_number: int, _frame: object) -> None:
        nonlocal stopping
        stopping = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    buffer = int(config.get("receive_buffer", _RECEIVE_BUFFER_OCTETS))
    watches = {}
    poll = select.epoll()
    for fe, pid in config["fes"].items():
        listener = open_watch(int(pid), buffer)
        watch = _Watch(
            BeaconRecord(fe), BeaconRecord(fe, "changes"), listener, config.get("protocol")
        )
        watches[watch.socket.fileno()] = watch
        poll.register(watch.socket.fileno(), select.EPOLLIN)
    punctuality = become_punctual(int(config.get("fifo", LISTENER_PRIORITY)))
    deadline = time.monotonic() + float(config["run_s"])
    if ready := config.get("ready"):
        os.close(os.open(ready, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o644))
    while not stopping and time.monotonic() < deadline:
        for descriptor, _events in poll.poll(0.02):
            watches[descriptor].read()
    for watch in watches.values():
        watch.read()
        watch.socket.close()
        watch.record.write(config["folder"], {"listener": asdict(punctuality)})
        if watch.stream.at_ns:
            watch.stream.write(config["folder"], {})
