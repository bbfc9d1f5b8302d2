"""Contents inside contents (RFC 5810 sections 7.1.1 and 7.1.8), and the limits on their size.

Variable-size data inside a FULLDATA-TLV has a FULLDATA-TLV of its own, padded to 32 bits.
"""

from __future__ import annotations

import struct

from forces.errors import ProtocolError, ResultCode, UsageError

MAX_CONTENTS = 1 << 26
"""Octets that one value may take: a table of a million IPv6 rows, joined from many messages
(RFC 7391 section 3.3), fits twice."""

_FULLDATA = 0x0112
_TLV_HEAD = struct.Struct("!HH")
MAX_NESTED = 0xFFFF - _TLV_HEAD.size
"""Octets of a variable-size value inside another: the TLV's length field has 16 bits."""


def wrap(contents: bytes, what: str) -> bytes:
    """A nested FULLDATA-TLV, padded."""
    if len(contents) > MAX_NESTED:
        raise UsageError(f"{what}: {len(contents)} octets do not fit into a nested TLV")
    pad = -len(contents) % 4
    return _TLV_HEAD.pack(_FULLDATA, _TLV_HEAD.size + len(contents)) + contents + bytes(pad)


def unwrap(
    data: memoryview, offset: int, what: str, size: int | None = None
) -> tuple[memoryview, int]:
    """Contents at `offset`, and the offset after them: of a nested FULLDATA-TLV, or so many octets
    where the `size` is fixed. The TLV's padding is ignored, as RFC 5810 section 7.1.8 wants; the
    last TLV may lack it. Raises ProtocolError."""
    if size is not None:
        if offset + size > len(data):
            raise ProtocolError(ResultCode.INVALID_PARAMETERS, f"{what}: contents end too early")
        return data[offset : offset + size], offset + size
    if len(data) - offset < _TLV_HEAD.size:
        raise ProtocolError(ResultCode.INVALID_PARAMETERS, f"{what}: contents end too early")
    kind, length = _TLV_HEAD.unpack_from(data, offset)
    if kind != _FULLDATA:
        raise ProtocolError(ResultCode.INVALID_TLV, f"{what}: TLV 0x{kind:04x}, not FULLDATA")
    end = offset + length
    if length < _TLV_HEAD.size or end > len(data):
        raise ProtocolError(ResultCode.INVALID_TLV, f"{what}: nested TLV of {length} octets")
    return data[offset + _TLV_HEAD.size : end], min(end + (-length % 4), len(data))


def exactly(what: str, data: bytes | memoryview, size: int) -> None:
    """Raise ProtocolError unless `data` has `size` octets."""
    if len(data) < size:
        reason = f"{what}: {len(data)} octets, {size} needed"
        raise ProtocolError(ResultCode.INVALID_PARAMETERS, reason)
    if len(data) > size:
        reason = f"{what}: {len(data)} octets, {size} expected"
        raise ProtocolError(ResultCode.CONTENTS_TOO_LONG, reason)


def all_used(what: str, data: memoryview, offset: int) -> None:
    """Raise ProtocolError unless `offset` is the end of `data`."""
    if offset != len(data):
        reason = f"{what}: {len(data) - offset} octets too many"
        raise ProtocolError(ResultCode.CONTENTS_TOO_LONG, reason)


def check_length(what: str, size: int, maximum: int | None) -> None:
    """Raise ProtocolError if `size` octets are more than a type, or anything, may have."""
    limit = MAX_CONTENTS if maximum is None else maximum
    if size > limit:
        reason = f"{what}: {size} octets, at most {limit}"
        raise ProtocolError(ResultCode.CONTENTS_TOO_LONG, reason)
