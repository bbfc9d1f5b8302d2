"""ForCES messages out of a capture of the control network, whatever the transport was.

tcpdump reads ForCES only in SCTP over IP and only where a message is one DATA chunk. So a captured
message is put together again (SCTP fragments, RFC 6951 UDP encapsulation, TCP cut by the ForCES
length) and `tests.forces.captures.write_pcap` writes it the way tcpdump reads it.
"""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

PORTS = range(6704, 6707)
IPV4, TCP, UDP, SCTP = 4, 6, 17, 132
LINK_HEADERS = {1: 14, 101: 0, 113: 16, 276: 20}
"""LINKTYPE -> octets before the IP header: Ethernet, raw, Linux cooked, cooked version 2."""
BYTE_ORDERS = {b"\xd4\xc3\xb2\xa1": "<", b"\xa1\xb2\xc3\xd4": ">"}
ENCAPSULATED = 9899
DATA, BEGIN, END = 0, 2, 1
WORD = 4

Flow = tuple[bytes, int, bytes, int]


def messages(path: Path) -> list[tuple[int, bytes]]:
    """(ForCES port, message) of everything that was captured whole."""
    chunks: dict[Flow, dict[int, tuple[int, bytes]]] = defaultdict(dict)
    segments: dict[Flow, dict[int, bytes]] = defaultdict(dict)
    for protocol, source, destination, payload in _packets(path):
        ports = struct.unpack_from("!HH", payload)
        if protocol == UDP and ENCAPSULATED in ports:
            protocol, payload = SCTP, payload[8:]
            ports = struct.unpack_from("!HH", payload)
        if not set(ports) & set(PORTS):
            continue
        flow = (source, ports[0], destination, ports[1])
        if protocol == SCTP:
            for tsn, flags, data in _data_chunks(payload):
                chunks[flow][tsn] = (flags, data)
        elif protocol == TCP:
            sequence, offset = struct.unpack_from("!I4xB", payload, 4)
            syn = payload[13] & 2
            data = payload[(offset >> 4) * WORD :]
            if syn or data:
                # the first data has the number that the SYN made the first
                held = segments[flow].get(sequence + bool(syn), b"")
                segments[flow][sequence + bool(syn)] = held if syn else max(held, data, key=len)
    found = []
    for flow, by_tsn in chunks.items():
        found += [(_port(flow), message) for message in _join(by_tsn)]
    for flow, by_sequence in segments.items():
        found += [(_port(flow), message) for message in _cut(by_sequence)]
    return found


def _packets(path: Path) -> Iterator[tuple[int, bytes, bytes, bytes]]:
    """(IP protocol, source, destination, payload) of each IPv4 packet in a classic pcap. KeyError
    for another format, or another kind of link."""
    octets = path.read_bytes()
    order = BYTE_ORDERS[octets[:4]]
    link = LINK_HEADERS[struct.unpack_from(f"{order}I", octets, 20)[0]]
    at = 24
    while at + 16 <= len(octets):
        (length,) = struct.unpack_from(f"{order}I", octets, at + 8)
        packet = octets[at + 16 + link : at + 16 + length]
        at += 16 + length
        if packet and packet[0] >> 4 == IPV4:
            (total,) = struct.unpack_from("!H", packet, 2)
            payload = packet[(packet[0] & 15) * WORD : total]
            if len(payload) >= 8:
                yield packet[9], packet[12:16], packet[16:20], payload


def _data_chunks(packet: bytes) -> Iterator[tuple[int, int, bytes]]:
    at = 12
    while at + 4 <= len(packet):
        kind, flags, length = struct.unpack_from("!BBH", packet, at)
        if length < 4:
            return
        if kind == DATA:
            (tsn,) = struct.unpack_from("!I", packet, at + 4)
            yield tsn, flags, packet[at + 16 : at + length]
        at += (length + 3) & ~3


def _join(by_tsn: dict[int, tuple[int, bytes]]) -> Iterator[bytes]:
    parts: list[bytes] = []
    expected = None
    for tsn in sorted(by_tsn):
        flags, data = by_tsn[tsn]
        if flags & BEGIN:
            parts = [data]
        elif parts and tsn == expected:
            parts.append(data)
        else:
            parts = []
        expected = tsn + 1
        if flags & END and parts:
            yield b"".join(parts)
            parts = []


def _cut(by_sequence: dict[int, bytes]) -> Iterator[bytes]:
    expected = min(by_sequence)
    stream = b""
    for sequence in sorted(by_sequence):
        data = by_sequence[sequence]
        if sequence > expected:
            return  # a hole: what follows cannot be cut
        fresh = data[expected - sequence :]
        stream, expected = stream + fresh, expected + len(fresh)
    at = 0
    while at + 24 <= len(stream):
        length = struct.unpack_from("!H", stream, at + 2)[0] * WORD
        if length < 24 or at + length > len(stream):
            return
        yield stream[at : at + length]
        at += length


def _port(flow: Flow) -> int:
    return flow[1] if flow[1] in PORTS else flow[3]
