"""A raw rtnetlink socket: batches, single requests and dumps, each with a time limit.

What the kernel does with a batch (measured): it carries on after a failed message, sends an
NLMSG_ERROR with the sequence number of every failed one whether an ACK was asked for or not, and
stops without a word at a message whose length is wrong. Hence: an ACK is asked for on the last
message only, failures are collected by sequence number, and reading has a time limit.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from fe_datapath.linux.messages import Flag, MessageType

T = TypeVar("T")
Octets = bytes | memoryview

RECEIVE_BUFFER = 8 << 20
"""Octets: room for an error answer to every message of many batches."""
RECEIVE_TIMEOUT_S = 5
"""The kernel answers within the send call; only a broken batch is never answered."""
DATAGRAM = 1 << 16
"""The kernel's dumps use at most 32 KiB a datagram."""

_SOL_NETLINK = 270
_NETLINK_CAP_ACK = 10
_NETLINK_EXT_ACK = 11
_NETLINK_GET_STRICT_CHK = 12
_SO_RCVBUFFORCE = 33
_NLMSGERR_ATTR_MSG = 1

HEADER = struct.Struct("=IHHII")
"""struct nlmsghdr: length, type, flags, sequence, port."""
ATTRIBUTE = struct.Struct("=HH")
"""struct nlattr: length, type."""
_ERRNO = struct.Struct("=i")


@dataclass(frozen=True, slots=True)
class Refusal:
    """The kernel's answer to a message that it did not carry out."""

    sequence: int
    errno: int
    text: str
    """The kernel's extended acknowledgement, or the errno's own text."""


class KernelRefused(Exception):
    """A single request was refused."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.text)
        self.refusal = refusal


class NoAnswer(Exception):
    """The kernel did not answer in time: what it has done is unknown."""


class DumpInterrupted(Exception):
    """The table changed while it was being read."""


class NetlinkSocket:
    """Use from one thread at a time. Belongs to the namespace it was opened in."""

    def __init__(self, *, strict: bool = False, groups: int = 0) -> None:
        self._sequence = 0
        self.socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE
        )
        try:
            option = self.socket.setsockopt
            try:
                option(socket.SOL_SOCKET, _SO_RCVBUFFORCE, RECEIVE_BUFFER)
            except PermissionError:
                option(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
            option(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@ll", RECEIVE_TIMEOUT_S, 0))
            option(_SOL_NETLINK, _NETLINK_CAP_ACK, 1)
            option(_SOL_NETLINK, _NETLINK_EXT_ACK, 1)
            if strict:
                option(_SOL_NETLINK, _NETLINK_GET_STRICT_CHK, 1)
            self.socket.bind((0, groups))
        except OSError:
            self.socket.close()
            raise

    def sequences(self, count: int) -> int:
        """Reserve `count` consecutive sequence numbers; returns the first."""
        first = self._sequence + 1
        if first + count > 0xFFFFFFFF:
            first = 1
        self._sequence = first + count - 1
        return first

    def batch(
        self, messages: bytes | bytearray | memoryview, first: int, last: int
    ) -> list[Refusal]:
        """Send messages numbered first..last, the last of which asks for an ACK."""
        self.socket.send(messages)
        refusals: list[Refusal] = []
        while True:
            for kind, sequence, datagram, offset, end in _walk(self._receive()):
                if kind != MessageType.ERROR or not first <= sequence <= last:
                    continue  # an answer that came after its time limit
                error = -_ERRNO.unpack_from(datagram, offset + 16)[0]
                if error:
                    refusals.append(Refusal(sequence, error, _text(datagram, offset, end, error)))
                if sequence == last:
                    return refusals

    def request(self, message: bytes) -> None:
        """Send one message that asks for an ACK; KernelRefused if it is not carried out."""
        sequence = HEADER.unpack_from(message)[3]
        for refusal in self.batch(message, sequence, sequence):
            raise KernelRefused(refusal)

    def delete(self, message: bytes) -> None:
        """A `request` to delete: of what is not there is no error."""
        try:
            self.request(message)
        except KernelRefused as refused:
            if refused.refusal.errno not in (errno.ESRCH, errno.ENOENT):
                raise

    def dump(
        self,
        message: bytes,
        take: Callable[[Octets, int], bool] | None = None,
        place: Callable[[], memoryview] | None = None,
    ) -> Iterator[tuple[bytes, int, int]]:
        """Send a dump request; yields (datagram, offset of a message, its end). To be read to
        the end. `take` is offered every datagram with the sequence number of the request, and
        says whether it has dealt with all of it. `place`: where the next one is to be received,
        `DATAGRAM` octets at least."""
        wanted = HEADER.unpack_from(message)[3]
        self.socket.send(message)
        interrupted = False
        while True:
            given = self._receive(place)
            if take is not None and take(given, wanted):
                continue
            datagram = bytes(given)
            offset, size = 0, len(datagram)
            while offset < size:
                length, kind, flags, sequence, _ = HEADER.unpack_from(datagram, offset)
                if sequence == wanted:
                    interrupted |= bool(flags & Flag.DUMP_INTERRUPTED)
                    if kind == MessageType.DONE:
                        if interrupted:
                            raise DumpInterrupted
                        return
                    if kind == MessageType.ERROR:
                        error = -_ERRNO.unpack_from(datagram, offset + 16)[0]
                        text = _text(datagram, offset, offset + length, error)
                        raise KernelRefused(Refusal(sequence, error, text))
                    yield datagram, offset, offset + length
                offset += (length + 3) & ~3

    def close(self) -> None:
        self.socket.close()

    def _receive(self, place: Callable[[], memoryview] | None = None) -> Octets:
        try:
            if place is None:
                return self.socket.recv(DATAGRAM)
            octets = place()
            return octets[: self.socket.recv_into(octets)]
        except BlockingIOError:
            raise NoAnswer(f"the kernel did not answer within {RECEIVE_TIMEOUT_S} s") from None
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            raise NoAnswer("the kernel's answers did not fit the receive buffer") from None


DUMP_ATTEMPTS = 5
"""A table that changes under every one of them is read inconsistently, and NoAnswer says so."""


def again(read: Callable[[], T]) -> T:
    """Read a table until it did not change meanwhile."""
    for _ in range(DUMP_ATTEMPTS):
        try:
            return read()
        except DumpInterrupted:
            continue
    raise NoAnswer(f"the table changed during {DUMP_ATTEMPTS} dumps")


def _walk(datagram: Octets) -> Iterator[tuple[int, int, Octets, int, int]]:
    offset = 0
    while offset < len(datagram):
        length, kind, _, sequence, _ = HEADER.unpack_from(datagram, offset)
        yield kind, sequence, datagram, offset, offset + length
        offset += (length + 3) & ~3


def attributes(datagram: Octets, offset: int, end: int) -> Iterator[tuple[int, int, int]]:
    """(type, start of the value, end of the value) of each attribute in a range."""
    while offset + 4 <= end:
        length, kind = ATTRIBUTE.unpack_from(datagram, offset)
        yield kind & 0x3FFF, offset + 4, offset + length
        offset += (length + 3) & ~3


def packed(kind: int, flags: int, sequence: int, body: bytes, *values: tuple[int, bytes]) -> bytes:
    """A message of a fixed part and attributes (type, value)."""
    for number, value in values:
        octets = ATTRIBUTE.pack(ATTRIBUTE.size + len(value), number) + value
        body += octets + bytes(-len(octets) % 4)
    return HEADER.pack(HEADER.size + len(body), kind, int(flags), sequence, 0) + body


def _text(datagram: Octets, offset: int, end: int, error: int) -> str:
    """NLMSGERR_ATTR_MSG, which follows the header of the message that failed (CAP_ACK: only it)."""
    if HEADER.unpack_from(datagram, offset)[2] & Flag.ACK_TLVS:
        for kind, start, stop in attributes(datagram, offset + 16 + 4 + 16, end):
            if kind == _NLMSGERR_ATTR_MSG:
                return bytes(datagram[start:stop]).rstrip(b"\0").decode("utf-8", "replace")
    return os.strerror(error)
