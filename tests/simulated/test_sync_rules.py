"""The rules of the CE (docs/ce-ce-sync.md), each by its number, in virtual time: what other
messages than those that this network would bring make of a replica, or of who serves it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from ce.exchange import Answer, Outcome
from ce.feed import Feed
from ce.following import Following
from ce.fr_peer import FrPeer
from ce.lfbs import component
from ce.position import Entry, State
from ce.replica import FeReplica
from ce.replica import Position as FePosition
from ce.replica_lfb import LFB
from ce.replication import Replication
from ce.session import FeSession, Role
from ce.sync_takeover import SyncTakeover
from forces.channels import Channel
from forces.effects import Effect, Journal, Send
from forces.errors import ProtocolError, ResultCode
from forces.events import Event, MessageReceived
from forces.header import Ack, Header, MessageType
from forces.messages import LfbSelect, Message, Operation, OperType, flags_for
from forces.paths import PathData, Result
from forces.wire import encode, encoded_length
from lab.backend import CellSettings
from lab.simulated.element import NetworkElement
from lab.simulated.network import Manners
from lab.simulated.process import Process
from lab.simulated.world import World
from topologies.loader import load_topology

PAGE = Path(__file__).parents[2] / "docs" / "ce-ce-sync.md"


class Pair:
    """ce1 is the master of both FEs, ce2 (and ce3) follow."""

    def __init__(self, beacon_ms: int = 5) -> None:
        self.world = World("rules")
        settings = CellSettings(mode="hot+sync", routes=10, beacon_ms=beacon_ms)
        self.ne = NetworkElement(load_topology("pair"), settings, self.world, Manners(), 0.0)
        self.sent: list[tuple[str, Send]] = []
        self.journal: list[tuple[str, Journal]] = []
        for process in self.ne.processes.values():
            process.watchers.append(self)
        self.ne.start()
        self.world.run_ms(2000)
        assert self.ne.lacking_backups() == []
        assert self.ne.master_of("fe1") == "ce1"
        self.fe = self.ne.processes["fe1"].id
        self.ce1, self.ce2 = (self.ne.processes[name].id for name in ("ce1", "ce2"))

    def handled(self, process: Process, event: Event | None, effects: Sequence[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Send):
                self.sent.append((process.name, effect))
            elif isinstance(effect, Journal):
                self.journal.append((process.name, effect))

    def programmed(self, process: Process, program: object) -> None: ...

    def fr(self, ce: str) -> Replication:
        found = self.ne.ce(ce).fr
        assert found is not None
        return found

    def session(self, ce: str) -> FeSession:
        return self.ne.ce(ce).sessions[self.fe]

    @property
    def replica(self) -> FeReplica:
        """ce2's, of fe1."""
        return self.fr("ce2").replicas[self.fe]

    @property
    def served(self) -> FrPeer:
        """ce2 as ce1 serves it."""
        return self.fr("ce1").peers[self.ce2]

    def inject(self, ce: str, sender: int, message: Message) -> None:
        size = encoded_length(message)
        self.ne.processes[ce].inject(MessageReceived(sender, Channel.HP, message, size))

    def change(self, term: int, generation: int) -> ResultCode:
        """ce1 sends ce2 a change; the answer."""
        message = self.replica.kept[-1][1]
        value = {
            "Incarnation": self.replica.incarnation,
            "Term": term,
            "Generation": generation,
            "Config": encode(message),
        }
        row = component(LFB, "Changes", self.fe)
        kind = MessageType.CONFIG
        flags = replace(flags_for(kind), ack=Ack.ALWAYS_ACK)
        header = Header(kind, self.ce1, self.ce2, 1 << 40, flags)
        before = len(self.sent)
        lfbs = (row.select(OperType.SET, row.set(value)),)
        self.inject("ce2", self.ce1, Message(header, lfbs))
        (answer,) = [
            effect.message
            for name, effect in self.sent[before:]
            if name == "ce2" and effect.message.header.correlator == 1 << 40
        ]
        content = answer.lfbs[0].operations[0].paths[0].content
        assert isinstance(content, Result)
        return ResultCode(content.code)

    def until(self, condition: Callable[[], bool], budget_ms: float = 500) -> None:
        end = self.world.now + budget_ms * 1e6
        while not condition():
            assert self.world.now < end, "not within the budget"
            self.world.run_ms(0.02)

    def on_the_way(self) -> Message:
        """A Config of ce1's to ce2 about fe1 that has no answer yet."""
        count = len(self.sent)

        def found() -> list[Message]:
            return [
                effect.message
                for name, effect in self.sent[count:]
                if name == "ce1"
                and effect.peer == self.ce2
                and effect.message.type is MessageType.CONFIG
            ]

        self.until(lambda: any(_about(message, self.fe) for message in found()))
        return next(message for message in found() if _about(message, self.fe))

    def refused(self, request: Message) -> Message:
        """The answer that refuses all of it."""
        kind = MessageType.CONFIG_RESPONSE
        answers = tuple(
            LfbSelect(
                select.class_id,
                select.instance_id,
                tuple(
                    Operation(
                        OperType.SET_RESPONSE,
                        tuple(
                            PathData(path.ids, content=Result(ResultCode.NOT_FOUND))
                            for path in operation.paths
                        ),
                    )
                    for operation in select.operations
                ),
            )
            for select in request.lfbs
        )
        return Message(request.header.reply(kind, flags_for(kind)), answers)

    def wants(self) -> Message:
        """ce2's ReplicaWants, as it would send it now."""
        out: list[Effect] = []
        peer = FrPeer(self.ne.ce("ce2").config, self.ce1, "ce1", False, out)
        peer.want(self.fe, self.replica.incarnation, self.replica.generation, 0)
        (send,) = [effect for effect in out if isinstance(effect, Send)]
        return send.message


def _about(message: Message, fe: int) -> bool:
    return any(
        path.ids == component(LFB, "Changes", fe).ids
        for select in message.lfbs
        for operation in select.operations
        for path in operation.paths
    )


def test_every_rule_of_the_page_has_a_test_here() -> None:
    section = PAGE.read_text().partition("## Rules of the CE\n")[2].partition("\n## ")[0]
    rules = [int(number) for number in re.findall(r"^(\d+)\. ", section, re.MULTILINE)]
    assert rules == list(range(1, len(rules) + 1))
    tested = {int(name.split("_")[2]) for name in globals() if name.startswith("test_rule_")}
    assert tested == set(rules)


@pytest.mark.parametrize("role", [Role.BACKUP, Role.UNKNOWN])
def test_rule_1_only_a_backup_takes_over_by_its_replica(role: Role) -> None:
    pair = Pair()
    assert pair.replica.complete
    pair.session("ce2").role = role
    pair.ne.crash("ce1")
    pair.until(lambda: not pair.ne.not_ready(), 3000)
    new = pair.ne.master_of("fe1")
    assert new == "ce2"
    (ready,) = [
        effect
        for name, effect in pair.journal
        if (name, effect.event, effect.fields.get("fe")) == (new, "ready", "fe1")
    ]
    assert (ready.fields["kind"] == "sync") is (role is Role.BACKUP)


@pytest.mark.parametrize(("terms", "kind"), [(1, "sync"), (2, "hot")])
def test_rule_2_the_replica_fits_the_next_term_and_no_later_one(terms: int, kind: str) -> None:
    pair = Pair()
    pair.replica.term -= terms - 1
    pair.ne.crash("ce1")
    pair.until(lambda: not pair.ne.not_ready(), 3000)
    kinds = [
        effect.fields["kind"]
        for name, effect in pair.journal
        if (name, effect.event, effect.fields.get("fe")) == ("ce2", "ready", "fe1")
    ]
    assert kinds == [kind]


def test_rule_3_a_switch_begins_when_all_is_answered_and_sends_nothing_after_it() -> None:
    pair = Pair(beacon_ms=0)  # it need not wait for a beat
    pair.ne.network.slow[pair.fe] = 20.0
    begun = len(pair.sent)
    ceid = component("FEPO", "CEID").class_id

    def add(prefix: str) -> None:
        route = {"prefix": prefix, "fe": "fe2", "port": 2, "gateway": "10.102.1.10"}
        pair.ne.processes["ce1"].command("routes", route, lambda answer: None)

    def configs() -> list[Message]:
        return [
            effect.message
            for name, effect in pair.sent[begun:]
            if (name, effect.peer) == ("ce1", pair.fe) and effect.message.type is MessageType.CONFIG
        ]

    def hands_over() -> bool:
        return any(message.lfbs[0].class_id == ceid for message in configs())

    add("30.0.0.0/24")
    pair.ne.processes["ce1"].command("switch", {"to": "ce2"}, lambda answer: None)
    assert len(configs()) == 1, "the route; and the FE has not answered"
    pair.until(hands_over)
    add("30.0.1.0/24")
    pair.until(lambda: pair.ne.master_of("fe1") == "ce2", 1000)
    pair.world.run_ms(50)
    route, last = configs()
    assert last.lfbs[0].class_id == ceid
    order = [effect.message for _name, effect in pair.sent[begun:]]
    answered = next(
        at
        for at, m in enumerate(order)
        if m.type is MessageType.CONFIG_RESPONSE
        and (m.header.source, m.header.correlator) == (pair.fe, route.header.correlator)
    )
    assert answered < next(at for at, m in enumerate(order) if m is last)


@pytest.mark.parametrize("following", [True, False])
def test_rule_4_handed_over_is_believed_of_a_replica_that_follows_and_then_confirmed(
    following: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = Pair()
    pair.replica.handed_over = True  # and the master has died before it told the FE
    if not following:
        pair.replica.refuses()
        monkeypatch.setattr(Following, "_feed", lambda self, fe, now: None)
    verified: list[bool] = []
    real = SyncTakeover._verify

    def verify(self: SyncTakeover, position: FePosition, now: int) -> None:
        if self._session.fe == pair.fe:
            assert self._log.head is not None, "numbered from this position on"
            verified.append(True)
        real(self, position, now)

    monkeypatch.setattr(SyncTakeover, "_verify", verify)
    pair.ne.crash("ce1")
    pair.until(lambda: not pair.ne.not_ready(), 3000)
    how = [
        effect.fields.get("how")
        for name, effect in pair.journal
        if (name, effect.event, effect.fields.get("fe")) == ("ce2", "ready", "fe1")
    ]
    pair.world.run_ms(50)
    assert (how[0] == "handed-over") is following
    assert bool(verified) is following


def test_rule_5_a_change_of_a_higher_term_is_not_taken_before_the_fe_was_asked() -> None:
    pair = Pair()
    generation, term = pair.replica.generation, pair.replica.term
    assert pair.change(term + 1, generation + 1) is ResultCode.NOT_FOUND
    assert (pair.replica.generation, pair.replica.following) == (generation, False)
    pair.until(lambda: pair.replica.following)
    assert pair.replica.term == term, "the FE says what the term is"


@pytest.mark.parametrize(
    ("theirs", "why"),
    [
        ((5, 3), ""),
        ((5, 4), "the FE got another change"),
        ((4, 3), "the journal does not reach back"),
    ],
    ids=["the same", "another term", "gone"],
)
def test_rule_5_the_last_change_is_the_fe_s_in_generation_and_term(
    theirs: tuple[int, int], why: str
) -> None:
    pair = Pair()
    replica, message = pair.replica, pair.replica.kept[-1][1]
    replica.kept.clear()
    replica.generation = 4
    replica.apply(5, message)
    replica.last_term = 3
    feed = Feed(pair.session("ce2"), replica, lambda now: None)
    state = State(entries=[Entry(*theirs, True, message)])
    if not why:
        feed._follow(state, 5)
        return
    with pytest.raises(ProtocolError, match=why):
        feed._follow(state, 5)


def test_rule_6_after_a_refusal_nothing_is_taken_that_was_not_asked_for() -> None:
    pair = Pair()
    generation, term = pair.replica.generation, pair.replica.term
    assert pair.change(term, generation + 2) is ResultCode.NOT_FOUND
    assert not pair.replica.following
    assert pair.change(term, generation + 1) is ResultCode.NOT_FOUND, "though it fits"
    assert pair.change(term, generation) is ResultCode.NOT_FOUND, "though it has that one"
    assert (pair.replica.generation, pair.replica.following) == (generation, False)
    pair.until(lambda: pair.replica.asked)
    assert pair.change(term, pair.replica.generation + 2) is ResultCode.NOT_FOUND
    assert pair.replica.asked, "what was asked for is still to come"
    pair.until(lambda: pair.replica.following)
    assert not pair.replica.asked
    assert pair.fe in pair.served.followed


def test_rule_7_a_refusal_of_what_was_sent_before_it_served_does_not_end_the_service() -> None:
    pair = Pair()
    early = pair.on_the_way()
    pair.inject("ce1", pair.ce2, pair.wants())
    head = pair.served.followed[pair.fe]
    pair.inject("ce1", pair.ce2, pair.refused(early))
    assert pair.served.followed[pair.fe] == head
    late = pair.on_the_way()
    pair.inject("ce1", pair.ce2, pair.refused(late))
    assert pair.fe not in pair.served.followed, "a refusal of what it sent since does"


def test_rule_7_nor_does_an_acknowledgement_of_it_let_anything_go() -> None:
    pair = Pair()
    early = pair.on_the_way()
    wants = pair.wants()
    pair.inject("ce1", pair.ce2, wants)
    head = pair.served.followed[pair.fe]
    kind = MessageType.CONFIG_RESPONSE
    header = early.header.reply(kind, flags_for(kind))
    pair.served.exchange.received(Message(header), pair.world.now)
    assert pair.served.followed[pair.fe] == head


def test_an_answer_that_never_came_is_a_refusal_of_its_own_service_only() -> None:
    pair = Pair()
    early = pair.on_the_way()
    pair.inject("ce1", pair.ce2, pair.wants())
    pending = pair.served.exchange._pending.pop(early.header.correlator)
    pending.on_answer(Answer(Outcome.TIMEOUT), pair.world.now)
    assert pair.fe in pair.served.followed
