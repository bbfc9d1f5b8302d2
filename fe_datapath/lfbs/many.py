"""Many rows of a prefix table, set or deleted together, column by column.

Only where nothing is wrong with any of them: who finds anything odd returns None, and the rows then
go one by one, for it is there that each error gets its row and its code. So this is a faster way to
the same tables, never another outcome.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from itertools import compress, repeat
from typing import TYPE_CHECKING, Any

from fe_datapath.datapath import DelRoutes, SetRoutes
from fe_datapath.lfbs.family import GROUPS_FROM, SELECTORS, TABLE_LIMIT, Family
from fe_datapath.lfbs.instance import MISSING, Free
from forces.errors import ProtocolError
from forces.model import ArrayType, StructType
from forces.model.bulk import numpy_type
from forces.runs import PathRun

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from fe_datapath.lfbs.plan import Plan
    from fe_datapath.lfbs.prefixes import Prefixes

    Table = NDArray[np.void]


def table_of(kind: StructType, rows: Sequence[bytes]) -> Table:
    import numpy as np

    return np.frombuffer(b"".join(rows), numpy_type(kind))


@cache
def masks(octets: int) -> NDArray[np.uint8]:
    """The network mask of each prefix length."""
    import numpy as np

    bits = 8 * octets
    each = [((1 << bits) - (1 << bits - n)).to_bytes(octets) for n in range(bits + 1)]
    return np.frombuffer(b"".join(each), np.uint8).reshape(bits + 1, -1)


class Columns:
    """Rows as the datapath wants them."""

    def __init__(self, family: Family, rows: Table) -> None:
        """ValueError for a prefix length that there is not."""
        import numpy as np

        address = rows[family.address]
        self.lengths: NDArray[np.uint8] = np.ascontiguousarray(rows["Prefixlen"])
        bits = 8 * family.octets
        if len(rows) and int(self.lengths.max()) > bits:
            raise ValueError("prefix length")
        # the rows of most tables have one length: then there is one mask for all of them
        alike = len(rows) and int(self.lengths.min()) == int(self.lengths.max())
        mask = masks(family.octets)[self.lengths[0] if alike else self.lengths]
        size = family.octets
        self.keys_of = np.empty((len(rows), size + 1), np.uint8)
        """Prefix and length of each (`Family.key_of`)."""
        np.bitwise_and(address, mask, out=self.keys_of[:, :size])
        self.keys_of[:, size] = self.lengths
        self.prefixes: NDArray[np.uint8] = self.keys_of[:, :size]
        selectors = rows["HopSelector"].astype("u8")
        self.targets: NDArray[np.uint64] = selectors + family.first_id
        """What each points to; of no meaning where the selector is out of `SELECTORS`."""
        flagged = rows["ECMPFlag"].view("u1")
        if flagged.any():
            self.targets[flagged != 0] += GROUPS_FROM
        self.ways = _different(self.targets)
        """The different targets."""
        self.odd = bool(((selectors < SELECTORS.start) | (selectors >= SELECTORS.stop)).any())

    def keys(self) -> list[bytes]:
        found: list[bytes] = self.keys_of.view(f"V{self.keys_of.shape[1]}").ravel().tolist()
        return found


class Many:
    """One change of many rows, made or taken back as a whole."""

    def __init__(self, table: Prefixes, indexes: list[int], edit: int) -> None:
        self.table = table
        self.indexes = indexes
        self.edit = edit
        """Number of the first row's edit."""
        self.one_edit = False
        """All of them are one edit (a DEL of a range)."""
        self.old: list[bytes | None] = []
        self.new: list[bytes | None] = []

    def singles(self) -> Iterator[tuple[int, Any, Any, int]]:
        """Index, value before, value after, and edit of each."""
        unpack = self.table.rows.type.unpack
        rows = zip(self.indexes, self.old, self.new, strict=True)
        for number, (index, old, new) in enumerate(rows):
            yield (
                index,
                MISSING if old is None else unpack(old),
                MISSING if new is None else unpack(new),
                self.edit if self.one_edit else self.edit + number,
            )

    def edits_of(self, mask: NDArray[np.bool_]) -> Sequence[int]:
        import numpy as np

        if self.one_edit:
            return [self.edit] * int(mask.sum())
        if mask.all():
            return range(self.edit, self.edit + len(mask))
        found: list[int] = (np.flatnonzero(mask) + self.edit).tolist()
        return found

    def undo(self) -> None:
        raise NotImplementedError

    def plan(self, plan: Plan) -> None:
        raise NotImplementedError


class ManySet(Many):
    """New rows, and rows that keep their prefix."""

    columns: Columns
    added: list[bytes]
    """Prefixes that were not there."""
    there: NDArray[np.bool_]
    """Rows that were there."""
    before: NDArray[np.uint64]
    """What those pointed to; 0 for the others."""

    @classmethod
    def of(cls, table: Prefixes, run: PathRun, edit: int, free: Free) -> ManySet | None:
        """Made; None: not here."""
        import numpy as np

        rows, family = table.rows, table.family
        kind = table.cls.component(table.table).type
        assert isinstance(kind, ArrayType)
        if run.content_at == run.stride or kind.row.fixed_size != run.stride - run.content_at:
            return None
        given = run.columns(numpy_type(kind.row))
        try:
            kind.check_bulk(given)
            columns = Columns(family, given["row"])
        except (ProtocolError, ValueError):
            return None
        if columns.odd or not all(map(table.leads_somewhere, columns.ways)):
            return None
        self = cls(table, given["index"].tolist(), edit)
        if not free(self.indexes):
            return None
        size = run.stride - run.content_at
        new: list[bytes] = np.ascontiguousarray(given["row"]).view(f"V{size}").tolist()
        self.new = list(new)
        self.columns = columns
        indexes, keys, holders = self.indexes, columns.keys(), table.holders
        adding, added_by = keys, indexes
        if min(indexes) > rows.top or rows.octets.keys().isdisjoint(indexes):
            self.old = [None] * len(new)
            self.there = np.zeros(len(new), np.bool_)
        else:
            self.old = list(map(rows.octets.get, indexes))
            there = [old is not None for old in self.old]
            pairs = list(zip(keys, indexes, strict=True))
            if any(holders.get(key) != index for key, index in compress(pairs, there)):
                return None  # a row gets another prefix
            self.there = np.array(there, np.bool_)
            fresh = [not known for known in there]
            adding, added_by = list(compress(keys, fresh)), list(compress(indexes, fresh))
        count = len(adding)
        if len(rows) + count > TABLE_LIMIT or not table.hold(adding, added_by):
            return None
        self.added = adding
        self.before = np.zeros(len(new), "u8")
        if count != len(new):
            known = [old for old in self.old if old is not None]
            self.before[self.there] = Columns(family, table_of(rows.type, known)).targets
        rows.octets.update(zip(indexes, new, strict=True))
        rows.top = max(rows.top, max(indexes))
        self._use(columns.targets, True)
        return self

    def undo(self) -> None:
        octets = self.table.rows.octets
        self._use(self.columns.targets, False)
        for index, old in zip(self.indexes, self.old, strict=True):
            if old is None:
                del octets[index]
            else:
                octets[index] = old
        self.table.let_go(self.added)

    def _use(self, targets: NDArray[np.uint64], forth: bool) -> None:
        leave, take = (self.before, targets) if forth else (targets, self.before)
        moved = leave != take
        for old in _groups(self.indexes, leave, moved):
            self.table.users[old[0]].difference_update(old[1])
        for new in _groups(self.indexes, take, moved):
            self.table.users.setdefault(new[0], set()).update(new[1])

    def plan(self, plan: Plan) -> None:
        import numpy as np

        columns, before = self.columns, self.before
        targets = columns.targets
        usable = [target for target in columns.ways if self.table.usable(target)]
        to_set = before != targets
        if len(usable) == len(columns.ways):
            to_drop = np.zeros(0, np.bool_)
        else:
            can = np.isin(targets, np.array(usable, "u8"))
            to_set, to_drop = to_set & can, to_set & ~can & self.there
        if to_set.any():
            where = slice(None) if to_set.all() else to_set
            change = SetRoutes(
                columns.prefixes[where], columns.lengths[where], targets[where].astype(np.uint32)
            )
            plan.add_many(change, self.edits_of(to_set))
        if to_drop.any():
            gone = DelRoutes(columns.prefixes[to_drop], columns.lengths[to_drop])
            plan.add_many(gone, self.edits_of(to_drop))


class ManyGone(Many):
    """Rows that are there, and go."""

    columns: Columns
    keys: list[bytes]
    held: int
    """What the table's count was when the rows had gone."""

    @classmethod
    def of(
        cls, table: Prefixes, indexes: list[int], edit: int, one_edit: bool, free: Free
    ) -> ManyGone | None:
        """Made; None: not here."""
        rows = table.rows
        self = cls(table, indexes, edit)
        self.one_edit = one_edit
        if not free(indexes):
            return None
        self.old, self.new = (
            list(map(rows.octets.pop, indexes, repeat(None))),
            [None] * len(indexes),
        )
        old = [octets for octets in self.old if octets is not None]
        if len(old) != len(indexes):  # one is not there, or not any more
            rows.octets.update(zip(compress(indexes, self.old), old, strict=True))
            return None
        self.columns = Columns(table.family, table_of(rows.type, old))
        self.keys = self.columns.keys()
        table.let_go(self.keys)
        self.held = table.held
        for target, users in _groups(indexes, self.columns.targets):
            table.users[target].difference_update(users)
        return self

    def undo(self) -> None:
        table = self.table
        rows = zip(self.indexes, self.old, strict=True)
        table.rows.octets.update((index, old) for index, old in rows if old is not None)
        table.hold(self.keys, self.indexes)
        for target, users in _groups(self.indexes, self.columns.targets):
            table.users.setdefault(target, set()).update(users)

    def plan(self, plan: Plan) -> None:
        import numpy as np

        columns, holders = self.columns, self.table.holders
        gone = np.ones(len(self.keys), np.bool_)
        where: slice | NDArray[np.bool_] = slice(None)
        if self.held != self.table.held and not holders.keys().isdisjoint(
            self.keys
        ):  # another row has the prefix now
            where = gone = np.array([key not in holders for key in self.keys], np.bool_)
        if gone.any():
            change = DelRoutes(columns.prefixes[where], columns.lengths[where])
            plan.add_many(change, self.edits_of(gone))


def _groups(
    indexes: list[int], targets: NDArray[np.uint64], mask: NDArray[np.bool_] | None = None
) -> Iterator[tuple[int, list[int]]]:
    """Each target with the indexes of its rows. 0 is none."""
    import numpy as np

    ways = _different(targets if mask is None else targets[mask])
    if len(ways) == 1 and (mask is None or mask.all()):
        if ways[0]:
            yield ways[0], indexes
        return
    every = np.array(indexes, np.uint32)
    if mask is not None:
        every, targets = every[mask], targets[mask]
    for target in ways:
        if target:
            yield target, every[targets == target].tolist()


def _different(targets: NDArray[np.uint64]) -> list[int]:
    import numpy as np

    if not len(targets):
        return []
    first = int(targets[0])
    if bool((targets == first).all()):
        return [first]
    found: list[int] = np.unique(targets).tolist()
    return found
