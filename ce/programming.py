"""Carrying an FE's tables from what they are expected to hold to what is intended.

Writes go out pipelined, in the order given; all but the last ask for an answer on failure only
(RFC 5810 section 7.6), the last one's answer vouches for them. A row that fails is journaled and
tried once more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ce.beacon import FeBeacon
from ce.exchange import REQUEST_TIMEOUT_NS, Answer, Exchange, Outcome
from ce.fe_tables import FeTables, Op, Table, Write
from ce.lfbs import failed_rows, write_select
from forces.effects import Effect, Journal
from forces.errors import ResultCode
from forces.header import Ack

MAX_JOURNALED_FAILURES = 20
"""Rows per Config that are named in the journal; the count is always there."""


CONFIG_NS = 200_000_000
"""What the FE may need for each Config ahead of another one (1000 rows)."""


class Programmer:
    """One FE, from a takeover to the end of the mastership."""

    def __init__(
        self,
        fe_name: str,
        tables: FeTables,
        exchange: Exchange,
        beacon: FeBeacon,
        out: list[Effect],
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
        self._on_idle = on_idle
        self._on_failure = on_failure
        self._closed = False

    def close(self) -> None:
        """No longer the master: answers that still come mean nothing."""
        self._closed = True

    def sync(self, now: int) -> bool:
        """Send what differs; False if nothing does."""
        writes = self._tables.difference()
        self.write(writes, now)
        return bool(writes)

    def write(self, writes: Iterable[Write], now: int) -> None:
        todo = list(writes)
        for number, write in enumerate(todo, 1):
            if write.table is Table.NEXT_HOPS and write.op is Op.DEL:
                self._beacon.leave(set(write.rows), now)
            timeout_ns = REQUEST_TIMEOUT_NS + number * CONFIG_NS
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
            self._journal_failures(write, failed)
            self._on_failure(now)
        if self.in_flight == 0:
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
