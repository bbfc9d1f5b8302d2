"""RFC 6053 (the first interoperability test, 2009): its seven scenarios by number, and the bugs
that it found in others, each as a promise. Live cores; the transport's part of scenario 2 is in
tests/forces/io."""

from __future__ import annotations

import pytest

from forces.channels import Channel
from forces.effects import Connect, Disconnect
from forces.events import LossCause, PeerLost, PeerUp
from forces.header import Ack, Flags, Header, MessageType
from forces.messages import (
    Message,
    OperType,
    TeardownReason,
    flags_for,
)
from forces.paths import FullData
from forces.wire import encode
from tests.conformance.ce_rig import FE1, CeRig
from tests.conformance.fe_rig import (
    CE1,
    CONFIG,
    FE,
    FEPO,
    FeRig,
    codes,
    lfb,
    operation,
    packed,
    path,
)
from tests.conformance.rig import MS


def single() -> FeRig:
    """One CE, no HA: as in 2009."""
    return FeRig(ces=CONFIG.ces[:1], ha_mode=0, detect="heartbeat")


def test_rfc6053_scenario_1_pre_association_the_fe_knows_its_ce_and_dials_it() -> None:
    rig = single()
    assert [e for e in rig.effects if isinstance(e, Connect)] == [Connect(CE1)]


def test_rfc6053_scenario_2_nothing_is_said_before_all_three_channels_are_up() -> None:
    rig = single()
    assert rig.sent(CE1) == []
    rig.event(PeerUp(CE1))
    assert [m.type for m in rig.sent(CE1)] == [MessageType.ASSOCIATION_SETUP]


def test_rfc6053_scenario_3_association_and_query_of_lfb_selectors() -> None:
    rig = single()
    rig.associate()
    assert len(rig.get("FEObject", "LFBSelectors")) == len(rig.core.store.instances)


def test_rfc6053_scenario_4_query_of_the_heartbeat_interval_and_the_fe_s_state() -> None:
    rig = single()
    rig.associate()
    assert rig.get("FEPO", "FEHI") == CONFIG.fe_heartbeat_ms
    assert rig.get("FEObject", "FEState") == 2


def test_rfc6053_scenario_5_a_heartbeat_with_always_ack_is_answered() -> None:
    rig = single()
    rig.associate()
    beat = Message(Header(MessageType.HEARTBEAT, CE1, FE, 6, Flags(Ack.ALWAYS_ACK, 1)))
    (answer,) = rig.octets(CE1, encode(beat), Channel.LP)
    assert (answer.type, answer.header.correlator) == (MessageType.HEARTBEAT, 6)


def test_rfc6053_scenario_6_fe_heartbeat_policy_then_interval() -> None:
    """FEHBPolicy 1, then FEHI: the FE of one implementation fell silent here in 2009."""
    rig = single()
    rig.associate()
    for name, value in (("FEHBPolicy", 1), ("FEHI", 40), ("CEHDI", 10_000)):
        response = rig.config(lfb(FEPO, operation(OperType.SET, packed("FEPO", name, value=value))))
        assert response is not None
        assert codes(response) == [0]
    at, start = len(rig.effects), rig.now
    rig.fire_due(start + 400 * MS)
    beats = [m for m in rig.sent(CE1, at) if m.type is MessageType.HEARTBEAT]
    assert 9 <= len(beats) <= 11


def test_rfc6053_scenario_6_policy_0_means_that_the_fe_sends_none_by_itself() -> None:
    rig = single()
    rig.associate()
    for name, value in (("FEHBPolicy", 0), ("CEHDI", 10_000)):
        rig.config(lfb(FEPO, operation(OperType.SET, packed("FEPO", name, value=value))))
    at = len(rig.effects)
    rig.fire_due(rig.now + 1_000 * MS)
    assert rig.sent(CE1, at) == []


def test_rfc6053_scenario_7_teardown_by_message() -> None:
    rig = single()
    rig.associate()
    header = Header(MessageType.ASSOCIATION_TEARDOWN, CE1, FE, 0, Flags(priority=7))
    at = len(rig.effects)
    rig.receive(CE1, Message(header, reason=TeardownReason.NORMAL))
    assert not rig.core.ha.associated(CE1)
    # "teardown deadlock, each waits for the other to close": ours closes, and does not answer
    assert any(isinstance(e, Disconnect) for e in rig.effects[at:])
    assert MessageType.ASSOCIATION_TEARDOWN not in {m.type for m in rig.sent(CE1, at)}


def test_rfc6053_scenario_7_teardown_by_stopped_heartbeats() -> None:
    rig = single()
    rig.associate()
    rig.fire_due(rig.now + 2 * CONFIG.cehdi_ms * MS)
    assert not rig.core.ha.associated(CE1)
    assert rig.journal("detect")[0]["source"] == "heartbeat"


def test_rfc6053_scenario_7_teardown_by_an_external_shutdown() -> None:
    rig = FeRig(ces=CONFIG.ces[:1], ha_mode=0)
    rig.associate()
    rig.event(PeerLost(CE1, LossCause.SHUTDOWN))
    assert not rig.core.ha.associated(CE1)
    assert rig.journal("detect")[0] == {"ce": "ce1", "source": "tml", "cause": "shutdown"}


def test_rfc6053_bug_padding_is_not_counted_in_a_tlv_s_length() -> None:
    rig = single()
    rig.associate()
    response = rig.query(lfb(FEPO, operation(OperType.GET, path(4))))
    octets = encode(response)
    assert octets[-8:] == bytes.fromhex("01120005" + "00000000")


@pytest.mark.parametrize("mode", range(4))
def test_rfc6053_bug_the_execution_mode_of_a_query_is_ignored(mode: int) -> None:
    rig = single()
    rig.associate()
    kind = MessageType.QUERY
    octets = bytearray(
        encode(
            Message(
                Header(kind, CE1, FE, 1, flags_for(kind)),
                (lfb(FEPO, operation(OperType.GET, path(2))),),
            )
        )
    )
    octets[21] = octets[21] & 0x3F | mode << 6
    (answer,) = rig.octets(CE1, bytes(octets), Channel.HP)
    assert answer.lfbs[0].operations[0].paths[0].content == FullData(FE.to_bytes(4))


def test_rfc6053_bug_heartbeats_of_an_fe_never_ask_for_an_answer() -> None:
    rig = single()
    rig.associate()
    rig.config(lfb(FEPO, operation(OperType.SET, packed("FEPO", "CEHDI", value=10_000))))
    rig.fire_due(rig.now + 200 * MS)
    beats = [m for m in rig.sent(CE1) if m.type is MessageType.HEARTBEAT]
    assert beats
    assert {m.header.flags.ack for m in beats} == {Ack.NO_ACK}


def test_rfc6053_bug_a_ce_does_not_answer_an_fe_that_asks() -> None:
    rig = CeRig()
    rig.setup(FE1)
    beat = Message(Header(MessageType.HEARTBEAT, FE1, rig.config.id, 3, Flags(Ack.ALWAYS_ACK, 1)))
    assert rig.receive(FE1, beat) == []


def test_rfc6053_bug_messages_on_the_wrong_channel_are_not_taken() -> None:
    rig = single()
    rig.associate()
    beat = Message(Header(MessageType.HEARTBEAT, CE1, FE, 6, Flags(Ack.ALWAYS_ACK, 1)))
    assert rig.octets(CE1, encode(beat), Channel.HP) == []
    assert rig.errors(CE1) == 1
