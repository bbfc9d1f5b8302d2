"""Config messages: forms, codes, execution modes, and the kernel's word (RFC 5810 section 7.6)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fe_datapath.datapath import SetNextHop, SetPort, SetRoute
from forces.effects import Program
from forces.errors import ResultCode as C
from forces.header import Ack, ExecMode, Header, MessageType
from forces.messages import LfbSelect, Message, Operation, OperType, flags_for
from forces.paths import FullData, KeyInfo, PathData, Result, SparseData, TableRange
from tests.fe_datapath.rig import (
    CE1,
    CE2,
    PREFIX_ROW,
    Rig,
    associated,
    codes,
    delete,
    hop,
    key,
    prefix,
    select,
    set_hop,
    set_hops,
    set_prefix,
    set_prefixes,
    set_value,
    sparse,
)

LPM = "IPv4UcastLPM"


def ready() -> Rig:
    made = associated()
    assert codes(made.config(set_hop(5, hop(1)), set_hop(6, hop(2)))) == [C.SUCCESS] * 2
    return made


def full(row: dict[str, object]) -> FullData:
    return FullData(PREFIX_ROW.row.pack(row))


# Forms (RFC 6984 section 5.1: every legal form must be taken, and the answer has its shape)


def test_row_path_answers_with_the_same_path() -> None:
    made = ready()
    response = made.config(set_prefix(9, prefix(1, 5)))
    assert response is not None
    assert response.lfbs == (
        select(LPM, OperType.SET_RESPONSE, PathData((1, 9), content=Result(C.SUCCESS))),
    )
    assert made.routes == {key(1): 5}


def test_rfc5810_use_case_4_rows_nested_under_their_table() -> None:
    made = ready()
    rows = tuple(PathData((i,), content=full(prefix(i, 5))) for i in range(3))
    response = made.config(select(LPM, OperType.SET, PathData((1,), children=rows)))
    assert response is not None
    answer = response.lfbs[0].operations[0].paths[0]
    assert answer.ids == (1,)
    assert [child.ids for child in answer.children] == [(0,), (1,), (2,)]
    assert codes(response) == [C.SUCCESS] * 3
    assert set(made.routes) == {key(0), key(1), key(2)}


def test_rfc5810_use_case_14_fields_nested_under_their_row() -> None:
    made = ready()
    made.config(set_prefix(1, prefix(1, 5)))
    field = PathData((6,), content=FullData(bytes((0, 0, 0, 6))))
    response = made.config(select(LPM, OperType.SET, PathData((1, 1), children=(field,))))
    assert codes(response) == [C.SUCCESS]
    assert made.routes == {key(1): 6}


def test_rfc6984_5_1_a_row_may_be_created_field_by_field() -> None:
    made = ready()
    row = prefix(4, 6)
    fields = tuple(
        PathData((f.id,), content=FullData(f.type.pack(row[f.name]))) for f in PREFIX_ROW.row.fields
    )
    response = made.config(select(LPM, OperType.SET, PathData((1, 3), children=fields)))
    assert codes(response) == [C.SUCCESS] * 6
    assert made.get(LPM, "IPv4PrefixTable", 3) == row
    assert made.routes == {key(4): 6}


def test_a_row_created_from_some_of_its_fields_is_refused_at_all_of_them() -> None:
    made = ready()
    fields = (PathData((2,), content=FullData(b"\x18")), PathData((6,), content=FullData(bytes(4))))
    response = made.config(select(LPM, OperType.SET, PathData((1, 3), children=fields)))
    assert codes(response) == [C.INVALID_ARRAY_CREATION] * 2


def test_rfc5810_use_case_3_a_whole_table_is_replaced() -> None:
    made = ready()
    made.config(set_prefixes({1: prefix(1, 5), 2: prefix(2, 5)}))
    assert codes(made.config(set_prefixes({2: prefix(2, 6), 7: prefix(3, 5)}))) == [C.SUCCESS]
    assert set(made.get(LPM, "IPv4PrefixTable")) == {2, 7}
    assert made.routes == {key(2): 6, key(3): 5}


def test_rfc5810_7_1_8_sparsedata_on_a_row_changes_what_it_carries() -> None:
    made = ready()
    made.config(set_prefix(1, prefix(1, 5)))
    data = sparse(PREFIX_ROW.row, {"HopSelector": 6})
    made.config(select(LPM, OperType.SET, PathData((1, 1), content=data)))
    assert made.get(LPM, "IPv4PrefixTable", 1) == prefix(1, 6)


def test_sparsedata_on_a_table_leaves_the_other_rows() -> None:
    made = ready()
    made.config(set_prefixes({1: prefix(1, 5), 2: prefix(2, 5)}))
    data = sparse(PREFIX_ROW, {2: prefix(2, 6), 3: prefix(3, 6)})
    assert codes(made.config(select(LPM, OperType.SET, PathData((1,), content=data)))) == [
        C.SUCCESS
    ]
    assert made.routes == {key(1): 5, key(2): 6, key(3): 6}


def test_sparsedata_on_the_whole_lfb_sets_components() -> None:
    made = associated()
    data = SparseData(((7, (30).to_bytes(4, "big")), (5, (90).to_bytes(4, "big"))))
    response = made.config(select("FEPO", OperType.SET, PathData((), content=data)))
    assert codes(response) == [C.SUCCESS]
    assert (made.get("FEPO", "FEHI"), made.get("FEPO", "CEHDI")) == (30, 90)


def test_del_of_row_of_range_and_of_what_is_not_there() -> None:
    made = ready()
    made.config(set_prefixes({i: prefix(i, 5) for i in range(6)}))
    assert codes(made.config(delete(LPM, 1, 0))) == [C.SUCCESS]
    assert codes(made.config(delete(LPM, 1, 0))) == [C.NOT_FOUND]
    assert codes(made.config(delete(LPM, 1, selector=TableRange(1, 3)))) == [C.SUCCESS]
    assert codes(made.config(delete(LPM, 1, selector=TableRange(1, 3)))) == [C.EMPTY]
    assert set(made.routes) == {key(4), key(5)}
    assert codes(made.config(delete(LPM, 1))) == [C.SUCCESS]
    assert made.routes == {}


# Result codes (RFC 5810 A.5)


@pytest.mark.parametrize(
    ("lfb", "code"),
    [
        (LfbSelect(99, 1, (Operation(OperType.SET, (PathData((1,)),)),)), C.LFB_UNKNOWN),
        (
            LfbSelect(3, 77, (Operation(OperType.SET, (PathData((2,)),)),)),
            C.LFB_INSTANCE_ID_NOT_FOUND,
        ),
        (set_value("FEPO", "FEID", value=7), C.READ_ONLY),
        (set_value("FEObject", "FEVendor", value="x"), C.READ_ONLY),
        (set_value("FEPO", "HAMode", value=3), C.VALUE_OUT_OF_RANGE),
        (set_value("FEPO", "CEHDI", value=0), C.VALUE_OUT_OF_RANGE),
        (set_value("FEPO", "CEID", value=0x40000009), C.VALUE_OUT_OF_RANGE),
        (set_value("FEObject", "FEState", value=1), C.VALUE_OUT_OF_RANGE),
        (set_value("EtherMACOut", "MTU", value=9), C.VALUE_OUT_OF_RANGE),
        (set_value("EtherPHYCop", "AdminLinkSpeed", value=9), C.VALUE_OUT_OF_RANGE),
        (set_value("EtherMACIn", "L2BridgingPathEnable", value=True), C.READ_ONLY),
        (set_value("EtherMACIn", "TxFlowControl", value=True), C.NOT_SUPPORTED),
        (set_hop(0, hop(1)), C.INVALID_ARRAY_CREATION),
        (set_hop(7, hop(9)), C.VALUE_OUT_OF_RANGE),
        (set_prefix(7, prefix(1, 99)), C.INVALID_PARAMETERS),
        (set_prefix(7, prefix(1, 5, length=33)), C.VALUE_OUT_OF_RANGE),
        (set_prefix(7, prefix(1, 5) | {"ECMPFlag": True}), C.INVALID_PARAMETERS),
        (
            select("FEPO", OperType.SET, PathData((99,), content=FullData(b""))),
            C.COMPONENT_DOES_NOT_EXIST,
        ),
        (
            select("FEPO", OperType.SET, PathData((5, 1), content=FullData(b""))),
            C.INVALID_PATH,
        ),
        (select("FEPO", OperType.SET, PathData((5,))), C.INVALID_TLV),
        (
            select("FEPO", OperType.SET, PathData((5,), content=FullData(b"\0\0"))),
            C.INVALID_PARAMETERS,
        ),
        (
            select("FEPO", OperType.SET, PathData((5,), content=FullData(bytes(5)))),
            C.CONTENTS_TOO_LONG,
        ),
        (
            select(LPM, OperType.SET, PathData((1, 4, 6), content=FullData(bytes(4)))),
            C.NOT_FOUND,
        ),
        (
            select(LPM, OperType.SET, PathData((1,), TableRange(1, 2), content=FullData(bytes(4)))),
            C.INVALID_TFLAGS,
        ),
        (
            delete(LPM, 1, selector=KeyInfo(1, FullData(bytes(4)))),
            C.INVALID_PATH,
        ),
        (delete("FEPO", 5), C.INVALID_PATH),
        (LfbSelect(2, 1, (Operation(OperType.COMMIT),)), C.INVALID_FLAGS),
    ],
)
def test_result_code(lfb: LfbSelect, code: C) -> None:
    made = ready()
    before = made.get(LPM, "IPv4PrefixTable"), made.get("FEPO", "CEHDI")
    assert codes(made.config(lfb)) == [code]
    assert before == (made.get(LPM, "IPv4PrefixTable"), made.get("FEPO", "CEHDI"))


def test_the_same_prefix_at_a_later_index_exists() -> None:
    made = ready()
    made.config(set_prefix(1, prefix(1, 5)))
    host_bits = prefix(1, 6) | {"IPv4Address": bytes((20, 0, 1, 77))}
    assert codes(made.config(set_prefix(2, host_bits))) == [C.EXISTS]
    assert codes(made.config(set_prefix(1, host_bits))) == [C.SUCCESS]
    assert made.routes == {key(1): 6}


def test_a_next_hop_in_use_cannot_be_deleted_but_with_its_prefixes_it_can() -> None:
    made = ready()
    made.config(set_prefix(1, prefix(1, 5)))
    assert codes(made.config(delete("IPv4NextHop", 1, 5))) == [C.INVALID_PARAMETERS]
    assert codes(made.config(set_hops({6: hop(2)}))) == [C.INVALID_PARAMETERS]
    assert made.next_hops.keys() == {5, 6}
    response = made.config(delete("IPv4NextHop", 1, 5), delete(LPM, 1, 1))
    assert codes(response) == [C.SUCCESS] * 2
    assert (made.routes, made.next_hops.keys()) == ({}, {6})


def test_one_by_one_a_next_hop_in_use_is_refused_where_it_stands() -> None:
    made = ready()
    made.config(set_prefix(1, prefix(1, 5)))
    response = made.config(
        delete("IPv4NextHop", 1, 5), delete(LPM, 1, 1), mode=ExecMode.CONTINUE_ON_FAILURE
    )
    assert codes(response) == [C.INVALID_PARAMETERS, C.SUCCESS]
    assert made.next_hops.keys() == {5, 6}


# Execution modes (RFC 5810 section 4.3.1.1)

THREE = (set_prefix(1, prefix(1, 5)), set_prefix(2, prefix(2, 99)), set_prefix(3, prefix(3, 5)))


@pytest.mark.parametrize(
    ("mode", "answers", "rows"),
    [
        (
            ExecMode.ALL_OR_NONE,
            [C.UNSPECIFIED_ERROR, C.INVALID_PARAMETERS, C.UNSPECIFIED_ERROR],
            set(),
        ),
        (
            ExecMode.RESERVED,
            [C.UNSPECIFIED_ERROR, C.INVALID_PARAMETERS, C.UNSPECIFIED_ERROR],
            set(),
        ),
        (
            ExecMode.UNTIL_FAILURE,
            [C.SUCCESS, C.INVALID_PARAMETERS, C.UNSPECIFIED_ERROR],
            {1},
        ),
        (
            ExecMode.CONTINUE_ON_FAILURE,
            [C.SUCCESS, C.INVALID_PARAMETERS, C.SUCCESS],
            {1, 3},
        ),
    ],
)
def test_rfc5810_4_3_1_1_execution_mode(mode: ExecMode, answers: list[C], rows: set[int]) -> None:
    made = ready()
    assert codes(made.config(*THREE, mode=mode)) == answers
    assert set(made.get(LPM, "IPv4PrefixTable")) == rows
    assert set(made.routes) == {key(i) for i in rows}


@pytest.mark.parametrize(
    ("mode", "answers", "rows"),
    [
        (
            ExecMode.ALL_OR_NONE,
            [C.UNSPECIFIED_ERROR, C.MEMORY_ERROR, C.UNSPECIFIED_ERROR],
            set(),
        ),
        (ExecMode.UNTIL_FAILURE, [C.SUCCESS, C.MEMORY_ERROR, C.UNSPECIFIED_ERROR], {1}),
        (ExecMode.CONTINUE_ON_FAILURE, [C.SUCCESS, C.MEMORY_ERROR, C.SUCCESS], {1, 3}),
    ],
)
def test_a_refusal_by_the_kernel_names_the_path_and_tables_equal_the_kernel(
    mode: ExecMode, answers: list[C], rows: set[int]
) -> None:
    made = ready()
    made.refuse = lambda change: isinstance(change, SetRoute) and change.prefix == key(2)[0]
    three = [set_prefix(i, prefix(i, 5)) for i in (1, 2, 3)]
    assert codes(made.config(*three, mode=mode)) == answers
    assert set(made.get(LPM, "IPv4PrefixTable")) == rows
    assert set(made.routes) == {key(i) for i in rows}


def test_a_refused_replacement_leaves_the_old_table_in_the_kernel() -> None:
    made = ready()
    old = {1: prefix(1, 5), 2: prefix(2, 5)}
    made.config(set_prefixes(old))
    before = dict(made.routes)
    made.refuse = lambda change: isinstance(change, SetRoute) and change.prefix == key(4)[0]
    response = made.config(set_prefixes({1: prefix(2, 6), 3: prefix(3, 6), 4: prefix(4, 6)}))
    assert codes(response) == [C.MEMORY_ERROR]
    assert made.get(LPM, "IPv4PrefixTable") == old
    assert made.routes == before


# Answers (RFC 5810 section 6.1: ACK)


@pytest.mark.parametrize("good", [True, False])
@pytest.mark.parametrize("ack", list(Ack))
def test_rfc5810_6_1_the_ack_flag_decides_whether_there_is_an_answer(ack: Ack, good: bool) -> None:
    made = ready()
    response = made.config(set_prefix(1, prefix(1, 5 if good else 99)), ack=ack)
    expected = {
        Ack.NO_ACK: False,
        Ack.SUCCESS_ACK: good,
        Ack.FAILURE_ACK: not good,
        Ack.ALWAYS_ACK: True,
    }[ack]
    assert (response is not None) == expected


def test_rfc5810_6_1_failure_ack_shows_failed_items_only() -> None:
    made = ready()
    response = made.config(*THREE, ack=Ack.FAILURE_ACK, mode=ExecMode.CONTINUE_ON_FAILURE)
    assert codes(response) == [C.INVALID_PARAMETERS]
    assert response is not None
    assert response.lfbs[0].operations[0].paths[0].ids == (1, 2)


def test_a_response_has_the_priority_of_its_request() -> None:
    made = ready()
    response = made.config(set_prefix(1, prefix(1, 5)))
    assert response is not None
    assert response.header.flags.priority == 4


# Order and waiting


def test_a_config_waits_for_the_one_before_it_and_queries_do_not() -> None:
    made = ready()
    made.hold = True
    assert made.config(set_prefix(1, prefix(1, 5))) is None
    assert made.config(set_prefix(2, prefix(2, 6))) is None
    assert len(made.programs) == 1
    assert made.get(LPM, "IPv4PrefixTable") == {}, "not confirmed by the kernel yet"
    assert made.get(LPM, "IPv4PrefixTable", 1) is C.NOT_FOUND
    start = len(made.log)
    made.release()
    answers = made.sent(made.log[start:], MessageType.CONFIG_RESPONSE)
    assert [codes(answer) for answer in answers] == [[C.SUCCESS], [C.SUCCESS]]
    assert [answer.lfbs[0].operations[0].paths[0].ids for answer in answers] == [(1, 1), (1, 2)]
    assert set(made.get(LPM, "IPv4PrefixTable")) == {1, 2}


def test_a_query_under_a_replacement_sees_the_old_table() -> None:
    made = ready()
    old = {1: prefix(1, 5), 2: prefix(2, 5)}
    made.config(set_prefixes(old))
    made.hold = True
    made.config(set_prefixes({2: prefix(2, 6), 3: prefix(3, 5)}))
    assert made.get(LPM, "IPv4PrefixTable") == old
    made.release()
    assert set(made.get(LPM, "IPv4PrefixTable")) == {2, 3}


def test_a_config_that_waits_while_its_sender_loses_the_mastership_is_fenced() -> None:
    made = ready()
    made.hold = True
    made.config(set_prefix(1, prefix(1, 5)))
    made.config(set_prefix(2, prefix(2, 5)))
    made.lose(CE1)
    start = len(made.log)
    made.release()
    assert made.journal(made.log[start:], "fenced")[0]["ce"] == "ce1"
    assert set(made.get(LPM, "IPv4PrefixTable", ce=CE2)) == {1}


# The kernel's side


def test_rows_that_stay_the_same_cause_no_kernel_change() -> None:
    made = ready()
    rows = {i: prefix(i, 5) for i in range(50)}
    made.config(set_prefixes(rows))
    start = len(made.log)
    assert (
        codes(made.config(set_hops({5: hop(1), 6: hop(2)}), set_prefixes(rows))) == [C.SUCCESS] * 2
    )
    assert not [e for e in made.log[start:] if isinstance(e, Program)]


def test_make_before_break_new_next_hops_then_routes_then_deletions() -> None:
    made = ready()
    made.config(set_prefixes({1: prefix(1, 5), 2: prefix(2, 6)}))
    start = len(made.log)
    response = made.config(set_hops({7: hop(2, last=9)}), set_prefixes({1: prefix(1, 7)}))
    assert codes(response) == [C.SUCCESS] * 2
    program = next(e for e in made.log[start:] if isinstance(e, Program))
    assert [type(change).__name__ for change in program.changes] == [
        "SetNextHop",
        "SetRoute",
        "DelRoute",
        "DelNextHop",
        "DelNextHop",
    ]
    assert made.routes == {key(1): 7}


def test_a_prefix_that_moves_to_another_row_stays_in_the_kernel() -> None:
    made = ready()
    made.config(set_prefixes({1: prefix(1, 5), 2: prefix(2, 6)}))
    start = len(made.log)
    made.config(set_prefixes({1: prefix(2, 6), 2: prefix(1, 5)}))
    assert not [e for e in made.log[start:] if isinstance(e, Program)]
    assert made.core.prefixes.by_prefix == {key(2): 1, key(1): 2}


def test_the_beacon_row_is_replaced_in_place() -> None:
    made = ready()
    for number in range(5):
        made.config(set_prefix(1, prefix(number, 5, length=32)))
    assert list(made.routes) == [key(4, 32)]


def test_platform_trap_2_carrier_loss_and_return_restores_the_kernel_from_the_tables() -> None:
    made = ready()
    made.config(set_prefixes({1: prefix(1, 5), 2: prefix(2, 6), 3: prefix(3, 5)}))
    before = dict(made.routes), dict(made.next_hops)
    made.link(1, up=False)
    assert made.routes == {key(2): 6}
    made.link(1, up=True)
    assert (made.routes, made.next_hops) == before


def test_a_next_hop_on_a_port_without_carrier_is_accepted_and_programmed_later() -> None:
    made = ready()
    made.link(2, up=False)
    response = made.config(set_hop(8, hop(2, last=8)), set_prefix(1, prefix(1, 8)))
    assert codes(response) == [C.SUCCESS] * 2
    assert (made.routes, made.next_hops.keys()) == ({}, {5})
    made.link(2, up=True)
    assert made.routes == {key(1): 8}
    assert made.next_hops.keys() == {5, 6, 8}


def test_a_next_hop_that_moves_off_a_dead_port_brings_its_routes_back() -> None:
    made = ready()
    made.config(set_prefixes({1: prefix(1, 6), 2: prefix(2, 6)}))
    made.link(2, up=False)
    assert made.routes == {}
    assert codes(made.config(set_hop(6, hop(1, last=6)))) == [C.SUCCESS]
    assert made.routes == {key(1): 6, key(2): 6}


def test_a_next_hop_that_moves_to_a_dead_port_takes_its_routes_along() -> None:
    made = ready()
    made.config(set_prefix(1, prefix(1, 5)))
    made.link(2, up=False)
    assert codes(made.config(set_hop(5, hop(2, last=5)))) == [C.SUCCESS]
    assert made.routes == {}
    made.link(2, up=True)
    assert made.routes == {key(1): 5}


def test_a_port_that_goes_down_under_a_program_fails_no_config() -> None:
    made = ready()
    made.config(set_prefix(3, prefix(3, 5)))
    made.hold = True
    made.config(
        set_hop(8, hop(2, last=8)), set_prefix(1, prefix(1, 8)), set_prefix(2, prefix(2, 5))
    )
    made.link(2, up=False)
    made.refuse = lambda change: isinstance(change, SetNextHop) and change.port == 2
    start = len(made.log)
    made.release()
    answer = made.sent(made.log[start:], MessageType.CONFIG_RESPONSE)[0]
    assert codes(answer) == [C.SUCCESS] * 3
    assert made.routes == {key(2): 5, key(3): 5}


def test_port_settings_become_set_port() -> None:
    made = associated()
    start = len(made.log)
    made.config(
        set_value("EtherPHYCop", "AdminStatus", value=2, instance=2),
        set_value("EtherMACOut", "MTU", value=1400, instance=2),
        set_value("EtherMACIn", "PromiscuousMode", value=True, instance=2),
    )
    program = next(e for e in made.log[start:] if isinstance(e, Program))
    assert set(program.changes) == {
        SetPort(2, admin_up=False),
        SetPort(2, mtu=1400),
        SetPort(2, promiscuous=True),
    }
    assert made.get("EtherMACIn", "AdminStatus", instance=2) == 2
    assert made.get("EtherMACOut", "MTU", instance=2) == 1400


def test_more_waiting_configs_than_the_limit_are_counted_as_errors(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("fe_datapath.configs.QUEUE_LIMIT", 2)
    made = ready()
    made.hold = True
    for number in range(5):
        made.config(set_prefix(number, prefix(number, 5)))
    assert made.figures(CE1)["RecvErrPackets"] == 2


def test_a_config_from_a_wrong_source_id_is_not_carried_out() -> None:
    made = ready()
    lfb = set_prefix(1, prefix(1, 5))
    kind = MessageType.CONFIG
    header = Header(kind, CE2, 1, 1, flags_for(kind, Ack.ALWAYS_ACK, ExecMode.ALL_OR_NONE))
    made.say(CE1, Message(header, (lfb,)))
    made.say(CE1, Message(replace(header, source=CE1, destination=44), (lfb,)))
    assert made.routes == {}
    assert made.figures(CE1)["RecvErrPackets"] == 2


def test_a_next_hop_that_comes_and_goes_within_one_config_leaves_no_prefix_behind() -> None:
    made = ready()
    response = made.config(
        set_hop(9, hop(1)), set_prefix(1, prefix(1, 9)), delete("IPv4NextHop", 1, 9)
    )
    assert codes(response) == [C.UNSPECIFIED_ERROR, C.INVALID_PARAMETERS, C.UNSPECIFIED_ERROR]
    assert made.get(LPM, "IPv4PrefixTable") == {}


def test_an_equal_set_after_a_refused_one_is_tried_again() -> None:
    made = associated()
    refusals = iter((True,))
    made.refuse = lambda change: isinstance(change, SetNextHop) and next(refusals, False)
    response = made.config(
        set_hop(5, hop(1)), set_hop(5, hop(1)), mode=ExecMode.CONTINUE_ON_FAILURE
    )
    assert codes(response) == [C.MEMORY_ERROR, C.SUCCESS]
    assert made.next_hops.keys() == {5}


def test_a_refused_replacement_of_a_next_hop_that_was_deleted_first_leaves_no_stray() -> None:
    made = ready()
    made.refuse = lambda change: isinstance(change, SetNextHop)
    response = made.config(
        delete("IPv4NextHop", 1, 5), set_hop(5, hop(1, last=3)), mode=ExecMode.UNTIL_FAILURE
    )
    assert codes(response) == [C.SUCCESS, C.MEMORY_ERROR]
    assert made.next_hops.keys() == made.core.next_hops.rows.keys() == {6}
