"""Carrying an FE's tables from what they are expected to hold to what is intended.

Writes go out pipelined, in the order given, a slice at a time (`ce.work`); all but the last of a
slice ask for an answer on failure only (RFC 5810 section 7.6), the last one's answer vouches for
them. A row that fails is journaled and tried once more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from ce.answers import failed_rows
from ce.beacon import FeBeacon
from ce.exchange import Answer, Exchange, Outcome
from ce.fe_tables import FeTables, Op, Table, Write
from ce.lfbs import write_select
from ce.work import Work
from forces.effects import Effect, Journal
from forces.errors import ResultCode
from forces.header import Ack

MAX_JOURNALED_FAILURES = 20
"""Rows per Config that are named in the journal; the count is always there."""

SLICE_CONFIGS = 4
"""Configs that are made in one turn: some 3 ms, with their octets for the FE and for replicas."""
SLICE_LOOKS = 16
"""Steps of a plan in one turn (`ce.fe_tables.LOOK_ROWS` rows each)."""
LARGE = 10_000
"""Rows that take some ms to sort and to copy: every FE's in a turn of its own."""
WINDOW = 32
"""Configs that an FE has not answered before it gets no more of a plan: a few hundred ms of its
kernel's work. What it has to wait for is then never far behind what it has, nor a replica far ahead
of it."""
WRITE_NS = 30_000_000_000
"""Four FEs of one kernel wait for each other: one was seen to wait for ten seconds."""
CONFIG_NS = 200_000_000
"""What the FE may need for each Config ahead of another one (1000 rows)."""


END = object()
"""Of a plan."""


class Programmer:
    """One FE, from a takeover to the end of the mastership."""

    def __init__(
        self,
        fe_name: str,
        tables: FeTables,
        exchange: Exchange,
        beacon: FeBeacon,
        out: list[Effect],
        work: Work,
        on_idle: Callable[[int], None],
        on_failure: Callable[[int], None],
    ) -> None:
        self.rows_written = 0
        self.in_flight = 0
        """Configs that are neither answered nor implied."""
        self._fe_name = fe_name
        self._tables = tables
        self._exchange = exchange
        self._beacon = beacon
        self._out = out
        self._work = work
        self._on_idle = on_idle
        self._on_failure = on_failure
        self._closed = False
        self._plan: Iterator[Write | None] | None = None
        self._waits = False
        """For a turn."""
        self._current = False
        """Nothing has happened since the last plan was begun that calls for another one."""

    def close(self) -> None:
        """No longer the master: answers that still come mean nothing."""
        self._closed = True
        self._plan = None

    @property
    def busy(self) -> bool:
        """Not everything that is to be sent has been, or not everything is answered."""
        return self.in_flight > 0 or self._plan is not None

    def outdated(self) -> None:
        """What is intended, or what the FE is believed to hold, has changed."""
        self._current = False

    def abandon(self, now: int) -> None:
        """The rest of the plan is not wanted any more, and nobody makes another one: the next
        master will."""
        if self._plan is not None:
            self._plan = None
            if not self.busy:
                self._on_idle(now)

    def sync(self, now: int) -> bool:
        """Begin to send what differs; False if nothing does. Of a table that is not large the
        first slice goes at once."""
        under_way = self._plan is not None
        if not self._current:
            self._current = True
            self._plan = self._tables.plan()
            if not under_way and len(self._tables.intended[Table.PREFIXES]) < LARGE:
                return self._slice(now)
            self._carry_on(now)
        return self._plan is not None

    def _slice(self, now: int) -> bool:
        """Send the next Configs of the plan; False if it has ended without any."""
        assert self._plan is not None
        writes: list[Write] = []
        for _ in range(SLICE_LOOKS):
            step = next(self._plan, END)
            if step is END:
                self._plan = None
                break
            if isinstance(step, Write):
                writes.append(step)
                if len(writes) == SLICE_CONFIGS:
                    break
        self.write(writes, now)
        self._carry_on(now)
        return bool(writes) or self._plan is not None

    def _carry_on(self, now: int) -> None:
        """The plan gets its next turn, unless the FE has enough to do."""
        if self._plan is not None and not self._waits and self.in_flight < WINDOW:
            self._waits = True
            self._work.later(self._next_slice, now)

    def _next_slice(self, now: int) -> None:
        self._waits = False
        if self._plan is not None:
            self._slice(now)
            if not self.busy:
                self._on_idle(now)

    def write(self, writes: Iterable[Write], now: int) -> None:
        """Send these, the last one to be answered."""
        todo = list(writes)
        for number, write in enumerate(todo, 1):
            if write.table is Table.NEXT_HOPS and write.op is Op.DEL:
                self._beacon.leave(set(write.rows), now)
            timeout_ns = WRITE_NS + (self.in_flight + 1) * CONFIG_NS
            self._send(write, number == len(todo), timeout_ns, now)

    def _send(self, write: Write, last: bool, timeout_ns: int, now: int) -> None:
        self._tables.sent(write)
        if write.op is Op.REPLACE:
            self._beacon.found(None)
        self.rows_written += len(write.rows)
        self.in_flight += 1
        # A replaced table is answered by one result: nothing is saved by leaving it out.
        answered = last or write.op is Op.REPLACE
        self._exchange.config(
            (write_select(write),),
            now,
            lambda answer, when: self._done(write, answer, when),
            Ack.ALWAYS_ACK if answered else Ack.FAILURE_ACK,
            fence=answered,
            timeout_ns=timeout_ns,
        )

    def _done(self, write: Write, answer: Answer, now: int) -> None:
        self.in_flight -= 1
        if self._closed or answer.outcome is Outcome.LOST:
            return
        failed: dict[int, int] = {}
        if answer.message is not None:
            failed = failed_rows(write, answer.message)
        elif answer.outcome is Outcome.TIMEOUT:
            failed = dict.fromkeys(write.rows, int(ResultCode.TIMED_OUT))
        self._tables.done(write, failed)
        if failed:
            self.outdated()
            self._journal_failures(write, failed)
            self._on_failure(now)
        self._carry_on(now)
        if not self.busy:
            self._on_idle(now)

    def _journal_failures(self, write: Write, failed: dict[int, int]) -> None:
        shown = list(failed.items())[:MAX_JOURNALED_FAILURES]
        self._out.append(
            Journal(
                "rows_failed",
                {
                    "fe": self._fe_name,
                    "op": write.op.value,
                    "table": write.table.value[1],
                    "count": len(failed),
                    "rows": {str(row): code for row, code in shown},
                },
            )
        )
