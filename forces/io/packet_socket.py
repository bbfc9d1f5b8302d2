"""The socket under userland SCTP: raw IP protocol 132, or UDP port 9899 (RFC 6951).

It belongs to our event loop, so that ICMP errors can be read from its error queue: a userland
stack says nothing when its process is killed, but the kernel of that host answers the next packet
with protocol (raw) or port (UDP) unreachable. RFC 9260 section 10 lets that count as an ABORT.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from forces.io.lanes import LIMIT, Lanes

IPPROTO_SCTP = 132
UDP_PORT = 9899
BUFFER = 4 << 20
BATCH = 512
"""Packets taken from the kernel in one turn of the loop (2.5 us each); the rest in the next one."""

_IP_RECVERR = 11
_SO_SNDBUFFORCE = 32
_SO_RCVBUFFORCE = 33
_EXTENDED_ERROR = struct.Struct("=IBBB")
_ICMP_DEST_UNREACH = 3
_CODES = {2: "protocol unreachable", 3: "port unreachable"}
_PATH_CODES = {0: "network unreachable", 1: "host unreachable"}
"""Soft: the path may come back before the retransmission limit (RFC 9260 section 10)."""
_CHUNK_ABORT = 6
_CHUNK_SHUTDOWN_COMPLETE = 14
_PENDING = (errno.ECONNREFUSED, errno.ENOPROTOOPT, errno.EHOSTUNREACH, errno.ENETUNREACH)


@dataclass(frozen=True, slots=True)
class Unreachable:
    """A peer's host says that nobody is there; the ports are those of our packet."""

    address: str
    local_port: int
    remote_port: int
    reason: str


class PacketSocket:
    def __init__(
        self, local_address: str, udp: bool, witness: Callable[[str, bytes], None] | None = None
    ) -> None:
        """`witness` is shown every packet that leaves."""
        self.udp = udp
        self._witness = witness
        self.counters: Counter[str] = Counter()
        self._lanes = Lanes()
        self.no_path: dict[str, str] = {}
        """Address -> why packets do not get there, until one comes from there."""
        self._port = UDP_PORT if udp else 0
        kind, protocol = (socket.SOCK_DGRAM, 0) if udp else (socket.SOCK_RAW, IPPROTO_SCTP)
        self._socket = socket.socket(socket.AF_INET, kind, protocol)
        try:
            self._socket.setblocking(False)
            for force, plain in (
                (_SO_RCVBUFFORCE, socket.SO_RCVBUF),
                (_SO_SNDBUFFORCE, socket.SO_SNDBUF),
            ):
                try:
                    self._socket.setsockopt(socket.SOL_SOCKET, force, BUFFER)
                except PermissionError:
                    self._socket.setsockopt(socket.SOL_SOCKET, plain, BUFFER)
            self._socket.setsockopt(socket.IPPROTO_IP, _IP_RECVERR, 1)
            self._socket.bind((local_address, self._port))
        except OSError as error:
            self._socket.close()
            what = f"UDP port {UDP_PORT}" if udp else f"IP protocol {IPPROTO_SCTP}"
            raise OSError(
                error.errno, f"cannot bind {what} to {local_address}: {error.strerror}"
            ) from None

    def fileno(self) -> int:
        return self._socket.fileno()

    def send(self, address: str, packet: bytes) -> int:
        """0, or an errno. An ICMP error that waits in the socket is reported by the next send,
        whomever it is for, and that packet is not sent: so it is tried again."""
        if self._witness is not None:
            self._witness(address, packet)
        for _ in range(3):
            try:
                self._socket.sendto(packet, (address, self._port))
                return 0
            except OSError as error:
                number = error.errno or errno.EIO
                if number not in _PENDING:
                    break
        self.counters["unsent_packets"] += 1
        if number in (errno.EHOSTUNREACH, errno.ENETUNREACH):
            self.no_path[address] = os.strerror(number).lower()
        return number

    def receive(self, take: Callable[[str, bytes], None]) -> bool:
        """Give this turn's SCTP packets to `take(address, packet)`; whether any are left, which
        the kernel does not know of any more."""
        self._fetch()
        for address, packet in self._lanes.turn():
            take(address, packet)
        return len(self._lanes) > 0

    def _fetch(self) -> None:
        for _ in range(min(BATCH, LIMIT - len(self._lanes))):
            try:
                packet, (address, _) = self._socket.recvfrom(65535)
            except BlockingIOError:
                return
            except OSError:
                continue  # an ICMP error; the error queue has it too
            if not self.udp:
                packet = packet[(packet[0] & 0xF) * 4 :]
            if self.no_path:
                self.no_path.pop(address, None)
            self._lanes.put(address, packet)

    def errors(self) -> list[Unreachable]:
        """Empty the error queue."""
        found: list[Unreachable] = []
        while True:
            try:
                packet, ancillary, _, address = self._socket.recvmsg(2048, 512, socket.MSG_ERRQUEUE)
            except OSError:
                return found
            for level, kind, data in ancillary:
                if (level, kind) != (socket.IPPROTO_IP, _IP_RECVERR):
                    continue
                _, origin, icmp_type, code = _EXTENDED_ERROR.unpack_from(data)
                reason = _CODES.get(code)
                if (origin, icmp_type) == (2, _ICMP_DEST_UNREACH) and code in _PATH_CODES:
                    self.no_path[address[0]] = _PATH_CODES[code]
                if origin != 2 or icmp_type != _ICMP_DEST_UNREACH or reason is None:
                    self.counters["other_icmp"] += 1
                elif len(packet) < 13 or packet[12] in (_CHUNK_ABORT, _CHUNK_SHUTDOWN_COMPLETE):
                    # The answer to our farewell says nothing about who lives there next.
                    self.counters["icmp_to_farewell"] += 1
                else:
                    local, remote = struct.unpack_from("!HH", packet)
                    found.append(Unreachable(address[0], local, remote, reason))

    def close(self) -> None:
        self._socket.close()
