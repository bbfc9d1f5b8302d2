"""PATH-DATA and what hangs on it, to octets and back (RFC 5810 section 7.1, RFC 7391)."""

from __future__ import annotations

import struct

from forces.errors import ProtocolError, ResultCode, UsageError
from forces.paths import (
    F_SELKEY,
    F_SELKEY_DRAWN,
    F_SELTABRANGE,
    Content,
    ExtendedResult,
    FullData,
    KeyInfo,
    PathData,
    Result,
    SparseData,
    TableRange,
)
from forces.runs import MAX_IDS, IlvRun, ilv_run
from forces.tlv import (
    TlvType,
    decode_ilvs,
    decode_tlvs,
    encode_ilvs,
    encode_tlv,
    ilvs_length,
    tlv_length,
)

MAX_DEPTH = 16
"""Nested PATH-DATA: no LFB class of any RFC is deeper than six; recursion must end somewhere."""

_FLAGS_OF: dict[int, int] = {
    TlvType.KEYINFO: F_SELKEY | F_SELKEY_DRAWN,
    TlvType.TABLERANGE: F_SELTABRANGE,
}
_PATH_HEAD = struct.Struct("!HH")
_RANGE = struct.Struct("!II")
_WORD = struct.Struct("!I")
_CONTENTS = frozenset(
    {TlvType.FULLDATA, TlvType.SPARSEDATA, TlvType.RESULT, TlvType.EXTENDEDRESULT}
)


def encode_path(path: PathData) -> bytes:
    """One PATH-DATA-TLV. Raises UsageError for contents beside nested paths, or too many IDs."""
    if path.content is not None and path.children:
        raise UsageError("a PATH-DATA holds contents or nested paths, not both")
    if len(path.ids) > MAX_IDS:
        raise UsageError(f"a path of {len(path.ids)} IDs")
    flags = path.flags
    parts = [b""]
    if isinstance(path.selector, KeyInfo):
        flags |= F_SELKEY if not flags & F_SELKEY_DRAWN else 0
        key = _WORD.pack(path.selector.key_id)
        parts.append(encode_tlv(TlvType.KEYINFO, key + _encode_full(path.selector.value)))
    elif path.selector is not None:
        flags |= F_SELTABRANGE
        bounds = _RANGE.pack(path.selector.start, path.selector.end)
        parts.append(encode_tlv(TlvType.TABLERANGE, bounds))
    count = len(path.ids)
    parts[0] = struct.pack(f"!HH{count}I", flags, count, *path.ids)
    if path.content is not None:
        parts.append(_encode_content(path.content))
    parts.extend(map(encode_path, path.children))
    return encode_tlv(TlvType.PATH_DATA, b"".join(parts))


def path_length(path: PathData) -> int:
    """Octets that `encode_path` would give. Raises UsageError for more than a TLV can hold."""
    size = _PATH_HEAD.size + 4 * len(path.ids)
    if path.content is not None:
        size += content_length(path.content)
    if path.children:
        size += sum(map(path_length, path.children))
    if isinstance(path.selector, KeyInfo):
        size += tlv_length(_WORD.size + tlv_length(len(path.selector.value.value)))
    elif path.selector is not None:
        size += tlv_length(_RANGE.size)
    return tlv_length(size)


def content_length(content: Content) -> int:
    """The same for what a path, or a COMMIT-RESPONSE, carries."""
    if isinstance(content, FullData):
        return tlv_length(len(content.value))
    if isinstance(content, Result):
        value = tlv_length(len(content.value.value)) if content.value is not None else 0
        return tlv_length(_WORD.size + value)
    if isinstance(content, SparseData):
        items = content.items
        return tlv_length(len(items.octets) if isinstance(items, IlvRun) else ilvs_length(items))
    return tlv_length(_WORD.size + len(content.cause.encode("utf-8", "surrogateescape")))


def decode_path(data: bytes, start: int, end: int, depth: int = 1) -> PathData:
    """The value of one PATH-DATA-TLV in data[start:end]. Raises ProtocolError."""
    if depth > MAX_DEPTH:
        raise ProtocolError(ResultCode.INVALID_TLV, f"paths nested deeper than {MAX_DEPTH}")
    if end - start < _PATH_HEAD.size:
        raise ProtocolError(ResultCode.INVALID_TLV, "PATH-DATA without flags and count")
    flags, count = _PATH_HEAD.unpack_from(data, start)
    start += _PATH_HEAD.size
    if count > MAX_IDS or start + 4 * count > end:
        raise ProtocolError(ResultCode.INVALID_PATH, f"path of {count} IDs")
    ids = struct.unpack_from(f"!{count}I", data, start)
    tlvs = decode_tlvs(data, start + 4 * count, end)
    selector: KeyInfo | TableRange | None = None
    if tlvs and tlvs[0][0] in (TlvType.KEYINFO, TlvType.TABLERANGE):
        kind, first, last = tlvs.pop(0)
        if not flags & _FLAGS_OF[kind]:
            raise ProtocolError(ResultCode.INVALID_TFLAGS, "selector without its path flag")
        decode_selector = _decode_key if kind == TlvType.KEYINFO else _decode_range
        selector = decode_selector(data, first, last)
    elif flags & (F_SELKEY | F_SELTABRANGE):
        raise ProtocolError(ResultCode.INVALID_TFLAGS, "path flag without its selector")
    if not tlvs:
        return PathData(ids, selector, flags=flags)
    if tlvs[0][0] in _CONTENTS:
        if len(tlvs) > 1:
            raise ProtocolError(ResultCode.INVALID_TLV, "more than one content in a PATH-DATA")
        return PathData(ids, selector, _decode_content(data, *tlvs[0]), flags=flags)
    children = []
    for kind, first, last in tlvs:
        if kind != TlvType.PATH_DATA:
            raise ProtocolError(ResultCode.INVALID_TLV, f"TLV 0x{kind:04x} in a PATH-DATA")
        children.append(decode_path(data, first, last, depth + 1))
    return PathData(ids, selector, children=tuple(children), flags=flags)


def encode_result(result: Result | ExtendedResult) -> bytes:
    """A RESULT-TLV or an EXTENDEDRESULT-TLV."""
    if isinstance(result, ExtendedResult):
        cause = result.cause.encode("utf-8", "surrogateescape")
        return encode_tlv(TlvType.EXTENDEDRESULT, _WORD.pack(result.code) + cause)
    if not 0 <= result.code <= 0xFF:
        raise UsageError(f"result code 0x{result.code:x} wants an EXTENDEDRESULT")
    value = _WORD.pack(result.code << 24 | result.reserved)
    return encode_tlv(TlvType.RESULT, value + (_encode_full(result.value) if result.value else b""))


def decode_result(kind: int, data: bytes, start: int, end: int) -> Result | ExtendedResult:
    """Raises ProtocolError for any other TLV."""
    content = _decode_content(data, kind, start, end)
    if isinstance(content, Result | ExtendedResult):
        return content
    raise ProtocolError(ResultCode.INVALID_TLV, f"TLV 0x{kind:04x} where a RESULT belongs")


def _encode_full(full: FullData) -> bytes:
    return encode_tlv(TlvType.FULLDATA, full.value)


def _encode_content(content: Content) -> bytes:
    if isinstance(content, FullData):
        return _encode_full(content)
    if isinstance(content, SparseData):
        items = content.items
        value = items.octets if isinstance(items, IlvRun) else encode_ilvs(items)
        return encode_tlv(TlvType.SPARSEDATA, value)
    return encode_result(content)


def _decode_content(data: bytes, kind: int, start: int, end: int) -> Content:
    if kind == TlvType.FULLDATA:
        return FullData(data[start:end])
    if kind == TlvType.SPARSEDATA:
        return SparseData(ilv_run(data, start, end) or decode_ilvs(data, start, end))
    if end - start < _WORD.size or kind not in (TlvType.RESULT, TlvType.EXTENDEDRESULT):
        raise ProtocolError(ResultCode.INVALID_TLV, f"TLV 0x{kind:04x} as a result")
    (word,) = _WORD.unpack_from(data, start)
    start += _WORD.size
    if kind == TlvType.EXTENDEDRESULT:
        return ExtendedResult(word, data[start:end].decode("utf-8", "surrogateescape"))
    value = _decode_one_full(data, start, end) if start < end else None
    return Result(word >> 24, value, word & 0xFFFFFF)


def _decode_key(data: bytes, start: int, end: int) -> KeyInfo:
    if end - start < _WORD.size:
        raise ProtocolError(ResultCode.INVALID_TLV, "KEYINFO without a key ID")
    (key_id,) = _WORD.unpack_from(data, start)
    return KeyInfo(key_id, _decode_one_full(data, start + _WORD.size, end))


def _decode_range(data: bytes, start: int, end: int) -> TableRange:
    if end - start != _RANGE.size:
        raise ProtocolError(ResultCode.INVALID_TLV, "TABLERANGE wants start and end")
    return TableRange(*_RANGE.unpack_from(data, start))


def _decode_one_full(data: bytes, start: int, end: int) -> FullData:
    tlvs = decode_tlvs(data, start, end)
    if [kind for kind, _, _ in tlvs] != [TlvType.FULLDATA]:
        raise ProtocolError(ResultCode.INVALID_TLV, "one FULLDATA is wanted")
    return FullData(data[tlvs[0][1] : tlvs[0][2]])
