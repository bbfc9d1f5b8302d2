"""What an FE refuses (the list "Refusals" of issue 3), each named after its clause. A live core;
whatever is refused leaves tables, datapath and master as they were."""

from __future__ import annotations

import struct
from dataclasses import replace

import pytest

from fe_datapath.datapath import SetRoute
from forces.channels import Channel
from forces.effects import Disconnect, Send
from forces.errors import ResultCode
from forces.events import PeerUp
from forces.header import ALL_FES, Ack, ExecMode, Flags, Header, MessageType
from forces.messages import (
    PRIORITY,
    LfbSelect,
    Message,
    OperType,
    Redirect,
    SetupResult,
    TeardownReason,
    flags_for,
)
from forces.paths import FullData, PathData, SparseData
from forces.pathwire import MAX_DEPTH
from forces.wire import encode
from tests.conformance.fe_rig import (
    CE1,
    CE2,
    FE,
    FEO,
    FEPO,
    HOPS,
    LPM,
    PHY,
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


def query(source: int = CE1, destination: int = FE, correlator: int = 5) -> Message:
    kind = MessageType.QUERY
    body = (lfb(FEO, operation(OperType.GET, path(4))),)
    return Message(Header(kind, source, destination, correlator, flags_for(kind)), body)


def config(select: LfbSelect, source: int = CE1) -> Message:
    kind = MessageType.CONFIG
    flags = Flags(Ack.ALWAYS_ACK, PRIORITY[kind], ExecMode.ALL_OR_NONE)
    return Message(Header(kind, source, FE, 9, flags), (select,))


# Who may speak


@pytest.mark.parametrize(
    "select",
    [
        set_hop(1),
        lfb(HOPS, operation(OperType.DEL, path(1, 1))),
        lfb(FEPO, operation(OperType.SET, packed("FEPO", "CEID", value=CE2))),
        lfb(PHY, operation(OperType.SET_PROP, path(60, 1, data=b"\0\0\0\1"))),
    ],
    ids=["SET", "DEL", "SET CEID", "SET-PROP"],
)
def test_rfc7121_3_2_config_from_a_backup_is_dropped_silently_and_counted(
    select: LfbSelect,
) -> None:
    """SET/DEL from backup CEs are dropped by the FE and logged as received errors."""
    rig = hot()
    rig.config(set_hop(1))
    before = rig.picture()
    message = config(select, CE2)
    figures = rig.core.ha.statistics[CE2]
    octets = figures.recv_err_bytes
    assert rig.receive(CE2, message) == []
    assert rig.picture() == before
    assert rig.core.ha.master == CE1
    assert rig.errors(CE2) == 1
    assert figures.recv_err_bytes - octets == len(encode(message))
    assert rig.journal("fenced") == [{"ce": "ce2", "octets": len(encode(message))}]


def test_rfc7121_3_2_queries_and_heartbeats_of_a_backup_are_answered() -> None:
    rig = hot()
    assert rig.get("FEPO", "CEID", ce=CE2) == CE1
    beat = Header(MessageType.HEARTBEAT, CE2, FE, 3, Flags(Ack.ALWAYS_ACK, 1))
    (answer,) = rig.receive(CE2, Message(beat))
    assert answer.type is MessageType.HEARTBEAT
    assert rig.errors(CE2) == 0


def test_rfc5810_9_1_1_a_ce_that_is_not_provisioned_gets_no_state_and_no_answer() -> None:
    """An FE connects to those CEs only that are configured."""
    rig = hot()
    before, links = rig.picture(), set(rig.core.ha.links)
    for message in (query(ROGUE), config(set_hop(1), ROGUE)):
        assert rig.receive(ROGUE, message) == []
    assert rig.picture() == before
    assert set(rig.core.ha.links) == links
    assert ROGUE not in rig.core.ha.statistics


def test_rfc7121_5_a_ce_that_starts_an_association_is_hung_up_on() -> None:
    """The FE dials: a connection that it did not ask for is closed."""
    rig = FeRig()
    rig.associate(CE1)
    rig.associate(CE2)
    at = len(rig.effects)
    rig.event(PeerUp(ROGUE))
    assert rig.effects[at:] == [Disconnect(ROGUE, abort=True)]


def test_rfc5810_7_5_1_an_association_setup_from_a_ce_is_dropped_and_counted() -> None:
    rig = hot()
    kind = MessageType.ASSOCIATION_SETUP
    assert rig.receive(CE1, Message(Header(kind, CE1, FE, 1, flags_for(kind)))) == []
    assert rig.errors(CE1) == 1


def test_rfc5810_7_5_2_a_setup_response_that_nobody_asked_for_makes_no_association() -> None:
    rig = FeRig()
    rig.event(PeerUp(CE1))
    kind = MessageType.ASSOCIATION_SETUP_RESPONSE
    (setup,) = rig.sent(CE1)
    wrong = Header(kind, CE1, FE, setup.header.correlator + 1, flags_for(kind))
    rig.receive(CE1, Message(wrong, result=SetupResult.SUCCESS))
    assert not rig.core.ha.associated(CE1)
    assert rig.errors(CE1) == 1


@pytest.mark.parametrize("result", [SetupResult.FE_ID_INVALID, SetupResult.PERMISSION_DENIED, 99])
def test_rfc5810_7_5_2_a_refused_setup_makes_no_association(result: int) -> None:
    rig = FeRig()
    rig.event(PeerUp(CE1))
    (setup,) = rig.sent(CE1)
    kind = MessageType.ASSOCIATION_SETUP_RESPONSE
    rig.receive(CE1, Message(setup.header.reply(kind, flags_for(kind)), result=result))
    assert not rig.core.ha.associated(CE1)
    assert rig.core.ha.master is None
    assert rig.receive(CE1, query()) == []


def test_rfc5810_4_2_nothing_but_the_setup_response_is_taken_before_the_association() -> None:
    rig = FeRig()
    rig.event(PeerUp(CE1))
    before = rig.picture()
    at = len(rig.effects)
    for message in (query(), config(set_hop(1))):
        rig.receive(CE1, message)
    teardown = Header(MessageType.ASSOCIATION_TEARDOWN, CE1, FE, 0, Flags(priority=7))
    rig.receive(CE1, Message(teardown, reason=TeardownReason.NORMAL))
    assert not any(isinstance(effect, Send) for effect in rig.effects[at:])
    assert rig.picture() == before
    assert rig.errors(CE1) == 3


@pytest.mark.parametrize(
    "kind",
    [MessageType.CONFIG_RESPONSE, MessageType.QUERY_RESPONSE, MessageType.EVENT_NOTIFICATION],
)
def test_rfc5810_7_table_1_messages_that_only_an_fe_sends_are_refused_by_an_fe(
    kind: MessageType,
) -> None:
    rig = hot()
    oper = {
        MessageType.CONFIG_RESPONSE: OperType.SET_RESPONSE,
        MessageType.QUERY_RESPONSE: OperType.GET_RESPONSE,
        MessageType.EVENT_NOTIFICATION: OperType.REPORT,
    }[kind]
    body = (lfb(FEO, operation(oper, path(4, data=b"\0\0\0\1"))),)
    assert rig.receive(CE1, Message(Header(kind, CE1, FE, 1, flags_for(kind)), body)) == []
    assert rig.errors(CE1) == 1


# IDs, channels, form: as the driver checks them, with the core behind it


@pytest.mark.parametrize(
    ("source", "destination"),
    [(CE2, FE), (ROGUE, FE), (0, FE), (CE1, FE + 1), (CE1, CE1), (CE1, 0xFFFFFFFD), (CE1, 0)],
)
def test_rfc5810_6_1_ids_that_are_not_the_association_s_are_refused(
    source: int, destination: int
) -> None:
    """9.1.2: the receiving endpoint validates the initiator by the common header's IDs."""
    rig = hot()
    octets = encode(query(source, destination))
    assert rig.octets(CE1, octets, Channel.HP) == []
    assert rig.errors(CE1) == 1
    # lenient or not: IDs are not a matter of taste
    assert rig.octets(CE1, octets, Channel.HP, strict=False) == []
    assert rig.errors(CE1) == 2


def test_rfc5810_6_1_a_broadcast_to_all_fes_is_for_us() -> None:
    rig = hot()
    assert len(rig.octets(CE1, encode(query(destination=ALL_FES)), Channel.HP)) == 1


def test_rfc5810_6_1_a_multicast_is_for_us_only_once_the_ce_has_put_us_into_the_group() -> None:
    rig = hot()
    group = 0xC0000005
    octets = encode(query(destination=group))
    assert rig.octets(CE1, octets, Channel.HP) == []
    assert rig.errors(CE1) == 1
    row = packed("FEPO", "MulticastFEIDs", 0, value=group)
    response = rig.config(lfb(FEPO, operation(OperType.SET, row)))
    assert response is not None
    assert codes(response) == [S]
    assert len(rig.octets(CE1, octets, Channel.HP)) == 1


@pytest.mark.parametrize("channel", [Channel.MP, Channel.LP])
def test_rfc5811_4_2_1_a_message_on_the_wrong_channel_is_dropped(channel: Channel) -> None:
    rig = hot()
    assert rig.octets(CE1, encode(query()), channel) == []
    assert rig.errors(CE1) == 1


@pytest.mark.parametrize("priority", [0, 1, 2, 3])
def test_rfc5811_4_2_1_2_a_priority_outside_of_4_to_7_on_hp_is_dropped(priority: int) -> None:
    rig = hot()
    message = query()
    flags = replace(message.header.flags, priority=priority)
    octets = encode(replace(message, header=replace(message.header, flags=flags)))
    assert rig.octets(CE1, octets, Channel.HP) == []
    assert rig.errors(CE1) == 1


@pytest.mark.parametrize("priority", [4, 5, 6, 7])
def test_rfc5811_4_2_1_2_a_response_has_the_priority_of_its_request(priority: int) -> None:
    rig = hot()
    message = query()
    flags = replace(message.header.flags, priority=priority)
    octets = encode(replace(message, header=replace(message.header, flags=flags)))
    (answer,) = rig.octets(CE1, octets, Channel.HP)
    assert answer.header.flags.priority == priority


def damaged(what: str) -> bytes:
    octets = bytearray(encode(query()))
    match what:
        case "version":
            octets[0] = 0x20
        case "length":
            octets[3] += 1
        case "short":
            octets = octets[:20]
        case "type":
            octets[1] = 0x07
        case "vendor type":
            octets[1] = 0x80
        case "tlv":  # PATH-DATA where LFBselect belongs
            octets[24:26] = b"\x01\x10"
        case "oper":  # a SET in a Query
            octets[36:38] = b"\x00\x01"
        case "tlv length":
            octets[26:28] = b"\xff\xff"
        case "tlv length 0":
            octets[26:28] = b"\x00\x00"
        case "id count":
            octets[46:48] = b"\x00\x09"
    return bytes(octets)


@pytest.mark.parametrize(
    "what",
    [
        "version",
        "length",
        "short",
        "type",
        "vendor type",
        "tlv",
        "oper",
        "tlv length",
        "tlv length 0",
        "id count",
    ],
)
def test_rfc5810_6_malformed_messages_are_counted_and_nothing_else(what: str) -> None:
    rig = hot()
    before = rig.picture()
    assert rig.octets(CE1, damaged(what), Channel.HP) == []
    assert rig.errors(CE1) == 1
    assert rig.picture() == before
    assert len(rig.octets(CE1, encode(query()), Channel.HP)) == 1, "the peer is still served"


def test_rfc5810_6_1_reserved_bits_are_ignored() -> None:
    rig = hot()
    octets = bytearray(encode(query()))
    octets[0] |= 0x0F
    octets[20] |= 0x07
    octets[21] |= 0x07
    octets[22:24] = b"\xff\xff"
    (answer,) = rig.octets(CE1, bytes(octets), Channel.HP)
    assert answer.header.reserved == 0
    assert answer.header.flags.reserved == 0
    assert rig.errors(CE1) == 0


def test_rfc5810_7_1_paths_nested_deeper_than_the_limit_are_refused() -> None:
    rig = hot()
    one = path(1, 1, data=bytes(20))
    for _ in range(MAX_DEPTH):
        one = PathData((), children=(one,))
    octets = encode(config(lfb(HOPS, operation(OperType.SET, one))))
    assert rig.octets(CE1, octets, Channel.HP) == []
    assert rig.errors(CE1) == 1


@pytest.mark.parametrize("ack", list(Ack))
def test_rfc5810_7_10_heartbeat_answers_never_loop(ack: Ack) -> None:
    """Only AlwaysACK is answered, with NoACK, IDs swapped, the correlator kept."""
    rig = hot()
    request = Message(Header(MessageType.HEARTBEAT, CE1, FE, 77, Flags(ack, 1)))
    answers = rig.receive(CE1, request)
    if ack is not Ack.ALWAYS_ACK:
        assert answers == []
        return
    (answer,) = answers
    assert answer.header == Header(MessageType.HEARTBEAT, FE, CE1, 77, Flags(priority=1))


def test_rfc5810_7_9_a_redirect_storm_leaves_no_trace_but_a_count() -> None:
    rig = hot()
    before = rig.picture()
    redirect = (Redirect(((10, b"\0\0\0\1"),), bytes(1000)),)
    message = Message(
        Header(MessageType.PACKET_REDIRECT, CE2, FE, 0, Flags(priority=2)), (), redirects=redirect
    )
    at = len(rig.effects)
    for _ in range(1000):
        rig.receive(CE2, message)
    assert rig.effects[at:] == []
    assert rig.errors(CE2) == 1000
    assert rig.picture() == before


# What a Config asks for


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
