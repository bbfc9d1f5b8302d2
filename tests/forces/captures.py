"""Other people's octets: the 2011 interop captures, and a pcap writer for tcpdump as an oracle."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2].parent / "shared" / "refs" / "captures"
LINKTYPE_RAW = 101
SCTP = 132


def capture_files() -> list[Path]:
    return sorted(FOLDER.glob("*.pdus.txt"))


def captured_messages(path: Path) -> Iterator[tuple[str, bytes]]:
    """(description, octets) of each ForCES message in an extracted capture."""
    title = ""
    for line in path.read_text().splitlines():
        if line.startswith("#"):
            title = line
        elif match := re.match(r"\s*hex ([0-9a-f]+)$", line):
            yield title, bytes.fromhex(match[1])


def need_captures() -> None:
    if not capture_files():
        pytest.skip("no interop captures: ../shared is absent")


def write_pcap(path: Path, messages: Iterable[tuple[int, bytes]]) -> None:
    """(SCTP port, ForCES message) each as one DATA chunk in one IPv4 packet.

    tcpdump does not verify SCTP's checksum unless asked to, so it is left 0."""
    with path.open("wb") as out:
        out.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 0x40000, LINKTYPE_RAW))
        for number, (port, message) in enumerate(messages):
            packet = _ip_packet(port, number, message)
            out.write(struct.pack("<IIII", number, 0, len(packet), len(packet)) + packet)


def _ip_packet(port: int, number: int, message: bytes) -> bytes:
    padding = b"\0" * (-len(message) % 4)
    ppid = port - 6704 + 21
    chunk = struct.pack("!BBHIHHI", 0, 3, 16 + len(message), number + 1, 0, number & 0xFFFF, ppid)
    sctp = struct.pack("!HHII", 40000, port, 1, 0) + chunk + message + padding
    head = struct.pack(
        "!BBHHHBBH4s4s",
        0x45,
        0,
        20 + len(sctp),
        0,
        0x4000,
        64,
        SCTP,
        0,
        bytes([10, 0, 0, 1]),
        bytes([10, 0, 0, 2]),
    )
    total = sum(struct.unpack("!10H", head))
    total = (total & 0xFFFF) + (total >> 16)
    checksum = ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
    return head[:10] + struct.pack("!H", checksum) + head[12:] + sctp
