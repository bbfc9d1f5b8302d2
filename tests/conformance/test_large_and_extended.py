"""RFC 7391 by clause: table ranges, tables in several messages, extended results; content keys
(RFC 5810 section 7.1.1.2); and answers that would not fit into their TLVs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ce.answers import read_rows
from ce.exchange import Answer, Exchange, Outcome
from ce.fe_tables import Table
from fe_datapath.lfbs.instance import Instance
from forces.association import Association
from forces.effects import Send
from forces.errors import ResultCode
from forces.header import Ack, ExecMode, TransPhase
from forces.messages import LfbSelect, OperType
from forces.model import ArrayType, library
from forces.paths import (
    F_SELKEY,
    F_SELTABRANGE,
    ExtendedResult,
    FullData,
    KeyInfo,
    PathData,
    Result,
    SparseData,
    TableRange,
)
from forces.wire import encode
from tests.conformance.fe_rig import (
    CE1,
    FEPO,
    HOPS,
    LPM,
    FeRig,
    codes,
    leaves,
    lfb,
    operation,
    packed,
    path,
    prefix,
    set_hop,
    set_prefix,
)
from tests.conformance.rig import MS

TABLE = library().cls("IPv4UcastLPM").component("IPv4PrefixTable").type
assert isinstance(TABLE, ArrayType)
DISPATCH = 16


@pytest.fixture
def rig() -> FeRig:
    rig = FeRig()
    rig.associate()
    rig.config(set_hop(1))
    return rig


def fill(rig: FeRig, count: int) -> dict[int, dict[str, Any]]:
    rows = {n: prefix(f"20.{n >> 8}.{n & 255}.0") for n in range(1, count + 1)}
    numbers = list(rows)
    for start in range(0, count, 2000):
        part = {n: rows[n] for n in numbers[start : start + 2000]}
        data = SparseData(TABLE.pack_sparse(part))
        response = rig.config(lfb(LPM, operation(OperType.SET, PathData((1,), content=data))))
        assert response is not None
        assert codes(response) == [0]
    return rows


def ask(selector: Any = None, *ids: int) -> LfbSelect:
    return lfb(LPM, operation(OperType.GET, PathData(ids or (1,), selector)))


# Ranges


@pytest.mark.parametrize(
    ("start", "end", "found"),
    [(3, 5, [3, 4, 5]), (0, 2, [1, 2]), (9, 0xFFFFFFFF, [9, 10]), (10, 10, [10])],
)
def test_rfc7391_3_1_a_range_is_answered_with_sparse_data(
    rig: FeRig, start: int, end: int, found: list[int]
) -> None:
    rows = fill(rig, 10)
    ((_, _, ids, content),) = leaves(rig.query(ask(TableRange(start, end))))
    assert ids == (1,)
    assert content == SparseData(TABLE.pack_sparse({n: rows[n] for n in found}))


def test_rfc7391_3_1_a_range_without_rows_is_empty(rig: FeRig) -> None:
    fill(rig, 3)
    assert codes(rig.query(ask(TableRange(50, 60)))) == [ResultCode.EMPTY]


def test_rfc7391_3_1_a_range_is_deleted_if_any_of_its_rows_can_be(rig: FeRig) -> None:
    fill(rig, 10)
    delete = lfb(LPM, operation(OperType.DEL, PathData((1,), TableRange(8, 99))))
    response = rig.config(delete)
    assert response is not None
    assert codes(response) == [0]
    assert set(rig.core.prefixes.rows) == set(range(1, 8))
    again = rig.config(delete)
    assert again is not None
    assert codes(again) == [ResultCode.EMPTY]


@pytest.mark.parametrize(
    ("kind", "one"),
    [
        (OperType.SET, PathData((1,), TableRange(1, 2), FullData(b""))),
        (OperType.SET_PROP, PathData((60, 1), TableRange(1, 2), FullData(b"\0\0\0\1"))),
        (OperType.DEL, PathData((1,), TableRange(1, 2), flags=F_SELTABRANGE | F_SELKEY)),
        (OperType.DEL, PathData((1, 1), TableRange(1, 2))),
        (OperType.DEL, PathData((1,), TableRange(1, 2), children=(PathData((1,)),))),
        (OperType.GET, PathData((1,), TableRange(1, 2), flags=F_SELTABRANGE | F_SELKEY)),
        (OperType.GET, PathData((1, 1), TableRange(1, 2))),
        (OperType.GET, PathData((1,), TableRange(1, 2), children=(PathData((1,)),))),
        (OperType.GET_PROP, PathData((1,), TableRange(1, 2))),
    ],
)
def test_rfc7391_3_1_range_flags_where_they_must_not_be_are_invalid_tflags(
    rig: FeRig, kind: OperType, one: PathData
) -> None:
    fill(rig, 3)
    before = rig.picture()
    select = lfb(LPM, operation(kind, one))
    response = (
        rig.query(select) if kind in (OperType.GET, OperType.GET_PROP) else rig.config(select)
    )
    assert response is not None
    assert codes(response) == [ResultCode.INVALID_TFLAGS]
    assert rig.picture() == before


# Keys


def keyed(rig: FeRig) -> tuple[Instance, int]:
    """BasicMetadataDispatch is the class of RFC 6956 whose table has a content key; our FE has no
    instance of it, so one is made from the XML."""
    instance = rig.core.store.instances[DISPATCH, 1] = Instance(library().cls(DISPATCH), 1)
    for index, value in ((4, 100), (9, 200)):
        row = {"MetadataValue": value, "OutputIndex": index}
        select = lfb(
            DISPATCH,
            operation(
                OperType.SET,
                packed("BasicMetadataDispatch", "MetadataDispatchTable", index, value=row),
            ),
        )
        response = rig.config(select)
        assert response is not None
        assert codes(response) == [0]
    return instance, 1


def test_rfc5810_7_1_1_2_a_key_selects_its_row_for_get_set_and_del(rig: FeRig) -> None:
    instance, key = keyed(rig)
    selector = KeyInfo(key, FullData((200).to_bytes(4)))
    get = lfb(DISPATCH, operation(OperType.GET, PathData((2,), selector, children=(path(2),))))
    ((_, _, ids, content),) = leaves(rig.query(get))
    assert (ids, content) == ((2, 9, 2), FullData((9).to_bytes(4)))
    new = PathData((2,), selector, children=(path(2, data=(77).to_bytes(4)),))
    response = rig.config(lfb(DISPATCH, operation(OperType.SET, new)))
    assert response is not None
    assert codes(response) == [0]
    assert instance.values["MetadataDispatchTable"][9]["OutputIndex"] == 77
    response = rig.config(lfb(DISPATCH, operation(OperType.DEL, PathData((2,), selector))))
    assert response is not None
    assert codes(response) == [0]
    assert set(instance.values["MetadataDispatchTable"]) == {4}


@pytest.mark.parametrize("flags", [0x0001, 0x8000])
def test_rfc5810_7_1_1_1_the_key_flag_is_taken_where_either_reading_has_it(
    rig: FeRig, flags: int
) -> None:
    _, key = keyed(rig)
    one = PathData((2,), KeyInfo(key, FullData((100).to_bytes(4))), flags=flags)
    answer = rig.query(lfb(DISPATCH, operation(OperType.GET, one)))
    assert [ids for _, _, ids, _ in leaves(answer)] == [(2, 4)]


@pytest.mark.parametrize(
    ("key_id", "value", "code"),
    [
        (1, (300).to_bytes(4), ResultCode.NOT_FOUND),
        (9, (100).to_bytes(4), ResultCode.INVALID_PATH),
        (1, b"\1", ResultCode.INVALID_PARAMETERS),
    ],
)
def test_rfc5810_7_1_1_2_a_key_that_selects_nothing(
    rig: FeRig, key_id: int, value: bytes, code: ResultCode
) -> None:
    keyed(rig)
    one = PathData((2,), KeyInfo(key_id, FullData(value)))
    assert codes(rig.query(lfb(DISPATCH, operation(OperType.GET, one)))) == [code]
    response = rig.config(lfb(DISPATCH, operation(OperType.DEL, one)))
    assert response is not None
    assert codes(response) == [code]


def test_rfc5812_4_5_4_two_rows_with_one_key_are_refused(rig: FeRig) -> None:
    keyed(rig)
    row = {"MetadataValue": 100, "OutputIndex": 1}
    one = packed("BasicMetadataDispatch", "MetadataDispatchTable", 5, value=row)
    response = rig.config(lfb(DISPATCH, operation(OperType.SET, one)))
    assert response is not None
    assert codes(response) != [0]


# Several messages


@pytest.mark.parametrize("selector", [None, TableRange(1, 9_000)])
def test_rfc7391_3_3_a_large_table_comes_in_several_messages(rig: FeRig, selector: Any) -> None:
    rows = fill(rig, 9_000)
    parts = rig.query_all(ask(selector))
    phases = [part.header.flags.phase for part in parts]
    assert phases == [TransPhase.SOT, *[TransPhase.MOT] * (len(parts) - 2), TransPhase.EOT]
    assert all(part.header.flags.transaction for part in parts)
    assert len({part.header.correlator for part in parts}) == 1
    found: dict[int, bytes] = {}
    for part in parts[:-1]:
        ((_, _, ids, content),) = leaves(part)
        assert ids == (1,)
        found.update(content.items)
    assert TABLE.unpack_sparse(tuple(found.items())) == rows
    ((_, _, _, last),) = leaves(parts[-1])
    assert last == Result(0), "the last one carries no data"


@pytest.mark.parametrize("count", range(4_085, 4_100, 2))
def test_rfc5810_6_2_a_table_near_the_limit_of_a_tlv_is_answered_one_way_or_the_other(
    rig: FeRig, count: int
) -> None:
    """Found here: contents of 65,516 to 65,531 octets fitted into a FULLDATA but not into the
    PATH-DATA and LFBselect around it; the message could not be encoded, and the master was hung
    up on."""
    rows = fill(rig, count)
    parts = rig.query_all(ask())
    assert parts
    assert sum(len(encode(part)) for part in parts) > count * 16
    body = tuple(select for part in parts for select in part.lfbs)
    whole, failed = read_rows(Table.PREFIXES, replace(parts[0], lfbs=body))
    assert failed == set()
    assert len(whole) == len(rows)


def test_rfc5810_6_2_two_ranges_in_one_lfbselect_share_its_65535_octets(rig: FeRig) -> None:
    """Found here: each fitted, the LFBselect around both did not."""
    fill(rig, 5_000)
    paths = [PathData((1,), TableRange(1, 2_500)), PathData((1,), TableRange(2_501, 5_000))]
    response = rig.query(lfb(LPM, operation(OperType.GET, *paths)))
    first, second = (content for _, _, _, content in leaves(response))
    assert isinstance(first, SparseData)
    assert second == Result(ResultCode.CONTENTS_TOO_LONG)


def test_rfc5810_6_2_more_paths_than_an_answer_has_room_for_are_answered_by_one_result(
    rig: FeRig,
) -> None:
    paths = [path(8)] * 5_000
    response = rig.query(lfb(FEPO, operation(OperType.GET, *paths)))
    assert codes(response)[-1] == ResultCode.CONTENTS_TOO_LONG


def test_rfc5810_6_2_a_whole_lfb_that_has_no_room_is_answered_by_one_result(rig: FeRig) -> None:
    """Found here: the FE looked for the table to answer in parts, and ended itself."""
    fill(rig, 5_000)
    response = rig.query(lfb(LPM, operation(OperType.GET, path())))
    assert codes(response) == [ResultCode.CONTENTS_TOO_LONG]


def test_rfc5810_6_2_a_del_of_4000_rows_is_answered(rig: FeRig) -> None:
    """Found here: 4,000 PATH-DATAs fit into an LFBselect, 4,000 with a RESULT do not; the FE did
    what was asked for and then hung up on its master."""
    fill(rig, 4_000)
    paths = [path(1, n) for n in range(1, 4_001)]
    response = rig.config(lfb(LPM, operation(OperType.DEL, *paths)))
    assert response is not None
    assert codes(response) == [0]
    assert rig.core.prefixes.rows == {}
    # and where all fail, the first that did is named
    response = rig.config(lfb(LPM, operation(OperType.DEL, *paths)))
    assert response is not None
    assert codes(response) == [ResultCode.NOT_FOUND]
    assert [ids for _, _, ids, _ in leaves(response)] == [(1, 1)]
    mode = ExecMode.CONTINUE_ON_FAILURE
    response = rig.config(lfb(LPM, operation(OperType.DEL, *paths)), mode=mode)
    assert response is not None
    assert codes(response) == [ResultCode.NOT_FOUND]


def test_rfc7391_3_3_a_table_too_large_for_the_queue_has_to_be_asked_for_in_ranges(
    rig: FeRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fe_datapath.query.MAX_DUMP", 100_000)
    fill(rig, 6_000)
    assert codes(rig.query(ask())) == [ResultCode.CONTENTS_TOO_LONG]


class Asking:
    """The CE's side of one query."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.out: list[Any] = []
        self.exchange = Exchange(Association(CE1, 2, 0, None, None), self.out)

    def ask(self, rig: FeRig, select: LfbSelect) -> list[Any]:
        self.exchange.query((select,), rig.now, lambda answer, now: self.answers.append(answer))
        effect = self.out.pop()
        assert isinstance(effect, Send)
        return rig.receive(CE1, effect.message)


def test_rfc7391_3_3_a_ce_puts_the_parts_together(rig: FeRig) -> None:
    rows = fill(rig, 9_000)
    ce = Asking()
    for part in ce.ask(rig, ask()):
        assert ce.answers == []
        assert ce.exchange.received(part, rig.now)
    (answer,) = ce.answers
    assert answer.message is not None
    found, failed = read_rows(Table.PREFIXES, answer.message)
    assert (found.keys(), failed) == (rows.keys(), set())


def test_rfc7391_3_3_a_ce_gives_up_an_answer_whose_end_does_not_come(rig: FeRig) -> None:
    fill(rig, 9_000)
    ce = Asking()
    parts = ce.ask(rig, ask())
    for part in parts[:-1]:
        ce.exchange.received(part, rig.now)
    ce.exchange.expire(rig.now + 60_000 * MS)
    assert [answer.outcome for answer in ce.answers] == [Outcome.TIMEOUT]
    assert not ce.exchange.received(parts[-1], rig.now)


# Extended results


def extended(rig: FeRig, value: int = 2) -> Any:
    one = packed("FEPO", "EResultAdmin", value=value)
    response = rig.config(lfb(FEPO, operation(OperType.SET, one)))
    assert response is not None
    return leaves(response)[0][3]


def test_rfc7391_3_2_3_1_both_kinds_of_results_are_offered_and_the_old_one_is_the_default(
    rig: FeRig,
) -> None:
    assert rig.get("FEPO", "EResultCapab") == {0: 1, 1: 2}
    assert rig.get("FEPO", "EResultAdmin") == 1


def test_rfc7391_3_2_3_1_the_master_turns_extended_results_on_and_off(rig: FeRig) -> None:
    assert extended(rig) == ExtendedResult(0)
    for response in (
        rig.config(set_prefix(1, "20.0.0.0", 9)),
        rig.query(lfb(LPM, operation(OperType.GET, path(9)))),
    ):
        assert response is not None
        ((_, _, _, content),) = leaves(response)
        assert isinstance(content, ExtendedResult)
        assert content.code in (ResultCode.INVALID_PARAMETERS, ResultCode.COMPONENT_DOES_NOT_EXIST)
        assert 0 < len(content.cause.encode()) <= 32
    assert extended(rig, 1) == Result(0)
    response = rig.config(set_prefix(1, "20.0.0.0", 9))
    assert response is not None
    assert isinstance(leaves(response)[0][3], Result)


@pytest.mark.parametrize("value", [0, 3])
def test_rfc7391_3_2_3_1_a_kind_that_does_not_exist_is_refused(rig: FeRig, value: int) -> None:
    assert extended(rig, value).code in (ResultCode.VALUE_OUT_OF_RANGE, ResultCode.NOT_SUPPORTED)
    assert rig.get("FEPO", "EResultAdmin") == 1


def test_rfc7391_3_2_3_1_a_commit_and_a_table_s_end_are_extended_too(rig: FeRig) -> None:
    fill(rig, 9_000)
    extended(rig)
    commit = lfb(FEPO, operation(OperType.COMMIT))
    response = rig.config(commit, phase=TransPhase.EOT, ack=Ack.ALWAYS_ACK)
    assert response is not None
    assert response.lfbs[0].operations[0].result == ExtendedResult(
        ResultCode.INVALID_FLAGS, "no transaction is open"
    )
    parts = rig.query_all(ask())
    assert leaves(parts[-1])[0][3] == ExtendedResult(0)


def test_rfc7391_3_2_a_delete_of_4000_rows_with_causes_is_answered(rig: FeRig) -> None:
    extended(rig)
    paths = [path(1, n) for n in range(1, 4_001)]
    mode = ExecMode.CONTINUE_ON_FAILURE
    response = rig.config(lfb(HOPS, operation(OperType.DEL, *paths[1:])), mode=mode)
    assert response is not None
    assert codes(response) == [ResultCode.NOT_FOUND]
