"""The control beacon's instrument for switches: when did the switch's table change.

Open vSwitch's flow monitor (NXST_FLOW_MONITOR, nicira-ext.h) over the bridge's management socket,
spoken by hand: hello, one subscription, notices. Shares no code with the controller and none with
Ryu. The switch is asked for flows to 198.18.0.0/15 only, so that a large table neither wakes this
process nor fills the switch's queue. A notice is sent by the main loop of ovs-vswitchd that
changed the table: the stamp is late by one turn of that loop and one local socket (some 0.1 ms).
A monitor that the switch paused, or that it cut, is kept as a time of blindness.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import struct
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from lab.emulated.clock import LISTENER_PRIORITY, become_punctual
from lab.emulated.meters.beacon_record import BeaconRecord

VERSION = 0x01
"""OpenFlow 1.0: the monitor is older than 1.3, and the management socket speaks every version."""
_HELLO, _ERROR, _ECHO_REQUEST, _ECHO_REPLY, _VENDOR, _STATS_REQUEST, _STATS_REPLY = (
    0, 1, 2, 3, 4, 16, 17,
)  # fmt: skip
_HEADER = struct.Struct("!BBHI")
_STATS_VENDOR = 0xFFFF
_NICIRA = 0x2320
_NXST_FLOW_MONITOR = 2
_NXT_PAUSED, _NXT_RESUMED = 23, 24
_STATS = struct.Struct("!HHII4x")
_MONITOR = struct.Struct("!IHHHB5x")
_WANTED = 0x02 | 0x04 | 0x08 | 0x20
"""NXFMF_ADD, DELETE, MODIFY, OWN (also changes by whoever holds this connection)."""
_ANY_PORT, _ANY_TABLE = 0xFFFF, 0xFF
_OXM_ETH_TYPE_IPV4 = struct.pack("!IH", 0x00000602, 0x0800)
_NXM_IP_DST, _NXM_IP_DST_MASKED = 0x00001004, 0x00001108
_BEACON = struct.pack("!III", _NXM_IP_DST_MASKED, 0xC6120000, 0xFFFE0000)
_FULL_UPDATE = struct.Struct("!HHHHHHHBxQ")
_ADDED, _DELETED = 0, 1
_RECONNECT_S = 0.05


def subscription() -> bytes:
    """Hello, and the request to be told of every change in the beacon's network from now on."""
    match = _OXM_ETH_TYPE_IPV4 + _BEACON
    padded = match.ljust((len(match) + 7) // 8 * 8, b"\0")
    monitor = _MONITOR.pack(1, _WANTED, _ANY_PORT, len(match), _ANY_TABLE) + padded
    body = _STATS.pack(_STATS_VENDOR, 0, _NICIRA, _NXST_FLOW_MONITOR) + monitor
    request = _HEADER.pack(VERSION, _STATS_REQUEST, _HEADER.size + len(body), 2) + body
    return _HEADER.pack(VERSION, _HELLO, _HEADER.size, 1) + request


def updates(body: bytes) -> Iterator[tuple[bool, int]]:
    """(added, destination) of every notice in a monitor's reply; `body` follows the header."""
    kind, _flags, vendor, subtype = _STATS.unpack_from(body)
    if (kind, vendor, subtype) != (_STATS_VENDOR, _NICIRA, _NXST_FLOW_MONITOR):
        return
    offset = _STATS.size
    while offset + 4 <= len(body):
        length, event = struct.unpack_from("!HH", body, offset)
        if length < 8 or offset + length > len(body):
            return
        if event in (_ADDED, _DELETED) and length >= _FULL_UPDATE.size:
            match_length = _FULL_UPDATE.unpack_from(body, offset)[6]
            start = offset + _FULL_UPDATE.size
            destination = _destination(body[start : min(start + match_length, offset + length)])
            if destination is not None:
                yield event == _ADDED, destination
        offset += length


def _destination(match: bytes) -> int | None:
    offset = 0
    while offset + 4 <= len(match):
        (header,) = struct.unpack_from("!I", match, offset)
        if header == _NXM_IP_DST and offset + 8 <= len(match):
            return int(struct.unpack_from("!I", match, offset + 4)[0])
        offset += 4 + (header & 0xFF)
    return None


@dataclass(slots=True)
class _Watch:
    """One switch's connection and record."""

    record: BeaconRecord
    path: str
    link: socket.socket | None = None
    octets: bytes = b""
    is_subscribed: bool = False

    def connect(self) -> bool:
        link = socket.socket(socket.AF_UNIX)
        try:
            link.connect(self.path)
            link.sendall(subscription())
        except OSError:
            link.close()
            return False
        link.setblocking(False)
        self.link, self.octets, self.is_subscribed = link, b"", False
        return True

    def read(self) -> None:
        """Everything that is there; the stamp is taken right after the read."""
        assert self.link is not None
        try:
            received = self.link.recv(1 << 16)
        except BlockingIOError:
            return
        except OSError:
            received = b""
        now = time.monotonic_ns()
        if not received:
            self.record.blind_ns.append(now)
            self.link.close()
            self.link = None
            return
        self.octets += received
        while len(self.octets) >= _HEADER.size:
            _version, kind, length, xid = _HEADER.unpack_from(self.octets)
            if len(self.octets) < max(length, _HEADER.size):
                return
            body, self.octets = self.octets[_HEADER.size : length], self.octets[length:]
            self._message(kind, xid, body, now)

    def _message(self, kind: int, xid: int, body: bytes, now: int) -> None:
        if kind == _ECHO_REQUEST and self.link is not None:
            self.link.send(_HEADER.pack(VERSION, _ECHO_REPLY, _HEADER.size + len(body), xid) + body)
        elif kind == _ERROR:
            raise RuntimeError(f"{self.record.fe} refuses the flow monitor: {body.hex()}")
        elif kind == _VENDOR and struct.unpack_from("!II", body) == (_NICIRA, _NXT_PAUSED):
            self.record.blind_ns.append(now)
        elif kind == _STATS_REPLY:
            self.is_subscribed = True
            for added, destination in updates(body):
                self.record.note(now, added, destination)


def run(config: Mapping[str, Any]) -> None:
    """Keys: `sockets` (FE -> path of its management socket), `folder`, `run_s`; optional `fifo`,
    `ready` (a file that is made when every switch has answered)."""
    stopping = False

    def stop(_number: int, _frame: object) -> None:
        nonlocal stopping
        stopping = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    watches = [_Watch(BeaconRecord(fe), path) for fe, path in config["sockets"].items()]
    punctuality = become_punctual(int(config.get("fifo", LISTENER_PRIORITY)))
    deadline = time.monotonic() + float(config["run_s"])
    poll = select.epoll()
    by_descriptor: dict[int, _Watch] = {}
    ready = config.get("ready")
    again = 0.0
    while not stopping and time.monotonic() < deadline:
        if time.monotonic() >= again:
            again = time.monotonic() + _RECONNECT_S
            for watch in watches:
                if watch.link is None and watch.connect():
                    assert watch.link is not None
                    by_descriptor[watch.link.fileno()] = watch
                    poll.register(watch.link.fileno(), select.EPOLLIN)
        for descriptor, _events in poll.poll(0.02):
            by_descriptor[descriptor].read()
        if ready and all(watch.is_subscribed for watch in watches):
            os.close(os.open(ready, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o644))
            ready = None
    for watch in watches:
        watch.record.write(config["folder"], {"listener": asdict(punctuality)})
