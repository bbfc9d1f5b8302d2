"""Packets of the ports for the CE, and packets of the CE out of the ports: packet(7) sockets.

A socket's filter (`bpf`) lets in what `punting` wants and nothing else. The kernel goes on
handling the same packets: ARP answers serve both. For the chosen IP protocols a raw(7) socket
that reads nothing keeps the kernel from answering "protocol unreachable" in the CE's place.
"""

from __future__ import annotations

import logging
import socket
import struct
from collections import Counter
from collections.abc import Callable, Sequence

from fe_datapath.config import PortConfig, RedirectConfig
from fe_datapath.datapath import PacketListener
from fe_datapath.linux import bpf
from fe_datapath.punting import PortRules, rules_of
from forces.io.paced import PacedReader
from forces.token_bucket import TokenBucket

MAX_FRAME = 65_536
BUFFER = 256 << 10
"""What waits while the limit is reached: some hundred packets."""
READ_AHEAD = 2
"""Read at this multiple of the limit that the FE's core keeps: it counts what it drops."""
_ETH_P_ALL = 3
_SOL_PACKET, _PACKET_ADD_MEMBERSHIP, _PACKET_MR_ALLMULTI = 263, 1, 2
_PACKET_STATISTICS = 6

logger = logging.getLogger(__name__)


class PacketPorts:
    """Belongs to the event loop that is running when it is made."""

    def __init__(
        self,
        config: RedirectConfig,
        ports: Sequence[PortConfig],
        ifindex_of: Callable[[int], int | None],
        on_packet: PacketListener,
    ) -> None:
        self.counters: Counter[str] = Counter()
        self._config = config
        self._rules = rules_of(config, ports)
        self._ifindex_of = ifindex_of
        self._on_packet = on_packet
        self._sockets: dict[int, _PortSocket] = {}
        self._silencers: list[socket.socket] = []
        try:
            for protocol in config.protocols:
                self._silence(protocol)
            for port in ports:
                self.refresh(port.id)
        except BaseException:
            self.close()
            raise

    def refresh(self, port: int) -> None:
        """The port's interface may be another one now."""
        ifindex, have = self._ifindex_of(port), self._sockets.get(port)
        if have is not None and have.ifindex != ifindex:
            have.close()
            del self._sockets[port]
        if ifindex is not None and port not in self._sockets:
            limit = TokenBucket(READ_AHEAD * self._config.rate_pps, self._config.burst)
            self._sockets[port] = _PortSocket(
                ifindex, self._rules[port], limit, lambda frame: self._on_packet(port, frame, None)
            )

    def inject(self, port: int, frame: bytes) -> None:
        there = self._sockets.get(port)
        try:
            if there is None:
                raise OSError("no such port")
            there.socket.send(frame)
        except OSError:  # no carrier, queue full, longer than the MTU: packets get lost
            self.counters["unsent"] += 1
        else:
            self.counters["sent"] += 1

    def overflowed(self) -> int:
        """Packets that came while the limit was reached, and were dropped by the kernel."""
        self.counters["overflowed"] += sum(each.overflowed() for each in self._sockets.values())
        return self.counters["overflowed"]

    def close(self) -> None:
        for port_socket in self._sockets.values():
            port_socket.close()
        self._sockets.clear()
        for silencer in self._silencers:
            silencer.close()
        self._silencers.clear()

    def _silence(self, protocol: int) -> None:
        silencer = socket.socket(socket.AF_INET, socket.SOCK_RAW, protocol)
        self._silencers.append(silencer)
        bpf.attach_nothing(silencer)


class _PortSocket:
    def __init__(
        self,
        ifindex: int,
        rules: PortRules,
        limit: TokenBucket,
        deliver: Callable[[bytes], None],
    ) -> None:
        self.ifindex = ifindex
        # Protocol 0: nothing arrives before the filter is there.
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        try:
            self.socket.setblocking(False)
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
            bpf.attach(self.socket, bpf.program(rules))
            name = socket.if_indextoname(ifindex)
            self.socket.bind((name, _ETH_P_ALL))
            # A real card must let the groups in that the CE's daemons have joined, not the FE.
            membership = struct.pack("=iHH8x", ifindex, _PACKET_MR_ALLMULTI, 0)
            self.socket.setsockopt(_SOL_PACKET, _PACKET_ADD_MEMBERSHIP, membership)
        except BaseException:
            self.socket.close()
            raise
        self._reader = PacedReader(self.socket.fileno(), limit, self._read, deliver)

    def _read(self) -> bytes | None:
        try:
            return self.socket.recv(MAX_FRAME)
        except OSError:  # nothing there, or the interface went down
            return None

    def overflowed(self) -> int:
        """Since the last time."""
        octets = self.socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8)
        return int(struct.unpack("=II", octets)[1])

    def close(self) -> None:
        self._reader.close()
        self.socket.close()
