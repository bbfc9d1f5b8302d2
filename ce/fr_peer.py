"""One other CE: the association both ways, and what waits for its replicas (docs/ce-ce-sync.md).

`is_element`: it took us as an element, its Configs are changes for our replicas. `replicates`: it
is an element of ours, and gets ours.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from ce.answers import all_failures
from ce.config import CeConfig
from ce.exchange import Answer, Exchange
from ce.replica_lfb import Apply, Learn, carry_out, change_of, not_read, wants
from forces.association import Association, Due
from forces.effects import Effect, Send, SetTimer
from forces.header import Ack, Header, MessageType
from forces.messages import LfbSelect, Message, SetupResult, flags_for

MS = 1_000_000
MAX_BATCH_OCTETS = 128 << 10
"""Of one Config to a replica."""
OTHER_OCTETS = 128
"""About, of a destination."""
MAX_UNANSWERED = 256
"""Configs that a replica has not answered; one that is so late has to ask anew."""
ANSWER_NS = 1_000_000_000
SETUP_AGAIN_NS = 200_000_000
"""An AssociationSetup that is not answered is sent anew: the other end may have been a moment
behind, and the transport holds."""


class FrPeer:
    def __init__(
        self, config: CeConfig, peer: int, name: str, dials: bool, out: list[Effect]
    ) -> None:
        self.id = peer
        self.name = name
        self.dials = dials
        """We dial it; else it dials us."""
        self.is_up = False
        self.is_element = False
        self.replicates = False
        self.followed: dict[int, int] = {}
        """FE -> generation up to which its replica has acknowledged."""
        self._served: dict[int, int] = {}
        """FE -> how often its replica has been served."""
        self._config = config
        self._out = out
        self._setup = 0
        """Correlator of the AssociationSetup that waits for its answer."""
        self._setup_due = 0
        self._armed_ns = 0
        """When the timer is due."""
        self._timer_key = ("fr", peer)
        self._suspected_after = 0
        """When it was last heard before the silence in which the FEs were asked."""
        self.queued: deque[tuple[int, int, LfbSelect, int]] = deque()
        """FE, generation, the change, its octets."""
        self._unanswered = 0
        self._renew(0)

    def _renew(self, now: int) -> None:
        config = self._config
        self.association = Association(
            config.id, self.id, now, config.fr_heartbeat_ms * MS, config.fr_dead_ms * MS
        )
        self.exchange = Exchange(self.association, self._out)

    # The association

    def up(self, now: int) -> None:
        self._renew(now)
        self.is_up = True
        self._set_up(now)
        self._arm(now)

    def _set_up(self, now: int) -> None:
        kind = MessageType.ASSOCIATION_SETUP
        self._setup = self.association.next_correlator()
        self._setup_due = now + SETUP_AGAIN_NS
        header = Header(kind, self._config.id, self.id, self._setup, flags_for(kind))
        self._send(Message(header), now)

    def down(self, now: int) -> None:
        self.is_up = self.is_element = self.replicates = False
        self.followed.clear()
        self.queued.clear()
        self._unanswered = 0
        exchange = self.exchange
        self._renew(now)
        exchange.close(now)

    def answer_setup(self, message: Message, size: int, now: int) -> None:
        if message.header.source != self.id:
            self.association.refused(size)
            return
        self.association.received(now, size)
        kind = MessageType.ASSOCIATION_SETUP_RESPONSE
        header = message.header.reply(kind, flags_for(kind))
        self._send(Message(header, result=SetupResult.SUCCESS), now)
        self.replicates = True
        self.followed.clear()

    def setup_answered(self, message: Message, size: int, now: int) -> bool:
        if message.header.correlator != self._setup or message.result != SetupResult.SUCCESS:
            self.association.refused(size)
            return False
        self.association.received(now, size)
        self._setup = 0
        self.is_element = True
        return True

    def timer(self, now: int) -> bool:
        """False: it has been silent too long, and the association is over."""
        self.association.fired(now, self._armed_ns)
        due = self.association.due(now)
        if Due.DEAD in due:
            return False
        if Due.HEARTBEAT in due:
            self._send(self.association.heartbeat(), now)
        if self._setup and now >= self._setup_due:
            self._set_up(now)
        self.exchange.expire(now)
        self._arm(now)
        return True

    def suspected(self, now: int) -> bool:
        """Once in each silence, at half of the dead interval: the FEs are to look."""
        heard = self.association.last_received_ns
        if now < self._suspect_ns() or self._suspected_after == heard:
            return False
        self._suspected_after = heard
        return True

    def _suspect_ns(self) -> int:
        return self.association.last_received_ns + self._config.fr_dead_ms * MS // 2

    def _arm(self, now: int) -> None:
        due_ns = self.association.deadline()
        assert due_ns is not None, "CEs send heartbeats to one another"
        answer_ns = self.exchange.next_due()
        if answer_ns is not None and answer_ns < due_ns:
            due_ns = answer_ns
        # Before it is an element of ours nobody asks: a deadline of the past would never go away.
        if self.is_element and self._suspected_after != self.association.last_received_ns:
            due_ns = min(due_ns, self._suspect_ns())
        self._armed_ns = max(due_ns, now + 1)
        self._out.append(SetTimer(self._timer_key, self._armed_ns))

    def _send(self, message: Message, now: int) -> None:
        self._out.append(Send(self.id, message))
        self.association.sent(now)

    # To its replicas

    def serves(self, fe: int, generation: int) -> None:
        """Its replica has asked for what follows this generation. Answers to what was sent to it
        before say nothing any more (docs/ce-ce-sync.md, rule 7)."""
        self._served[fe] = self._served.get(fe, 0) + 1
        self.followed[fe] = generation

    def queue(self, fe: int, incarnation: int, term: int, generation: int, octets: bytes) -> None:
        select = change_of(fe, incarnation, term, generation, octets)
        self.queued.append((fe, generation, select, len(octets)))

    def queue_other(self, select: LfbSelect) -> None:
        """What is about no FE: it keeps its place among the changes."""
        self.queued.append((0, 0, select, OTHER_OCTETS))

    def flush(
        self, now: int, done: Callable[[FrPeer, dict[int, int], set[int], int], None]
    ) -> None:
        while self.queued:
            batch: list[tuple[int, int, LfbSelect, int]] = []
            octets = 0
            while self.queued and (not batch or octets + self.queued[0][3] < MAX_BATCH_OCTETS):
                batch.append(self.queued.popleft())
                octets += batch[-1][3]
            self._replicate(batch, now, done)

    def _replicate(
        self,
        batch: list[tuple[int, int, LfbSelect, int]],
        now: int,
        done: Callable[[FrPeer, dict[int, int], set[int], int], None],
    ) -> None:
        last = {fe: generation for fe, generation, _, _ in batch}
        if self._unanswered >= MAX_UNANSWERED:
            done(self, {}, set(last), now)
            return
        self._unanswered += 1
        served = {fe: self._served.get(fe, 0) for fe in last}

        def answered(answer: Answer, when: int) -> None:
            self._unanswered = max(0, self._unanswered - 1)
            now_meant = {fe for fe, count in served.items() if count == self._served.get(fe, 0)}
            if answer.message is None:
                done(self, {}, now_meant, when)
                return
            failed = {ids[1] for (_, _, ids) in all_failures(answer.message) if len(ids) > 1}
            acked = {fe: last[fe] for fe in now_meant - failed}
            done(self, acked, failed & now_meant, when)

        lfbs = tuple(select for _, _, select, _ in batch)
        self.exchange.config(lfbs, now, answered, Ack.ALWAYS_ACK, timeout_ns=ANSWER_NS)

    # From it, to ours

    def answer_changes(self, message: Message, apply: Apply, learn: Learn, now: int) -> None:
        answers = carry_out(message, apply, learn)
        if message.header.flags.ack is Ack.ALWAYS_ACK:
            response = MessageType.CONFIG_RESPONSE
            header = message.header.reply(response, flags_for(response))
            self._send(Message(header, answers), now)

    def answer_query(self, message: Message, now: int) -> None:
        kind = MessageType.QUERY_RESPONSE
        header = message.header.reply(kind, flags_for(kind))
        self._send(Message(header, not_read(message)), now)

    def want(self, fe: int, incarnation: int, generation: int, now: int) -> None:
        """This CE's replica has everything up to this generation."""
        kind = MessageType.EVENT_NOTIFICATION
        header = Header(kind, self._config.id, self.id, 0, flags_for(kind))
        self._send(Message(header, (wants(fe, incarnation, generation),)), now)
