"""Routes that all FEs get or none: a change of the whole NE as one two-phase commit (RFC 5810
section 4.3.1.2), started by the local API's `transaction`.

Every FE whose tables the new destinations change is sent its rows in one transaction; `Transaction`
drives it. Committed, the destinations stay; aborted (a refusal, a silence, a lost FE, another
change of the network), they are gone from the intention too, and an FE that did not confirm it is
taken over anew. One at a time: an FE keeps one open transaction of each CE.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ce.config import Destination
from ce.fe_tables import Write
from ce.lfbs import write_select
from ce.ne_state import NeState
from ce.programming import Programmer
from ce.session import MS, FeSession
from ce.transaction import MAX_MESSAGES, Phase, Transaction
from forces.effects import Deliver, Effect, Journal
from forces.errors import ResultCode

DEFAULT_TIMEOUT_MS = 1000
TIMEOUTS_MS = range(10, 1501)
"""Of one phase: three of them end within the local API's own time-out."""
MAX_ROUTES = 1000
"""Of one transaction: one Config of rows for each FE and table (`ce.fe_tables.MAX_CONFIG_ROWS`)."""


class NotNow(Exception):
    """The transaction is not begun; the text is for the API's user."""


@dataclass(frozen=True, slots=True)
class _Part:
    """One FE's."""

    session: FeSession
    programmer: Programmer
    writes: tuple[Write, ...]

    @property
    def in_office(self) -> bool:
        """False: this CE has lost the FE, or its mastership, meanwhile."""
        return self.session.is_master and self.session.programmer is self.programmer


class AtomicRoutes:
    def __init__(
        self,
        ne: NeState,
        sessions: Mapping[int, FeSession],
        names: Mapping[int, str],
        out: list[Effect],
    ) -> None:
        self._ne = ne
        self._sessions = sessions
        self._names = names
        self._out = out
        self._under_way: Transaction | None = None
        self._undone = False
        self._token = 0
        """Of the command that asked for it."""
        self._destinations: Sequence[Destination] = ()
        self._parts: dict[int, _Part] = {}

    def start(
        self, destinations: Sequence[Destination], timeout_ms: int, token: int, now: int
    ) -> None:
        """Ends in one `Deliver` for the token. Raises NotNow, and then nothing has changed."""
        if self._under_way is not None:
            raise NotNow("another transaction is under way")
        if timeout_ms not in TIMEOUTS_MS:
            raise NotNow(f"timeout_ms is {TIMEOUTS_MS[0]} to {TIMEOUTS_MS[-1]}")
        if not 1 <= len(destinations) <= MAX_ROUTES:
            raise NotNow(f"a transaction has 1 to {MAX_ROUTES} routes")
        busy = {fe: why for fe in self._ne.tables if (why := self._why_not(fe)) is not None}
        self._add(destinations)
        changed = sorted(self._ne.recompute())
        bad = [f"{self._names[fe]} {busy[fe]}" for fe in changed if fe in busy]
        writes = {fe: self._ne.tables[fe].difference() for fe in changed}
        if any(len(some) > MAX_MESSAGES for some in writes.values()):
            bad.append(f"more than {MAX_MESSAGES} Configs for an FE")
        if bad or not changed:
            self._take_back(destinations)
            self._ne.recompute()
            raise NotNow("; ".join(bad) or "no FE would have another route")
        self._begin(writes, destinations, timeout_ms * MS, token, now)

    def _why_not(self, fe: int) -> str | None:
        """Why this FE cannot take part now."""
        session = self._sessions.get(fe)
        if session is None or not session.is_master:
            return "does not have this CE as its master"
        if not session.ready or session.departure.under_way or session.programmer is None:
            return "is being taken over or handed over"
        if session.programmer.busy:
            return "is being programmed"
        return None if session.tables.in_step() else "does not hold all of its rows"

    def _add(self, destinations: Sequence[Destination]) -> None:
        added: list[Destination] = []
        try:
            for destination in destinations:
                if destination.prefix in self._ne.routing.run_time:
                    raise ValueError(f"{destination.prefix} is there already")
                self._ne.add(destination)
                added.append(destination)
        except ValueError as error:
            self._take_back(added)
            raise NotNow(f"route not added: {error}") from None

    def _take_back(self, destinations: Sequence[Destination]) -> None:
        for destination in reversed(destinations):
            self._ne.take_back(destination.prefix)

    def _begin(
        self,
        writes: Mapping[int, Sequence[Write]],
        destinations: Sequence[Destination],
        timeout_ns: int,
        token: int,
        now: int,
    ) -> None:
        self._token, self._destinations, self._parts = token, destinations, {}
        self._undone = False
        for fe, some in writes.items():
            session = self._sessions[fe]
            assert session.programmer is not None
            self._parts[fe] = _Part(session, session.programmer, tuple(some))
            session.distrust_replicas(now)  # they would take what is only validated for done
            for write in some:
                session.tables.sent(write)
        fes = [self._names[fe] for fe in writes]
        self._journal("begin", fes=fes, routes=len(destinations))
        bodies = {
            fe: [(write_select(write),) for write in part.writes]
            for fe, part in self._parts.items()
        }
        exchanges = {fe: part.session.exchange for fe, part in self._parts.items()}
        self._under_way = Transaction(bodies, exchanges, self._ended, self._aborted, timeout_ns)
        self._under_way.start(now)

    @property
    def under_way(self) -> bool:
        return self._under_way is not None

    def network_changed(self, fes: Iterable[int], now: int) -> None:
        """These FEs are to have other rows, at once: what was asked for does not fit any more. A
        repair never waits for a transaction."""
        if self._under_way is not None:
            disturbed = sorted(self._parts.keys() & set(fes))
            if disturbed:
                self._under_way.abort(disturbed[0], "the network has changed meanwhile", now)

    def _aborted(self, transaction: Transaction, now: int) -> None:
        """ABT is on its way to all: what they are sent from now on finds them as they were."""
        if self._undone:
            return
        self._undone = True
        self._take_back(self._destinations)
        self._ne.recompute()
        self._book(ResultCode.UNSPECIFIED_ERROR, now)
        for part in self._parts.values():
            part.session.intention_changed(now)

    def _book(self, code: ResultCode, now: int) -> None:
        """What has become of the rows, in the pictures of the FEs."""
        for part in self._parts.values():
            if part.in_office:
                for write in part.writes:
                    failed = dict.fromkeys(write.rows, int(code)) if code else {}
                    part.session.tables.done(write, failed)
                part.session.distrust_replicas(now)

    def _ended(self, transaction: Transaction, now: int) -> None:
        self._under_way = None
        if transaction.phase is Phase.COMMITTED:
            self._book(ResultCode.SUCCESS, now)
        else:
            self._aborted(transaction, now)
        for fe in transaction.unconfirmed:
            if self._parts[fe].in_office:
                self._parts[fe].session.start_over(now)
        value, error = self._said(transaction)
        self._journal("aborted" if error else "committed", **value)
        self._out.append(Deliver(self._token, value, error))

    def _said(self, transaction: Transaction) -> tuple[dict[str, Any], str | None]:
        fes = [self._names[fe] for fe in self._parts]
        value = {"fes": fes, "routes": [one.prefix for one in self._destinations]}
        if transaction.phase is Phase.COMMITTED:
            return value, None
        why = "; ".join(f"{self._names[fe]}: {why}" for fe, why in transaction.failures.items())
        unconfirmed = [self._names[fe] for fe in sorted(transaction.unconfirmed)]
        more = f"; not confirmed by {', '.join(unconfirmed)}" if unconfirmed else ""
        return {**value, "unconfirmed": unconfirmed}, f"aborted: {why}{more}"

    def _journal(self, what: str, **fields: Any) -> None:
        self._out.append(Journal("transaction", {"what": what, **fields}))
