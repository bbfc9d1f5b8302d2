"""Association, liveness, roles, commands, links and the beacon of a CE."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ce.config import BEACON_ROW, Peer, beacon_prefix
from ce.controller import Controller
from ce.rows import hop_selector
from forces.channels import Channel
from forces.effects import Deliver, Disconnect, Journal, Send
from forces.events import Command, LossCause, MessageReceived
from forces.header import Header, MessageType
from forces.messages import Message, SetupResult, TeardownReason, flags_for
from tests.ce.network import CE1, CE2, MS, Network, diamond
from tests.ce.test_takeover import assert_obeys, hot_pair, pair


def ready(**changes: Any) -> Network:
    net = Network(diamond(**changes))
    net.beat_hearts(5000)
    net.associate_all(CE1)
    net.run_ms(10)
    return net


def setup_answer(peer: int, source: int) -> tuple[int | None, int, bool]:
    """(result, destination, disconnected) of a setup from this peer under this FE ID."""
    kind = MessageType.ASSOCIATION_SETUP
    message = Message(Header(kind, source, CE1, 7, flags_for(kind)))
    effects = Controller(diamond()).handle(MessageReceived(peer, Channel.HP, message, 24), 0)
    answer = next(effect.message for effect in effects if isinstance(effect, Send))
    assert answer.header.correlator == 7
    disconnected = any(isinstance(effect, Disconnect) for effect in effects)
    return answer.result, answer.header.destination, disconnected


@pytest.mark.parametrize(
    ("peer", "source", "result", "destination"),
    [
        (1, 1, SetupResult.SUCCESS, 1),
        (1, 0, SetupResult.SUCCESS, 1),
        (1, 2, SetupResult.FE_ID_INVALID, 2),
        (77, 77, SetupResult.PERMISSION_DENIED, 77),
    ],
)
def test_rfc5810_7_5_2_setup_is_answered_with_its_result(
    peer: int, source: int, result: SetupResult, destination: int
) -> None:
    refused = result is not SetupResult.SUCCESS
    assert setup_answer(peer, source) == (result, destination, refused)


def test_an_fe_without_a_view_of_the_network_is_not_accepted() -> None:
    config = diamond(fes=(*diamond().fes, Peer(9, "fe9", "10.255.0.109")))
    kind = MessageType.ASSOCIATION_SETUP
    message = Message(Header(kind, 9, CE1, 1, flags_for(kind)))
    effects = Controller(config).handle(MessageReceived(9, Channel.HP, message, 24), 0)
    assert next(e.message.result for e in effects if isinstance(e, Send)) == 2


def heartbeats(net: Network, fe: int) -> int:
    return sum(one.type is MessageType.HEARTBEAT for one in net.fes[fe].received)


def test_rfc5810_4_3_3_a_heartbeat_goes_out_only_when_nothing_else_did() -> None:
    idle, busy = ready(beacon_ms=0), ready(beacon_ms=5)
    for net in (idle, busy):
        net.run_ms(1000)
    assert 36 <= heartbeats(idle, 1) <= 41, "one every 25 ms"
    assert heartbeats(busy, 1) == 0, "beats are signs of life too"


def test_a_silent_fe_is_lost_after_the_dead_interval_and_torn_down() -> None:
    net = ready(beacon_ms=5)
    since = net.now
    net.silent.add(2)
    net.run_ms(400)
    lost = net.events("ce1", "fe_lost", "fe2")
    assert [entry["cause"] for entry in lost] == ["heartbeat"]
    assert 70 * MS <= lost[0]["t"] - since <= 101 * MS
    teardowns = [one for one in net.fes[2].received if one.type is MessageType.ASSOCIATION_TEARDOWN]
    assert [one.reason for one in teardowns] in ([TeardownReason.LOSS_OF_HEARTBEATS], [])
    assert net.events("ce1", "fe_lost", "fe1") == []
    assert net.events("ce1", "beacon", "fe2")[-1]["what"] == "stop"


def test_a_ce_that_was_stopped_does_not_blame_its_fes() -> None:
    """SIGSTOP for 3 s: the timers are overdue before the waiting messages are read."""
    net = ready()
    net.run_ms(20)
    net.now += 3000 * MS
    net.run_ms(300)
    assert net.events("ce1", "fe_lost") == []


def test_a_stopped_ce_still_notices_an_fe_that_died_meanwhile() -> None:
    net = ready()
    net.silent.add(3)
    net.now += 3000 * MS
    net.run_ms(300)
    assert [entry["fe"] for entry in net.events("ce1", "fe_lost")] == ["fe3"]


@pytest.mark.parametrize("cause", [LossCause.ABORT, LossCause.SHUTDOWN])
def test_a_lost_transport_is_a_lost_association_and_the_fe_may_come_back(cause: LossCause) -> None:
    net = ready()
    net.lose(CE1, 1, cause)
    assert [entry["cause"] for entry in net.events("ce1", "fe_lost", "fe1")] == [str(cause)]
    net.associate(CE1, 1)
    net.run_ms(10)
    assert [entry["kind"] for entry in net.events("ce1", "ready", "fe1")] == ["cold", "cold"]
    assert_obeys(net, CE1)


def test_a_message_that_names_another_fe_as_its_source_is_refused() -> None:
    net = ready()
    net.ce(CE1, MessageReceived(1, Channel.MP, net.fes[2].port_event(CE1, 1, False), 60))
    assert net.ces[CE1].ne.port(2, 1) is True
    assert net.ces[CE1].sessions[1].association.statistics.recv_err_packets == 1


def test_rfc7121_3_2_a_backup_writes_nothing() -> None:
    net = hot_pair(beacon_ms=5)
    for fe in net.fes.values():
        net.from_fe(CE2, fe.id, fe.port_event(CE2, 1, False))
    net.run_ms(1500)
    assert all(fe.fenced == 0 for fe in net.fes.values())
    assert net.events("ce2", "beacon") == []


def test_a_thawed_master_stops_when_it_learns_that_another_has_taken_over() -> None:
    net = hot_pair(beacon_ms=5)
    net.fail_over(1, CE1, CE2)
    net.run_ms(200)
    stop = net.events("ce1", "beacon", "fe1")[-1]
    assert stop["what"] == "stop"
    assert net.fes[1].fenced <= 1
    assert net.ces[CE1].sessions[1].role.value == "backup"


def test_a_link_event_reprograms_only_what_it_touched() -> None:
    net = ready(extra_routes=100)
    before = {fe.id: fe.row_writes for fe in net.fes.values()}
    net.from_fe(CE1, 2, net.fes[2].port_event(CE1, 2, False))
    net.run_ms(10)
    assert_obeys(net, CE1)
    written = {fe.id: fe.row_writes - before[fe.id] for fe in net.fes.values()}
    # fe1: one route. fe2: all 102 towards fe4 turn round, one next hop goes. fe3: nothing.
    assert written == {1: 1, 2: 103, 3: 0, 4: 2}
    net.from_fe(CE1, 2, net.fes[2].port_event(CE1, 2, True))
    net.run_ms(10)
    assert_obeys(net, CE1)
    assert net.ces[CE1].ne.port(2, 2) is True


def test_the_beacon_leaves_a_next_hop_before_it_is_deleted() -> None:
    net = ready(beacon_ms=5)
    fe = net.fes[1]

    def look(class_id: int, row: int | None, before: bytes) -> None:
        assert {hop_selector(contents) for contents in fe.prefixes.values()} <= fe.hops.keys()

    fe.on_step = look
    for port in (1, 2):
        net.from_fe(CE1, 1, fe.port_event(CE1, port, False))
        net.run_ms(8)
    net.from_fe(CE1, 1, fe.port_event(CE1, 3, False))
    net.run_ms(8)
    assert fe.hops == {}
    assert BEACON_ROW not in fe.prefixes
    net.from_fe(CE1, 1, fe.port_event(CE1, 1, True))
    net.run_ms(8)
    assert BEACON_ROW in fe.prefixes


def beats(net: Network, fe: int) -> list[bytes]:
    return [
        path.content.value[:4]
        for one in net.fes[fe].received
        for select in one.lfbs
        for operation in select.operations
        for path in operation.paths
        if select.class_id == 10 and path.ids == (1, BEACON_ROW)
    ]


def test_beats_are_numbered_and_keep_their_grid() -> None:
    net = ready(beacon_ms=5)
    net.run_ms(1000)
    seen = beats(net, 1)
    assert 200 <= len(seen) <= 203
    assert seen == [beacon_prefix(CE1, n).to_bytes(4, "big") for n in range(len(seen))]


def test_missed_beats_are_not_made_up_by_a_burst() -> None:
    net = ready(beacon_ms=5)
    before = len(beats(net, 1))
    net.now += 1000 * MS
    net.run_ms(20)
    assert len(beats(net, 1)) - before <= 6


def test_a_planned_switch_in_hot_standby_stops_the_beacon_first_and_is_answered() -> None:
    net = hot_pair(beacon_ms=5)
    token = net.command(CE1, "switch", to="ce2")
    assert {entry["what"] for entry in net.events("ce1", "beacon")[-4:]} == {"stop"}
    net.run_ms(0.25)
    answer = net.delivered[token]
    assert answer.error is None
    assert answer.value == {"to": "ce2", "switched": ["fe1", "fe2", "fe3", "fe4"]}
    assert {fe.master for fe in net.fes.values()} == {CE2}
    for fe in net.fes:
        net.fail_over(fe, CE1, CE2)
    net.run_ms(10)
    assert_obeys(net, CE2)
    assert len(net.events("ce1", "switch")) == 4
    assert all(fe.fenced == 0 for fe in net.fes.values())


def test_rfc5810_4_4_2_a_teardown_ends_every_association_and_the_fes_are_told() -> None:
    net = ready(beacon_ms=5)
    effects = net.ces[CE1].handle(Command("teardown", {}, 77), net.now)
    torn = [e.message for e in effects if isinstance(e, Send)]
    assert [m.type for m in torn] == [MessageType.ASSOCIATION_TEARDOWN] * 4
    assert [m.reason for m in torn] == [TeardownReason.NORMAL] * 4
    left = [e for e in effects if isinstance(e, Disconnect)]
    assert [(e.peer, e.abort) for e in left] == [(fe, False) for fe in (1, 2, 3, 4)]
    lost = [e.fields["cause"] for e in effects if isinstance(e, Journal) and e.event == "fe_lost"]
    assert lost == ["ordered"] * 4
    (answer,) = [e for e in effects if isinstance(e, Deliver)]
    assert (answer.token, answer.value) == (77, {"ended": ["fe1", "fe2", "fe3", "fe4"]})
    again = net.ces[CE1].handle(Command("teardown", {}, 78), net.now)
    assert [e.error for e in again if isinstance(e, Deliver)] == [
        "ce1 has no association with any FE"
    ]


def test_a_planned_switch_in_cold_standby_is_done_when_the_fe_has_left() -> None:
    net = ready(ha_mode=1)
    for fe in net.fes.values():
        fe.mute = True
    token = net.command(CE1, "switch", to=CE2, fe="fe1")
    net.run_ms(1)
    assert token not in net.delivered
    net.lose(CE1, 1, LossCause.SHUTDOWN)
    assert net.delivered[token].error is None
    assert net.delivered[token].value["switched"] == ["fe1"]


def test_a_switch_that_the_fe_does_not_answer_is_an_error_and_the_master_goes_on() -> None:
    net = ready(beacon_ms=5)
    net.fes[1].mute = True
    token = net.command(CE1, "switch", to="ce2", fe="fe1")
    net.run_ms(3100)
    assert net.delivered[token].error == "fe1: no answer"
    assert net.events("ce1", "beacon", "fe1")[-1]["what"] == "start"


@pytest.mark.parametrize(
    ("name", "arguments", "error"),
    [
        ("dance", {}, "unknown command dance"),
        ("switch", {}, "switch needs a CE: to"),
        ("switch", {"to": "ce9"}, "unknown CE ce9"),
        ("switch", {"to": "ce1"}, "ce1 is this CE"),
        ("switch", {"to": "ce2", "fe": "fe9"}, "unknown FE fe9"),
        ("teardown", {"fe": "fe9"}, "unknown FE fe9"),
        ("routes", {"prefix": "10.9.0.0/24", "fe": "fe1", "port": 7}, "FE 1 has no port 7"),
        ("routes", {"prefix": "10.9.0.0/24", "fe": "fe1", "port": "x"}, "route not added"),
        ("routes", {"prefix": "ten", "fe": "fe1", "port": 1}, "route not added"),
        ("routes", {"prefix": "10.9.0.0/24", "port": 1}, "unknown FE None"),
    ],
)
def test_a_command_that_cannot_be_done_says_why(
    name: str, arguments: dict[str, Any], error: str
) -> None:
    net = ready()
    answer = net.delivered[net.command(CE1, name, **arguments)]
    assert answer.error is not None
    assert error in answer.error


def test_a_backup_is_asked_to_switch_and_refuses() -> None:
    net = hot_pair()
    answer = net.delivered[net.command(CE2, "switch", to="ce1")]
    assert answer.error == "ce2 is not the master of any FE"


def test_a_route_added_at_run_time_reaches_every_fe() -> None:
    net = ready()
    arguments = {"prefix": "10.77.0.0/24", "fe": "fe4", "port": 3, "gateway": "10.102.1.10"}
    token = net.command(CE1, "routes", **arguments)
    net.run_ms(10)
    row = net.delivered[token].value["row"]
    assert all(fe.prefixes[row][:5] == bytes((10, 77, 0, 0, 24)) for fe in net.fes.values())
    assert_obeys(net, CE1)
    shown = net.delivered[net.command(CE1, "routes", fe="fe1")].value
    entry = next(entry for entry in shown["fe1"] if entry["row"] == row)
    assert entry["prefix"] == "10.77.0.0/24"
    assert entry["confirmed"]


def test_state_tells_roles_and_the_backups_that_are_online() -> None:
    net = hot_pair()
    net.run_ms(1100)
    state = {ce: net.delivered[net.command(ce, "state")].value for ce in (CE1, CE2)}
    for ce, role in ((CE1, "master"), (CE2, "backup")):
        for fe in state[ce]["fes"].values():
            assert fe["associated"]
            assert fe["role"] == role
            assert fe["master"] == "ce1"
            assert fe["backups_online"] == 1
            assert fe["ready"] == (role == "master")


def test_rfc7121_1_1_a_master_without_a_backup_says_so_and_again_when_it_has_one() -> None:
    net = hot_pair()
    net.run_ms(1100)
    assert net.events("ce1", "no_backup") == []
    for fe in net.fes:
        net.lose(CE2, fe)
    net.run_ms(1100)
    every = [f"fe{fe}" for fe in sorted(net.fes)]
    assert sorted(one["fe"] for one in net.events("ce1", "no_backup")) == every
    assert net.events("ce2", "no_backup") == []
    net.down.clear()
    net.associate_all(CE2)
    net.run_ms(1100)
    said = net.events("ce1", "backup_online")
    assert sorted(one["fe"] for one in said) == every
    assert all(one["ces"] == ["ce2"] for one in said)


def test_both_ces_intend_the_same_rows_whatever_the_order_of_events() -> None:
    first, second = pair(extra_routes=20)
    one, other = Network(first), Network(replace(second, ces=first.ces))
    for net, ce, order in ((one, CE1, (1, 2, 3)), (other, CE2, (3, 2, 1))):
        for fe in net.fes.values():
            fe.make_master(ce, 0)
        net.associate_all(ce)
        net.run_ms(10)
        for fe in order:
            net.from_fe(ce, fe, net.fes[fe].port_event(ce, 1, False))
            net.run_ms(2)
    for fe in one.fes:
        mine, its = one.ces[CE1].ne.tables[fe], other.ces[CE2].ne.tables[fe]
        assert mine.intended == its.intended
