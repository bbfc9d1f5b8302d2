"""Configs that an FE refuses (the list "Refusals" of issue 3), each named after its clause: data
outside of type or range, read-only, array creation, what the kernel does not take. A live core;
tables and datapath stay as they were, the culprit is named."""

from __future__ import annotations

import struct

import pytest

from fe_datapath.datapath import SetRoute
from forces.channels import Channel
from forces.errors import ResultCode
from forces.header import Ack, ExecMode, Flags, Header, MessageType
from forces.messages import (
    PRIORITY,
    LfbSelect,
    Message,
    OperType,
)
from forces.paths import FullData, PathData, SparseData
from forces.wire import encode
from tests.conformance.fe_rig import (
    CE1,
    CE2,
    FE,
    FEPO,
    HOPS,
    LPM,
    ROGUE,
    FeRig,
    codes,
    lfb,
    next_hop,
    operation,
    packed,
    path,
    prefix,
    set_hop,
    set_prefix,
)

S, F = ResultCode.SUCCESS, ResultCode.UNSPECIFIED_ERROR


def hot(**changes: object) -> FeRig:
    rig = FeRig(**changes)
    rig.associate(CE1)
    rig.associate(CE2)
    return rig


def config(select: LfbSelect, source: int = CE1) -> Message:
    kind = MessageType.CONFIG
    flags = Flags(Ack.ALWAYS_ACK, PRIORITY[kind], ExecMode.ALL_OR_NONE)
    return Message(Header(kind, source, FE, 9, flags), (select,))


def refused(rig: FeRig, select: LfbSelect) -> list[int]:
    before = rig.picture()
    response = rig.config(select)
    assert response is not None
    assert rig.picture() == before
    return codes(response)


@pytest.mark.parametrize(
    ("what", "code"),
    [
        (packed("FEPO", "CEHBPolicy", value=2), ResultCode.VALUE_OUT_OF_RANGE),
        (packed("FEPO", "HAMode", value=3), ResultCode.VALUE_OUT_OF_RANGE),
        (packed("FEPO", "CEID", value=ROGUE), ResultCode.VALUE_OUT_OF_RANGE),
        (packed("FEPO", "CEFailoverPolicy", value=2), ResultCode.VALUE_OUT_OF_RANGE),
        (packed("FEPO", "MulticastFEIDs", 1, value=2), ResultCode.VALUE_OUT_OF_RANGE),
        (path(4, data=b"\0\0"), ResultCode.CONTENTS_TOO_LONG),
        (path(5, data=b""), ResultCode.INVALID_PARAMETERS),
        (path(2, data=b"\0\0\0\1"), ResultCode.READ_ONLY),
        (path(15, data=b""), ResultCode.READ_ONLY),
        (path(30, data=b""), ResultCode.READ_ONLY),
        (path(99, data=b"\1"), ResultCode.COMPONENT_DOES_NOT_EXIST),
        (path(4, 1, data=b"\1"), ResultCode.INVALID_PATH),
        (path(61, 1, data=b"\1"), ResultCode.INVALID_PATH),
    ],
)
def test_rfc5810_7_1_7_a_set_of_what_must_not_be_names_its_result_code(
    what: PathData, code: ResultCode
) -> None:
    rig = hot()
    assert refused(rig, lfb(FEPO, operation(OperType.SET, what))) == [code]


@pytest.mark.parametrize(
    ("class_id", "instance", "code"),
    [
        (LPM, 9, ResultCode.LFB_INSTANCE_ID_NOT_FOUND),
        (999, 1, ResultCode.LFB_UNKNOWN),
    ],
)
def test_rfc6053_an_unknown_lfb_selector_is_answered_and_survived(
    class_id: int, instance: int, code: ResultCode
) -> None:
    rig = hot()
    select = lfb(class_id, operation(OperType.SET, path(1, data=b"\1")), instance=instance)
    assert refused(rig, select) == [code]
    ask = lfb(class_id, operation(OperType.GET, path(1)), instance=instance)
    assert codes(rig.query(ask)) == [code]


def test_rfc5810_4_3_1_1_1_an_error_in_row_3_takes_the_whole_message_back() -> None:
    """A row of a table that cannot be created: whole-message rollback, the culprit named."""
    rig = hot()
    rows = [packed("IPv4NextHop", "IPv4NextHopTable", n, value=next_hop()) for n in (1, 2)]
    rows.append(packed("IPv4NextHop", "IPv4NextHopTable", 3, value=next_hop(port=9)))
    rows.append(packed("IPv4NextHop", "IPv4NextHopTable", 4, value=next_hop()))
    select = lfb(HOPS, operation(OperType.SET, *rows))
    assert refused(rig, select) == [F, F, ResultCode.VALUE_OUT_OF_RANGE, F]


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (SparseData(((1, b"\0\0\0\1"),)), ResultCode.INVALID_ARRAY_CREATION),
        (FullData(b"\0\0\0\1"), ResultCode.INVALID_PARAMETERS),
    ],
)
def test_rfc5810_7_6_1_a_row_is_not_created_from_a_part_of_it(
    content: FullData | SparseData, code: ResultCode
) -> None:
    rig = hot()
    row = PathData((1, 5), content=content)
    assert refused(rig, lfb(HOPS, operation(OperType.SET, row))) == [code]


def test_rfc6956_row_0_is_no_hop_selector() -> None:
    rig = hot()
    row = packed("IPv4NextHop", "IPv4NextHopTable", 0, value=next_hop())
    assert refused(rig, lfb(HOPS, operation(OperType.SET, row))) == [
        ResultCode.INVALID_ARRAY_CREATION
    ]


def test_rfc5810_7_1_7_a_value_outside_of_its_type_s_range_in_a_row_is_refused() -> None:
    rig = hot()
    rig.config(set_hop(1))
    bad = {**prefix("20.0.0.0"), "Prefixlen": 33}
    row = packed("IPv4UcastLPM", "IPv4PrefixTable", 1, value=bad)
    assert refused(rig, lfb(LPM, operation(OperType.SET, row))) == [ResultCode.VALUE_OUT_OF_RANGE]


def test_rfc5810_7_6_1_a_row_that_is_not_there_is_not_deleted() -> None:
    rig = hot()
    assert refused(rig, lfb(LPM, operation(OperType.DEL, path(1, 7)))) == [ResultCode.NOT_FOUND]


def test_rfc5810_7_6_1_only_rows_and_tables_can_be_deleted() -> None:
    rig = hot()
    assert refused(rig, lfb(FEPO, operation(OperType.DEL, path(4)))) == [ResultCode.INVALID_PATH]


def test_rfc5810_7_6_1_a_set_without_data_is_refused() -> None:
    rig = hot()
    assert refused(rig, lfb(FEPO, operation(OperType.SET, path(4)))) == [ResultCode.INVALID_TLV]


def test_rfc5810_7_3_1_the_protocol_lfb_cannot_be_removed() -> None:
    rig = hot()
    found = refused(rig, lfb(FEPO, operation(OperType.DEL, PathData(()))))
    assert found
    assert S not in found


def test_rfc5810_7_1_7_what_the_kernel_refuses_is_named_and_taken_back() -> None:
    rig = hot()
    rig.config(set_hop(1))
    before = rig.picture()
    rig.datapath.fail_next(SetRoute, ResultCode.MEMORY_ERROR)
    response = rig.config(set_prefix(1, "20.0.0.0"), set_prefix(2, "20.0.1.0"))
    assert response is not None
    assert ResultCode.MEMORY_ERROR in codes(response)
    assert S not in codes(response)
    assert rig.picture() == before


def test_rfc5810_6_1_nothing_of_a_truncated_config_is_carried_out() -> None:
    rig = hot()
    octets = encode(config(set_hop(1)))
    for cut in range(0, len(octets), 4):
        short = octets[:2] + struct.pack("!H", cut // 4) + octets[4:cut]
        assert rig.octets(CE1, short[:cut], Channel.HP) == []
    assert rig.core.next_hops.rows == {}
    assert rig.errors(CE1) == len(range(0, len(octets), 4))
