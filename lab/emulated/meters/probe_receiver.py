"""The data probe's receiver: all flows that end at one host, stamped by the kernel.

Started by the fork server in the host's namespace as `lab.emulated.meters.probe_receiver:run`.
Every 5 ms one recvmmsg per flow fetches what came; the kernel's SO_TIMESTAMPNS does not depend on
when that is. SO_RXQ_OVFL counts what our own socket dropped, so that the probe's loss is never
taken for the network's. On SIGTERM the sockets are drained and everything is written.
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import socket
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from lab.emulated.clock import ClockRecord, become_punctual, measure_offset
from lab.emulated.meters.probe_records import RX_DTYPE, ProbeFlow, capacity, flows_of, write_half

_SO_RCVBUFFORCE = 33
_SO_TIMESTAMPNS = 35
_SO_RXQ_OVFL = 40
_SO_MEMINFO = 55
_MEMINFO_DROPS = 8
_RECEIVE_BUFFER_OCTETS = 64 << 20
_BATCH = 512
_TICK_S = 0.005
_DRAIN_S = 0.02
"""After the senders ended: longer than a packet can be on its way through a few veths."""

# struct mmsghdr, struct iovec and the two control messages, as this machine's C ABI lays them out.
_MMSGHDR = np.dtype(
    [
        ("name", "<u8"),
        ("namelen", "<u8"),
        ("iov", "<u8"),
        ("iovlen", "<u8"),
        ("control", "<u8"),
        ("controllen", "<u8"),
        ("flags", "<i8"),
        ("len", "<u8"),
    ]
)
_IOVEC = np.dtype([("base", "<u8"), ("len", "<u8")])
_PAYLOAD = np.dtype([("seq", "<u8"), ("sent_ns", "<i8")])
_CONTROL = np.dtype(
    [
        ("stamp_len", "<u8"),
        ("stamp_level", "<i4"),
        ("stamp_type", "<i4"),
        ("sec", "<i8"),
        ("nsec", "<i8"),
        ("overflow_len", "<u8"),
        ("overflow_level", "<i4"),
        ("overflow_type", "<i4"),
        ("overflow", "<u4"),
        ("padding", "<u4"),
    ]
)


class _Batch:
    """One set of buffers for recvmmsg, used for all flows in turn."""

    def __init__(self) -> None:
        self.headers = np.zeros(_BATCH, _MMSGHDR)
        self.payload = np.zeros(_BATCH, _PAYLOAD)
        self.control = np.zeros(_BATCH, _CONTROL)
        vectors = self._vectors = np.zeros(_BATCH, _IOVEC)
        index = np.arange(_BATCH, dtype=np.uint64)
        vectors["base"] = self.payload.ctypes.data + index * _PAYLOAD.itemsize
        vectors["len"] = _PAYLOAD.itemsize
        self.headers["iov"] = vectors.ctypes.data + index * _IOVEC.itemsize
        self.headers["iovlen"] = 1
        self.headers["control"] = self.control.ctypes.data + index * _CONTROL.itemsize
        self._address = self.headers.ctypes.data
        self._recvmmsg = ctypes.CDLL(None, use_errno=True).recvmmsg
        self._recvmmsg.argtypes = [
            ctypes.c_int,
            ctypes.c_void_p,
            ctypes.c_uint,
            ctypes.c_int,
            ctypes.c_void_p,
        ]

    def receive(self, descriptor: int) -> int:
        """Messages fetched, 0 when there are none."""
        self.headers["controllen"] = _CONTROL.itemsize
        self.control["stamp_type"] = 0
        got = int(self._recvmmsg(descriptor, self._address, _BATCH, int(socket.MSG_DONTWAIT), None))
        if got >= 0:
            return got
        number = ctypes.get_errno()
        if number in (errno.EAGAIN, errno.EINTR):
            return 0
        raise OSError(number, os.strerror(number))


class _Inbox:
    """One flow's socket and record."""

    def __init__(self, flow: ProbeFlow, room: int, receive_buffer: int) -> None:
        self.flow = flow
        self.record = np.full(room, 0, RX_DTYPE)  # full, not zeros: the pages exist before the run
        self.count = 0
        self.unrecorded = 0
        self.unstamped = 0
        self.overflow = 0
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        try:
            self.socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, receive_buffer)
        except OSError:
            pass  # without CAP_NET_ADMIN: SO_RXQ_OVFL will tell if the default was too small
        self.socket.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        self.socket.setsockopt(socket.SOL_SOCKET, _SO_RXQ_OVFL, 1)
        self.socket.bind((flow.destination_address, flow.port))

    def fetch(self, batch: _Batch) -> None:
        while got := batch.receive(self.socket.fileno()):
            self._keep(batch, got)
            if got < _BATCH:
                return

    def _keep(self, batch: _Batch, got: int) -> None:
        control = batch.control[:got]
        self.unstamped += int(np.count_nonzero(control["stamp_type"] != _SO_TIMESTAMPNS))
        # The counter is cumulative, and the kernel attaches it only when it is not zero.
        with_counter = batch.headers["controllen"][:got] == _CONTROL.itemsize
        if with_counter.any():
            self.overflow = int(control["overflow"][with_counter].max())
        kept = min(got, len(self.record) - self.count)
        self.unrecorded += got - kept
        rows = self.record[self.count : self.count + kept]
        rows["seq"] = batch.payload["seq"][:kept]
        rows["sent_ns"] = batch.payload["sent_ns"][:kept]
        rows["kernel_ns"] = control["sec"][:kept] * 1_000_000_000 + control["nsec"][:kept]
        self.count += kept

    def close(self) -> None:
        """SO_RXQ_OVFL comes with the next packet, so drops after the last one are asked for."""
        info = self.socket.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, 4 * (_MEMINFO_DROPS + 1))
        self.overflow = max(self.overflow, int.from_bytes(info[-4:], "little"))
        self.socket.close()

    def write(self, folder: str, clock: ClockRecord) -> None:
        record = self.record[: self.count]
        record["kernel_ns"] = clock.to_monotonic(record["kernel_ns"])
        np.save(self.flow.file(folder, "rx.npy"), record)
        write_half(
            self.flow,
            folder,
            "rx",
            {
                "received": self.count,
                "overflow": self.overflow,
                "unrecorded": self.unrecorded,
                "unstamped": self.unstamped,
                "clock": clock.as_json(),
            },
        )


def run(config: Mapping[str, Any]) -> None:
    """Keys: `flows`, `pps`, `folder`, `run_s` (from now, drain included); optional `ready` (a
    file that is made when the sockets are open), `receive_buffer` (octets per flow)."""
    room = capacity(int(config["pps"]), float(config["run_s"]))
    stopping = False

    def stop(_number: int, _frame: object) -> None:
        nonlocal stopping
        stopping = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    receive_buffer = int(config.get("receive_buffer", _RECEIVE_BUFFER_OCTETS))
    inboxes = [_Inbox(flow, room, receive_buffer) for flow in flows_of(config)]
    batch = _Batch()
    become_punctual(0)
    start = measure_offset()
    deadline = time.monotonic() + float(config["run_s"])
    if ready := config.get("ready"):
        os.close(os.open(ready, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o644))
    while not stopping and time.monotonic() < deadline:
        for inbox in inboxes:
            inbox.fetch(batch)
        time.sleep(_TICK_S)
    drained = time.monotonic() + _DRAIN_S
    while time.monotonic() < drained:
        for inbox in inboxes:
            inbox.fetch(batch)
        time.sleep(_TICK_S)
    clock = ClockRecord(start, measure_offset())
    for inbox in inboxes:
        inbox.close()
        inbox.write(config["folder"], clock)
