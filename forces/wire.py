"""Messages to octets and back (RFC 5810 sections 6 and 7, RFC 7391 section 3).

`encode` and `decode` are exact inverses for everything that a conforming sender can produce, and
`decode` keeps the bits that a receiver ignores, so that a captured message re-encodes to the same
octets. Parser law: any octets give a `Message` or a `ProtocolError`.
"""

from __future__ import annotations

import struct

from forces.errors import ProtocolError, ResultCode, UsageError
from forces.header import HEADER_LENGTH, MAX_MESSAGE_LENGTH, Header, MessageType
from forces.messages import LfbSelect, Message, Operation, OperType, Redirect
from forces.oneshape import body_length, decode_one, encode_one
from forces.pathwire import (
    content_length,
    decode_path,
    decode_result,
    encode_path,
    encode_result,
    path_length,
)
from forces.runs import PathRun, path_run
from forces.tlv import (
    TLV_HEAD,
    TlvType,
    decode_ilvs,
    decode_tlvs,
    encode_ilvs,
    encode_tlv,
    ilvs_length,
    tlv_length,
)

_WORD = struct.Struct("!I")
_SELECT = struct.Struct("!II")

OPERATIONS = {
    MessageType.ASSOCIATION_SETUP: frozenset({OperType.REPORT}),
    MessageType.CONFIG: frozenset(
        {OperType.SET, OperType.SET_PROP, OperType.DEL, OperType.COMMIT, OperType.TRCOMP}
    ),
    MessageType.QUERY: frozenset({OperType.GET, OperType.GET_PROP}),
    MessageType.EVENT_NOTIFICATION: frozenset({OperType.REPORT}),
    MessageType.CONFIG_RESPONSE: frozenset(
        {
            OperType.SET_RESPONSE,
            OperType.SET_PROP_RESPONSE,
            OperType.DEL_RESPONSE,
            OperType.COMMIT_RESPONSE,
        }
    ),
    MessageType.QUERY_RESPONSE: frozenset({OperType.GET_RESPONSE, OperType.GET_PROP_RESPONSE}),
}
"""Which operations each message may carry (RFC 5810 section 7, Table 1)."""

_OPER_TYPES = {int(kind): kind for kind in OperType}
_WITHOUT_PATH = frozenset({OperType.COMMIT, OperType.TRCOMP, OperType.COMMIT_RESPONSE})


def encode(message: Message) -> bytes:
    """The message's octets, a multiple of four. Raises UsageError for a message that the protocol
    does not have: a body that is not its type's, or one that is too long."""
    allowed = OPERATIONS.get(message.header.type)
    octets = encode_one(message, allowed) if allowed is not None else None
    return encode_any(message) if octets is None else octets


def encode_any(message: Message) -> bytes:
    """`encode`, the general way."""
    kind = message.header.type
    if message.lfbs and kind not in OPERATIONS:
        raise UsageError(f"a {kind.name} carries no LFBselect")
    if (message.result is not None) != (kind is MessageType.ASSOCIATION_SETUP_RESPONSE):
        raise UsageError(f"result {message.result} in a {kind.name}")
    if (message.reason is not None) != (kind is MessageType.ASSOCIATION_TEARDOWN):
        raise UsageError(f"reason {message.reason} in a {kind.name}")
    if bool(message.redirects) != (kind is MessageType.PACKET_REDIRECT):
        raise UsageError(f"{len(message.redirects)} redirects in a {kind.name}")
    body = b"".join(_encode_select(kind, select) for select in message.lfbs)
    if message.result is not None:
        body = encode_tlv(TlvType.AS_RESULT, _WORD.pack(message.result))
    elif message.reason is not None:
        body = encode_tlv(TlvType.AS_TREASON, _WORD.pack(message.reason))
    elif message.redirects:
        body = b"".join(map(_encode_redirect, message.redirects))
    if HEADER_LENGTH + len(body) > MAX_MESSAGE_LENGTH:
        raise UsageError(f"{len(body)} octets do not fit into one message")
    return message.header.encode(len(body)) + body


def decode(data: bytes) -> Message:
    """One whole message. Raises ProtocolError, and nothing else, for anything that is none."""
    header = Header.decode(data)
    allowed = OPERATIONS.get(header.type)
    message = decode_one(header, data, allowed) if allowed is not None else None
    return decode_any(header, data) if message is None else message


def decode_any(header: Header, data: bytes) -> Message:
    """`decode`, the general way."""
    tlvs = decode_tlvs(data, HEADER_LENGTH, len(data))
    kind = header.type
    if kind in OPERATIONS:
        if not tlvs and kind is not MessageType.ASSOCIATION_SETUP:
            raise ProtocolError(ResultCode.INVALID_TLV, f"{kind.name} without LFBselect")
        if kind is MessageType.ASSOCIATION_SETUP and len(tlvs) > 2:
            raise ProtocolError(ResultCode.INVALID_TLV, "more than two LFBselects in a setup")
        return Message(
            header,
            lfbs=tuple(
                _decode_select(kind, data, start, end)
                for start, end in _only(TlvType.LFB_SELECT, tlvs)
            ),
        )
    if kind is MessageType.ASSOCIATION_SETUP_RESPONSE:
        return Message(header, result=_one_word(TlvType.AS_RESULT, data, tlvs))
    if kind is MessageType.ASSOCIATION_TEARDOWN:
        return Message(header, reason=_one_word(TlvType.AS_TREASON, data, tlvs))
    if kind is MessageType.PACKET_REDIRECT:
        if not tlvs:
            raise ProtocolError(ResultCode.INVALID_TLV, "redirect without a packet")
        return Message(
            header,
            redirects=tuple(
                _decode_redirect(data, start, end) for start, end in _only(TlvType.REDIRECT, tlvs)
            ),
        )
    if tlvs:
        raise ProtocolError(ResultCode.INVALID_TLV, "a heartbeat has no body")
    return Message(header)


def encoded_length(message: Message) -> int:
    """Octets of the message on the wire, counted without making them. Raises UsageError for what
    is too long for its TLV or its message."""
    body = lfbs_length(message.lfbs)
    if message.result is not None or message.reason is not None:
        body += TLV_HEAD + _WORD.size
    for redirect in message.redirects:
        metadata = ilvs_length(redirect.metadata)
        inner = tlv_length(metadata) if redirect.metadata else 0
        body += tlv_length(inner + tlv_length(len(redirect.packet)))
    if HEADER_LENGTH + body > MAX_MESSAGE_LENGTH:
        raise UsageError(f"{body} octets do not fit into one message")
    return HEADER_LENGTH + body


def lfbs_length(lfbs: tuple[LfbSelect, ...]) -> int:
    """Octets of a body of LFBselects. Raises UsageError as `encoded_length`."""
    if not lfbs:
        return 0
    plain = body_length(lfbs)
    if plain is not None:
        return plain
    body = 0
    for select in lfbs:
        inner = _SELECT.size
        for operation in select.operations:
            paths = operation.paths
            size = len(paths.octets) if type(paths) is PathRun else sum(map(path_length, paths))
            if operation.result is not None:
                size += content_length(operation.result)
            inner += tlv_length(size)
        body += tlv_length(inner)
    if HEADER_LENGTH + body > MAX_MESSAGE_LENGTH:
        raise UsageError(f"{body} octets do not fit into one message")
    return body


def _only(kind: TlvType, tlvs: list[tuple[int, int, int]]) -> list[tuple[int, int]]:
    for found, start, _ in tlvs:
        if found != kind:
            raise ProtocolError(
                ResultCode.INVALID_TLV, f"TLV 0x{found:04x} at {start} where {kind.name} belongs"
            )
    return [(start, end) for _, start, end in tlvs]


def _one_word(kind: TlvType, data: bytes, tlvs: list[tuple[int, int, int]]) -> int:
    values = _only(kind, tlvs)
    if len(values) != 1 or values[0][1] - values[0][0] != _WORD.size:
        raise ProtocolError(ResultCode.INVALID_TLV, f"one {kind.name} of 32 bits is wanted")
    word: int = _WORD.unpack_from(data, values[0][0])[0]
    return word


def _encode_select(kind: MessageType, select: LfbSelect) -> bytes:
    parts = [_SELECT.pack(select.class_id, select.instance_id)]
    for operation in select.operations:
        if operation.type not in OPERATIONS[kind]:
            raise UsageError(f"{operation.type.name} in a {kind.name}")
        paths = operation.paths
        value = paths.octets if type(paths) is PathRun else b"".join(map(encode_path, paths))
        if operation.result is not None:
            value += encode_result(operation.result)
        parts.append(encode_tlv(operation.type, value))
    return encode_tlv(TlvType.LFB_SELECT, b"".join(parts))


def _decode_select(kind: MessageType, data: bytes, start: int, end: int) -> LfbSelect:
    if end - start < _SELECT.size:
        raise ProtocolError(ResultCode.INVALID_TLV, "LFBselect without class and instance")
    class_id, instance_id = _SELECT.unpack_from(data, start)
    tlvs = decode_tlvs(data, start + _SELECT.size, end)
    if not tlvs:
        raise ProtocolError(ResultCode.INVALID_TLV, "LFBselect without an operation")
    allowed = OPERATIONS[kind]
    operations = []
    for code, first, last in tlvs:
        if code not in allowed:
            raise ProtocolError(ResultCode.INVALID_TLV, f"operation 0x{code:04x} in a {kind.name}")
        operations.append(_decode_operation(_OPER_TYPES[code], data, first, last))
    return LfbSelect(class_id, instance_id, tuple(operations))


def _decode_operation(kind: OperType, data: bytes, start: int, end: int) -> Operation:
    if kind not in _WITHOUT_PATH and (run := path_run(data, start, end)) is not None:
        return Operation(kind, run)
    tlvs = decode_tlvs(data, start, end)
    if kind not in _WITHOUT_PATH:
        if not tlvs:
            raise ProtocolError(ResultCode.INVALID_TLV, f"{kind.name} without PATH-DATA")
        paths = tuple(
            decode_path(data, first, last) for first, last in _only(TlvType.PATH_DATA, tlvs)
        )
        return Operation(kind, paths)
    if kind is OperType.COMMIT_RESPONSE and len(tlvs) == 1:
        code, first, last = tlvs[0]
        if code == TlvType.PATH_DATA:  # Figure 31 draws one, the text and Table 2 do not
            return Operation(kind, (decode_path(data, first, last),))
        return Operation(kind, result=decode_result(code, data, first, last))
    if tlvs or kind is OperType.COMMIT_RESPONSE:
        raise ProtocolError(ResultCode.INVALID_TLV, f"{len(tlvs)} TLVs in a {kind.name}")
    return Operation(kind)


def _encode_redirect(redirect: Redirect) -> bytes:
    metadata = (
        encode_tlv(TlvType.METADATA, encode_ilvs(redirect.metadata)) if redirect.metadata else b""
    )
    return encode_tlv(
        TlvType.REDIRECT, metadata + encode_tlv(TlvType.REDIRECTDATA, redirect.packet)
    )


def _decode_redirect(data: bytes, start: int, end: int) -> Redirect:
    tlvs = decode_tlvs(data, start, end)
    kinds = [kind for kind, _, _ in tlvs]
    if kinds not in ([TlvType.METADATA, TlvType.REDIRECTDATA], [TlvType.REDIRECTDATA]):
        raise ProtocolError(ResultCode.INVALID_TLV, "REDIRECT wants METADATA and REDIRECTDATA")
    metadata = decode_ilvs(data, tlvs[0][1], tlvs[0][2]) if len(tlvs) == 2 else ()
    _, first, last = tlvs[-1]
    return Redirect(metadata, data[first:last])
