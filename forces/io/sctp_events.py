"""What SCTP's notifications mean to us, and messages that come in parts (RFC 6458 section 6).

Linux and usrsctp number the same things differently: see `tml_sctp` and `usrsctp_lib`.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import Enum

from forces.header import MAX_MESSAGE_LENGTH


class AssocState(Enum):
    """sac_state of an association change (RFC 6458 section 6.1.1)."""

    COMM_UP = "COMM_UP"
    COMM_LOST = "COMM_LOST"
    RESTART = "RESTART"
    SHUTDOWN_COMP = "SHUTDOWN_COMP"
    CANT_STR_ASSOC = "CANT_STR_ASSOC"


@dataclass(frozen=True, slots=True)
class AssocChange:
    """SCTP_ASSOC_CHANGE."""

    state: AssocState
    error: int
    abort_chunk: bytes
    """The peer's ABORT chunk in sac_info: the peer spoke, not our retransmission limit."""

    FIXED = struct.Struct("=HHIHHHHI")

    @classmethod
    def parse(cls, data: bytes, first_state: int) -> AssocChange | None:
        """`first_state` is the number of COMM_UP: 0 in Linux, 1 in usrsctp."""
        if len(data) < cls.FIXED.size:
            return None
        _, _, _, state, error, _, _, _ = cls.FIXED.unpack_from(data)
        states = tuple(AssocState)
        if not 0 <= state - first_state < len(states):
            return None
        return cls(states[state - first_state], error, data[cls.FIXED.size :])


class MessageTooLong(Exception):
    """More octets without an end than any ForCES message has."""


class Partial:
    """Puts one channel's messages together (there is one stream, hence one message at a time)."""

    __slots__ = ("_length", "_parts")

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._length = 0

    def add(self, data: bytes, end_of_record: bool) -> bytes | None:
        """A whole message, or None while it is not complete."""
        if end_of_record and not self._parts:
            if len(data) > MAX_MESSAGE_LENGTH:
                raise MessageTooLong
            return data
        self._parts.append(data)
        self._length += len(data)
        if self._length > MAX_MESSAGE_LENGTH:
            raise MessageTooLong
        if not end_of_record:
            return None
        whole = b"".join(self._parts)
        self.clear()
        return whole

    def clear(self) -> None:
        """The rest of an abandoned message (SCTP-PR) will not come."""
        self._parts.clear()
        self._length = 0
