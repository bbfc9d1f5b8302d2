"""Which of the packets that come in by a port are for the CE, and why: the exception IDs of RFC
6956 section 4.4 (metadata ExceptionID). Pure; `fe_datapath.linux.bpf` says the same to a kernel.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

from fe_datapath.config import PortConfig, RedirectConfig

ETHERTYPE_IP, ETHERTYPE_ARP, ETHERTYPE_IPV6 = 0x0800, 0x0806, 0x86DD
ARP_REPLY = 2
ARP_LENGTH = 28
ETHER_HEADER = 14
IPV4_HEADER = 20
IPV6_HEADER = 40
LOCAL_MULTICAST, LOCAL_MULTICAST_MASK = 0xE0000000, 0xFFFFFF00
"""224.0.0.0/24: never forwarded (RFC 5771 section 4), what routing protocols talk on."""
FIRST_MULTICAST = 0xE0000000


class ExceptionId(IntEnum):
    """The values of ExceptionID that are used here."""

    AnyUnrecognizedExceptionCase = 0
    BadTTL = 4
    DstAddressException = 10
    LPMLookupFailed = 11


@dataclass(frozen=True, slots=True)
class PortRules:
    """What of one port's packets is for the CE."""

    protocols: tuple[int, ...]
    for_us: bool
    ttl_expired: bool
    address: int
    """The port's own, IPv4, as an integer."""
    addresses: tuple[int, ...]
    """All of the FE, the port's own among them."""
    no_route: bool = False
    """What no route leads anywhere: the kernel's tables know that, and no look at a frame."""

    def exception(self, frame: bytes) -> ExceptionId | None:
        """None: not for the CE."""
        kind = int.from_bytes(frame[12:14])
        if kind == ETHERTYPE_ARP and len(frame) >= ETHER_HEADER + ARP_LENGTH:
            # The CE's stack resolves neighbours by itself, through the port: it needs the answers.
            reply = int.from_bytes(frame[20:22]) == ARP_REPLY
            return ExceptionId.AnyUnrecognizedExceptionCase if reply else None
        if kind != ETHERTYPE_IP or len(frame) < ETHER_HEADER + IPV4_HEADER:
            return None
        ttl, protocol, destination = frame[22], frame[23], int.from_bytes(frame[30:34])
        local = destination & LOCAL_MULTICAST_MASK == LOCAL_MULTICAST
        if protocol in self.protocols and (local or destination == self.address):
            return ExceptionId.DstAddressException
        ours = destination in self.addresses
        if ours:
            return ExceptionId.DstAddressException if self.for_us else None
        if self.ttl_expired and ttl <= 1 and destination < FIRST_MULTICAST:
            return ExceptionId.BadTTL
        return None


def as_received(packet: bytes, port_mac: bytes) -> bytes | None:
    """The frame of an IP packet that was about to be forwarded: one hop back, to the port's MAC
    address; the sender's is not known. None: not an IP packet, or to a group, which is nothing
    that was to be forwarded."""
    octets = bytearray(packet)
    version = packet[0] >> 4 if packet else 0
    if version == 4 and len(packet) >= IPV4_HEADER and packet[16] < FIRST_MULTICAST >> 24:
        octets[8] += 1
        octets[10:12] = bytes(2)
        octets[10:12] = checksum(octets[: (octets[0] & 15) * 4]).to_bytes(2)
        kind = ETHERTYPE_IP
    elif version == 6 and len(packet) >= IPV6_HEADER and packet[24] != 0xFF:
        octets[7] += 1
        kind = ETHERTYPE_IPV6
    else:
        return None
    return port_mac + bytes(6) + kind.to_bytes(2) + bytes(octets)


def checksum(header: bytes | bytearray) -> int:
    """RFC 1071's; 0 for a header with a right one in it."""
    total = sum(int.from_bytes(header[at : at + 2]) for at in range(0, len(header), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def rules_of(config: RedirectConfig, ports: Iterable[PortConfig]) -> dict[int, PortRules]:
    """By PHYPortID."""
    own = {port.id: _address(port) for port in ports}
    everyone = tuple(sorted({address for address in own.values() if address}))
    return {
        port: PortRules(
            config.protocols,
            config.for_us,
            config.ttl_expired,
            address,
            everyone,
            config.no_route,
        )
        for port, address in own.items()
    }


def _address(port: PortConfig) -> int:
    """0, which no packet is sent to, for a port of IPv6 alone."""
    interface = ipaddress.ip_interface(port.address)
    return int(interface.ip) if interface.version == 4 else 0
