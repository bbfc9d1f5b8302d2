"""Requests to one FE and their answers: correlators, deadlines, what a silent one means.

RFC 5810 sections 7.6 and 7.7: a Query is always answered, a Config as its ACK flag says. A Config
with FailureACK that went well is not answered at all; it counts as done once a later Config, one
that the FE can only have answered after it, has been (`fence`): HP keeps the order, and an FE
programs its datapath in order.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import Enum

from forces.association import Association
from forces.effects import Effect, Send
from forces.header import Ack, ExecMode, Header, MessageType, TransPhase
from forces.messages import LfbSelect, Message, flags_for
from forces.values import value

REQUEST_TIMEOUT_NS = 10_000_000_000
"""The kernel may need seconds for a full table; a lost master role shows long before."""
MAX_PENDING = 10_000
MAX_PARTS = 1024
"""Messages of one answer: 64 MiB of a table. What comes beyond is left out, and missed as rows."""


class Outcome(Enum):
    ANSWERED = "answered"
    IMPLIED = "implied"
    """FailureACK, and no failure was reported."""
    TIMEOUT = "timeout"
    LOST = "lost"
    """The association ended first."""


@value
class Answer:
    outcome: Outcome
    message: Message | None = None


OnAnswer = Callable[[Answer, int], None]
"""Called with the answer and `now`."""


@value
class _Pending:
    on_answer: OnAnswer
    due_ns: int
    silent: bool
    fence: bool


@dataclass(slots=True)
class Exchange:
    association: Association
    out: list[Effect]
    """Where messages to send are put."""
    outgoing: Callable[[Send, int], None] | None = None
    """Where Configs go instead, with `now`."""
    last_correlator: int = 0
    """Of the last request."""
    _pending: dict[int, _Pending] = field(default_factory=dict)
    closed: bool = False
    _parts: dict[int, list[Message]] = field(default_factory=dict)
    """Correlator -> what has come of an answer in several messages."""

    def query(
        self,
        lfbs: tuple[LfbSelect, ...],
        now: int,
        on_answer: OnAnswer,
        timeout_ns: int = REQUEST_TIMEOUT_NS,
    ) -> int:
        """Gives the correlator: a later request has a larger one."""
        correlator = self._send(MessageType.QUERY, lfbs, Ack.NO_ACK, now)
        self._expect(correlator, _Pending(on_answer, now + timeout_ns, False, False))
        return correlator

    def config(
        self,
        lfbs: tuple[LfbSelect, ...],
        now: int,
        on_answer: OnAnswer,
        ack: Ack = Ack.ALWAYS_ACK,
        fence: bool = False,
        timeout_ns: int = REQUEST_TIMEOUT_NS,
    ) -> int:
        correlator = self._send(MessageType.CONFIG, lfbs, ack, now)
        silent = ack is Ack.FAILURE_ACK
        self._expect(correlator, _Pending(on_answer, now + timeout_ns, silent, fence))
        return correlator

    def transact(
        self,
        lfbs: tuple[LfbSelect, ...],
        phase: TransPhase,
        now: int,
        on_answer: OnAnswer,
        timeout_ns: int,
    ) -> int:
        """One Config of a two-phase commit: AlwaysACK, all-or-none (RFC 5810 4.3.1.2.2). LOST at
        once where the association has ended: an abort is for all FEs, also for one that is lost."""
        if self.closed:
            on_answer(Answer(Outcome.LOST), now)
            return 0
        correlator = self._send(MessageType.CONFIG, lfbs, Ack.ALWAYS_ACK, now, phase)
        self._expect(correlator, _Pending(on_answer, now + timeout_ns, False, False))
        return correlator

    def transaction_complete(self, lfbs: tuple[LfbSelect, ...], now: int) -> None:
        """TRCOMP: an FE does not answer it, whatever its ACK flag says."""
        self._send(MessageType.CONFIG, lfbs, Ack.ALWAYS_ACK, now, TransPhase.EOT)

    def config_unanswered(self, lfbs: tuple[LfbSelect, ...], now: int) -> None:
        """A Config whose fate the CE does not ask for (the beacon's)."""
        self._send(MessageType.CONFIG, lfbs, Ack.NO_ACK, now)

    def _send(
        self,
        kind: MessageType,
        lfbs: tuple[LfbSelect, ...],
        ack: Ack,
        now: int,
        phase: TransPhase | None = None,
    ) -> int:
        association = self.association
        mode = ExecMode.CONTINUE_ON_FAILURE if kind is MessageType.CONFIG else ExecMode.RESERVED
        flags = flags_for(kind, ack, mode)
        if phase is not None:
            flags = replace(flags, mode=ExecMode.ALL_OR_NONE, transaction=True, phase=phase)
        correlator = self.last_correlator = association.next_correlator()
        header = Header(
            kind,
            association.own_id,
            association.peer_id,
            correlator,
            flags,
        )
        send = Send(association.peer_id, Message(header, lfbs))
        if kind is MessageType.CONFIG and self.outgoing is not None:
            self.outgoing(send, now)
        else:
            self.out.append(send)
        association.sent(now)
        return correlator

    def _expect(self, correlator: int, pending: _Pending) -> None:
        assert len(self._pending) < MAX_PENDING
        self._pending[correlator] = pending

    def received(self, message: Message, now: int) -> bool:
        """A response came; False if nobody waits for it."""
        correlator = message.header.correlator
        if message.type is MessageType.QUERY_RESPONSE and message.header.flags.transaction:
            if correlator not in self._pending:
                return False
            whole = self._assembled(message)
            if whole is None:
                return True
            message = whole
        pending = self._pending.pop(correlator, None)
        if pending is None:
            return False
        if pending.fence:
            earlier = [
                number
                for number, other in self._pending.items()
                if number < correlator and other.silent
            ]
            for number in earlier:
                self._pending.pop(number).on_answer(Answer(Outcome.IMPLIED), now)
        pending.on_answer(Answer(Outcome.ANSWERED, message), now)
        return True

    def _assembled(self, message: Message) -> Message | None:
        """A large table comes in several messages (RFC 7391 section 3.3): all of them in one,
        once the last has come."""
        correlator, phase = message.header.correlator, message.header.flags.phase
        if phase is TransPhase.SOT:
            self._parts[correlator] = []
        parts = self._parts.setdefault(correlator, [])
        if phase in (TransPhase.SOT, TransPhase.MOT):
            if len(parts) < MAX_PARTS:
                parts.append(message)
            return None
        del self._parts[correlator]
        bodies = (part.lfbs for part in (*parts, message))
        return replace(message, lfbs=tuple(itertools.chain.from_iterable(bodies)))

    def next_due(self) -> int | None:
        """When the oldest request runs out of time."""
        if not self._pending:
            return None
        return min([pending.due_ns for pending in self._pending.values()])

    def expire(self, now: int) -> None:
        if not self._pending:
            return
        late = [number for number, pending in self._pending.items() if pending.due_ns <= now]
        for number in late:
            pending = self._pending.pop(number, None)
            self._parts.pop(number, None)
            if pending is not None:
                pending.on_answer(Answer(Outcome.TIMEOUT), now)

    def close(self, now: int) -> None:
        """The association ended: nothing will be answered any more."""
        self.closed = True
        pending, self._pending = self._pending, {}
        self._parts.clear()
        for request in pending.values():
            request.on_answer(Answer(Outcome.LOST), now)
