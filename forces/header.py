"""The common header: 24 octets in front of every ForCES message (RFC 5810 section 6.1).

0               8               16                              31
|ver(4)|rsvd(4)| Message Type(8)|   Length(16), in 32-bit words   |
| Source ID (32) | Destination ID (32) | Correlator (64) | Flags (32) |
"""

from __future__ import annotations

import struct
from enum import IntEnum
from functools import lru_cache

from forces.errors import ProtocolError, ResultCode
from forces.values import value

VERSION = 1
HEADER_LENGTH = 24
WORD = 4
MAX_MESSAGE_LENGTH = 0xFFFF * WORD  # the length field counts 32-bit words in 16 bits

CE_ID_FIRST = 0x40000000  # top bits 01 (RFC 5810 section 6.1: IDs)
MULTICAST_FIRST = 0xC0000000  # top bits 11, up to 0xFFFFFFEF
ALL_CES = 0xFFFFFFFD
ALL_FES = 0xFFFFFFFE
ALL_ELEMENTS = 0xFFFFFFFF


class MessageType(IntEnum):
    """RFC 5810 A.1."""

    ASSOCIATION_SETUP = 0x01
    ASSOCIATION_TEARDOWN = 0x02
    CONFIG = 0x03
    QUERY = 0x04
    EVENT_NOTIFICATION = 0x05
    PACKET_REDIRECT = 0x06
    HEARTBEAT = 0x0F
    ASSOCIATION_SETUP_RESPONSE = 0x11
    CONFIG_RESPONSE = 0x13
    QUERY_RESPONSE = 0x14


class Ack(IntEnum):
    """When a Config or a Heartbeat is answered (flag bits 0-1)."""

    NO_ACK = 0
    SUCCESS_ACK = 1
    FAILURE_ACK = 2
    ALWAYS_ACK = 3


class ExecMode(IntEnum):
    """Execution mode of a message's operations (flag bits 8-9; RFC 5810 section 4.3.1.1)."""

    RESERVED = 0
    ALL_OR_NONE = 1
    UNTIL_FAILURE = 2
    CONTINUE_ON_FAILURE = 3


class TransPhase(IntEnum):
    """Transaction phase (flag bits 11-12; RFC 5810 section 4.3.1.2)."""

    SOT = 0
    MOT = 1
    EOT = 2
    ABT = 3


@value
class Flags:
    """The flags word. `reserved` keeps the bits that a receiver must ignore, so that a captured
    message re-encodes to the same bytes."""

    ack: Ack = Ack.NO_ACK
    priority: int = 0
    """0-7, higher is more important; RFC 5811 fixes a range per channel."""
    mode: ExecMode = ExecMode.RESERVED
    transaction: bool = False
    """AT: the message belongs to a transaction."""
    phase: TransPhase = TransPhase.SOT
    reserved: int = 0

    RESERVED_MASK = 0x0707FFFF

    def to_int(self) -> int:
        """The 32 bits of the header."""
        return (
            self.ack << 30
            | self.priority << 27
            | self.mode << 22
            | self.transaction << 21
            | self.phase << 19
            | self.reserved
        )

    @staticmethod
    @lru_cache(maxsize=1024)
    def from_int(word: int) -> Flags:
        """Cached: a peer uses few of them, and they are values."""
        return Flags(
            ack=Ack(word >> 30),
            priority=word >> 27 & 7,
            mode=ExecMode(word >> 22 & 3),
            transaction=bool(word >> 21 & 1),
            phase=TransPhase(word >> 19 & 3),
            reserved=word & Flags.RESERVED_MASK,
        )


_HEADER = struct.Struct("!BBHIIQI")
_TYPES = {int(kind): kind for kind in MessageType}


@value
class Header:
    """A message's common header; its length field is computed when the message is encoded."""

    type: MessageType
    source: int
    destination: int
    correlator: int = 0
    """64 bits, chosen by the requester, copied into the response; 0 when not relevant."""
    flags: Flags = Flags()
    reserved: int = 0
    """The four bits beside the version: sent as 0, ignored on receipt, kept for re-encoding."""

    def encode(self, body_length: int) -> bytes:
        """`body_length` in octets, a multiple of 4."""
        return _HEADER.pack(
            VERSION << 4 | self.reserved,
            self.type,
            (HEADER_LENGTH + body_length) // WORD,
            self.source,
            self.destination,
            self.correlator,
            self.flags.to_int(),
        )

    @classmethod
    def decode(cls, data: bytes | memoryview) -> Header:
        """The header of one whole message. Raises ProtocolError for a short message, another
        version, a length field that is not the message's, or a type that does not exist."""
        if len(data) < HEADER_LENGTH:
            raise ProtocolError(ResultCode.INVALID_HEADER, f"{len(data)} octets are no header")
        first, kind, words, source, destination, correlator, flags = _HEADER.unpack_from(data)
        if first >> 4 != VERSION:
            raise ProtocolError(ResultCode.VERSION_MISMATCH, f"version {first >> 4}")
        if words * WORD != len(data):
            raise ProtocolError(
                ResultCode.LENGTH_MISMATCH, f"header says {words * WORD}, got {len(data)} octets"
            )
        message_type = _TYPES.get(kind)
        if message_type is None:
            raise ProtocolError(ResultCode.INVALID_MESSAGE_TYPE, f"message type 0x{kind:02x}")
        return cls(
            message_type, source, destination, correlator, Flags.from_int(flags), first & 0xF
        )

    def reply(self, kind: MessageType, flags: Flags) -> Header:
        """Header of a response: IDs swapped, the correlator kept (RFC 5810 section 6.1)."""
        return Header(kind, self.destination, self.source, self.correlator, flags)
