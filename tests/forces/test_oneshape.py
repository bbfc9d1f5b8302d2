"""The short way and the general way through the wire form say the same."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forces.errors import ForcesError, ProtocolError
from forces.header import Header, MessageType
from forces.messages import LfbSelect, Message, Operation, OperType, flags_for
from forces.oneshape import PATHS, body_length, decode_one, encode_one
from forces.paths import FullData, PathData, Result
from forces.wire import OPERATIONS, decode, decode_any, encode, encode_any, encoded_length
from tests.forces.strategies import messages

KINDS = sorted(OPERATIONS)
words = st.integers(0, 0xFFFFFFFF)
ids = st.lists(words, max_size=10).map(tuple)
contents = (
    st.none()
    | st.builds(FullData, st.binary(max_size=9))
    | st.builds(FullData, st.sampled_from([bytes(65_480), bytes(65_507), bytes(65_536)]))
    | st.builds(Result, st.integers(0, 0xFF), st.none(), st.integers(0, 0xFFFFFF))
)
paths = st.builds(
    lambda ids, content, flags: PathData(ids, None, content, (), flags),
    ids,
    contents,
    st.sampled_from([0, 0, 0, 0x8000]),
)


@st.composite
def plain(draw: st.DrawFn) -> Message:
    """One path; the operation need not be one that the message may carry."""
    kind = draw(st.sampled_from(KINDS))
    header = Header(
        kind, draw(words), draw(words), draw(st.integers(0, 2**64 - 1)), flags_for(kind)
    )
    operation = Operation(draw(st.sampled_from(OperType)), (draw(paths),))
    return Message(header, (LfbSelect(draw(words), draw(words), (operation,)),))


def outcome(work: object, *arguments: object) -> object:
    try:
        return work(*arguments)  # type: ignore[operator]
    except ForcesError as error:
        return type(error)


@given(plain() | messages())
def test_both_ways_encode_the_same_octets(message: Message) -> None:
    assert outcome(encode, message) == outcome(encode_any, message)


@given(plain() | messages(), st.data())
@settings(max_examples=300)
def test_both_ways_decode_the_same_message_or_none(message: Message, data: st.DataObject) -> None:
    octets = outcome(encode, message)
    if not isinstance(octets, bytes):
        return
    broken = bytearray(octets)
    if data.draw(st.booleans()):
        heads = range(min(24, len(broken) - 1), min(len(broken), 72))
        broken[data.draw(st.sampled_from(heads))] ^= data.draw(st.integers(1, 255))
    octets = bytes(broken)
    try:
        header = Header.decode(octets)
    except ProtocolError:
        return
    assert outcome(decode, octets) == outcome(decode_any, header, octets)


@given(plain())
def test_the_length_is_that_of_the_octets(message: Message) -> None:
    length = body_length(message.lfbs)
    if length is None:
        return
    octets = outcome(encode, message)
    if isinstance(octets, bytes):  # the operation is one that the message may carry
        assert encoded_length(message) == len(octets) == 24 + length


@pytest.mark.parametrize("kind", [MessageType.CONFIG, MessageType.CONFIG_RESPONSE])
def test_a_row_and_its_result_go_the_short_way(kind: MessageType) -> None:
    content = FullData(b"12345") if kind is MessageType.CONFIG else Result(0)
    operation = min(OPERATIONS[kind])
    path = PathData((1, 7), content=content)
    select = LfbSelect(10, 1, (Operation(operation, (path,)),))
    message = Message(Header(kind, 1, 2, 3, flags_for(kind)), (select,))
    octets = encode_one(message, OPERATIONS[kind])
    assert octets is not None
    assert operation in PATHS
    assert decode_one(message.header, octets, OPERATIONS[kind]) == message
