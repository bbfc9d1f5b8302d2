"""Becoming an FE's master: from "I am" to "my picture equals the FE's state, and it obeys".

*Cold* (RFC 7121 section 2.1.1, Fig. 2; also the first master, and no HA at all): nothing that the
FE holds is trusted, every row is written. A prefix table that fits one operation is replaced
unread; a larger one is read first, then written row by row, and what is stale deleted last. At no
moment is a row missing that is wanted before and after: with CEFailoverPolicy 1 packets flow.

*Hot* (section 3, Fig. 5): the tables are read, compared, and only differences written.

Both begin with SET FEPO.CEID to the own ID, as the CEs of RFC 6984 section 3.3 confirm a takeover.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from ce.answers import all_failures, read_rows
from ce.config import BEACON_ROW
from ce.discovery import Picture, fe_state_get, ports_get, read
from ce.exchange import Answer, Outcome
from ce.fe_tables import TABLES, Rows, Table, fits_one_replace, small_tables
from ce.lfbs import FE_OPER_ENABLE, component, event, table_get
from ce.programming import Programmer
from ce.routes import last_configured_row
from forces.errors import ProtocolError, ResultCode
from forces.messages import LfbSelect, OperType
from forces.paths import TABLE_END

if TYPE_CHECKING:
    from ce.session import FeSession

RANGE_ROWS = 2000
"""Rows of one GET: as SPARSEDATA 20 octets each, well below what 16-bit TLV lengths allow."""
READ_WINDOW = 4
"""Queries of ranges that an FE has not answered."""
MAX_READ_MESSAGES = 4000
MAX_JOURNALED_FAILURES = 10


class Takeover:
    """One attempt. Reads (if any), then writes, then settles until nothing differs."""

    def __init__(self, session: FeSession, programmer: Programmer, hot: bool) -> None:
        self.kind = "hot" if hot else "cold"
        self.writing = False
        """The reading is over: a changed intention may be sent as a difference."""
        self._session = session
        self._programmer = programmer
        self._waiting = 0
        """Requests of ours that are not answered: the confirmation, reads, FEState."""
        self._reading = 0
        self._ranges: deque[tuple[int, int]] = deque()
        """Rows of the prefix table that have not been asked for yet."""
        self._read: dict[Table, Rows] = {one: {} for one in TABLES}
        self._unreadable = False
        self._replaced = False
        self._enabled = False
        self._fe_state: int | None = session.news.picture.fe_state
        self._small = small_tables(session.context.config.alternates)

    def start(self, now: int) -> None:
        session = self._session
        self._confirm(now)
        if self.kind == "hot":
            state = (fe_state_get(), *ports_get(session.port_ids))
            self._read_tables((*state, *map(table_get, self._small)), now)
        elif fits_one_replace(session.tables.intended[Table.PREFIXES]):
            found = {which: session.news.picture.rows.get(which, {}) for which in self._small}
            for which, rows in found.items():
                session.tables.learn(which, rows)
            session.journal("discovered", rows=sum(map(len, found.values())))
            self._replaced = True
            self._write(now)
        else:
            self._read_tables(tuple(map(table_get, self._small)), now)

    def _current(self) -> bool:
        """False: the role was lost, or another attempt has replaced this one."""
        return self._session.takeover is self

    def _confirm(self, now: int) -> None:
        ceid = component("FEPO", "CEID")
        status = event("EtherPHYCop", "PHYPortStatusChanged")
        lfbs = (
            ceid.select(OperType.SET, ceid.set(self._session.context.config.id)),
            *(status.subscribe(port) for port in self._session.port_ids),
        )
        self._waiting += 1
        self._session.exchange.config(lfbs, now, self._confirmed)

    def _confirmed(self, answer: Answer, now: int) -> None:
        if not self._answered(answer, now):
            return
        assert answer.message is not None
        failed = all_failures(answer.message)
        if failed:
            shown = {str(where): code for where, code in list(failed.items())}
            first = dict(list(shown.items())[:MAX_JOURNALED_FAILURES])
            self._session.journal("confirm_failed", count=len(failed), paths=first)
        self.settle(now)

    def _answered(self, answer: Answer, now: int) -> bool:
        """Book one answer; False: there is nothing to do with it."""
        self._waiting -= 1
        if not self._current() or answer.outcome is Outcome.LOST:
            return False
        if answer.message is None:
            self._session.journal("takeover_timeout", kind=self.kind)
            self._session.take_over_again(now)
            return False
        return True

    def _read_tables(self, first: tuple[LfbSelect, ...], now: int) -> None:
        """The small things and the prefix table: in one Query if the table is small, else by
        ranges of rows, so that no answer outgrows its message."""
        intended = self._session.tables.intended[Table.PREFIXES]
        if len(intended) <= RANGE_ROWS:
            self._get((*first, table_get(Table.PREFIXES)), 0, TABLE_END, now)
            return
        self._get(first, 0, 0, now)
        highest = last_configured_row(self._session.context.config)
        for start in range(0, highest + 1, RANGE_ROWS):
            self._ranges.append((start, min(start + RANGE_ROWS - 1, highest)))
        self._ranges.append((highest + 1, TABLE_END))
        self._get_ranges(now)

    def _get_ranges(self, now: int) -> None:
        """A few at a time: an FE that answers fifty of them is silent for hundreds of ms."""
        while self._ranges and self._reading < READ_WINDOW:
            start, end = self._ranges.popleft()
            self._get((table_get(Table.PREFIXES, start, end),), start, end, now)

    def _get(self, lfbs: tuple[LfbSelect, ...], start: int, end: int, now: int) -> None:
        self._waiting += 1
        self._reading += 1
        self._session.exchange.query(
            lfbs, now, lambda answer, when: self._rows(answer, start, end, when)
        )

    def _rows(self, answer: Answer, start: int, end: int, now: int) -> None:
        self._reading -= 1
        if not self._answered(answer, now):
            return
        assert answer.message is not None
        try:
            for which in TABLES:
                rows, failed = read_rows(which, answer.message)
                self._read[which].update(rows)
                if failed == {ResultCode.CONTENTS_TOO_LONG} and end > start:
                    self._read_halves(start, end)
                elif failed:
                    self._cannot_read(which, f"result codes {sorted(failed)}")
        except ProtocolError as error:
            self._cannot_read(Table.PREFIXES, error.reason)
        picture = Picture()
        read(answer.message, picture)
        if picture.fe_state is not None:
            self._fe_state = picture.fe_state
        if picture.ports:
            asked = answer.message.header.correlator
            self._session.news.learn_queried_ports(picture.ports, asked, now)
        if self._current():
            self._get_ranges(now)
            if self._reading == 0:
                self._tables_read(now)

    def _read_halves(self, start: int, end: int) -> None:
        """There are more rows than we thought. Rows lie at the low end of a range: with an open
        end, ask for the next rows and for the rest."""
        if len(self._ranges) >= MAX_READ_MESSAGES:
            self._cannot_read(Table.PREFIXES, "too many rows")
            return
        middle = start + RANGE_ROWS - 1 if end - start > 2 * RANGE_ROWS else (start + end) // 2
        self._ranges.extendleft(((middle + 1, end), (start, middle)))

    def _cannot_read(self, which: Table, reason: str) -> None:
        self._unreadable = True
        self._session.journal("read_failed", table=which.value[1], reason=reason)

    def _tables_read(self, now: int) -> None:
        session = self._session
        session.beacon.found(self._read[Table.PREFIXES].get(BEACON_ROW))
        for which, rows in self._read.items():
            session.tables.learn(which, rows)
        session.journal("discovered", rows=sum(len(rows) for rows in self._read.values()))
        self._write(now)

    def _write(self, now: int) -> None:
        session = self._session
        self.writing = True
        if self._replaced:
            self._programmer.write(session.tables.rewrite(), now)
        else:
            if self.kind == "cold" or self._unreadable:
                session.tables.distrust()
            self._programmer.outdated()
            self._programmer.sync(now)
        if self._fe_state != FE_OPER_ENABLE and not self._enabled:
            # Last: what an FE starts to forward by should be there (RFC 5812 section 5.1).
            self._enabled = True
            self._waiting += 1
            state = component("FEObject", "FEState")
            session.exchange.config(
                (state.select(OperType.SET, state.set(FE_OPER_ENABLE)),), now, self._confirmed
            )
        self.settle(now)

    def settle(self, now: int) -> None:
        """Ready once everything is acknowledged and nothing differs any more."""
        if not self.writing or self._waiting or self._programmer.busy:
            return
        tables = self._session.tables
        if self._replaced and tables.replace_refused():
            # The FE would not have the whole table at once: go the long way.
            self._replaced = False
            self.writing = False
            self._read_tables(tuple(map(table_get, self._small)), now)
            return
        if self._programmer.sync(now):
            return
        self._session.now_ready(self.kind, tables.unwilling(), now)
