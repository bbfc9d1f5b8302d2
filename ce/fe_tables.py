"""What one FE's tables should hold against what the FE has acknowledged, and the difference.

Rows are opaque contents here (packed by `ce.rows`), compared octet by octet. Three pictures per
FE: *intended* (routing's result), *expected* (the FE's when everything under way has been
acknowledged), *confirmed* (what it has acknowledged). Differences are taken against *expected*,
so that nothing is sent twice while an answer is on its way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum

from ce.config import BEACON_ROW

Rows = dict[int, bytes]
"""Row index -> contents."""


class Table(Enum):
    """(LFB class, component) of the tables that a CE programs."""

    NEXT_HOPS = ("IPv4NextHop", "IPv4NextHopTable")
    GROUPS = ("Ext-ECMP", "GroupTable")
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


MAX_CONFIG_ROWS = 1000
"""Rows of one SET or DEL Config: 32 octets each as PATH-DATA, hence about 32 KiB a message, so
that no other message waits long behind it on the HP channel."""
LOOK_ROWS = 1000
"""Rows that one step of a plan compares. At most MAX_CONFIG_ROWS: each step gives one Config."""
MAX_REPLACE_OCTETS = 56 << 10
"""A table is replaced in one operation only up to this size: its FULLDATA, PATH-DATA, OPER-TLV
and LFBselect lengths have 16 bits, whatever the message's own limit is."""
INDEX_OCTETS = 4


_Differing = Callable[[Table, Rows, list[int]], Rows]
"""Table, what it should hold, some of its rows -> of those the ones to write."""


def _empty() -> dict[Table, Rows]:
    return {table: {} for table in TABLES}


def _split(rows: Rows) -> tuple[Rows, Rows]:
    """One Config's worth, and the rest."""
    items = list(rows.items())
    return dict(items[:MAX_CONFIG_ROWS]), dict(items[MAX_CONFIG_ROWS:])


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

    def _writes(
        self, op: Op, table: Table, rows: Iterable[int], differing: _Differing
    ) -> Iterator[Write | None]:
        """Of these rows those that differ from what is intended now, Config by Config."""
        want, ordered = self.intended[table], sorted(rows)
        todo: Rows = {}
        for at in range(0, len(ordered), LOOK_ROWS):
            todo.update(differing(table, want, ordered[at : at + LOOK_ROWS]))
            if len(todo) < MAX_CONFIG_ROWS:
                yield None
            else:
                full, todo = _split(todo)
                yield Write(op, table, full)
        if todo:
            yield Write(op, table, todo)

    def _to_set(self, table: Table, want: Rows, rows: list[int]) -> Rows:
        """Of these wanted rows, without those that the FE turned down twice as they are."""
        have = self.expected[table]
        if list(map(want.get, rows)) == list(map(have.get, rows)):
            return {}
        return {
            row: want[row]
            for row in rows
            if have.get(row) != want[row] and not self._given_up(table, row, want[row])
        }

    def _to_delete(self, table: Table, want: Rows, rows: list[int]) -> Rows:
        have = self.expected[table]
        return {
            row: have[row]
            for row in rows
            if row not in want and row in have and not self._given_up(table, row, b"")
        }

    def _given_up(self, table: Table, row: int, contents: bytes) -> bool:
        """Tried twice (once more than the first time), and not different since."""
        last, times = self.refused.get((table, row), (None, 0))
        return times >= 2 and last == contents

    def plan(self) -> Iterator[Write | None]:
        """From expected to intended, Config by Config. A next hop is there before the first group
        or route over it, and goes after the last: at no step is a route missing that is wanted
        before and after. None: LOOK_ROWS more were looked at, and there is no Config for them.

        Ends, or is thrown away, when the intention changes."""
        self._give_another_chance()
        for table in (Table.NEXT_HOPS, Table.GROUPS, Table.PREFIXES):
            yield from self._writes(Op.SET, table, self.intended[table], self._to_set)
        for table in (Table.PREFIXES, Table.GROUPS, Table.NEXT_HOPS):
            yield from self._writes(Op.DEL, table, self.expected[table], self._to_delete)

    def difference(self) -> list[Write]:
        """The whole plan at once."""
        return [write for write in self.plan() if write is not None]

    def distrust(self) -> None:
        """The FE has these rows, but their contents are not believed: each is written."""
        for table, rows in self.expected.items():
            self.expected[table] = dict.fromkeys(rows, b"")

    def unwilling(self) -> int:
        """How many intended rows the FE does not have because it turned them down."""
        return sum(
            self.confirmed[table].get(row) != self.intended[table].get(row) == contents
            for (table, row), (contents, _) in self.refused.items()
        )

    def _give_another_chance(self) -> None:
        """A refusal counts for what was wanted then, and not when it is wanted again later."""
        for (table, row), (contents, _) in list(self.refused.items()):
            if self.intended[table].get(row, b"") != contents:
                del self.refused[table, row]

    def rewrite(self) -> list[Write]:
        """Every intended row, whatever the FE has (RFC 7121 section 2.1.1: state is re-created),
        in the same order. The prefix table is replaced, and need not have been read."""
        self.distrust()
        plan = self.difference()
        others = [write for write in plan if write.table is not Table.PREFIXES]
        at = next((n for n, write in enumerate(others) if write.op is Op.DEL), len(others))
        whole = Write(Op.REPLACE, Table.PREFIXES, dict(self.intended[Table.PREFIXES]))
        return [*others[:at], whole, *others[at:]]

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
