"""What one FE's tables should hold against what the FE has acknowledged, and the difference.

Rows are opaque contents here (packed by `ce.lfbs`), compared octet by octet. Three pictures per
FE: *intended* (routing's result), *expected* (the FE's when everything under way has been
acknowledged), *confirmed* (what it has acknowledged). Differences are taken against *expected*,
so that nothing is sent twice while an answer is on its way.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from ce.config import BEACON_ROW

Rows = dict[int, bytes]
"""Row index -> contents."""


class Table(Enum):
    """(LFB class, component) of the tables that a CE programs."""

    NEXT_HOPS = ("IPv4NextHop", "IPv4NextHopTable")
    GROUPS = ("ECMP", "GroupTable")
    """Next hops with their alternates; another CE's business if this one wants no alternates."""
    PREFIXES = ("IPv4UcastLPM", "IPv4PrefixTable")

    __hash__ = object.__hash__  # Enum's own is a function of Python's; every row is found by it


def small_tables(alternates: bool) -> tuple[Table, ...]:
    """Those that prefixes point to: read whole."""
    return (Table.NEXT_HOPS, Table.GROUPS) if alternates else (Table.NEXT_HOPS,)


TABLES = tuple(Table)
"""An Enum's own iterator is a function of Python's."""


class Op(Enum):
    SET = "set"
    """These rows are created or updated, the others stay."""
    DEL = "del"
    REPLACE = "replace"
    """The table holds these rows and no others (RFC 5810: SET whose path ends at the table)."""


@dataclass(frozen=True, slots=True)
class Write:
    """One Config's worth of one table."""

    op: Op
    table: Table
    rows: Mapping[int, bytes]
    """For DEL the contents that go away."""


MAX_SET_ROWS = 1000
"""Rows of one SET or DEL Config: 32 octets each as PATH-DATA, hence about 32 KiB a message, so
that no other message waits long behind it on the HP channel."""
MAX_REPLACE_OCTETS = 56 << 10
"""A table is replaced in one operation only up to this size: its FULLDATA, PATH-DATA, OPER-TLV
and LFBselect lengths have 16 bits, whatever the message's own limit is."""
INDEX_OCTETS = 4


def _empty() -> dict[Table, Rows]:
    return {table: {} for table in TABLES}


def _chunks(op: Op, table: Table, rows: Rows) -> list[Write]:
    items = sorted(rows.items())
    return [
        Write(op, table, dict(items[at : at + MAX_SET_ROWS]))
        for at in range(0, len(items), MAX_SET_ROWS)
    ]


def fits_one_replace(rows: Mapping[int, bytes]) -> bool:
    """Whether the whole table goes into one operation. An empty table does not: a SET without
    contents is not a DEL (RFC 5810 section 7.6.1)."""
    return 0 < sum(len(row) + INDEX_OCTETS for row in rows.values()) <= MAX_REPLACE_OCTETS


@dataclass(slots=True)
class FeTables:
    """The tables of one FE. `Table.PREFIXES` leaves BEACON_ROW out everywhere: it changes all the
    time and belongs to nobody's intention."""

    intended: dict[Table, Rows] = field(default_factory=_empty)
    expected: dict[Table, Rows] = field(default_factory=_empty)
    confirmed: dict[Table, Rows] = field(default_factory=_empty)
    refused: dict[tuple[Table, int], tuple[bytes, int]] = field(default_factory=dict)
    """Rows that the FE turned down: contents, and how often."""

    def forget(self) -> None:
        """Nothing is known of the FE's tables (any more)."""
        self.expected = _empty()
        self.confirmed = _empty()
        self.refused.clear()

    def learn(self, table: Table, rows: Mapping[int, bytes]) -> None:
        """The FE's table as just read from it."""
        known = dict(rows)
        if table is Table.PREFIXES:
            known.pop(BEACON_ROW, None)
        self.expected[table] = known
        self.confirmed[table] = dict(known)

    def in_step(self) -> bool:
        """The FE has acknowledged exactly what is intended."""
        return self.confirmed == self.intended

    def changed(self, table: Table) -> Rows:
        """Rows to set, without those that the FE turned down twice as they are."""
        have = self.expected[table]
        want = self.intended[table]
        if have == want:
            return {}
        return {
            row: contents
            for row, contents in want.items()
            if have.get(row) != contents and not self._given_up(table, row, contents)
        }

    def stale(self, table: Table) -> Rows:
        """Rows to delete."""
        want = self.intended[table]
        return {
            row: contents
            for row, contents in self.expected[table].items()
            if row not in want and not self._given_up(table, row, b"")
        }

    def _given_up(self, table: Table, row: int, contents: bytes) -> bool:
        """Tried twice (once more than the first time), and not different since."""
        last, times = self.refused.get((table, row), (None, 0))
        return times >= 2 and last == contents

    def difference(self) -> list[Write]:
        """From expected to intended. A next hop is there before the first group or route over it,
        and goes after the last: at no step is a route missing that is wanted before and after."""
        self._give_another_chance()
        return [
            *_chunks(Op.SET, Table.NEXT_HOPS, self.changed(Table.NEXT_HOPS)),
            *_chunks(Op.SET, Table.GROUPS, self.changed(Table.GROUPS)),
            *_chunks(Op.SET, Table.PREFIXES, self.changed(Table.PREFIXES)),
            *_chunks(Op.DEL, Table.PREFIXES, self.stale(Table.PREFIXES)),
            *_chunks(Op.DEL, Table.GROUPS, self.stale(Table.GROUPS)),
            *_chunks(Op.DEL, Table.NEXT_HOPS, self.stale(Table.NEXT_HOPS)),
        ]

    def _give_another_chance(self) -> None:
        """A refusal counts for what was wanted then, and not when it is wanted again later."""
        for (table, row), (contents, _) in list(self.refused.items()):
            if self.intended[table].get(row, b"") != contents:
                del self.refused[table, row]

    def rewrite(self, replace_prefixes: bool) -> list[Write]:
        """Every intended row, whatever the FE has (RFC 7121 section 2.1.1: state is re-created),
        in the same order. With `replace_prefixes` the prefix table need not have been read."""
        prefixes = self.intended[Table.PREFIXES]
        writes = _chunks(Op.SET, Table.NEXT_HOPS, self.intended[Table.NEXT_HOPS])
        writes += _chunks(Op.SET, Table.GROUPS, self.intended[Table.GROUPS])
        if replace_prefixes:
            writes.append(Write(Op.REPLACE, Table.PREFIXES, dict(prefixes)))
        else:
            writes += _chunks(Op.SET, Table.PREFIXES, prefixes)
            writes += _chunks(Op.DEL, Table.PREFIXES, self.stale(Table.PREFIXES))
        writes += _chunks(Op.DEL, Table.GROUPS, self.stale(Table.GROUPS))
        writes += _chunks(Op.DEL, Table.NEXT_HOPS, self.stale(Table.NEXT_HOPS))
        return writes

    def replace_refused(self) -> bool:
        """Not one row of the prefix table is confirmed, though some are wanted: the FE turned the
        replacement down as a whole."""
        wanted = self.intended[Table.PREFIXES]
        return bool(wanted) and not self.confirmed[Table.PREFIXES]

    def sent(self, write: Write) -> None:
        """A write is under way."""
        if write.op is Op.REPLACE:
            self.expected[write.table] = dict(write.rows)
        elif write.op is Op.SET:
            self.expected[write.table].update(write.rows)
        else:
            for row in write.rows:
                self.expected[write.table].pop(row, None)

    def done(self, write: Write, failed: Mapping[int, int]) -> None:
        """A write was answered; `failed` has row -> result code."""
        confirmed = self.confirmed[write.table]
        if write.op is Op.REPLACE and not failed:
            self.confirmed[write.table] = dict(write.rows)
            return
        for row, contents in write.rows.items():
            if row in failed:
                self._refuse(write, row, contents)
            elif write.op is Op.DEL:
                confirmed.pop(row, None)
                self.refused.pop((write.table, row), None)
            else:
                confirmed[row] = contents
                self.refused.pop((write.table, row), None)

    def _refuse(self, write: Write, row: int, contents: bytes) -> None:
        """Undo in `expected` what a failed row was expected to do, unless a later write that is
        still under way has changed the same row again."""
        wanted = b"" if write.op is Op.DEL else contents
        last, times = self.refused.get((write.table, row), (None, 0))
        self.refused[write.table, row] = (wanted, times + 1 if last == wanted else 1)
        expected = self.expected[write.table]
        if expected.get(row, b"") != wanted:
            return
        before = self.confirmed[write.table].get(row)
        if before is None:
            expected.pop(row, None)
        else:
            expected[row] = before
