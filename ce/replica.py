"""What a backup CE has of one FE: its tables at a known generation (docs/ce-ce-sync.md).

The rows are those of `NeState.tables`, so that a takeover finds them where a master works with
them. Which rows differ from what is intended is kept up to date all along: a takeover must not
have to compare a whole table.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ce.answers import leaves
from ce.config import BEACON_ROW
from ce.fe_tables import TABLES, FeTables, Rows, Table
from ce.lfbs import component, table
from ce.rows import is_row, row_octets, split_rows
from forces.errors import ProtocolError, ResultCode
from forces.messages import Message, OperType
from forces.paths import FullData, PathData, SparseData
from forces.runs import PathRun
from forces.tlv import TlvType

COMPARED_ROWS = 1_000
"""At a time: some 0.4 ms (10,000 took 4, and at SCHED_FIFO an FE waits as long for the core)."""
KEPT = 64
"""Changes that are kept whole, for an FE that never got them."""


@dataclass(frozen=True, slots=True)
class RowChange:
    """What a Config does to one table. None: the row goes away."""

    table: Table
    rows: Mapping[int, bytes | None]
    replaces: bool = False
    """Rows that are not named go away."""


@dataclass(frozen=True, slots=True)
class Position:
    """Ext-FEStateSync.Position."""

    incarnation: int
    term: int
    generation: int
    ce: int
    correlator: int
    pending: int
    inexact: int
    """The last generation of which not everything was carried out; 0: none."""


def row_changes(message: Message) -> list[RowChange]:
    """What a Config does to the tables that a CE programs, in order. ProtocolError for a form
    that our masters do not use (keys, ranges, parts of rows)."""
    found = []
    for select in message.lfbs:
        for which in TABLES:
            target = table(which)
            if select.class_id != target.class_id:
                continue
            for operation in select.operations:
                if operation.type in (OperType.SET, OperType.DEL):
                    found += _of_operation(which, operation.type, operation.paths)
    return found


def _of_operation(which: Table, kind: OperType, paths: Sequence[PathData]) -> list[RowChange]:
    ids_of = table(which).ids
    depth = len(ids_of)
    if type(paths) is PathRun and paths.table == ids_of:
        run = _of_run(which, kind, paths)
        if run is not None:
            return [run]
    if any(path.selector is not None for path in paths):
        raise ProtocolError(ResultCode.NOT_SUPPORTED, "a selector in a replicated change")
    rows: dict[int, bytes | None] = {}
    found: list[RowChange] = []
    for ids, content in leaves(paths):
        if ids[:depth] != ids_of:
            continue
        if len(ids) == depth + 1 and kind is OperType.DEL:
            rows[ids[depth]] = None
        elif (
            len(ids) == depth + 1 and isinstance(content, FullData) and is_row(which, content.value)
        ):
            rows[ids[depth]] = content.value
        elif ids == ids_of and isinstance(content, SparseData) and kind is OperType.SET:
            rows.update(content.items)
        elif ids == ids_of and isinstance(content, FullData) and kind is OperType.SET:
            found.append(RowChange(which, split_rows(which, content.value), replaces=True))
        elif ids == ids_of and kind is OperType.DEL:
            found.append(RowChange(which, {}, replaces=True))
        else:
            raise ProtocolError(ResultCode.NOT_SUPPORTED, f"{kind.name} of path {ids}")
    if rows:
        found.append(RowChange(which, rows))
    return found


def _of_run(which: Table, kind: OperType, paths: PathRun) -> RowChange | None:
    """As `_of_operation`, of a thousand rows at once. None: it has to be looked at one by one."""
    if kind is OperType.DEL:
        return RowChange(which, dict.fromkeys(paths.indexes()))
    size = row_octets(which)
    if paths.content_kind != TlvType.FULLDATA or paths.stride - paths.content_at != size:
        return None
    return RowChange(which, dict(paths.rows()))


class FeReplica:
    def __init__(self, own_id: int, tables: FeTables) -> None:
        self.tables = tables
        self.incarnation = 0
        self.term = 0
        """The highest one that was heard of."""
        self.generation = 0
        self.read_at = 0
        """Generation at which all of it was known to be what the FE holds: what came since then
        is what the FE was asked for, and was carried out whole unless the FE says otherwise."""
        self.complete = False
        """`tables` are the FE's at this generation. Never true while this CE is its master."""
        self.following = False
        """The FE's master sends each change."""
        self.asked = False
        """It was asked to, and has sent nothing since that could be taken."""
        self.beacon_row: bytes | None = None
        self.handed_over = False
        """The last change makes this CE the master."""
        self.ahead_in = 0
        """The FE's term, if it is a later one in which the FE was found to lack our last changes;
        0: it was not."""
        self.kept: deque[tuple[int, Message]] = deque(maxlen=KEPT)
        self.last_term = 0
        """In which the last kept one was sent; 0: not known."""
        self._own_id = own_id
        self._wrong: dict[Table, set[int]] = {one: set() for one in TABLES}
        """Rows that the FE has, and that are not intended as they are."""
        self._tracked = True
        """False while this CE is the master: nobody looks then."""
        self._comparing: Iterator[bool] | None = None

    @property
    def in_step(self) -> bool:
        """Nothing differs from what is intended."""
        if not self._tracked or self._comparing is not None or any(self._wrong.values()):
            return False
        have, want = self.tables.confirmed, self.tables.intended
        return all(len(have[which]) == len(want[which]) for which in TABLES)  # and all are wanted

    def reset(self) -> None:
        """Nothing is known."""
        self.tables.forget()
        self._track()
        self.generation = self.read_at = 0
        self.incarnation = self.ahead_in = 0
        self.complete = self.following = self.asked = self.handed_over = False
        self.beacon_row = None
        self.last_term = 0
        self.kept.clear()

    def follows(self) -> None:
        """The master sends what comes next."""
        self.following, self.asked = True, False

    def refuses(self) -> None:
        """What the master sent does not fit: it sends nothing more until it is asked anew."""
        self.following = self.asked = False

    def is_at(self, incarnation: int, generation: int) -> None:
        """`tables` are the FE's."""
        self.incarnation, self.generation, self.read_at = incarnation, generation, generation
        self.complete = True

    def is_left(self, incarnation: int, term: int, last: tuple[int, Message]) -> None:
        """This CE was the master until now; `tables` are the FE's after this last change. They
        have to be compared."""
        self.is_at(incarnation, last[0])
        self.term = term
        self.kept.append(last)
        self.last_term = term
        self._track()
        self.intention_changed()

    def _track(self) -> None:
        self._tracked = True
        self._comparing = None
        for wrong in self._wrong.values():
            wrong.clear()

    def leave_to_master(self) -> None:
        """This CE is the master: the tables are in its hands."""
        self.complete = self.following = self.asked = self.handed_over = self._tracked = False
        self._comparing = None
        self.kept.clear()

    def intention_changed(self) -> None:
        """All rows have to be compared with all intended ones (`look`)."""
        if self._tracked:
            self._comparing = self._compare()

    def look(self) -> bool:
        """Compare some rows more; False: that was all. A takeover that comes before
        finds the replica not in step, and compares for itself."""
        if self._comparing is not None and next(self._comparing, None) is None:
            self._comparing = None
        return self._comparing is not None

    def _compare(self) -> Iterator[bool]:
        for which in TABLES:
            rows = list(self.tables.confirmed[which])
            for at in range(0, len(rows), COMPARED_ROWS):
                have, want = self.tables.confirmed[which], self.tables.intended[which]
                wrong = self._wrong[which]
                part = rows[at : at + COMPARED_ROWS]
                wrong.difference_update(part)
                if list(map(have.get, part)) != list(map(want.get, part)):
                    wrong.update(r for r in part if r in have and have[r] != want.get(r))
                yield True

    def apply(self, generation: int, message: Message) -> None:
        """The next change. ProtocolError, and then nothing has changed."""
        assert generation == self.generation + 1
        for change in row_changes(message):
            self.put(change)
        self.generation = generation
        self.kept.append((generation, message))
        self.handed_over = self._makes_us_master(message)

    def put(self, change: RowChange) -> None:
        rows = dict(change.rows)
        if change.replaces:
            for row in self.tables.confirmed[change.table].keys() - rows.keys():
                rows[row] = None
            if change.table is Table.PREFIXES:
                rows.setdefault(BEACON_ROW, None)
        have, expected = self.tables.confirmed[change.table], self.tables.expected[change.table]
        want, wrong = self.tables.intended[change.table], self._wrong[change.table]
        for row, contents in rows.items():
            if change.table is Table.PREFIXES and row == BEACON_ROW:
                self.beacon_row = contents
                continue
            if contents is None:
                have.pop(row, None)
                expected.pop(row, None)
                wrong.discard(row)
                continue
            have[row] = expected[row] = contents
            if want.get(row) == contents:
                wrong.discard(row)
            else:
                wrong.add(row)

    def put_range(self, which: Table, first: int, last: int, rows: Rows) -> None:
        """These rows, and no others, are what the FE has from `first` to `last`."""
        have = self.tables.confirmed[which]
        there = range(first, last + 1) if last - first < len(have) else have
        gone: dict[int, bytes | None] = {
            row: None for row in there if first <= row <= last and row in have and row not in rows
        }
        if which is Table.PREFIXES and first <= BEACON_ROW <= last:
            gone.setdefault(BEACON_ROW, None)
        self.put(RowChange(which, {**gone, **rows}))

    def _makes_us_master(self, message: Message) -> bool:
        ceid = component("FEPO", "CEID")
        wanted = ceid.set(self._own_id)
        return any(
            select.class_id == ceid.class_id and wanted in operation.paths
            for select in message.lfbs
            for operation in select.operations
            if operation.type is OperType.SET
        )
