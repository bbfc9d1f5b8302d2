"""The shape of nearly every message, in one go: one LFBselect, one operation, one path.

A Config of a row, its response, a Query of a component: the lengths nest in one another with
nothing beside them, so one compiled `struct` per number of IDs writes all heads at once, and one
reads them. `forces.wire` asks here first; None sends it the general way, which says what is wrong
with a message that is none of these. Both ways agree (tests/forces/test_oneshape.py).
"""

from __future__ import annotations

import struct
from functools import lru_cache

from forces.header import HEADER_LENGTH, MAX_MESSAGE_LENGTH, VERSION, WORD, Header
from forces.messages import LfbSelect, Message, Operation, OperType
from forces.paths import FullData, PathData, Result
from forces.tlv import MAX_TLV_VALUE, TLV_HEAD, TlvType

PATHS = {
    kind.value: kind
    for kind in OperType
    if kind not in (OperType.COMMIT, OperType.TRCOMP, OperType.COMMIT_RESPONSE)
}
"""Operations that have a path."""
MAX_PLAIN_IDS = 8
"""Paths with more are rare, and go the general way."""

_HEADS = "HHIIHHHHHH"
"""LFBselect, class, instance; operation; PATH-DATA, flags, count of IDs."""
_HEADS_AT = struct.Struct("!" + _HEADS)
_SELECT_HEADS, _OPERATION_HEADS, _PATH_HEADS = 24, 12, 8
"""Octets of a LFBselect, an operation and a PATH-DATA that are not IDs or contents."""
_FIRST_ID = HEADER_LENGTH + _SELECT_HEADS
_TLV = struct.Struct("!HH")
_WORD = struct.Struct("!I")
_IDS = tuple(struct.Struct(f"!{count}I") for count in range(MAX_PLAIN_IDS + 1))
_BARE = tuple(struct.Struct(f"!BBHIIQI{_HEADS}{count}I") for count in range(MAX_PLAIN_IDS + 1))
_FILLED = tuple(struct.Struct(f"!BBHIIQI{_HEADS}{count}IHH") for count in range(MAX_PLAIN_IDS + 1))
_PADDING = (b"", b"\0\0\0", b"\0\0", b"\0")
_LFB_SELECT, _PATH_DATA = int(TlvType.LFB_SELECT), int(TlvType.PATH_DATA)
_FULLDATA, _RESULT = int(TlvType.FULLDATA), int(TlvType.RESULT)
_RESULT_LENGTH = TLV_HEAD + _WORD.size
_MAX_BODY = min(MAX_TLV_VALUE, MAX_MESSAGE_LENGTH - HEADER_LENGTH) - TLV_HEAD


def only_path(lfbs: tuple[LfbSelect, ...]) -> tuple[LfbSelect, Operation, PathData] | None:
    """The one path, if this is all and has neither selector, flags nor paths below."""
    if len(lfbs) != 1 or len(lfbs[0].operations) != 1:
        return None
    operation = lfbs[0].operations[0]
    if len(operation.paths) != 1 or operation.result is not None:
        return None
    path = operation.paths[0]
    if path.selector is not None or path.children or path.flags or len(path.ids) > MAX_PLAIN_IDS:
        return None
    return lfbs[0], operation, path


def body_length(lfbs: tuple[LfbSelect, ...]) -> int | None:
    """Octets of a body of this shape."""
    found = only_path(lfbs)
    if found is None:
        return None
    path = found[2]
    content = path.content
    length = _SELECT_HEADS + 4 * len(path.ids)
    if content is None:
        return length
    if type(content) is FullData:
        length += TLV_HEAD + len(content.value) + 3 & ~3
    elif type(content) is Result and content.value is None:
        length += _RESULT_LENGTH
    else:
        return None
    return length if length <= _MAX_BODY else None


def encode_one(message: Message, allowed: frozenset[OperType]) -> bytes | None:
    """The message's octets. `allowed`: operations that its type may carry."""
    found = only_path(message.lfbs)
    if found is None:
        return None
    select, operation, path = found
    if operation.type not in allowed or operation.type not in PATHS:
        return None
    if message.result is not None or message.reason is not None or message.redirects:
        return None
    content = path.content
    if content is None:
        body = b""
    elif type(content) is FullData:
        kind, body = _FULLDATA, content.value
    elif type(content) is Result and content.value is None and 0 <= content.code <= 0xFF:
        kind, body = _RESULT, _WORD.pack(content.code << 24 | content.reserved)
    else:
        return None
    header, ids = message.header, path.ids
    count = len(ids)
    size = len(body)
    path_length = _PATH_HEADS + 4 * count
    if content is not None:
        path_length += TLV_HEAD + size + 3 & ~3
    length = path_length + _SELECT_HEADS - _PATH_HEADS
    if length > _MAX_BODY:
        return None
    heads = (
        VERSION << 4 | header.reserved,
        header.type,
        (HEADER_LENGTH + length) // WORD,
        header.source,
        header.destination,
        header.correlator,
        header.flags.to_int(),
        _LFB_SELECT,
        length,
        select.class_id,
        select.instance_id,
        operation.type,
        path_length + TLV_HEAD,
        _PATH_DATA,
        path_length,
        0,
        count,
    )
    if content is None:
        return _BARE[count].pack(*heads, *ids)
    return _FILLED[count].pack(*heads, *ids, kind, TLV_HEAD + size) + body + _PADDING[size & 3]


def decode_one(header: Header, data: bytes, allowed: frozenset[OperType]) -> Message | None:
    """The message of these octets, whose header is decoded already."""
    end = len(data)
    if end < _FIRST_ID:
        return None
    (
        select_kind,
        select_length,
        class_id,
        instance_id,
        operation_kind,
        operation_length,
        path_kind,
        path_length,
        flags,
        count,
    ) = _HEADS_AT.unpack_from(data, HEADER_LENGTH)
    start = _FIRST_ID + 4 * count
    if (
        select_kind != _LFB_SELECT
        or path_kind != _PATH_DATA
        or select_length != end - HEADER_LENGTH
        or operation_length != select_length - _OPERATION_HEADS
        or path_length != operation_length - TLV_HEAD
        or flags
        or count > MAX_PLAIN_IDS
        or start > end
    ):
        return None
    operation = PATHS.get(operation_kind)
    if operation is None or operation not in allowed:
        return None
    ids = _IDS[count].unpack_from(data, _FIRST_ID)
    content: FullData | Result | None = None
    if start < end:
        if end - start < TLV_HEAD:
            return None
        kind, length = _TLV.unpack_from(data, start)
        if length < TLV_HEAD or start + (length + 3 & ~3) != end:
            return None
        start += TLV_HEAD
        if kind == _FULLDATA:
            content = FullData(data[start : start + length - TLV_HEAD])
        elif kind == _RESULT and length == _RESULT_LENGTH:
            content = _result(_WORD.unpack_from(data, start)[0])
        else:
            return None
    path = PathData(ids, None, content)
    return Message(header, (LfbSelect(class_id, instance_id, (Operation(operation, (path,)),)),))


@lru_cache(maxsize=256)
def _result(word: int) -> Result:
    return Result(word >> 24, None, word & 0xFFFFFF)
