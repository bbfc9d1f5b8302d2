"""TLVs and ILVs: how everything after the common header is laid out (RFC 5810 section 6.2).

A TLV is type(16) length(16) value; the length counts the four octets of type and length but not
the TLV's own padding to 32 bits. A container's length does count the padding of the TLVs in it.
An ILV is id(32) length(32) value, used in SPARSEDATA and METADATA.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from enum import IntEnum

from forces.errors import ProtocolError, ResultCode, UsageError

TLV_HEAD = 4
ILV_HEAD = 8
MAX_TLV_VALUE = 0xFFFF - TLV_HEAD
"""The 16-bit length field's limit. A larger table travels in several messages or PATH-DATAs."""

_TLV = struct.Struct("!HH")
_ILV = struct.Struct("!II")
_PADDING = (b"", b"\0\0\0", b"\0\0", b"\0")


class TlvType(IntEnum):
    """RFC 5810 A.2 and A.4; TABLERANGE and EXTENDEDRESULT: RFC 7391."""

    REDIRECT = 0x0001
    AS_RESULT = 0x0010
    AS_TREASON = 0x0011
    PATH_DATA = 0x0110
    KEYINFO = 0x0111
    FULLDATA = 0x0112
    SPARSEDATA = 0x0113
    RESULT = 0x0114
    METADATA = 0x0115
    REDIRECTDATA = 0x0116
    TABLERANGE = 0x0117
    EXTENDEDRESULT = 0x0118
    LFB_SELECT = 0x1000


def encode_tlv(kind: int, value: bytes) -> bytes:
    """One padded TLV. Raises UsageError for a value that no TLV can hold."""
    size = len(value)
    if size > MAX_TLV_VALUE:
        raise UsageError(f"{size} octets do not fit into one TLV (at most {MAX_TLV_VALUE})")
    return _TLV.pack(kind, size + TLV_HEAD) + value + _PADDING[size & 3]


def tlv_length(size: int) -> int:
    """Octets of the padded TLV with a value of so many. Raises UsageError as `encode_tlv`."""
    if size > MAX_TLV_VALUE:
        raise UsageError(f"{size} octets do not fit into one TLV (at most {MAX_TLV_VALUE})")
    return size + TLV_HEAD + 3 & ~3


def decode_tlvs(data: bytes, start: int, end: int) -> list[tuple[int, int, int]]:
    """The TLVs in data[start:end] as (type, start of value, end of value).

    The padding after the last one may be missing, as a container's own length does not count it.
    Raises ProtocolError when lengths do not fit.
    """
    found = []
    while start < end:
        if end - start < TLV_HEAD:
            raise ProtocolError(ResultCode.INVALID_TLV, f"{end - start} octets are no TLV")
        kind, length = _TLV.unpack_from(data, start)
        if length < TLV_HEAD or start + length > end:
            raise ProtocolError(
                ResultCode.INVALID_TLV, f"TLV 0x{kind:04x} of {length} octets at {start}"
            )
        found.append((kind, start + TLV_HEAD, start + length))
        start += (length + 3) & ~3
    return found


def encode_ilvs(items: Iterable[tuple[int, bytes]]) -> bytes:
    """ILVs in a row, each padded; the length counts the eight octets of its head."""
    return b"".join(
        _ILV.pack(ident, len(value) + ILV_HEAD) + value + _PADDING[len(value) & 3]
        for ident, value in items
    )


def ilvs_length(items: Iterable[tuple[int, bytes]]) -> int:
    return sum(len(value) + ILV_HEAD + 3 & ~3 for _, value in items)


def decode_ilvs(data: bytes, start: int, end: int) -> tuple[tuple[int, bytes], ...]:
    """(id, value) of each ILV in data[start:end]. Raises ProtocolError when lengths do not fit."""
    found = []
    while start < end:
        if end - start < ILV_HEAD:
            raise ProtocolError(ResultCode.INVALID_TLV, f"{end - start} octets are no ILV")
        ident, length = _ILV.unpack_from(data, start)
        if length < ILV_HEAD or start + length > end:
            raise ProtocolError(
                ResultCode.INVALID_TLV, f"ILV 0x{ident:08x} of {length} octets at {start}"
            )
        found.append((ident, data[start + ILV_HEAD : start + length]))
        start += (length + 3) & ~3
    return tuple(found)
