"""What an FE refuses (the list "Refusals" of issue 3), each named after its clause. A live core;
whatever is refused leaves tables, datapath and master as they were."""

from __future__ import annotations

from dataclasses import replace

import pytest

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
from forces.paths import PathData
from forces.pathwire import MAX_DEPTH
from forces.wire import encode
from tests.conformance.fe_rig import (
    CE1,
    CE2,
    FE,
    FEO,
    FEPO,
    HOPS,
    PHY,
    ROGUE,
    FeRig,
    codes,
    lfb,
    operation,
    packed,
    path,
    set_hop,
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
