"""The guard of a process with userland SCTP (forces/io/guard.py)."""

from __future__ import annotations

import os
import signal
import socket
import struct

import pytest

from forces.io.guard import SLOTS, Guard, abort_packet, crc32c, is_from_guard
from forces.io.packet_socket import UDP_PORT

HEADER = struct.pack("!HHI", 6704, 50000, 0xDEADBEEF)


def packet(chunk_type: int = 0, tag: int = 0xDEADBEEF, port: int = 50000) -> bytes:
    return struct.pack("!HHII", 6704, port, tag, 0) + bytes((chunk_type, 0, 0, 4))


def test_rfc9260_appendix_a_the_checksum_is_crc32c() -> None:
    assert crc32c(b"123456789") == 0xE3069283  # the check value of CRC-32C
    assert crc32c(bytes(32)) == 0x8A9136AA  # RFC 3720, appendix B.4


def test_rfc9260_3_3_7_the_packet_is_one_abort_chunk_for_the_peers_tag() -> None:
    sent = abort_packet(HEADER)
    assert sent[:8] == HEADER
    assert struct.unpack_from("<I", sent, 8)[0] == crc32c(HEADER + bytes(4) + sent[12:])
    kind, flags, length = struct.unpack_from("!BBH", sent, 12)
    assert (kind, flags) == (6, 0)
    assert len(sent) == 12 + (length + 3 & ~3)
    assert is_from_guard(sent[12 : 12 + length])
    assert not is_from_guard(struct.pack("!BBH", 6, 0, 4))


@pytest.fixture
def receiver() -> socket.socket:
    """A peer at 127.0.0.2; packets come in UDP."""
    peer = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        peer.bind(("127.0.0.2", UDP_PORT))
    except OSError:
        pytest.skip(f"UDP port {UDP_PORT} of 127.0.0.2 is taken")
    peer.settimeout(10)
    return peer


def guarded(seen: list[tuple[str, bytes]], ends: signal.Signals | None) -> None:
    """A child process with a guard: it sees packets leave, then dies (or ends in order)."""
    pid = os.fork()
    if pid == 0:
        try:
            guard = Guard("127.0.0.3", udp=True)
            for address, each in seen:
                guard.saw(address, each)
            if ends is None:
                guard.release()
                os.waitpid(guard.pid, 0)
            else:
                os.kill(os.getpid(), ends)
        finally:
            os._exit(0)
    os.waitpid(pid, 0)


def test_who_is_killed_is_aborted_once_for_each_association(receiver: socket.socket) -> None:
    seen = [
        ("127.0.0.2", packet()),
        ("127.0.0.2", packet(tag=0)),  # INIT
        ("127.0.0.2", packet(chunk_type=6, tag=7)),  # its own farewell
        ("127.0.0.2", packet()),
        ("127.0.0.2", packet(port=50001, tag=2)),
        ("127.0.0.2", packet(port=50001, tag=3)),  # a new association: the old tag is dead
    ]
    guarded(seen, signal.SIGKILL)
    got = {receiver.recv(2048)[:8] for _ in range(2)}
    assert got == {HEADER, struct.pack("!HHI", 6704, 50001, 3)}
    receiver.close()


def test_the_oldest_associations_make_room(receiver: socket.socket) -> None:
    seen = [
        ("127.0.0.2", packet(port=number % 65536, tag=number + 1)) for number in range(SLOTS + 2)
    ]
    guarded([*seen, ("127.0.0.2", packet(port=0, tag=99999))], signal.SIGKILL)
    receiver.settimeout(2)
    got = set()
    try:
        while True:
            got.add(receiver.recv(2048)[2:4])
    except TimeoutError:
        pass
    # the first two made room, and the first came back in the third one's place
    assert got <= {struct.pack("!H", number) for number in range(SLOTS + 2)}
    assert struct.pack("!H", 0) in got
    assert struct.pack("!H", 1) not in got
    assert struct.pack("!H", 2) not in got
    receiver.close()


def test_an_orderly_end_says_nothing(receiver: socket.socket) -> None:
    guarded([("127.0.0.2", packet())], None)
    receiver.setblocking(False)
    with pytest.raises(BlockingIOError):  # its guard has ended, and was seen to
        receiver.recv(2048)
    receiver.close()
