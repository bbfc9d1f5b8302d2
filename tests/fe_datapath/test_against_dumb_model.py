"""Random Config messages against a deliberately dumb model: two dictionaries, copied for each
message. After each, the FE's tables, its answer, and the kernel must be what the model says."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from fe_datapath.datapath import Change, SetNextHop, SetRoute
from forces.errors import ResultCode as C
from forces.header import ExecMode
from forces.messages import LfbSelect
from forces.paths import TableRange
from tests.fe_datapath.rig import (
    associated,
    codes,
    delete,
    hop,
    prefix,
    set_hop,
    set_hops,
    set_prefix,
    set_prefixes,
)

HOPS, ROWS = "hops", "rows"
Op = tuple[Any, ...]


@dataclass
class Dumb:
    """What the RFCs and RFC 6956's tables mean, written without any thought of speed."""

    hops: dict[int, dict[str, Any]] = field(default_factory=dict)
    rows: dict[int, dict[str, Any]] = field(default_factory=dict)

    def apply(self, op: Op) -> C:
        kind, table = op[0], getattr(self, op[1])
        after = dict(table)
        if kind == "set":
            after[op[2]] = op[3]
        elif kind == "replace":
            after = dict(op[2])
        elif kind == "del":
            if op[2] not in table:
                return C.NOT_FOUND
            del after[op[2]]
        elif kind == "range":
            after = {i: r for i, r in table.items() if not op[2] <= i <= op[3]}
            if after == table:
                return C.EMPTY
        if op[1] == ROWS:
            changed = [i for i, row in after.items() if table.get(i) != row]
            for index in changed:
                if after[index]["HopSelector"] not in self.hops:
                    return C.INVALID_PARAMETERS
                addresses = [
                    row["IPv4Address"]
                    for other, row in after.items()
                    if other != index and (kind != "replace" or other not in changed)
                ]
                earlier = changed[: changed.index(index)] if kind == "replace" else []
                addresses += [after[other]["IPv4Address"] for other in earlier]
                if after[index]["IPv4Address"] in addresses:
                    return C.EXISTS
        setattr(self, op[1], after)
        return C.SUCCESS

    def dangling(self) -> bool:
        return any(row["HopSelector"] not in self.hops for row in self.rows.values())

    def run(self, ops: list[Op], mode: ExecMode) -> tuple[Dumb, list[C]]:
        state, answers = copy.deepcopy(self), []
        stopped = False
        for op in ops:
            if stopped:
                answers.append(C.UNSPECIFIED_ERROR)
                continue
            before = copy.deepcopy(state)
            code = state.apply(op)
            if code is C.SUCCESS and mode is not ExecMode.ALL_OR_NONE and state.dangling():
                code = C.INVALID_PARAMETERS
            if code is not C.SUCCESS:
                state = before
                stopped = mode is not ExecMode.CONTINUE_ON_FAILURE
            answers.append(code)
        failed = any(code is not C.SUCCESS for code in answers)
        if mode is ExecMode.ALL_OR_NONE:
            if not failed and state.dangling():
                return self, []  # which edit is to blame the FE may choose
            if failed:
                rolled = [C.UNSPECIFIED_ERROR if c is C.SUCCESS else c for c in answers]
                return self, rolled
        return state, answers

    def kernel(self, dead: set[int]) -> tuple[dict[Any, int], set[int]]:
        alive = {i for i, row in self.hops.items() if row["L3PortID"] not in dead}
        routes = {
            (row["IPv4Address"], row["Prefixlen"]): row["HopSelector"]
            for row in self.rows.values()
            if row["HopSelector"] in alive
        }
        return routes, alive


selectors = st.integers(1, 4)
indexes = st.integers(0, 5)
hop_rows = st.builds(hop, st.integers(1, 2), st.integers(2, 3))
prefix_rows = st.builds(prefix, st.integers(0, 5), selectors)
operations: st.SearchStrategy[Op] = st.one_of(
    st.tuples(st.just("set"), st.just(HOPS), selectors, hop_rows),
    st.tuples(st.just("set"), st.just(ROWS), indexes, prefix_rows),
    st.tuples(st.just("del"), st.just(HOPS), selectors),
    st.tuples(st.just("del"), st.just(ROWS), indexes),
    st.tuples(st.just("range"), st.just(ROWS), indexes, indexes),
    st.tuples(st.just("replace"), st.just(HOPS), st.dictionaries(selectors, hop_rows, max_size=4)),
    st.tuples(st.just("replace"), st.just(ROWS), st.dictionaries(indexes, prefix_rows, max_size=4)),
)
messages = st.tuples(
    st.just("config"),
    st.lists(operations, min_size=1, max_size=6),
    st.sampled_from([ExecMode.ALL_OR_NONE, ExecMode.UNTIL_FAILURE, ExecMode.CONTINUE_ON_FAILURE]),
)
links = st.tuples(st.just("link"), st.integers(1, 2), st.booleans())


def on_wire(op: Op) -> LfbSelect:
    hops = op[1] == HOPS
    match op[0]:
        case "set":
            return set_hop(op[2], op[3]) if hops else set_prefix(op[2], op[3])
        case "replace":
            return set_hops(op[2]) if hops else set_prefixes(op[2])
        case "del":
            return delete("IPv4NextHop" if hops else "IPv4UcastLPM", 1, op[2])
    return delete("IPv4UcastLPM", 1, selector=TableRange(op[2], op[3]))


@settings(max_examples=250, deadline=None)
@given(steps=st.lists(st.one_of(messages, links), max_size=8))
def test_tables_answers_and_kernel_are_the_models(steps: list[tuple[Any, ...]]) -> None:
    made, model = associated(), Dumb()
    dead: set[int] = set()
    for step in steps:
        if step[0] == "link":
            _, number, up = step
            if up != (number in dead):
                continue
            dead.symmetric_difference_update({number})
            made.link(number, up)
        else:
            _, ops, mode = step
            model, expected = model.run(ops, mode)
            answers = codes(made.config(*map(on_wire, ops), mode=mode))
            if expected:
                assert answers == expected
            else:
                assert C.INVALID_PARAMETERS in answers
        assert made.core.next_hops.rows == model.hops
        assert made.core.prefixes.rows == model.rows
        routes, alive = model.kernel(dead)
        assert made.routes == routes
        assert made.next_hops.keys() == alive


SAME_PREFIX_TWICE: list[tuple[Any, ...]] = [
    (
        "config",
        [("set", HOPS, 1, hop(1, 2)), ("set", HOPS, 2, hop(1, 3)), ("set", ROWS, 0, prefix(0, 1))],
        ExecMode.ALL_OR_NONE,
    ),
    (
        "config",
        [
            ("set", ROWS, 0, prefix(1, 2)),
            ("replace", ROWS, {0: prefix(2, 1), 1: prefix(3, 1), 2: prefix(1, 2)}),
        ],
        ExecMode.UNTIL_FAILURE,
    ),
]
"""The route of 20.0.1.0/24 is refused as row 2's, and is then row 0's, unchanged."""


@settings(max_examples=150, deadline=None)
@given(
    steps=st.lists(messages, min_size=1, max_size=6),
    refusals=st.lists(st.booleans(), min_size=40, max_size=40),
)
@example(steps=SAME_PREFIX_TWICE, refusals=[n == 5 for n in range(40)])
def test_whatever_the_kernel_refuses_tables_and_kernel_agree(
    steps: list[tuple[Any, ...]], refusals: list[bool]
) -> None:
    made = associated()
    answers_left = iter(refusals)
    in_force: list[bool] = []

    def refuse(change: Change) -> bool:
        """Only what is asked for first: putting back what was there succeeds."""
        if not isinstance(change, SetRoute | SetNextHop) or not in_force:
            return False
        return next(answers_left, False)

    made.refuse = refuse
    for _, ops, mode in steps:
        made.hold = True
        in_force.append(True)
        made.config(*map(on_wire, ops), mode=mode)
        program = made.programs[0] if made.programs else None
        made.hold = False
        if program is not None:
            release_once(made, in_force)
        in_force.clear()
        rows = made.core.prefixes.rows
        wanted = {(r["IPv4Address"], r["Prefixlen"]): r["HopSelector"] for r in rows.values()}
        assert made.routes == wanted
        assert made.next_hops.keys() == made.core.next_hops.rows.keys()
        assert made.core.next_hops.in_kernel == set(made.core.next_hops.rows)
        users = {i: u for i, u in made.core.prefixes.users.items() if u}
        assert users == {
            selector: {i for i, r in rows.items() if r["HopSelector"] == selector}
            for selector in {r["HopSelector"] for r in rows.values()}
        }


def release_once(made: Any, in_force: list[bool]) -> None:
    """The first program meets refusals, the compensating one does not."""
    made.hold = True
    made.release_one()
    in_force.clear()
    made.hold = False
    made.release()
