"""The FE's part of high availability, sentence by sentence (RFC 7121 sections 2.1 and 3.2)."""

from __future__ import annotations

import pytest

from fe_datapath.datapath import SetForwarding
from fe_datapath.view import view
from forces.channels import Channel
from forces.effects import Program
from forces.errors import ProtocolError
from forces.errors import ResultCode as C
from forces.events import BadMessage, LossCause, TimerFired
from forces.header import Ack, Header, MessageType
from forces.messages import LfbSelect, Message, OperType, Redirect, TeardownReason, flags_for
from forces.paths import FullData, PathData
from tests.fe_datapath.rig import (
    CE1,
    CE2,
    CE3,
    MS,
    Rig,
    associated,
    codes,
    hop,
    prefix,
    rig,
    select,
    set_hop,
    set_prefix,
    set_value,
)

EVENT = MessageType.EVENT_NOTIFICATION


def events(made: Rig, start: int = 0) -> list[tuple[int, tuple[int, ...], int]]:
    """(CE, event path, value reported) in order."""
    found = []
    for message in made.sent(made.log[start:], EVENT):
        path = message.lfbs[0].operations[0].paths[0]
        assert message.lfbs[0].operations[0].type is OperType.REPORT
        assert isinstance(path.content, FullData)
        value = int.from_bytes(path.content.value, "big")
        found.append((message.header.destination, path.ids, value))
    return found


DOWN, CHANGED = (61, 1), (61, 2)


def subscribe(number: int = 1) -> LfbSelect:
    path = PathData((60, 1), content=FullData(b"\0\0\0\1"))
    return select("EtherPHYCop", OperType.SET_PROP, path, instance=number)


def forwarding(made: Rig, start: int = 0) -> list[bool]:
    changes = [c for e in made.log[start:] if isinstance(e, Program) for c in e.changes]
    return [c.on for c in changes if isinstance(c, SetForwarding)]


# The fence


@pytest.mark.parametrize(
    "lfb", [set_hop(5, hop()), subscribe(), set_value("FEPO", "CEID", value=CE2)]
)
def test_rfc7121_3_2_set_from_backup_is_dropped_and_counted(lfb: LfbSelect) -> None:
    made = associated()
    assert made.config(lfb, ce=CE2) is None
    figures = made.figures(CE2)
    assert figures["RecvErrPackets"] == 1
    assert figures["RecvErrBytes"] > 24
    fenced = made.journal(made.log, "fenced")
    assert fenced == [{"ce": "ce2", "octets": figures["RecvErrBytes"]}]
    assert (made.next_hops, made.core.ha.master) == ({}, CE1)


def test_rfc7121_3_2_queries_of_backups_are_answered() -> None:
    made = associated()
    assert made.get("FEPO", "CEID", ce=CE2) == CE1


def test_rfc7121_3_2_heartbeats_of_backups_are_answered() -> None:
    made = associated()
    answers = made.sent(made.beat(CE3, Ack.ALWAYS_ACK), MessageType.HEARTBEAT, CE3)
    assert [(a.header.correlator, a.header.flags.ack) for a in answers] == [(5, Ack.NO_ACK)]
    assert not made.sent(made.beat(CE3), MessageType.HEARTBEAT)


def test_profile_slides_takes_configs_of_every_associated_ce_and_tells_the_master_only() -> None:
    made = associated(profile="slides")
    assert codes(made.config(set_hop(5, hop()), ce=CE2)) == [C.SUCCESS]
    made.config(subscribe(), ce=CE1)
    start = len(made.log)
    made.link(1, up=False)
    assert [ce for ce, _, _ in events(made, start)] == [CE1]


def test_a_fenced_message_still_shows_life() -> None:
    made = associated(cehdi_ms=100)
    for _ in range(4):
        made.advance(60)
        made.beat(CE1)
        made.beat(CE3)
        made.config(set_hop(5, hop()), ce=CE2)
    assert made.statuses() == ["IsMaster", "Associated", "Associated"]


# Loss and its sources


def test_rfc7121_2_1_1_a_loss_by_the_tml_is_detected_in_the_same_instant() -> None:
    made = associated()
    effects = made.lose(CE1, LossCause.ICMP)
    assert made.journal(effects, "detect") == [{"ce": "ce1", "source": "tml", "cause": "icmp"}]
    assert made.journal(effects, "master") == [{"ce": "ce2", "last": "ce1"}]
    assert (CE1, True) in made.closed(effects)


def test_rfc5810_7_3_1_silence_of_cehdi_is_a_loss() -> None:
    made = associated(cehdi_ms=100)
    made.advance(99)
    made.beat(CE2)
    made.beat(CE3)
    assert not made.journal(made.log, "detect")
    made.advance(1)
    assert made.journal(made.log, "detect")[0]["source"] == "heartbeat"
    assert made.core.ha.master == CE2


def test_any_message_of_the_master_is_a_sign_of_life() -> None:
    made = associated(cehdi_ms=100, ha_mode=1)
    for _ in range(5):
        made.advance(90)
        made.get("FEPO", "CEID")
    assert not made.journal(made.log, "detect")


def test_detect_tml_does_not_watch_silence() -> None:
    made = associated(detect="tml", cehdi_ms=100)
    made.advance(5_000)
    assert not made.journal(made.log, "detect")


def test_rfc5810_4_2_2_3_detect_heartbeat_leaves_the_word_to_the_dead_interval() -> None:
    made = associated(detect="heartbeat", cehdi_ms=100)
    made.lose(CE1)
    assert not made.journal(made.log, "detect")
    made.beat(CE2)
    made.beat(CE3)
    made.advance(100)
    assert made.journal(made.log, "detect")[0]["source"] == "heartbeat"


def test_cehbpolicy_1_means_that_the_ce_is_not_watched() -> None:
    made = associated(cehdi_ms=100)
    made.config(set_value("FEPO", "CEHBPolicy", value=1))
    made.advance(5_000)
    assert not made.journal(made.log, "detect")


def test_teardown_by_the_master_is_a_loss_and_is_not_answered_with_one() -> None:
    made = associated()
    effects = made.tear_down(CE1)
    assert made.journal(effects, "detect") == [
        {"ce": "ce1", "source": "teardown", "cause": "normal"}
    ]
    assert not made.sent(effects, MessageType.ASSOCIATION_TEARDOWN)
    assert made.core.ha.master == CE2


# Heartbeats of the FE


def test_rfc5810_4_3_3_heartbeats_go_to_all_associated_ces_when_nothing_else_does() -> None:
    made = associated(fe_heartbeat_ms=25, cehdi_ms=10_000)
    start = len(made.log)
    made.advance(25)
    beats = made.sent(made.log[start:], MessageType.HEARTBEAT)
    assert {beat.header.destination for beat in beats} == {CE1, CE2, CE3}
    made.advance(20)
    made.get("FEPO", "CEID", ce=CE2)
    start = len(made.log)
    made.advance(24)
    beats = made.sent(made.log[start:], MessageType.HEARTBEAT)
    assert {beat.header.destination for beat in beats} == {CE1, CE3}


def test_rfc7121_3_2_heartbeat_parameters_are_global_and_set_by_the_master() -> None:
    made = associated(cehdi_ms=10_000)
    made.config(set_value("FEPO", "FEHI", value=200), set_value("FEPO", "CEHDI", value=300))
    start = len(made.log)
    made.advance(199)
    assert not made.sent(made.log[start:], MessageType.HEARTBEAT)
    made.advance(101)
    assert made.journal(made.log, "detect"), "the new dead interval holds"


def test_rfc5810_7_3_1_fehbpolicy_0_sends_none_by_itself() -> None:
    made = associated(cehdi_ms=10_000)
    made.config(set_value("FEPO", "FEHBPolicy", value=0))
    start = len(made.log)
    made.advance(1_000)
    assert not made.sent(made.log[start:], MessageType.HEARTBEAT)


# Events


def test_rfc7121_3_2_the_pair_of_events_goes_to_all_associated_ces_without_subscription() -> None:
    made = associated()
    start = len(made.log)
    made.lose(CE1)
    assert events(made, start) == [
        (CE2, DOWN, CE1),
        (CE3, DOWN, CE1),
        (CE2, CHANGED, CE2),
        (CE3, CHANGED, CE2),
    ]


def test_rfc7121_figure_2_cold_the_event_goes_to_the_new_master_after_its_association() -> None:
    made = associated(ha_mode=1)
    start = len(made.log)
    made.lose(CE1)
    assert events(made, start) == []
    made.associate(CE2)
    assert events(made, start) == [(CE2, DOWN, CE1), (CE2, CHANGED, CE2)]


def test_rfc7121_3_2_events_the_master_subscribed_to_go_to_all_associated_ces() -> None:
    made = associated()
    start = len(made.log)
    made.link(1, up=False)
    assert events(made, start) == []
    made.config(subscribe())
    made.link(1, up=True)
    made.link(1, up=True)
    made.link(2, up=False)
    assert events(made, start) == [(ce, (60, 1), 1) for ce in (CE1, CE2, CE3)]


def test_rfc6984_4_3_an_event_goes_to_the_master_first() -> None:
    made = associated()
    made.config(subscribe())
    made.config(set_value("FEPO", "CEID", value=CE3))
    start = len(made.log)
    made.link(1, up=False)
    assert events(made, start) == [(ce, (60, 1), 2) for ce in (CE3, CE1, CE2)]


# CEFTI, policies, FEState


def test_rfc5812_5_an_fe_starts_operdisable_and_enables_itself_with_its_first_master() -> None:
    made = rig()
    assert forwarding(made) == [False]
    assert made.state()["fe_state"] == "OperDisable"
    made.associate(CE1)
    assert forwarding(made) == [False, True]
    assert made.state()["fe_state"] == "OperEnable"
    assert made.journal(made.log, "forwarding")[-1] == {"on": True}


def test_rfc7121_2_1_1_policy_1_goes_on_forwarding_until_cefti() -> None:
    made = associated(ha_mode=1, cefti_ms=1000)
    made.config(set_hop(5, hop()), set_prefix(1, prefix(1, 5)))
    start = len(made.log)
    made.lose(CE1)
    assert made.journal(made.log[start:], "cefti") == [{"what": "start"}]
    made.advance(999)
    assert forwarding(made, start) == []
    assert made.routes
    made.advance(1)
    assert made.journal(made.log[start:], "cefti")[-1] == {"what": "expired"}
    assert forwarding(made, start) == [False]
    assert (made.routes, made.next_hops) == ({}, {})
    assert made.state()["state"] == "pre-association"
    assert made.state()["fe_state"] == "OperDisable"


def test_rfc7121_2_1_1_association_before_cefti_cancels_it() -> None:
    made = associated(ha_mode=1, cefti_ms=1000)
    made.lose(CE1)
    made.associate(CE2)
    made.feed(TimerFired(("cefti", 0)))
    assert made.journal(made.log, "cefti") == [{"what": "start"}, {"what": "cancel"}]
    assert made.state()["state"] == "associated"


@pytest.mark.parametrize("mode", [0, 1, 2])
def test_rfc7121_2_1_1_policy_0_stops_at_once_and_all_state_is_discarded(mode: int) -> None:
    made = associated(ha_mode=mode, failover_policy=0)
    made.config(set_hop(5, hop()), set_prefix(1, prefix(1, 5)))
    start = len(made.log)
    made.lose(CE1)
    assert forwarding(made, start) == [False]
    assert (made.routes, made.next_hops) == ({}, {})
    tables = made.state()["tables"]
    assert tables == {"IPv4NextHopTable": 0, "IPv4PrefixTable": 0}


def test_after_policy_0_the_ce_enables_the_fe_again_not_the_fe_itself() -> None:
    made = associated(ha_mode=1, failover_policy=0)
    made.lose(CE1)
    start = len(made.log)
    made.associate(CE2)
    assert made.get("FEObject", "FEState", ce=CE2) == 1
    assert forwarding(made, start) == []
    response = made.config(set_value("FEObject", "FEState", value=2), ce=CE2)
    assert codes(response) == [C.SUCCESS]
    assert forwarding(made, start) == [True]


def test_err3487_the_ce_turns_forwarding_off_and_on_by_festate() -> None:
    made = associated()
    start = len(made.log)
    made.config(set_value("FEObject", "FEState", value=0))
    made.config(set_value("FEObject", "FEState", value=2))
    assert forwarding(made, start) == [False, True]
    assert made.journal(made.log[start:], "forwarding") == [{"on": False}, {"on": True}]


def test_discarding_while_a_config_is_under_way_leaves_nothing_behind() -> None:
    made = associated(ha_mode=1, failover_policy=0)
    made.config(set_hop(5, hop()), set_prefix(1, prefix(1, 5)))
    made.hold = True
    made.config(set_prefix(1, prefix(2, 5)), set_prefix(2, prefix(3, 5)))
    made.lose(CE1)
    made.release()
    assert (made.routes, made.next_hops) == ({}, {})
    assert made.state()["tables"] == {"IPv4NextHopTable": 0, "IPv4PrefixTable": 0}


# Changing the master


def test_rfc7121_2_1_1_set_ceid_is_answered_first_then_the_old_ce_is_left() -> None:
    made = associated(ha_mode=1)
    start = len(made.log)
    assert codes(made.config(set_value("FEPO", "CEID", value=CE3))) == [C.SUCCESS]
    sent = made.sent(made.log[start:], MessageType.CONFIG_RESPONSE) + made.sent(
        made.log[start:], MessageType.ASSOCIATION_TEARDOWN
    )
    assert [m.type for m in sent] == [
        MessageType.CONFIG_RESPONSE,
        MessageType.ASSOCIATION_TEARDOWN,
    ]
    assert sent[1].reason == TeardownReason.NORMAL
    assert (CE1, False) in made.closed(made.log[start:])
    assert made.dialled(made.log[start:]) == [CE3]
    assert made.journal(made.log, "detect")[0]["source"] == "planned"
    made.associate(CE3)
    assert made.state()["ceid"] == "ce3"
    assert made.state()["last_ceid"] == "ce1"


def test_rfc7121_3_2_set_ceid_hot_changes_the_master_in_the_same_instant() -> None:
    made = associated()
    start = len(made.log)
    made.config(set_value("FEPO", "CEID", value=CE2))
    assert made.statuses() == ["Associated", "IsMaster", "Associated"]
    to = (CE2, CE1, CE3)  # the master first (RFC 6984 section 4.3)
    assert [e[:2] for e in events(made, start)] == [(ce, DOWN) for ce in to] + [
        (ce, CHANGED) for ce in to
    ]
    assert made.config(set_hop(5, hop()), ce=CE1) is None
    assert codes(made.config(set_hop(5, hop()), ce=CE2)) == [C.SUCCESS]


def test_rfc6984_3_3_setting_ceid_to_the_master_is_a_confirmation() -> None:
    made = associated()
    made.lose(CE1)
    start = len(made.log)
    assert codes(made.config(set_value("FEPO", "CEID", value=CE2), ce=CE2)) == [C.SUCCESS]
    assert made.core.ha.master == CE2
    assert events(made, start) == []


def test_a_ceid_set_while_the_kernel_works_survives_what_happens_meanwhile() -> None:
    made = associated()
    made.hold = True
    made.config(set_hop(5, hop()), set_value("FEPO", "CEID", value=CE2))
    made.lose(CE3)  # mirrors mastership into FEPO while the Config is under way
    assert made.get("FEPO", "CEID") == CE1, "not committed yet"
    made.release()
    assert made.core.ha.master == CE2


def test_a_ceid_set_by_a_master_that_is_lost_meanwhile_has_no_effect() -> None:
    made = associated()
    made.hold = True
    made.config(set_hop(5, hop()), set_value("FEPO", "CEID", value=CE3))
    made.lose(CE1)
    made.release()
    assert made.core.ha.master == CE2
    assert made.get("FEPO", "CEID", ce=CE2) == CE2


def test_a_transport_that_nobody_asked_for_is_closed() -> None:
    made = associated(ha_mode=1)
    assert made.closed(made.up(CE3)) == [(CE3, True)]
    assert made.statuses() == ["IsMaster", "Disconnected", "Disconnected"]


def test_ha_mode_set_by_the_master_opens_and_closes_standby_associations() -> None:
    made = associated(ha_mode=1)
    start = len(made.log)
    made.config(set_value("FEPO", "HAMode", value=2))
    assert made.dialled(made.log[start:]) == [CE2, CE3]
    made.associate(CE2)
    made.config(set_value("FEPO", "HAMode", value=1))
    assert made.statuses() == ["IsMaster", "Disconnected", "Disconnected"]


def test_backup_ces_set_by_the_master_is_the_order_of_the_round() -> None:
    made = associated(ha_mode=1)
    response = made.config(set_value("FEPO", "BackupCEs", value={0: CE3, 1: CE2}))
    assert codes(response) == [C.SUCCESS]
    assert made.dialled(made.lose(CE1)) == [CE3]


# Retries


def test_rfc7121_2_1_1_ceid_and_backup_ces_set_in_one_config_name_the_old_master_a_backup() -> None:
    made = associated()
    old_first = set_value("FEPO", "BackupCEs", 0, value=CE1)
    answer = made.config(set_value("FEPO", "CEID", value=CE2), old_first)
    assert codes(answer) == [C.SUCCESS, C.SUCCESS]
    assert made.core.ha.master == CE2
    assert made.core.ha.mastership.backups[0] == CE1


def test_rfc7121_1_1_an_fe_without_a_backup_says_so_and_again_when_it_has_one() -> None:
    made = rig(detect="tml")
    made.associate(CE1)
    assert made.journal(made.log, "no_backup") == [], "it is still asking"
    made.fail(CE2)
    made.fail(CE3)
    assert made.journal(made.log, "no_backup") == [{"known": 2}]
    assert view(made.core)["backups_online"] == 0
    made.advance(made.core.config.backup_retry_ms * 1.2)
    made.associate(CE2)
    assert made.journal(made.log, "backup_online") == [{"ces": ["ce2"]}]
    assert view(made.core)["backups_online"] == 1
    made.lose(CE2)
    assert len(made.journal(made.log, "no_backup")) == 2


def test_rfc7121_2_1_cold_standby_associates_with_no_backup_and_says_nothing_about_them() -> None:
    made = associated(ha_mode=1)
    assert made.journal(made.log, "no_backup") == []
    assert view(made.core)["backups_online"] is None


def test_hot_a_lost_backup_is_tried_again_after_its_pause() -> None:
    made = associated(backup_retry_ms=500, cehdi_ms=60_000)
    made.lose(CE2)
    start = len(made.log)
    made.advance(449)
    assert made.dialled(made.log[start:]) == []
    made.advance(101)
    assert made.dialled(made.log[start:]) == [CE2]
    made.associate(CE2)
    assert made.statuses() == ["IsMaster", "Associated", "Associated"]


def test_no_ha_tries_its_one_ce_every_retry_interval() -> None:
    made = associated(ha_mode=0, connect_retry_ms=50)
    assert made.dialled(made.lose(CE1)) == [CE1]
    start = len(made.log)
    for _ in range(3):
        made.fail(CE1)
        made.advance(56)
    assert made.dialled(made.log[start:]) == [CE1] * 3
    assert made.state()["all_ces"][0]["status"] == "Unreachable"


def test_a_ce_that_accepts_the_transport_but_not_the_association_is_left_for_the_next() -> None:
    made = rig(cehdi_ms=100)
    made.up(CE1)
    made.advance(200)
    assert made.dialled(made.log) == [CE1, CE2]
    made.associate(CE2, result=2)
    assert made.dialled(made.log) == [CE1, CE2, CE3]
    made.associate(CE3)
    assert made.core.ha.master == CE3


# What is not for an FE


@pytest.mark.parametrize(
    "kind",
    [
        MessageType.ASSOCIATION_SETUP,
        MessageType.ASSOCIATION_SETUP_RESPONSE,
        MessageType.CONFIG_RESPONSE,
        MessageType.QUERY_RESPONSE,
        MessageType.EVENT_NOTIFICATION,
        MessageType.PACKET_REDIRECT,
    ],
)
def test_rfc7121_5_messages_that_a_ce_may_not_send_are_dropped_and_counted(
    kind: MessageType,
) -> None:
    made = associated()
    result = 0 if kind is MessageType.ASSOCIATION_SETUP_RESPONSE else None
    redirects = (Redirect((), b"packet"),) if kind is MessageType.PACKET_REDIRECT else ()
    header = Header(kind, CE1, 1, 3, flags_for(kind))
    before = made.state()["state"]
    assert made.say(CE1, Message(header, result=result, redirects=redirects)) == []
    assert made.figures(CE1)["RecvErrPackets"] == 1
    assert made.state()["state"] == before


def test_messages_before_the_association_are_dropped_and_counted() -> None:
    made = rig()
    made.up(CE1)
    assert made.config(set_hop(5, hop())) is None
    made.beat(CE1)
    made.tear_down(CE1)
    assert made.figures(CE1)["RecvErrPackets"] == 3
    assert made.next_hops == {}


def test_octets_that_are_no_message_are_counted() -> None:
    made = associated()
    made.feed(BadMessage(CE1, Channel.HP, 77, ProtocolError(C.INVALID_HEADER, "x")))
    assert made.figures(CE1)["RecvErrBytes"] == 77


def test_the_state_command() -> None:
    made = associated()
    made.config(set_hop(5, hop()), set_prefix(1, prefix(1, 5)))
    state = made.state()
    assert (state["id"], state["name"], state["state"]) == (1, "fe1", "associated")
    assert (state["ceid"], state["fe_state"]) == ("ce1", "OperEnable")
    assert state["tables"] == {"IPv4NextHopTable": 1, "IPv4PrefixTable": 1}
    assert [(p["id"], p["up"]) for p in state["ports"]] == [(1, True), (2, True)]
    assert state["configs"] == {"applied": 1, "waiting": 0}


def test_now_is_the_instant_of_every_timer() -> None:
    made = associated(cehdi_ms=100)
    assert all(at >= made.now for at in made.timers.values())
    made.advance(10)
    assert made.now == 10 * MS
