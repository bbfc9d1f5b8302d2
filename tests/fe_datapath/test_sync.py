"""Ext-FEStateSync (docs/ce-ce-sync.md): generation, journal, the FE's look at its master."""

from __future__ import annotations

import pytest

from fe_datapath import configs
from fe_datapath.lfbs import sync
from forces.errors import ResultCode
from forces.events import LossCause
from forces.header import Ack, Header, MessageType
from forces.messages import Message, OperType, flags_for
from forces.paths import FullData, PathData, SparseData, TableRange
from forces.wire import decode
from tests.fe_datapath.rig import (
    CE1,
    CE2,
    CE3,
    FE,
    LFBS,
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

LFB = "Ext-FEStateSync"


def position(made: Rig, ce: int = CE2) -> dict[str, int]:
    value: dict[str, int] = made.get(LFB, "Position", ce=ce)
    return value


def journal(made: Rig, first: int, last: int) -> dict[int, dict[str, object]]:
    path = PathData((2,), selector=TableRange(first, last))
    answer = made.query(select(LFB, OperType.GET, path), ce=CE2)
    content = answer.lfbs[0].operations[0].paths[0].content
    if not isinstance(content, SparseData):
        return {}
    kind = LFBS.cls(LFB).component("Journal").type
    return dict(kind.unpack_sparse(content.items))  # type: ignore[attr-defined]


def test_each_config_of_the_master_is_one_generation_and_is_in_the_journal() -> None:
    made = associated()
    assert position(made)["Generation"] == 0
    first, second = set_hop(1, hop()), set_prefix(5, prefix(5, 1))
    made.config(first)
    made.config(second, ack=Ack.NO_ACK)
    at = position(made)
    assert (at["Generation"], at["CEID"], at["Correlator"]) == (2, CE1, made.correlator)
    rows = journal(made, 1, 2)
    assert [row["Generation"] for row in rows.values()] == [1, 2]
    assert all(row["Exact"] for row in rows.values())
    messages = [decode(row["Config"]) for row in rows.values()]  # type: ignore[arg-type]
    assert [message.lfbs for message in messages] == [(first,), (second,)]
    assert {message.header.source for message in messages} == {CE1}


def test_a_config_that_fails_or_changes_nothing_counts_too_so_that_the_master_can_count() -> None:
    made = associated()
    made.config(set_prefix(5, prefix(5, 77)))  # no such next hop
    made.config(set_value("FEPO", "CEID", value=CE1))
    assert position(made)["Generation"] == 2
    assert [row["Exact"] for row in journal(made, 1, 2).values()] == [False, True]


def test_a_config_of_a_backup_is_no_generation() -> None:
    made = associated()
    made.config(set_hop(1, hop()), ce=CE2)
    assert position(made)["Generation"] == 0


def test_rule_1_a_config_under_way_is_pending_and_no_generation_before_the_kernel_has_it() -> None:
    made = associated()
    made.hold = True
    made.config(set_hop(1, hop()))
    made.config(set_hop(2, hop(2)))
    at = position(made)
    assert (at["Generation"], at["Pending"]) == (0, 2)
    made.release()
    assert position(made)["Pending"] == 0
    assert position(made)["Generation"] == 2


def test_the_one_in_flight_when_the_master_is_lost_counts_and_those_behind_it_do_not() -> None:
    made = associated()
    made.hold = True
    made.config(set_hop(1, hop()))
    made.config(set_hop(2, hop(2)))
    made.lose(CE1)
    made.release()
    at = position(made)
    assert (at["Generation"], at["Pending"], at["CEID"]) == (1, 0, CE1)
    assert set(made.next_hops) == {1}


def comes_back_while_the_kernel_works() -> Rig:
    """CE 1 is lost with one Config in the kernel and one behind it, and is the master again."""
    made = associated(ha_mode=1)
    made.hold = True
    made.config(set_hop(1, hop()))
    made.config(set_hop(2, hop(2)))
    made.lose(CE1)
    for other in (CE2, CE3):
        made.fail(other)
    made.associate(CE1)
    assert made.core.ha.master == CE1
    return made


def test_rule_2_a_change_of_an_earlier_term_that_ends_late_keeps_its_term_in_the_journal() -> None:
    made = associated()
    made.hold = True
    made.config(set_hop(1, hop()))
    made.lose(CE1)
    made.release()
    made.hold = False
    made.config(set_hop(2, hop(2)), ce=CE2)
    rows = journal(made, 1, 2)
    assert [row["Term"] for row in rows.values()] == [1, 2], "no two masters in one term"
    assert position(made, CE2)["Term"] == 2


def test_rule_4_a_master_that_came_back_is_not_told_a_correlator_of_its_earlier_association() -> (
    None
):
    made = comes_back_while_the_kernel_works()
    made.release()
    at = position(made, CE1)
    assert (at["Term"], at["Generation"], at["CEID"], at["Correlator"]) == (2, 1, CE1, 0)


def test_rule_5_a_new_masters_query_waits_for_what_the_last_one_began_and_no_other_does() -> None:
    made = associated()
    made.config(set_hop(1, hop()))
    made.hold = True
    made.config(set_prefix(5, prefix(5, 1)))
    made.lose(CE1)
    assert position(made, CE3)["Pending"] == 1, "a backup is answered at once"
    start = len(made.log)
    ask = select("IPv4UcastLPM", OperType.GET, PathData((1, 5)))
    header = Header(MessageType.QUERY, CE2, FE, 9, flags_for(MessageType.QUERY))
    made.say(CE2, Message(header, (ask,)))
    assert made.sent(made.log[start:], MessageType.QUERY_RESPONSE) == []
    made.release()
    answers = made.sent(made.log[start:], MessageType.QUERY_RESPONSE, CE2)
    content = answers[0].lfbs[0].operations[0].paths[0].content
    assert isinstance(content, FullData), "the row is there"


def test_a_query_that_waits_is_not_answered_to_a_later_association() -> None:
    made = comes_back_while_the_kernel_works()
    start = len(made.log)
    header = Header(MessageType.QUERY, CE1, FE, 9, flags_for(MessageType.QUERY))
    ask = select(LFB, OperType.GET, PathData((1,)))
    made.say(CE1, Message(header, (ask,)))
    made.lose(CE1)
    made.release()
    assert made.sent(made.log[start:], MessageType.QUERY_RESPONSE) == []


def test_rule_3_what_waited_in_an_earlier_association_of_the_same_ce_is_fenced() -> None:
    made = comes_back_while_the_kernel_works()
    start = len(made.log)
    made.release()
    assert set(made.next_hops) == {1}, "only what the kernel had begun"
    assert [entry["ce"] for entry in made.journal(made.log[start:], "fenced")] == ["ce1"]


def test_rule_3_an_answer_never_goes_to_a_later_association_of_the_same_ce() -> None:
    made = comes_back_while_the_kernel_works()
    start = len(made.log)
    made.release()
    assert made.sent(made.log[start:], MessageType.CONFIG_RESPONSE) == []
    made.hold = False
    assert codes(made.config(set_hop(3, hop()))) == [ResultCode.SUCCESS]


def test_terms_grow_with_each_change_of_master_only() -> None:
    made = associated()
    assert position(made)["Term"] == 1
    made.config(set_value("FEPO", "CEID", value=CE1))
    assert position(made)["Term"] == 1
    made.config(set_value("FEPO", "CEID", value=CE2))
    assert position(made)["Term"] == 2
    made.lose(CE2)
    assert position(made, CE1)["Term"] == 3


def test_the_journal_is_bounded_in_rows_and_octets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sync, "JOURNAL_ROWS", 3)
    made = associated()
    for _ in range(5):
        made.config(set_hop(1, hop()))
    assert list(journal(made, 0, 100)) == [3, 4, 5]
    monkeypatch.setattr(sync, "JOURNAL_OCTETS", 1)
    made.config(set_hop(1, hop()))
    assert journal(made, 0, 100) == {}
    assert position(made)["Generation"] == 6


def test_state_that_is_discarded_begins_a_new_incarnation() -> None:
    made = associated(failover_policy=0, ha_mode=1)
    made.config(set_hop(1, hop()))
    before = position(made, CE1)
    made.lose(CE1)
    made.associate(CE2)
    after = position(made)
    assert after["Incarnation"] > before["Incarnation"]
    assert (after["Generation"], after["Term"]) == (0, 2)


def test_no_ce_writes_its_components() -> None:
    made = associated()
    value = dict.fromkeys(position(made), 0)
    assert codes(made.config(set_value(LFB, "Position", value=value)))[0].name == "READ_ONLY"


def test_the_last_generation_that_was_not_carried_out_whole_is_named() -> None:
    made = associated()
    made.config(set_hop(1, hop()))
    assert position(made)["Inexact"] == 0
    made.config(set_prefix(5, prefix(5, 77)))  # no such next hop
    made.config(set_prefix(5, prefix(5, 1)))
    at = position(made)
    assert (at["Generation"], at["Inexact"]) == (3, 2)


def test_a_config_that_finds_no_room_makes_all_that_follow_inexact(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(configs, "QUEUE_LIMIT", 1)
    made = associated()
    made.hold = True
    for index in (1, 2, 3):
        made.config(set_hop(index, hop(index)))
    made.release()
    at = position(made)
    assert (at["Generation"], at["Inexact"]) == (2, 3)


def test_what_waited_for_an_earlier_term_is_fenced_though_the_same_ce_is_master_again() -> None:
    made = associated()
    made.hold = True
    made.config(set_hop(1, hop()))
    made.config(set_hop(2, hop(2)))
    made.lose(CE1)
    made.advance(made.core.config.backup_retry_ms * 2)
    made.associate(CE1)
    made.lose(CE2)
    assert made.core.ha.master == CE1
    made.release()
    at = position(made, CE1)
    assert at["Term"] > 2
    assert (at["Generation"], at["CEID"], at["Correlator"]) == (1, CE1, 0)
    assert set(made.next_hops) == {1}


# MasterLiveness


def ask(made: Rig, ce: int = CE2) -> int:
    """Where the log stood before."""
    start = len(made.log)
    made.get(LFB, "MasterLiveness", ce=ce)
    return start


def test_the_question_pokes_the_master_and_says_how_long_it_was_silent() -> None:
    made = associated(fe_heartbeat_ms=20, cehdi_ms=100)
    made.advance(7)
    assert made.get(LFB, "MasterLiveness", ce=CE2) == {"CEID": CE1, "Silence": 7, "Patience": 60}
    made.advance(2)
    start = ask(made)
    assert made.sent(made.log[start:], MessageType.HEARTBEAT, CE1)


def test_rule_6_a_claim_alone_never_moves_the_fe() -> None:
    made = associated(fe_heartbeat_ms=20, cehdi_ms=100)
    for _ in range(30):
        made.advance(10)
        made.beat(CE1)
        made.beat(CE2)
        ask(made)
    assert made.core.ha.master == CE1
    assert not made.journal(made.log, "detect")


@pytest.mark.parametrize("detect", ["both", "heartbeat"])
def test_an_error_after_the_question_moves_it_at_once(detect: str) -> None:
    made = associated(detect=detect)
    ask(made)
    effects = made.lose(CE1, LossCause.ICMP)
    assert made.journal(effects, "detect") == [{"ce": "ce1", "source": "claim", "cause": "icmp"}]
    assert made.core.ha.master == CE2


def test_its_own_silence_moves_it_before_the_dead_interval_only_if_it_was_asked() -> None:
    for asked in (True, False):
        made = associated(fe_heartbeat_ms=20, cehdi_ms=100)
        made.advance(40)
        made.beat(CE2)
        if asked:
            ask(made)
        made.advance(21)
        assert bool(made.journal(made.log, "detect")) is asked
        if asked:
            assert made.journal(made.log, "detect")[0]["source"] == "claim"
            assert made.core.ha.master == CE2


def test_an_fe_that_was_asleep_itself_waits_for_what_the_master_sent_meanwhile() -> None:
    made = associated(fe_heartbeat_ms=20, cehdi_ms=100)
    made.now += 80_000_000  # stopped: no timer fires, and the question is read first
    ask(made)
    made.beat(CE1)
    made.advance(10)
    assert not made.journal(made.log, "detect")


def test_the_masters_own_question_and_one_without_a_master_do_nothing() -> None:
    made = associated()
    start = ask(made, CE1)
    assert not made.sent(made.log[start:], MessageType.HEARTBEAT)
    alone = rig()
    assert alone.core.ha.liveness() == (0, 0, 0)
    alone.core.ha.look(CE2)
    assert not alone.journal(alone.log, "detect")


def test_a_late_timer_takes_its_lateness_off_the_masters_silence() -> None:
    """The machine stood still: the master's heartbeats of that time were never sent."""
    made = associated(fe_heartbeat_ms=10, cehdi_ms=100, detect="heartbeat")
    made.advance(20)
    made.beat(CE2)
    made.now += 95_000_000
    made.advance(1)
    assert not made.journal(made.log, "detect")
    made.beat(CE2)
    made.advance(90)
    assert made.journal(made.log, "detect")[0]["ce"] == "ce1"
