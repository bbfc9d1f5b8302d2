"""A guard for a process that carries userland SCTP: says ABORT for it when it is killed.

A kernel's SCTP aborts the associations of a process that dies (RFC 9260 section 9.1); userland's
dies with it and says nothing, and its peers find out with their next packet. The guard gives back
what was lost: a small process beside it that knows for each association whom to tell, and with
which verification tag.

It waits for a robust mutex (pthread_mutexattr_setrobust(3)) that the guarded process holds. The
kernel wakes it first of all when the owner dies, before it takes the owner's memory apart and
closes its files (measured: 0.15 ms after SIGKILL, a closed pipe 13 ms). A frozen or isolated
process keeps the mutex, or its guard is cut off with it: those are for heartbeats to find.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import signal
import socket
import struct
import time
from contextlib import suppress
from pathlib import Path

from forces.io.packet_socket import IPPROTO_SCTP, UDP_PORT

_CHUNK_ABORT = 6
_FAREWELLS = (_CHUNK_ABORT, 14)
"""ABORT and SHUTDOWN COMPLETE may carry our own tag (T bit), not the peer's."""
_CAUSE_USER_INITIATED = 12
_REASON = b"ceha guard: the process has ended"
"""Upper Layer Abort Reason (RFC 9260 section 3.3.10.12)."""

_MUTEX_OCTETS = 64
_COUNT = struct.Struct("=Q")
_SLOT = struct.Struct("!4s8s")
"""Address; ports and verification tag, as they stand in an SCTP header."""
SLOTS = 4096
"""Associations that are remembered; the oldest make room. An FE has three."""
_FIRST_SLOT = _MUTEX_OCTETS + _COUNT.size

_PTHREAD_PROCESS_SHARED = 1
_PTHREAD_MUTEX_ROBUST = 1

_PORT_BUDGET_S = 0.5
"""The guarded process's UDP port is free when the kernel has closed its files."""


def abort_packet(header: bytes) -> bytes:
    """An SCTP packet with one ABORT chunk; `header`: ports and verification tag."""
    cause = struct.pack("!HH", _CAUSE_USER_INITIATED, 4 + len(_REASON)) + _REASON
    chunk = struct.pack("!BBH", _CHUNK_ABORT, 0, 4 + len(cause)) + cause
    chunk += bytes(-len(chunk) % 4)
    checksum = crc32c(header + bytes(4) + chunk)
    return header + struct.pack("<I", checksum) + chunk


def is_from_guard(chunk: bytes) -> bool:
    """Whether an ABORT chunk that arrived was sent by a guard."""
    return _REASON in chunk


def _crc_of(octet: int) -> int:
    for _ in range(8):
        octet = octet >> 1 ^ (0x82F63B78 if octet & 1 else 0)
    return octet


_CRC_TABLE = tuple(map(_crc_of, range(256)))


def crc32c(octets: bytes) -> int:
    """RFC 9260 appendix A."""
    crc = 0xFFFFFFFF
    for octet in octets:
        crc = crc >> 8 ^ _CRC_TABLE[(crc ^ octet) & 0xFF]
    return crc ^ 0xFFFFFFFF


class Guard:
    """The guarded process's side. Make it in the process's main thread, before any other one."""

    def __init__(self, local_address: str, udp: bool) -> None:
        """OSError where the system has no robust mutexes, or cannot fork."""
        self._memory = mmap.mmap(-1, _FIRST_SLOT + SLOTS * _SLOT.size)
        self._slots: dict[bytes, tuple[int, bytes]] = {}
        """Address and ports -> number of the slot, header."""
        self._next = 0
        self._pthread = ctypes.CDLL(None)
        self._view = ctypes.c_char.from_buffer(self._memory)
        self._mutex = ctypes.c_void_p(ctypes.addressof(self._view))
        attributes = ctypes.create_string_buffer(_MUTEX_OCTETS)
        self._call("mutexattr_init", attributes)
        self._call("mutexattr_setpshared", attributes, _PTHREAD_PROCESS_SHARED)
        self._call("mutexattr_setrobust", attributes, _PTHREAD_MUTEX_ROBUST)
        self._call("mutex_init", self._mutex, attributes)
        self._call("mutex_lock", self._mutex)
        self._owner = os.getpid()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                self._stand_by(local_address, udp)
            finally:
                os._exit(0)

    def saw(self, address: str, packet: bytes) -> None:
        """A packet leaves: its header is what an ABORT will need."""
        tag = packet[4:8]
        if tag == b"\0\0\0\0" or len(packet) < 13 or packet[12] in _FAREWELLS:
            return
        whom = socket.inet_aton(address)
        key = whom + packet[:4]
        known = self._slots.get(key)
        if known is not None and known[1] == packet[:8]:
            return
        if known is None:
            number, self._next = self._next, self._next + 1
            if number >= SLOTS:  # the ring is full: forget who had this slot
                stale = next(k for k, (n, _) in self._slots.items() if n == number - SLOTS)
                del self._slots[stale]
        else:
            number = known[0]
        self._slots[key] = (number, packet[:8])
        offset = _FIRST_SLOT + number % SLOTS * _SLOT.size
        self._memory[offset : offset + _SLOT.size] = _SLOT.pack(whom, packet[:8])
        self._memory[_MUTEX_OCTETS:_FIRST_SLOT] = _COUNT.pack(min(self._next, SLOTS))

    def release(self) -> None:
        """An orderly end: nothing is left to say."""
        if os.getpid() == self._owner:
            self._call("mutex_unlock", self._mutex)

    def _call(self, function: str, *arguments: object) -> None:
        number = getattr(self._pthread, f"pthread_{function}")(*arguments)
        if number:
            raise OSError(number, f"pthread_{function}: {os.strerror(number)}")

    # In the guard

    def _stand_by(self, local_address: str, udp: bool) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the one it guards
        os.setsid()
        _close_files()
        Path("/proc/self/comm").write_text("guard")
        _step_ahead()
        if self._pthread.pthread_mutex_lock(self._mutex) != errno.EOWNERDEAD:
            return
        (count,) = _COUNT.unpack_from(self._memory, _MUTEX_OCTETS)
        packets = _packet_socket(local_address, udp)
        for number in range(min(count, SLOTS)):
            whom, header = _SLOT.unpack_from(self._memory, _FIRST_SLOT + number * _SLOT.size)
            try:
                address = (socket.inet_ntoa(whom), UDP_PORT if udp else 0)
                packets.sendto(abort_packet(header), address)
            except OSError:
                continue  # that peer cannot be reached; its heartbeats will tell it
        _step_back()


def _step_ahead() -> None:
    """In a process with SCHED_FIFO: before its equals, the one that is taken apart among them."""
    if os.sched_getscheduler(0) == os.SCHED_FIFO:
        priority = os.sched_getparam(0).sched_priority + 1
        with suppress(OSError):  # it works without, a little later
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority))


def _step_back() -> None:
    """Its own end must hold up nobody who lives."""
    with suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def _close_files() -> None:
    """Whatever the guarded process has open must end with it, not with its guard."""
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2:
            try:
                os.close(int(name))
            except OSError:
                pass  # the listing's own


def _packet_socket(local_address: str, udp: bool) -> socket.socket:
    """Opened only now: a second raw socket would take the host's ICMP answers away."""
    if not udp:
        packets = socket.socket(socket.AF_INET, socket.SOCK_RAW, IPPROTO_SCTP)
        packets.bind((local_address, 0))
        return packets
    packets = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    deadline = time.monotonic() + _PORT_BUDGET_S
    while True:
        try:
            packets.bind((local_address, UDP_PORT))
            return packets
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.001)
