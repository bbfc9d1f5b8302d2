"""Planned switches: the master SETs FEPO.CEID to another CE (RFC 7121 section 2.1.1).

In cold standby the FE leaves for its new master, with or without an answer: the end of the
association is a success too. CEs that synchronise hand over one FE after the other: the next master
has to answer within a beat, and four FEs at once would each wait for the others.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from ce.answers import all_failures
from ce.exchange import Answer, Outcome
from ce.lfbs import component
from ce.session import FeSession, Role
from forces.errors import ResultCode
from forces.messages import OperType

SWITCH_TIMEOUT_NS = 3_000_000_000
NOT_MASTER = "it is not the master any more"

OnSwitched = Callable[[Mapping[int, str], int], None]
"""Called once at the end, with FE -> why it was not handed over, and `now`."""


@dataclass(slots=True)
class _Order:
    to: int
    left: deque[int]
    on_end: OnSwitched
    waiting: set[int] = field(default_factory=set)
    failed: dict[int, str] = field(default_factory=dict)


class Switching:
    def __init__(self, sessions: Mapping[int, FeSession], names: Mapping[int, str]) -> None:
        self._sessions = sessions
        self._names = names

    def can(self, fe: int) -> bool:
        """This CE is its master, and not about to hand it over."""
        session = self._sessions.get(fe)
        return (
            session is not None and session.role is Role.MASTER and not session.departure.under_way
        )

    def begin(self, fes: Sequence[int], to: int, now: int, on_end: OnSwitched) -> None:
        order = _Order(to, deque(fes), on_end)
        one_by_one = any(self._sessions[fe].fr is not None for fe in fes)
        for _ in range(1 if one_by_one else len(fes)):
            if order.left:
                self._next(order, now)

    def _next(self, order: _Order, now: int) -> None:
        fe = order.left.popleft()
        order.waiting.add(fe)
        if self.can(fe):
            self._one(order, self._sessions[fe], now)
        else:
            self._done(order, fe, NOT_MASTER, now)

    def _done(self, order: _Order, fe: int, why: str | None, now: int) -> None:
        order.waiting.discard(fe)
        if why is not None:
            order.failed[fe] = why
        if order.waiting:
            return
        if order.left:
            self._next(order, now)
        else:
            order.on_end(order.failed, now)

    def _one(self, order: _Order, session: FeSession, now: int) -> None:
        def answered(answer: Answer, when: int) -> None:
            why = None
            if answer.message is not None:
                codes = set(all_failures(answer.message).values())
                if codes:
                    why = "refused: " + ", ".join(_code(code) for code in sorted(codes))
            elif answer.outcome is Outcome.TIMEOUT:
                why = "no answer"
            if why is None and answer.outcome is Outcome.ANSWERED:
                session.become_backup(order.to, when)
            elif why is not None and session.role is Role.MASTER:
                session.departure.cancel(when)
            self._done(order, session.fe, why, when)

        def go(when: int, why: str | None) -> None:
            if why is not None:
                self._done(order, session.fe, why, when)
                return
            session.journal("switch", to=self._names[order.to])
            if session.fr is not None:
                session.fr.followers.wait_for_replica(session.fe, order.to)
            ceid = component("FEPO", "CEID")
            session.exchange.config(
                (ceid.select(OperType.SET, ceid.set(order.to)),),
                when,
                answered,
                timeout_ns=SWITCH_TIMEOUT_NS,
            )

        session.departure.begin(go, now)


def _code(code: int) -> str:
    try:
        return ResultCode(code).name
    except ValueError:
        return f"0x{code:x}"
