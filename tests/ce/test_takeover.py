"""Takeovers, as ladders between CEs and dictionary FEs (RFC 7121 Fig. 2 and 5)."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

import pytest

from ce.config import BEACON_ROW, CeConfig, beacon_prefix
from ce.fe_tables import Table
from ce.rows import hop_selector
from forces.errors import ResultCode
from forces.events import LossCause
from forces.header import MessageType
from tests.ce.dictionary_fe import FE_OBJECT, FE_STATE, HOPS, LPM, PHY, DictionaryFe
from tests.ce.network import CE1, CE2, Network, diamond


def pair(**changes: object) -> tuple[CeConfig, CeConfig]:
    first = diamond(**changes)
    return first, replace(first, id=CE2, name="ce2", control_address="10.255.0.2")


def hot_pair(**changes: object) -> Network:
    """ce1 master of all FEs and ready, ce2 associated as backup."""
    net = Network(*pair(**changes))
    net.beat_hearts(5000)
    net.associate_all(CE1)
    net.run_ms(10)
    net.associate_all(CE2)
    net.run_ms(10)
    return net


def assert_obeys(net: Network, ce: int, fes: Iterable[int] = (1, 2, 3, 4)) -> None:
    """The FEs' tables are what this CE intends, and it knows it."""
    for fe in fes:
        tables, real = net.ces[ce].ne.tables[fe], net.fes[fe]
        rows = {row: contents for row, contents in real.prefixes.items() if row != BEACON_ROW}
        assert rows == tables.intended[Table.PREFIXES] == tables.confirmed[Table.PREFIXES]
        assert real.hops == tables.intended[Table.NEXT_HOPS] == tables.confirmed[Table.NEXT_HOPS]


def keep_watch(fe: DictionaryFe, wanted: set[bytes]) -> list[int]:
    """At every step: no wanted prefix without a row, no row without its next hop. Gives the list
    that grows with every step looked at."""
    rows_of = Counter(contents[:5] for contents in fe.prefixes.values())
    looked: list[int] = []

    def look(class_id: int, row: int | None, before: bytes) -> None:
        looked.append(class_id)
        if row is None or class_id == HOPS:
            rows_of.clear()
            rows_of.update(contents[:5] for contents in fe.prefixes.values())
            assert wanted <= rows_of.keys()
            assert {hop_selector(contents) for contents in fe.prefixes.values()} <= fe.hops.keys()
            return
        now = fe.prefixes.get(row, b"")
        rows_of[before[:5]] -= 1
        rows_of[now[:5]] += 1
        assert before[:5] not in wanted or rows_of[before[:5]] > 0
        assert not now or hop_selector(now) in fe.hops

    fe.on_step = look
    return looked


@pytest.mark.parametrize("ha_mode", [0, 1, 2])
def test_the_first_master_programs_every_fe_and_is_ready_cold(ha_mode: int) -> None:
    net = Network(diamond(ha_mode=ha_mode, extra_routes=20))
    net.associate_all(CE1)
    net.run_ms(10)
    assert_obeys(net, CE1)
    for fe in net.fes.values():
        ready = net.events("ce1", "ready", fe.name)
        assert [(entry["kind"], entry["failed"]) for entry in ready] == [("cold", 0)]
        assert ready[0]["rows_written"] == len(fe.prefixes) + len(fe.hops) == fe.row_writes
        assert fe.subscribed == set(fe.ports)
        assert fe.values[FE_OBJECT, 1, FE_STATE] == b"\x02"
        assert net.events("ce1", "takeover", fe.name)[0]["last"] is None


def test_rfc7121_fig2_cold_standby_ladder() -> None:
    net = Network(diamond(ha_mode=1, id=CE2, name="ce2", destinations=diamond().destinations[2:]))
    fe = net.fes[1]
    fe.make_master(CE2, CE1)
    net.associate(CE2, 1)
    net.from_fe(CE2, 1, fe.report(CE2, 2, 1, ((61, 1), CE1.to_bytes(4, "big"))))
    net.run_ms(10)
    assert net.ladder == [
        "ce2 <- fe1 ASSOCIATION_SETUP",
        "ce2 <- fe1 EVENT_NOTIFICATION REPORT 2.1",
        "ce2 -> fe1 ASSOCIATION_SETUP_RESPONSE",
        "ce2 -> fe1 QUERY GET 2.1, GET 1.1, GET 3.1, GET 3.2, GET 3.3, GET 12.1",
        "ce2 <- fe1 QUERY_RESPONSE GET_RESPONSE 2.1, GET_RESPONSE 1.1, GET_RESPONSE 3.1, "
        "GET_RESPONSE 3.2, GET_RESPONSE 3.3, GET_RESPONSE 12.1",
        "ce2 -> fe1 CONFIG SET 2.1, SET_PROP 3.1, SET_PROP 3.2, SET_PROP 3.3",
        "ce2 -> fe1 CONFIG SET 12.1",
        "ce2 -> fe1 CONFIG SET 10.1",
        "ce2 -> fe1 CONFIG SET 1.1",
        "ce2 <- fe1 CONFIG_RESPONSE SET_RESPONSE 2.1, SET_PROP_RESPONSE 3.1, "
        "SET_PROP_RESPONSE 3.2, SET_PROP_RESPONSE 3.3",
        "ce2 <- fe1 CONFIG_RESPONSE SET_RESPONSE 10.1",
        "ce2 <- fe1 CONFIG_RESPONSE SET_RESPONSE 1.1",
    ]
    assert [entry["last"] for entry in net.events("ce2", "takeover")] == ["ce1"]


def test_rfc7121_fig5_hot_standby_ladder() -> None:
    net = hot_pair()
    net.ladder.clear()
    net.fes[1].associated.discard(CE1)
    net.fail_over(1, CE1, CE2)
    net.run_ms(10)
    assert net.ladder == [
        "ce2 <- fe1 EVENT_NOTIFICATION REPORT 2.1",
        "ce2 -> fe1 CONFIG SET 2.1, SET_PROP 3.1, SET_PROP 3.2, SET_PROP 3.3",
        "ce2 -> fe1 QUERY GET 1.1, GET 3.1, GET 3.2, GET 3.3, GET 12.1, GET 10.1",
        "ce2 <- fe1 CONFIG_RESPONSE SET_RESPONSE 2.1, SET_PROP_RESPONSE 3.1, "
        "SET_PROP_RESPONSE 3.2, SET_PROP_RESPONSE 3.3",
        "ce2 <- fe1 QUERY_RESPONSE GET_RESPONSE 1.1, GET_RESPONSE 3.1, GET_RESPONSE 3.2, "
        "GET_RESPONSE 3.3, GET_RESPONSE 12.1, GET_RESPONSE 10.1",
    ]


def test_a_hot_takeover_finds_nothing_to_write_when_nothing_differs() -> None:
    net = hot_pair(extra_routes=500, beacon_ms=5)
    writes = {fe.id: fe.row_writes for fe in net.fes.values()}
    for fe in net.fes:
        net.lose(CE1, fe)
        net.fail_over(fe, CE1, CE2)
        net.run_ms(0.45)
    for fe in net.fes.values():
        ready = net.events("ce2", "ready", fe.name)
        assert [(entry["kind"], entry["rows_written"]) for entry in ready] == [("hot", 0)]
        assert fe.row_writes - writes[fe.id] <= 12, "beats only"
        assert net.events("ce2", "takeover", fe.name)[0]["last"] == "ce1"
        discovered = net.events("ce2", "discovered", fe.name)[0]["rows"]
        assert discovered == len(fe.prefixes) + len(fe.hops)


def test_a_hot_takeover_writes_only_what_differs_and_deletes_what_is_stale() -> None:
    net = hot_pair(extra_routes=50)
    fe = net.fes[1]
    good = dict(fe.prefixes)
    fe.prefixes[4] = fe.prefixes[4][:-1] + b"\x20"
    del fe.prefixes[1007]
    fe.prefixes[7777] = bytes.fromhex("0afe00001800000000000010")
    fe.hops[900] = fe.hops[16]
    before = fe.row_writes
    net.fail_over(1, CE1, CE2)
    net.run_ms(10)
    assert fe.prefixes == good
    assert 900 not in fe.hops
    assert fe.row_writes - before == 4
    assert net.events("ce2", "ready", "fe1")[0]["rows_written"] == 4


def test_a_cold_takeover_rewrites_every_row_even_if_all_are_right() -> None:
    first, second = pair(ha_mode=1, extra_routes=100)
    net = Network(first, second)
    net.associate_all(CE1)
    net.run_ms(10)
    for fe in net.fes.values():
        fe.row_writes = 0
        net.lose(CE1, fe.id)
        fe.make_master(CE2, CE1)
        net.associate(CE2, fe.id)
    net.run_ms(10)
    assert_obeys(net, CE2)
    for fe in net.fes.values():
        assert fe.row_writes == len(fe.prefixes) + len(fe.hops)
        assert net.events("ce2", "ready", fe.name)[0]["kind"] == "cold"


@pytest.mark.parametrize("flapped", [(1, 1), (2, 2)])
@pytest.mark.parametrize("extra", [30, 4200])
@pytest.mark.parametrize("hot", [True, False])
def test_no_takeover_removes_a_wanted_row_at_any_moment(
    extra: int, hot: bool, flapped: tuple[int, int] | None
) -> None:
    """CEFailoverPolicy 1: packets flow meanwhile. The FE starts with rows of an earlier master,
    some of them over other next hops, some stale; one link may have changed since."""
    net = hot_pair(extra_routes=extra) if hot else Network(*pair(ha_mode=1, extra_routes=extra))
    if not hot:
        net.associate_all(CE1)
        net.run_ms(20)
    fe = net.fes[1]
    for number in range(20):
        stale = (0x0A400000 + (number << 8)).to_bytes(4, "big")
        fe.prefixes[500 + number] = stale + bytes.fromhex("180000000000038c")
    fe.hops[0x38C] = fe.hops[16]
    seed = random.Random(extra)
    for row in seed.sample(sorted(fe.prefixes), len(fe.prefixes) // 3):
        fe.prefixes[row] = fe.prefixes[row][:-4] + bytes((0, 0, 0, seed.choice((16, 32))))
    if flapped is not None:
        net.fes[flapped[0]].values[PHY, flapped[1], (3,)] = b"\x02"
    wanted = {
        contents[:5] for contents in net.ces[CE2].ne.tables[1].intended[Table.PREFIXES].values()
    }
    for one in net.fes.values():
        net.lose(CE1, one.id)
    looked = keep_watch(fe, wanted)
    for one in net.fes.values():
        if hot:
            net.fail_over(one.id, CE1, CE2)
        else:
            one.make_master(CE2, CE1)
            net.associate(CE2, one.id)
    net.run_ms(50)
    assert net.events("ce2", "ready", "fe1")[0]["kind"] == ("hot" if hot else "cold")
    assert looked
    assert_obeys(net, CE2)


def test_a_table_too_large_for_one_answer_is_read_by_ranges() -> None:
    net = hot_pair(extra_routes=9000)
    assert_obeys(net, CE1)
    fe = net.fes[1]
    del fe.prefixes[8000]
    fe.received.clear()
    net.fail_over(1, CE1, CE2)
    net.run_ms(50)
    assert_obeys(net, CE2, [1])
    ready = net.events("ce2", "ready", "fe1")[0]
    assert (ready["kind"], ready["rows_written"]) == ("hot", 1)
    ranges = [
        path.selector
        for message in fe.received
        if message.type is MessageType.QUERY
        for select in message.lfbs
        for path in select.operations[0].paths
        if path.selector is not None
    ]
    assert len(ranges) == 6
    assert all(one.end - one.start < 2000 for one in ranges[:-1])


def test_more_rows_than_expected_are_read_in_smaller_ranges() -> None:
    net = hot_pair()
    fe = net.fes[1]
    row = fe.prefixes[4]
    fe.prefixes.update({n: n.to_bytes(4, "big") + row[4:] for n in range(20_000, 26_000)})
    net.fail_over(1, CE1, CE2)
    net.run_ms(50)
    assert_obeys(net, CE2, [1])
    assert net.events("ce2", "ready", "fe1")[0]["rows_written"] == 6000


def test_an_fe_that_cannot_replace_a_table_is_programmed_row_by_row() -> None:
    net = Network(diamond(extra_routes=20))
    net.fes[1].refuse_replace = True
    net.fes[1].prefixes[4444] = bytes.fromhex("0afe00001800000000000010")
    net.associate_all(CE1)
    net.run_ms(10)
    assert_obeys(net, CE1)
    assert net.events("ce1", "ready", "fe1")[0]["failed"] == 0


@pytest.mark.parametrize("times", [1, 2])
def test_a_refused_row_is_journaled_and_tried_once_more(times: int) -> None:
    net = hot_pair(extra_routes=10)
    fe = net.fes[1]
    del fe.prefixes[1003]
    fe.refuse[LPM, 1003] = [ResultCode.INTERNAL_ERROR] * times
    net.fail_over(1, CE1, CE2)
    net.run_ms(10)
    failures = net.events("ce2", "rows_failed", "fe1")
    code = int(ResultCode.INTERNAL_ERROR)
    assert [entry["rows"] for entry in failures] == [{"1003": code}] * times
    ready = net.events("ce2", "ready", "fe1")
    assert [entry["failed"] for entry in ready] == [times - 1]
    assert (1003 in fe.prefixes) == (times == 1)


def test_a_row_that_was_given_up_is_tried_again_when_it_changes() -> None:
    net = hot_pair()
    fe = net.fes[1]
    fe.refuse[HOPS, 16] = [ResultCode.INTERNAL_ERROR] * 2
    del fe.hops[16]
    net.fail_over(1, CE1, CE2)
    net.run_ms(10)
    assert 16 not in fe.hops
    for up in (False, True):
        net.from_fe(CE2, 1, fe.port_event(CE2, 1, up))
        net.run_ms(10)
    assert_obeys(net, CE2, [1])


def test_an_event_that_overtakes_the_discovery_is_enough_to_take_over() -> None:
    """MP and HP keep no common order (RFC 5811 section 4.2)."""
    net = Network(diamond(id=CE2, name="ce2"))
    fe = net.fes[1]
    net.associate(CE2, 1)
    net.from_fe(CE2, 1, fe.ha_events(CE2, CE1, CE2))  # the query is answered with CE1 before it
    net.at(net.now + 300_000, lambda: fe.make_master(CE2, CE1))
    net.run_ms(10)
    assert len(net.events("ce2", "takeover", "fe1")) == 1
    assert net.events("ce2", "backup", "fe1") == []


def test_a_lost_mastership_event_is_noticed_by_the_role_check() -> None:
    net = hot_pair()
    net.fes[2].make_master(CE2, CE1)
    net.run_ms(1100)
    assert [entry["kind"] for entry in net.events("ce2", "ready", "fe2")] == ["hot"]
    assert [entry["master"] for entry in net.events("ce1", "backup", "fe2")] == ["ce2"]


def test_a_takeover_that_the_fe_leaves_unanswered_starts_again() -> None:
    net = hot_pair()
    net.beat_hearts(25_000)
    net.fes[1].mute = True
    net.fail_over(1, CE1, CE2)
    net.run_ms(9000)
    assert net.events("ce2", "ready", "fe1") == []
    net.fes[1].mute = False
    net.run_ms(2000)
    assert len(net.events("ce2", "ready", "fe1")) == 1
    assert_obeys(net, CE2, [1])


def test_a_master_that_lost_its_role_during_a_takeover_does_not_become_ready() -> None:
    net = hot_pair()
    net.fail_over(1, CE1, CE2)
    net.fail_over(1, CE2, CE1)
    net.run_ms(10)
    assert net.events("ce2", "ready", "fe1") == []
    assert [entry["master"] for entry in net.events("ce2", "backup", "fe1")] == ["ce1"] * 2
    assert [entry["kind"] for entry in net.events("ce1", "ready", "fe1")] == ["cold", "hot"]


def test_the_first_beat_of_a_new_master_comes_with_ready_and_replaces_the_last_ones_row() -> None:
    net = hot_pair(beacon_ms=5)
    assert net.fes[1].prefixes[BEACON_ROW][:4] != beacon_prefix(CE2, 0).to_bytes(4, "big")
    for fe in net.fes:
        net.lose(CE1, fe, LossCause.ABORT)
    net.fail_over(1, CE1, CE2)
    net.run_ms(1)
    ready = net.events("ce2", "ready", "fe1")[0]
    start = net.events("ce2", "beacon", "fe1")[0]
    assert (start["what"], start["sequence"], start["t"]) == ("start", 0, ready["t"])
    assert net.fes[1].prefixes[BEACON_ROW][:4] == beacon_prefix(CE2, 0).to_bytes(4, "big")
