"""Filling one FE's replica from the FE itself, and keeping it in step while no master sends.

A new replica reads the tables by ranges of rows. Each Query asks for the FE's journal as well, so
that every answer is of one instant: the journal brings the rows that were read before to that
instant, the range adds its own. Where the journal has not everything any more it starts over.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from ce.answers import read_rows
from ce.exchange import Answer
from ce.fe_tables import Table, small_tables
from ce.lfbs import table_get
from ce.position import State, read_state, state_get
from ce.replica import FeReplica
from ce.routes import last_configured_row
from forces.errors import ProtocolError, ResultCode
from forces.messages import Message
from forces.paths import TABLE_END

if TYPE_CHECKING:
    from ce.session import FeSession

FEED_ROWS = 1000
ENTRIES = 64
"""Changes asked for at once: what an FE adds while one range is read, and more."""
MAX_STEPS = 10_000

Range = tuple[Table, int, int]


class Feed:
    """One attempt; `done` when the replica is complete, or when it has given up."""

    def __init__(
        self, session: FeSession, replica: FeReplica, on_complete: Callable[[int], None]
    ) -> None:
        self.done = False
        self._session = session
        self._replica = replica
        self._on_complete = on_complete
        self._ranges: deque[Range] = deque()
        self._begun = replica.complete
        self._entries = ENTRIES
        self._steps = 0
        self._incarnation = replica.incarnation

    def start(self, now: int) -> None:
        self._step(now)

    def stop(self) -> None:
        """What still comes is not looked at."""
        self.done = True

    def _step(self, now: int) -> None:
        self._steps += 1
        if self._steps > MAX_STEPS:
            self._give_up("it never ends")
            return
        generation = self._replica.generation
        asked = self._ranges[0] if self._ranges else None
        # Its own last change is asked for too: the FE may never have got it, and another instead.
        lfbs = [state_get(max(generation, 1), generation + self._entries)]
        if asked is not None:
            lfbs.append(table_get(*asked))
        self._session.exchange.query(
            tuple(lfbs), now, lambda answer, when: self._answered(asked, answer, when)
        )

    def _answered(self, asked: Range | None, answer: Answer, now: int) -> None:
        if self.done:
            return
        if answer.message is None:
            self._give_up("no answer")
            return
        try:
            self._take(asked, answer.message, now)
        except ProtocolError as error:
            self._restart(error.reason, now)

    def _take(self, asked: Range | None, message: Message, now: int) -> None:
        state, replica = read_state(message), self._replica
        position = state.position
        if position is None:
            self._give_up("this FE has no Ext-FEStateSync")
            return
        if not self._begun or position.incarnation != self._incarnation:
            replica.reset()
            replica.generation = position.generation
            self._incarnation, self._begun = position.incarnation, True
            self._plan()
            self._step(now)
            return
        if state.too_long:
            if self._entries == 1:
                raise ProtocolError(ResultCode.CONTENTS_TOO_LONG, "a change is too long to read")
            self._entries = max(1, self._entries // 4)
            self._step(now)
            return
        if replica.complete and position.inexact > replica.read_at:
            raise ProtocolError(ResultCode.NOT_FOUND, "a change that was not carried out whole")
        if replica.complete and position.generation < replica.generation:
            # What the master has sent to both is still on its way to the FE; or will never come
            # there: then the FE gets another change in its place, and that will show.
            later = position.term if position.term > replica.term else 0
            if later and later == replica.ahead_in and not position.pending:
                # In a later term, and for the second time: that master has sent what it had to.
                # The FE may get nothing else for a long time, and this replica fits no takeover.
                raise ProtocolError(ResultCode.NOT_FOUND, "the FE has gone on without our changes")
            replica.ahead_in = later
            self.done = True
            return
        # What is in the way is behind now: small changes (a beacon's) must not be read one by one,
        # or an FE that gets one every few ms is never caught up with.
        self._entries = min(ENTRIES, self._entries * 2)
        self._follow(state, position.generation)
        if replica.generation < position.generation:
            self._step(now)  # there is more: the rows that came with it are ahead of the others
            return
        if asked is not None:
            self._ranges.popleft()
            self._put(asked, message)
        if self._ranges:
            self._step(now)
            return
        self.done = True
        replica.term = position.term
        if not replica.complete:
            replica.is_at(position.incarnation, position.generation)
            rows = sum(len(rows) for rows in replica.tables.confirmed.values())
            self._session.journal("replicated", rows=rows, generation=replica.generation)
        self._on_complete(now)

    def _plan(self) -> None:
        config = self._session.context.config
        highest = last_configured_row(config)
        small = small_tables(config.alternates)
        self._ranges = deque((which, 0, TABLE_END) for which in small)
        for first in range(0, highest + 1, FEED_ROWS):
            last = min(first + FEED_ROWS - 1, highest)
            self._ranges.append((Table.PREFIXES, first, last))
        self._ranges.append((Table.PREFIXES, highest + 1, TABLE_END))

    def _follow(self, state: State, until: int) -> None:
        """ProtocolError if what is missing cannot be made good from the journal."""
        replica = self._replica
        before = replica.generation
        if until < before:
            raise ProtocolError(ResultCode.NOT_FOUND, "the FE is behind the replica")
        self._compare_last(state)
        for entry in state.entries:
            if entry.generation <= replica.generation:
                continue
            if entry.generation != replica.generation + 1:
                break
            if not entry.exact:
                raise ProtocolError(ResultCode.NOT_FOUND, "a change that was not carried out whole")
            replica.apply(entry.generation, entry.message)
            replica.last_term = entry.term
        if before == replica.generation < until:
            raise ProtocolError(ResultCode.NOT_FOUND, "the journal's tail is gone")

    def _compare_last(self, state: State) -> None:
        """The replica's last change has to be the FE's, in generation and term: the old master may
        have sent it one that the FE never got (docs/ce-ce-sync.md, rule 5)."""
        replica = self._replica
        if not replica.kept or replica.kept[-1][0] != replica.generation:
            return  # it was read from the FE
        generation, message = replica.kept[-1]
        theirs = next((e for e in state.entries if e.generation == generation), None)
        if theirs is None:
            raise ProtocolError(ResultCode.NOT_FOUND, "the journal does not reach back")
        if theirs.message != message or replica.last_term not in (0, theirs.term):
            raise ProtocolError(ResultCode.NOT_FOUND, "the FE got another change")

    def _put(self, asked: Range, message: Message) -> None:
        which, first, last = asked
        rows, failed = read_rows(which, message)
        if failed == {ResultCode.CONTENTS_TOO_LONG} and last > first:
            middle = min(first + FEED_ROWS - 1, (first + last) // 2)
            self._ranges.appendleft((which, middle + 1, last))
            self._ranges.appendleft((which, first, middle))
            return
        if failed:
            raise ProtocolError(ResultCode.NOT_FOUND, f"result codes {sorted(failed)}")
        self._replica.put_range(which, first, last, rows)

    def _restart(self, reason: str, now: int) -> None:
        self._session.journal("replica_reset", reason=reason)
        self._replica.reset()
        self._ranges.clear()
        self._begun = False
        self._entries = ENTRIES
        self._step(now)

    def _give_up(self, reason: str) -> None:
        self.done = True
        self._session.journal("replica_failed", reason=reason)
