"""Large tables are worked through in slices (ce/work.py): no call of a CE's core makes, compares or
takes in more than some thousand rows, so that heartbeats and link events are served in between."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest

from ce.config import BEACON_ROW
from ce.controller import Controller
from ce.fe_tables import MAX_CONFIG_ROWS, FeTables, Table, Write
from ce.programming import SLICE_CONFIGS, SLICE_LOOKS
from ce.replica import COMPARED_ROWS, FeReplica, RowChange, row_changes
from ce.work import WORK_TIMER, Work
from forces.channels import Channel
from forces.effects import Effect, Send, SetTimer
from forces.events import Event, MessageReceived
from forces.header import Header, MessageType
from forces.messages import LfbSelect, Message, Operation, OperType, flags_for
from forces.paths import FullData, PathData
from forces.runs import PathRun
from forces.wire import decode, encode
from tests.ce.dictionary_fe import PHY
from tests.ce.network import CE1, CE2, Network, diamond
from tests.ce.test_takeover import assert_obeys, hot_pair

ROUTES = 12_000
OTHERS = 64
"""Paths besides the rows of tables in one call's Configs: confirmations, subscriptions, beats."""


class Watch:
    """The most that one call of a core sent, and looked at."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sent: list[int] = []
        """Rows, of the calls that sent some."""
        self.looked = 0
        looks = 0
        plan, handle = FeTables.plan, Controller.handle

        def counted(tables: FeTables) -> Iterator[Write | None]:
            nonlocal looks
            for step in plan(tables):
                looks += 1
                yield step

        def watched(core: Controller, event: Event, now: int) -> list[Effect]:
            nonlocal looks
            looks = 0
            effects = handle(core, event, now)
            self.looked = max(self.looked, looks)
            rows = sum(map(rows_of, effects))
            if rows:
                self.sent.append(rows)
            return effects

        monkeypatch.setattr(FeTables, "plan", counted)
        monkeypatch.setattr(Controller, "handle", watched)


def rows_of(effect: Effect) -> int:
    if not isinstance(effect, Send) or effect.message.type is not MessageType.CONFIG:
        return 0
    operations = [one for select in effect.message.lfbs for one in select.operations]
    return sum(len(operation.paths) for operation in operations)


def test_rfc5810_4_3_3_a_table_that_is_loaded_leaves_room_for_heartbeats(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    watch = Watch(monkeypatch)
    net = hot_pair(extra_routes=ROUTES)
    net.run_ms(100)
    assert_obeys(net, CE1)
    assert max(watch.sent) <= SLICE_CONFIGS * MAX_CONFIG_ROWS + OTHERS
    assert sum(rows >= MAX_CONFIG_ROWS for rows in watch.sent) >= 4 * ROUTES // 4000
    assert 0 < watch.looked <= SLICE_LOOKS


def test_a_hot_takeover_compares_a_large_table_in_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ce.fe_tables.LOOK_ROWS", 100)
    net = hot_pair(extra_routes=ROUTES)
    net.run_ms(100)
    del net.fes[1].prefixes[8000]
    watch = Watch(monkeypatch)
    net.fail_over(1, CE1, CE2)
    net.run_ms(100)
    assert_obeys(net, CE2, [1])
    assert net.events("ce2", "ready", "fe1")[0]["rows_written"] == 1
    assert watch.looked == SLICE_LOOKS


def test_a_link_event_in_the_middle_of_a_load_is_obeyed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The plan that is under way is given up for one that fits."""
    net = Network(diamond(extra_routes=ROUTES))
    fe2, turn, turns = net.fes[2], Work.turn, 0
    written: list[int] = []

    def watched(work: Work, now: int) -> None:
        nonlocal turns
        turns += 1
        if turns == 5:
            written.extend(
                len(net.ces[CE1].ne.tables[fe].expected[Table.PREFIXES]) for fe in (1, 4)
            )
            fe2.values[PHY, 2, (3,)] = b"\x02"
            event = fe2.port_event(CE1, 2, False)
            net.at(now, lambda: net.ce(CE1, MessageReceived(2, Channel.MP, event, 60)))
        turn(work, now)

    monkeypatch.setattr(Work, "turn", watched)
    net.beat_hearts(300)
    net.associate_all(CE1)
    net.run_ms(200)
    assert 0 < min(written) < ROUTES
    assert net.ces[CE1].ne.port(2, 2) is False
    assert_obeys(net, CE1)


def test_a_master_that_leaves_does_not_mix_two_intentions(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it has begun is half of the old one: the rest is the next master's."""
    net = Network(diamond(extra_routes=ROUTES))
    ce, turn, turns = net.ces[CE1], Work.turn, 0
    written: list[int] = []

    def rows() -> list[int]:
        return [len(ce.ne.tables[fe].expected[Table.PREFIXES]) for fe in (1, 4)]

    def watched(work: Work, now: int) -> None:
        nonlocal turns
        turns += 1
        if turns == 5:
            for fe in (1, 4):
                ce.sessions[fe].departure.under_way = True
            net.fes[2].values[PHY, 2, (3,)] = b"\x02"
            event = net.fes[2].port_event(CE1, 2, False)
            net.ce(CE1, MessageReceived(2, Channel.MP, event, 60))
            written.extend(rows())
        turn(work, now)

    monkeypatch.setattr(Work, "turn", watched)
    net.beat_hearts(300)
    net.associate_all(CE1)
    net.run_ms(200)
    assert 0 < min(written) < ROUTES
    assert rows() == written
    for fe in (1, 4):
        programmer = ce.sessions[fe].programmer
        assert programmer is not None
        assert not programmer.busy


def test_one_slice_a_turn_and_each_fe_in_its_turn() -> None:
    out: list[Effect] = []
    work, done = Work(out), Counter[str]()

    def step(name: str, times: int, now: int) -> None:
        done[name] += 1
        if times > 1:
            work.later(lambda when: step(name, times - 1, when), now)

    for name in "ab":
        work.later(lambda now, name=name: step(name, 3, now), 0)  # type: ignore[misc]
    turns = 0
    while out:
        assert out.pop() == SetTimer(WORK_TIMER, turns)
        assert not out
        work.turn(turns := turns + 1)
        assert abs(done["a"] - done["b"]) <= 1
    assert (turns, done["a"], done["b"]) == (6, 3, 3)


def test_what_nobody_waits_for_rests_between_its_slices() -> None:
    out: list[Effect] = []
    work = Work(out)
    done: list[int] = []
    work.later(done.append, 100, rest_ns=7)
    assert out.pop() == SetTimer(WORK_TIMER, 107)
    work.later(done.append, 101)
    work.turn(107)
    assert (out.pop(), done) == (SetTimer(WORK_TIMER, 107), [107])
    work.turn(108)
    assert (out, done) == ([], [107, 108])


def replica_of(rows: int, intended: int) -> FeReplica:
    tables = FeTables()
    tables.intended[Table.PREFIXES] = {n: n.to_bytes(14, "big") for n in range(2, intended + 2)}
    replica = FeReplica(CE2, tables)
    replica.put(RowChange(Table.PREFIXES, {n: n.to_bytes(14, "big") for n in range(2, rows + 2)}))
    replica.is_at(1, 1)
    return replica


def test_a_replica_knows_whether_it_is_in_step_without_comparing() -> None:
    replica = replica_of(1000, 1000)
    assert replica.in_step
    replica.put(RowChange(Table.PREFIXES, {5: None}))
    assert not replica.in_step  # one is missing
    replica.put(RowChange(Table.PREFIXES, {5: bytes(14)}))
    assert not replica.in_step  # one is another
    replica.put(RowChange(Table.PREFIXES, {5: (5).to_bytes(14, "big"), 2000: bytes(14)}))
    assert not replica.in_step  # one is not wanted
    replica.put(RowChange(Table.PREFIXES, {2000: None, BEACON_ROW: bytes(14)}))
    assert replica.in_step


def test_after_a_change_of_intention_a_replica_is_compared_in_slices() -> None:
    replica = replica_of(3 * COMPARED_ROWS, 3 * COMPARED_ROWS)
    intended = replica.tables.intended[Table.PREFIXES]
    replica.tables.intended[Table.PREFIXES] = {**intended, 2: bytes(14)}
    replica.intention_changed()
    slices = 1
    while replica.look():
        slices += 1
        assert not replica.in_step
        replica.put(RowChange(Table.PREFIXES, {2: bytes(14)}))  # meanwhile
    assert slices == 4
    assert replica.in_step


@pytest.mark.parametrize("kind", [OperType.SET, OperType.DEL])
def test_a_run_of_rows_changes_a_replica_as_its_paths_one_by_one(kind: OperType) -> None:
    def path(row: int) -> PathData:
        content = FullData(row.to_bytes(12, "big")) if kind is OperType.SET else None
        return PathData((1, row), content=content)

    def change(*paths: PathData) -> Message:
        header = Header(MessageType.CONFIG, CE1, 1, 1, flags_for(MessageType.CONFIG))
        lfb = LfbSelect(10, 1, (Operation(kind, paths),))
        return decode(encode(Message(header, (lfb,))))

    run = change(*map(path, range(300, 900)))
    assert isinstance(run.lfbs[0].operations[0].paths, PathRun)
    (whole,) = row_changes(run)
    one_by_one = [each for row in range(300, 900) for each in row_changes(change(path(row)))]
    assert whole.table is Table.PREFIXES
    assert dict(whole.rows) == {row: c for one in one_by_one for row, c in one.rows.items()}
    assert len(whole.rows) == 600
