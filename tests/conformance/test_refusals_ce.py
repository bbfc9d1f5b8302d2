"""What a CE refuses (the list "Refusals" of issue 3), each named after its clause. A live core."""

from __future__ import annotations

from dataclasses import replace

import pytest

from forces.channels import Channel
from forces.errors import ResultCode
from forces.events import LossCause, PeerLost
from forces.header import Ack, Flags, Header, MessageType
from forces.messages import (
    LfbSelect,
    Message,
    Operation,
    OperType,
    Redirect,
    SetupResult,
    flags_for,
)
from forces.paths import FullData, PathData, Result
from forces.wire import encode
from tests.conformance.ce_rig import CE1, FE1, FE2, MS, STRANGER, CeRig


def associated() -> CeRig:
    rig = CeRig()
    assert rig.setup(FE1).result == SetupResult.SUCCESS
    return rig


def report(source: int = FE1, destination: int = CE1, port: int = 1) -> Message:
    kind = MessageType.EVENT_NOTIFICATION
    path = PathData((60, 1), content=FullData(b"\2"))
    body = (LfbSelect(3, port, (Operation(OperType.REPORT, (path,)),)),)
    return Message(Header(kind, source, destination, 0, flags_for(kind)), body)


def test_rfc5810_9_1_1_an_fe_that_is_not_provisioned_is_denied_and_gets_no_state() -> None:
    rig = CeRig()
    assert rig.setup(STRANGER).result == SetupResult.PERMISSION_DENIED
    assert rig.disconnected(STRANGER)
    assert rig.core.sessions == {}
    assert rig.journal("setup_refused")[0]["result"] == "PERMISSION_DENIED"


def test_rfc5810_7_5_2_an_fe_id_that_is_another_fe_s_is_invalid() -> None:
    rig = associated()
    assert rig.setup(FE2, source=FE1).result == SetupResult.FE_ID_INVALID
    assert rig.disconnected(FE2)
    assert set(rig.core.sessions) == {FE1}, "the one in use is not disturbed"


def test_rfc5810_7_5_1_a_source_id_of_0_is_given_the_provisioned_id() -> None:
    rig = CeRig()
    response = rig.setup(FE1, source=0)
    assert (response.result, response.header.destination) == (SetupResult.SUCCESS, FE1)


@pytest.mark.parametrize("ack", list(Ack))
def test_rfc5810_7_5_1_a_setup_is_answered_whatever_its_ack_flag_says(ack: Ack) -> None:
    rig = CeRig()
    header = Header(MessageType.ASSOCIATION_SETUP, FE1, CE1, 42, Flags(ack, 7))
    response = rig.receive(FE1, Message(header))[0]
    assert response.type is MessageType.ASSOCIATION_SETUP_RESPONSE
    assert response.header.correlator == 42
    assert response.header.flags.ack is Ack.NO_ACK


def test_rfc5810_4_2_nothing_but_a_setup_is_taken_before_the_association() -> None:
    rig = CeRig()
    at = len(rig.effects)
    rig.receive(FE1, report())
    beat = Header(MessageType.HEARTBEAT, FE1, CE1, 0, Flags(priority=1))
    rig.receive(FE1, Message(beat))
    assert rig.effects[at:] == []
    assert rig.core.sessions == {}


@pytest.mark.parametrize(
    ("source", "destination"), [(FE2, CE1), (0, CE1), (FE1, CE1 + 1), (FE1, 0xFFFFFFFE), (FE1, FE1)]
)
def test_rfc5810_9_1_2_ids_that_are_not_the_association_s_are_refused(
    source: int, destination: int
) -> None:
    rig = associated()
    up = rig.core.ne.port(FE1, 1)
    octets = encode(report(source, destination))
    assert rig.octets(FE1, octets, Channel.MP) == []
    assert rig.errors() == 1
    assert rig.core.ne.port(FE1, 1) == up


def test_rfc5810_9_1_2_the_core_itself_checks_the_source_too() -> None:
    rig = associated()
    rig.receive(FE1, report(source=FE2))
    assert rig.errors() == 1


@pytest.mark.parametrize("channel", [Channel.HP, Channel.LP])
def test_rfc5811_4_2_1_3_an_event_on_another_channel_is_dropped(channel: Channel) -> None:
    rig = associated()
    assert rig.octets(FE1, encode(report()), channel) == []
    assert rig.errors() == 1


@pytest.mark.parametrize("priority", [0, 1, 2, 4, 5, 6, 7])
def test_rfc5811_4_2_1_3_a_priority_other_than_3_on_mp_is_dropped(priority: int) -> None:
    rig = associated()
    message = report()
    flags = replace(message.header.flags, priority=priority)
    octets = encode(replace(message, header=replace(message.header, flags=flags)))
    rig.octets(FE1, octets, Channel.MP)
    assert rig.errors() == 1


@pytest.mark.parametrize("priority", [0, 3, 4, 5, 6, 7])
def test_rfc5811_4_2_1_4_a_priority_other_than_1_or_2_on_lp_is_dropped(priority: int) -> None:
    rig = associated()
    octets = encode(Message(Header(MessageType.HEARTBEAT, FE1, CE1, 0, Flags(priority=priority))))
    assert rig.octets(FE1, octets, Channel.LP) == []
    assert rig.errors() == 1


@pytest.mark.parametrize("at", [0, 1, 3, 24, 26, 27, 37, 39, 47])
def test_rfc5810_6_malformed_messages_are_counted_and_the_peer_still_served(at: int) -> None:
    rig = associated()
    octets = bytearray(encode(report()))
    octets[at] ^= 0x55
    rig.octets(FE1, bytes(octets), Channel.MP)
    assert rig.errors() == 1
    assert rig.core.ne.port(FE1, 1) is not False
    rig.octets(FE1, encode(report()), Channel.MP)
    assert rig.core.ne.port(FE1, 1) is False


@pytest.mark.parametrize("ack", list(Ack))
def test_rfc5810_7_10_a_ce_never_answers_a_heartbeat(ack: Ack) -> None:
    rig = associated()
    beat = Message(Header(MessageType.HEARTBEAT, FE1, CE1, 3, Flags(ack, 1)))
    assert rig.receive(FE1, beat) == []


def test_rfc5810_7_9_a_redirect_storm_leaves_no_trace() -> None:
    rig = associated()
    redirect = (Redirect(((10, b"\0\0\0\1"),), bytes(1000)),)
    header = Header(MessageType.PACKET_REDIRECT, FE1, CE1, 0, Flags(priority=2))
    message = Message(header, redirects=redirect)
    at = len(rig.effects)
    for _ in range(1000):
        rig.receive(FE1, message)
    assert rig.effects[at:] == []


@pytest.mark.parametrize(
    "kind", [MessageType.CONFIG, MessageType.QUERY, MessageType.ASSOCIATION_SETUP_RESPONSE]
)
def test_rfc5810_7_table_1_messages_that_only_a_ce_sends_change_nothing(kind: MessageType) -> None:
    rig = associated()
    oper = OperType.SET if kind is MessageType.CONFIG else OperType.GET
    content = FullData(b"\2") if kind is MessageType.CONFIG else None
    body = (LfbSelect(2, 1, (Operation(oper, (PathData((4,), content=content),)),)),)
    header = Header(kind, FE1, CE1, 1, flags_for(kind, Ack.ALWAYS_ACK))
    if kind is MessageType.ASSOCIATION_SETUP_RESPONSE:
        message = Message(header, result=0)
    else:
        message = Message(header, body)
    at = len(rig.effects)
    assert rig.receive(FE1, message) == []
    assert rig.effects[at:] == []
    assert rig.errors() == 1


def test_rfc5810_6_1_a_response_to_nothing_is_journaled_and_changes_nothing() -> None:
    rig = associated()
    kind = MessageType.CONFIG_RESPONSE
    path = PathData((1,), content=Result(ResultCode.SUCCESS))
    body = (LfbSelect(12, 1, (Operation(OperType.SET_RESPONSE, (path,)),)),)
    message = Message(Header(kind, FE1, CE1, 0xFFFF_FFFF_FFFF, flags_for(kind)), body)
    assert rig.receive(FE1, message) == []
    assert len(rig.journal("unexpected")) == 1


@pytest.mark.parametrize("content", [b"", b"\2\2", b"\xff" * 40])
def test_rfc5810_7_8_a_report_with_contents_of_another_type_is_not_believed(content: bytes) -> None:
    rig = associated()
    before = rig.core.ne.port(FE1, 1)
    good = report()
    path = PathData((60, 1), content=FullData(content))
    body = (LfbSelect(3, 1, (Operation(OperType.REPORT, (path,)),)),)
    rig.receive(FE1, replace(good, lfbs=body))
    assert rig.core.ne.port(FE1, 1) == before
    assert len(rig.journal("bad_report")) == 1


def test_rfc5810_8_1_a_lost_transport_is_a_lost_association() -> None:
    rig = associated()
    rig.event(PeerLost(FE1, LossCause.ABORT))
    assert rig.core.sessions == {}
    assert rig.journal("fe_lost") == [{"fe": "fe1", "cause": "abort"}]


def test_rfc5810_7_5_3_a_silent_fe_is_torn_down_with_its_reason() -> None:
    rig = associated()
    rig.fire_due(rig.now + 3 * rig.config.fe_dead_ms * MS)
    teardown = [m for m in rig.sent(FE1) if m.type is MessageType.ASSOCIATION_TEARDOWN]
    assert [m.reason for m in teardown] == [1]
    assert teardown[0].header.correlator == 0
    assert rig.core.sessions == {}
