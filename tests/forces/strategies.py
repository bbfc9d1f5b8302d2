"""Hypothesis strategies for everything that a conforming sender can produce."""

from __future__ import annotations

from hypothesis import strategies as st

from forces.header import Ack, ExecMode, Flags, Header, MessageType, TransPhase
from forces.messages import PRIORITY, LfbSelect, Message, Operation, OperType, Redirect
from forces.paths import (
    ExtendedResult,
    FullData,
    KeyInfo,
    PathData,
    Result,
    SparseData,
    TableRange,
)
from forces.wire import OPERATIONS

uint32 = st.integers(0, 0xFFFFFFFF)
octets = st.binary(max_size=40)
full = st.builds(FullData, octets)
items = st.lists(st.tuples(uint32, octets), min_size=1, max_size=3).map(tuple)
sparse = st.builds(SparseData, items)
result = st.builds(Result, st.integers(0, 255))
extended = st.builds(ExtendedResult, uint32, st.text(max_size=32))
selector = st.builds(KeyInfo, uint32, full) | st.builds(TableRange, uint32, uint32)
ids = st.lists(uint32, max_size=5).map(tuple)

CONTENT = {
    OperType.SET: full | sparse,
    OperType.SET_PROP: full | sparse,
    OperType.SET_RESPONSE: result | extended,
    OperType.SET_PROP_RESPONSE: result | extended,
    OperType.DEL: st.none(),
    OperType.DEL_RESPONSE: result | extended,
    OperType.GET: st.none(),
    OperType.GET_PROP: st.none(),
    OperType.GET_RESPONSE: full | sparse | result | extended,
    OperType.GET_PROP_RESPONSE: full | result | extended,
    OperType.REPORT: full | sparse,
}


def paths(kind: OperType) -> st.SearchStrategy[PathData]:
    leaf = st.builds(PathData, ids, st.none() | selector, CONTENT[kind]).map(with_flag)
    return st.recursive(
        leaf,
        lambda inner: st.builds(
            PathData,
            ids=ids,
            children=st.lists(inner, min_size=1, max_size=3).map(tuple),
        ),
        max_leaves=4,
    )


def with_flag(path: PathData) -> PathData:
    """The selector's flag is part of the value once it has been on the wire."""
    flags = {KeyInfo: 1, TableRange: 2}.get(type(path.selector), 0)
    return PathData(path.ids, path.selector, path.content, path.children, flags)


@st.composite
def operations(draw: st.DrawFn, kind: MessageType) -> Operation:
    type_ = draw(st.sampled_from(sorted(OPERATIONS[kind])))
    if type_ in (OperType.COMMIT, OperType.TRCOMP):
        return Operation(type_)
    if type_ is OperType.COMMIT_RESPONSE:
        return Operation(type_, result=draw(result | extended))
    return Operation(type_, tuple(draw(st.lists(paths(type_), min_size=1, max_size=3))))


def selects(kind: MessageType) -> st.SearchStrategy[tuple[LfbSelect, ...]]:
    least, most = (0, 2) if kind is MessageType.ASSOCIATION_SETUP else (1, 3)
    select = st.builds(
        LfbSelect, uint32, uint32, st.lists(operations(kind), min_size=1, max_size=2).map(tuple)
    )
    return st.lists(select, min_size=least, max_size=most).map(tuple)


@st.composite
def messages(draw: st.DrawFn) -> Message:
    kind = draw(st.sampled_from(MessageType))
    flags = Flags(
        ack=draw(st.sampled_from(Ack)),
        priority=PRIORITY[kind],
        mode=draw(st.sampled_from(ExecMode)),
        transaction=draw(st.booleans()),
        phase=draw(st.sampled_from(TransPhase)),
    )
    header = Header(kind, draw(uint32), draw(uint32), draw(st.integers(0, 2**64 - 1)), flags)
    if kind in OPERATIONS:
        return Message(header, lfbs=draw(selects(kind)))
    if kind is MessageType.ASSOCIATION_SETUP_RESPONSE:
        return Message(header, result=draw(st.integers(0, 2)))
    if kind is MessageType.ASSOCIATION_TEARDOWN:
        return Message(header, reason=draw(st.sampled_from([0, 1, 2, 3, 4, 255])))
    if kind is MessageType.PACKET_REDIRECT:
        redirect = st.builds(Redirect, items, st.binary(max_size=60))
        return Message(header, redirects=tuple(draw(st.lists(redirect, min_size=1, max_size=2))))
    return Message(header)
