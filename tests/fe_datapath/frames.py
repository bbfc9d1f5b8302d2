"""Ethernet frames, as a neighbour would send them."""

from __future__ import annotations

import ipaddress
import struct

NEIGHBOUR = bytes.fromhex("020000000099")
PORT_MAC = bytes.fromhex("020000000001")


def ether(kind: int, body: bytes, to: bytes = PORT_MAC) -> bytes:
    return to + NEIGHBOUR + struct.pack("!H", kind) + body


def ipv4(
    to: str, protocol: int = 89, ttl: int = 1, source: str = "10.1.0.2", body: bytes = b"x" * 20
) -> bytes:
    def header(checksum: int) -> bytes:
        return struct.pack(
            "!BBHHHBBH4s4s",
            0x45,
            0xC0,
            20 + len(body),
            7,
            0,
            ttl,
            protocol,
            checksum,
            ipaddress.IPv4Address(source).packed,
            ipaddress.IPv4Address(to).packed,
        )

    total = sum(struct.unpack("!10H", header(0)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    multicast = int(ipaddress.IPv4Address(to)) >> 28 == 0xE
    group = b"\x01\x00\x5e" + bytes((ipaddress.IPv4Address(to).packed[1] & 0x7F,))
    mac = group + ipaddress.IPv4Address(to).packed[2:] if multicast else PORT_MAC
    return ether(0x0800, header(~total & 0xFFFF) + body, mac)


def arp(operation: int, sender: str = "10.1.0.2", target: str = "10.1.0.1") -> bytes:
    body = struct.pack("!HHBBH", 1, 0x0800, 6, 4, operation)
    body += NEIGHBOUR + ipaddress.IPv4Address(sender).packed
    body += PORT_MAC + ipaddress.IPv4Address(target).packed
    return ether(0x0806, body)
