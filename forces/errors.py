"""Result codes and the error tree of the protocol (RFC 5810 A.5, RFC 7391 section 3.2.1).

    ForcesError                  anything that this package raises on purpose
    +-- ProtocolError            the peer's bytes, or a request, are wrong; carries the result code
    |                            that the answer (if one is due) must name
    +-- UsageError               our own caller did something the protocol does not have

Law of the decoders: any bytes give a message or a `ProtocolError`, never another exception.
"""

from __future__ import annotations

from enum import IntEnum


class ResultCode(IntEnum):
    """The value of a RESULT-TLV (RFC 5810 A.5; 0x18 and up: RFC 7391 section 3.2.1)."""

    SUCCESS = 0x00
    INVALID_HEADER = 0x01
    LENGTH_MISMATCH = 0x02
    VERSION_MISMATCH = 0x03
    INVALID_DESTINATION_PID = 0x04
    LFB_UNKNOWN = 0x05
    LFB_NOT_FOUND = 0x06
    LFB_INSTANCE_ID_NOT_FOUND = 0x07
    INVALID_PATH = 0x08
    COMPONENT_DOES_NOT_EXIST = 0x09
    EXISTS = 0x0A
    NOT_FOUND = 0x0B
    READ_ONLY = 0x0C
    INVALID_ARRAY_CREATION = 0x0D
    VALUE_OUT_OF_RANGE = 0x0E
    CONTENTS_TOO_LONG = 0x0F  # RFC 5810 Table 4 prints 0x0D, its A.5 has 0x0F
    INVALID_PARAMETERS = 0x10
    INVALID_MESSAGE_TYPE = 0x11
    INVALID_FLAGS = 0x12
    INVALID_TLV = 0x13
    EVENT_ERROR = 0x14
    NOT_SUPPORTED = 0x15
    MEMORY_ERROR = 0x16
    INTERNAL_ERROR = 0x17
    TIMED_OUT = 0x18
    INVALID_TFLAGS = 0x19
    INVALID_OP = 0x1A
    CONGEST_NT = 0x1B
    COMPONENT_NOT_A_TABLE = 0x1C
    PERM = 0x1D
    BUSY = 0x1E
    EMPTY = 0x1F
    UNKNOWN = 0x20
    UNSPECIFIED_ERROR = 0xFF


class ForcesError(Exception):
    """Root of everything that `forces` raises on purpose."""


class ProtocolError(ForcesError):
    """The peer's message or request is wrong. `code` is what the answer says, if one is due."""

    def __init__(self, code: ResultCode, reason: str) -> None:
        super().__init__(f"{code.name}: {reason}")
        self.code = code
        self.reason = reason


class UsageError(ForcesError):
    """Our own caller asked for something that the protocol or the model does not have."""
