"""A master that is about to hand an FE over: it stops before it SETs FEPO.CEID to another CE.

With replicas (docs/ce-ce-sync.md) it also knows by then what has become of everything that it
sent, for they believe in it; and it goes just after a beat of its beacon, so that the next beat is
the new master's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ce.session import FeSession

Leave = Callable[[int, str | None], None]
"""Called with `now`, and why it came to nothing (None: go)."""


class Departure:
    def __init__(self, session: FeSession) -> None:
        self.under_way = False
        """From the decision on; nothing new is programmed."""
        self._session = session
        self._go: Leave | None = None

    def begin(self, go: Leave, now: int) -> None:
        self.under_way = True
        self._go = go
        if self._session.fr is None or not self._session.beacon.running:
            self._stop(now)

    def beaten(self, now: int) -> None:
        """A beat has just been sent."""
        if self._go is not None:
            self._stop(now)

    def answered(self, now: int) -> None:
        """The FE has answered everything."""
        if self._go is not None and not self._session.beacon.running:
            self._leave(now, None)

    def cancel(self, now: int) -> None:
        """It did not come to that: carry on."""
        session = self._session
        self.under_way = False
        if session.fr is not None:
            session.fr.followers.wait_for_replica(session.fe, None)
        session.start_beacon(now)
        session.intention_changed(now)

    def over(self, now: int) -> None:
        """The session is the master no more, for this reason or another."""
        self.under_way = False
        if self._go is not None:
            self._leave(now, "it is not the master any more")

    def _stop(self, now: int) -> None:
        session = self._session
        session.beacon.stop()
        if session.fr is None or session.programmer is None or not session.programmer.busy:
            self._leave(now, None)

    def _leave(self, now: int, why: str | None) -> None:
        go, self._go = self._go, None
        self._session.news.forget_asked_role()
        if go is not None:
            go(now, why)
