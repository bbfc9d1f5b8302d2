"""What a kernel's IP layer makes of a frame, and counts: the fake's, for `FakeDatapath`
(RFC 4293's names; the order of the checks is Linux's ip_rcv and ip_forward).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from enum import Enum, auto

from fe_datapath.punting import checksum

ETHER_HEADER = 14
IPV4, IPV6 = b"\x08\x00", b"\x86\xdd"
IPV6_HEADER = 40


class Fate(Enum):
    DROPPED = auto()
    LOCAL = auto()
    EXPIRED = auto()
    NO_ROUTE = auto()
    FORWARDED = auto()


class FakeIp:
    def __init__(self, own: Collection[bytes], leads: Callable[[bytes], bool]) -> None:
        """`own`: the FE's addresses. `leads`: whether there is a route to a destination."""
        self.counters: dict[int, Counter[str]] = {4: Counter(), 6: Counter()}
        self._own = own
        self._leads = leads

    def judge(self, frame: bytes, forwarding: bool) -> Fate:
        kind, packet = frame[12:14], frame[ETHER_HEADER:]
        if kind == IPV4 and packet:
            return self._ipv4(packet, forwarding)
        if kind == IPV6 and len(packet) >= IPV6_HEADER:
            return self._ipv6(packet, forwarding)
        return Fate.DROPPED

    @staticmethod
    def destination(frame: bytes) -> bytes:
        packet = frame[ETHER_HEADER:]
        return packet[16:20] if frame[12:14] == IPV4 else packet[24:40]

    def _ipv4(self, packet: bytes, forwarding: bool) -> Fate:
        count = self.counters[4]
        count["InReceives"] += 1
        length = (packet[0] & 15) * 4
        if packet[0] >> 4 != 4 or length < 20 or len(packet) < length:
            count["InHdrErrors"] += 1
            return Fate.DROPPED
        if checksum(packet[:length]):
            count["InCsumErrors"] += 1
            count["InHdrErrors"] += 1
            return Fate.DROPPED
        total = int.from_bytes(packet[2:4])
        if len(packet) < total:
            count["InTruncatedPkts"] += 1
            return Fate.DROPPED
        if total < length:
            count["InHdrErrors"] += 1
            return Fate.DROPPED
        return self._onwards(count, packet[16:20], packet[8], forwarding)

    def _ipv6(self, packet: bytes, forwarding: bool) -> Fate:
        count = self.counters[6]
        count["InReceives"] += 1
        if packet[0] >> 4 != 6:
            count["InHdrErrors"] += 1
            return Fate.DROPPED
        if len(packet) < IPV6_HEADER + int.from_bytes(packet[4:6]):
            count["InTruncatedPkts"] += 1
            return Fate.DROPPED
        return self._onwards(count, packet[24:40], packet[7], forwarding)

    def _onwards(
        self, count: Counter[str], destination: bytes, hops: int, forwarding: bool
    ) -> Fate:
        if destination in self._own:
            return Fate.LOCAL
        group = destination[0] >> 4 == 14 if len(destination) == 4 else destination[0] == 0xFF
        if group or not forwarding:
            return Fate.DROPPED
        if not self._leads(destination):
            count["InNoRoutes"] += 1
            return Fate.NO_ROUTE
        if hops <= 1:
            count["InHdrErrors"] += 1
            count["OutTimeExcds"] += 1
            return Fate.EXPIRED
        count["OutForwDatagrams"] += 1
        return Fate.FORWARDED
