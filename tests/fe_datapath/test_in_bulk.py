"""Many rows at once are the same as row by row: tables, answers, kernel, whatever is refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fe_datapath import query, singly
from fe_datapath.datapath import Change, SetRoute, SetRoutes
from fe_datapath.lfbs import prefixes
from forces import runs
from forces.errors import ResultCode as C
from forces.header import Ack, ExecMode, Header, MessageType
from forces.messages import LfbSelect, Message, Operation, OperType, flags_for
from forces.paths import FullData, PathData, SparseData, TableRange
from forces.wire import decode, encode
from tests.fe_datapath.rig import CE1, FE, LFBS, PREFIX_ROW, Rig, associated, hop, prefix, set_hop

TABLE = LFBS.cls("IPv4UcastLPM")
MANY = 1 << 30


def shorten(patch: pytest.MonkeyPatch, length: int) -> None:
    for module in (runs, singly, query):
        patch.setattr(module, "MIN_RUN", length)
    patch.setattr(prefixes, "MANY", length)


indexes = st.integers(1, 9)
rows = st.builds(prefix, st.integers(0, 9), st.integers(1, 3))
operations = st.one_of(
    st.tuples(st.just("set"), st.lists(st.tuples(indexes, rows), min_size=1, max_size=5)),
    st.tuples(st.just("del"), st.lists(indexes, min_size=1, max_size=4)),
    st.tuples(st.just("range"), indexes, indexes),
    st.tuples(st.just("all")),
)
modes = st.sampled_from(
    [ExecMode.ALL_OR_NONE, ExecMode.UNTIL_FAILURE, ExecMode.CONTINUE_ON_FAILURE]
)
steps = st.one_of(
    st.tuples(st.just("config"), st.lists(operations, min_size=1, max_size=4), modes),
    st.tuples(st.just("link"), st.integers(1, 2), st.booleans()),
)


def operation(op: tuple[Any, ...]) -> Operation:
    table = TABLE.path("IPv4PrefixTable")
    match op:
        case ("set", given_rows):
            return Operation(
                OperType.SET,
                tuple(
                    PathData((*table, n), content=FullData(PREFIX_ROW.row.pack(row)))
                    for n, row in given_rows
                ),
            )
        case ("del", doomed):
            return Operation(OperType.DEL, tuple(PathData((*table, n)) for n in doomed))
        case ("range", first, last):
            path = PathData(table, TableRange(first, last))
            return Operation(OperType.DEL, (path,))
    return Operation(OperType.DEL, (PathData(table),))


def message(ops: list[tuple[Any, ...]], mode: ExecMode, number: int) -> bytes:
    kind = MessageType.CONFIG
    header = Header(kind, CE1, FE, number, flags_for(kind, Ack.ALWAYS_ACK, mode))
    lfbs = tuple(LfbSelect(TABLE.id, 1, (operation(op),)) for op in ops)
    return encode(Message(header, lfbs))


def play(
    given_steps: list[tuple[Any, ...]], refused: set[bytes], length: int
) -> tuple[list[bytes], Rig]:
    """With runs of this length and more. The kernel refuses to set these prefixes."""
    with pytest.MonkeyPatch.context() as patch:
        shorten(patch, length)
        made = associated()
        made.config(set_hop(1, hop(1)), set_hop(2, hop(2)))

        def refuse(change: Change) -> bool:
            return isinstance(change, SetRoute) and change.prefix in refused

        made.refuse = refuse
        answers = []
        for number, step in enumerate(given_steps):
            if step[0] == "link":
                made.link(step[1], step[2])
                continue
            start = len(made.log)
            made.say(CE1, decode(message(step[1], step[2], number)))
            found = made.sent(made.log[start:], MessageType.CONFIG_RESPONSE)
            answers += [encode(answer) for answer in found]
        return answers, made


@settings(max_examples=300, deadline=None)
@given(
    given_steps=st.lists(steps, max_size=6),
    refused=st.sets(rows.map(lambda r: r["IPv4Address"]), max_size=1),
)
def test_many_rows_at_once_are_what_they_are_one_by_one(
    given_steps: list[tuple[Any, ...]], refused: set[bytes]
) -> None:
    answers, bulk = play(given_steps, refused, 2)
    wanted, plain = play(given_steps, refused, MANY)
    assert answers == wanted
    for name in ("holders", "users"):
        ours, theirs = (getattr(rig.core.prefixes, name) for rig in (bulk, plain))
        strip = {key: value for key, value in ours.items() if value}
        assert strip == {key: value for key, value in theirs.items() if value}
    assert dict(bulk.core.prefixes.rows) == dict(plain.core.prefixes.rows)
    assert bulk.routes == plain.routes


def test_a_config_of_many_rows_is_one_change_and_each_row_has_its_answer() -> None:
    made = associated()
    made.config(set_hop(1, hop(1)))
    made.hold = True
    count = 2 * runs.MIN_RUN
    some = [(n, prefix(n, 1)) for n in range(count)]
    octets = message([("set", some)], ExecMode.ALL_OR_NONE, 1)
    made.say(CE1, decode(octets))
    (program,) = made.programs
    (change,) = program.changes
    assert isinstance(change, SetRoutes)
    assert len(change) == count
    start = len(made.log)
    made.release()
    (answer,) = made.sent(made.log[start:], MessageType.CONFIG_RESPONSE)
    results = answer.lfbs[0].operations[0].paths
    assert [path.ids[-1] for path in results] == list(range(count))
    assert {path.content.code for path in results} == {C.SUCCESS}  # type: ignore[union-attr]


@pytest.mark.parametrize("number", [0, 7, 299])
def test_the_very_row_is_named_that_the_kernel_refuses(number: int) -> None:
    made = associated()
    made.config(set_hop(1, hop(1)))
    some = [(n, prefix(n, 1)) for n in range(300)]
    bad = some[number][1]["IPv4Address"]
    made.refuse = lambda change: isinstance(change, SetRoute) and change.prefix == bad
    start = len(made.log)
    made.say(CE1, decode(message([("set", some)], ExecMode.ALL_OR_NONE, 1)))
    (answer,) = made.sent(made.log[start:], MessageType.CONFIG_RESPONSE)
    found = {
        path.ids[-1]: path.content.code  # type: ignore[union-attr]
        for path in answer.lfbs[0].operations[0].paths
    }
    assert {n for n, code in found.items() if code != C.UNSPECIFIED_ERROR} == {number}
    assert (made.routes, len(made.core.prefixes.rows)) == ({}, 0)


def test_rfc7391_3_3_a_large_table_is_read_in_parts_of_rows_in_order() -> None:
    made = associated()
    made.config(set_hop(1, hop(1)))
    order = [*range(2000, 6000), *range(1, 1000)]
    for at in range(0, len(order), 1000):
        some = [(n, prefix(n, 1)) for n in order[at : at + 1000]]
        made.say(CE1, decode(message([("set", some)], ExecMode.ALL_OR_NONE, 1)))
    kind = MessageType.QUERY
    whole = LfbSelect(
        TABLE.id, 1, (Operation(OperType.GET, (PathData(TABLE.path("IPv4PrefixTable")),)),)
    )
    start = len(made.log)
    made.say(CE1, Message(Header(kind, CE1, FE, 9, flags_for(kind)), (whole,)))
    *parts, last = made.sent(made.log[start:], MessageType.QUERY_RESPONSE)
    assert len(parts) > 1
    found: list[tuple[int, bytes]] = []
    for part in parts:
        content = decode(encode(part)).lfbs[0].operations[0].paths[0].content
        assert isinstance(content, SparseData)
        found += content.items
    assert [n for n, _ in found] == sorted(order)
    assert {n: PREFIX_ROW.row.unpack(row) for n, row in found} == dict(made.core.prefixes.rows)
    assert not isinstance(last.lfbs[0].operations[0].paths[0].content, SparseData)
