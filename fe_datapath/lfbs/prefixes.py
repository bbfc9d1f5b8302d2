"""IPv4UcastLPM and IPv6UcastLPM (RFC 6956 sections 5.3.1 and 5.4.1) as routes over next hops, and
over groups where a row has its ECMPFlag.
"""

from __future__ import annotations

import operator
from collections import deque
from collections.abc import Collection, Iterable
from itertools import compress
from typing import Any

from fe_datapath.datapath import DelRoute, DelRoutes, SetRoute, SetRoutes
from fe_datapath.lfbs.counted import Tally
from fe_datapath.lfbs.ecmp import Groups
from fe_datapath.lfbs.family import GROUPS_FROM, SELECTORS, TABLE_LIMIT, Family, Prefix
from fe_datapath.lfbs.instance import (
    MISSING,
    Changes,
    ChangesByInstance,
    Free,
    Instance,
    refuse,
)
from fe_datapath.lfbs.many import Columns, Many, ManyGone, ManySet, table_of
from fe_datapath.lfbs.nexthops import NextHops
from fe_datapath.lfbs.packed import PackedRows
from fe_datapath.lfbs.plan import Plan
from forces.errors import ProtocolError, ResultCode
from forces.model import ArrayType, Library, StructType
from forces.runs import PathRun

MANY = 32
"""Routes that come or go with a next hop, from which on they are planned column by column: 2 us
each one by one, 40 us for all of them, and the report of the link event waits for it."""


class Prefixes(Instance):
    def __init__(
        self,
        library: Library,
        family: Family,
        next_hops: NextHops,
        groups: Groups,
        lookups: Tally,
    ) -> None:
        super().__init__(library.cls(family.lpm), 1)
        self.family = family
        self.table = family.prefix_table
        self._statistics = f"{family.lpm}Stats"
        self._lookups = lookups
        self.next_hops = next_hops
        self.groups = groups
        self.values[self.table] = self._no_rows()
        self.holders: dict[bytes, int] = {}
        """Prefix (`Family.key_of`) -> its row."""
        self.held = 0
        """Counts up whenever prefixes come into `holders`."""
        self.users: dict[int, set[int]] = {}
        """The datapath's identifier of a next hop or group -> rows that point to it."""

    def _no_rows(self) -> PackedRows:
        table = self.cls.component(self.table).type
        assert isinstance(table, ArrayType)
        assert isinstance(table.row, StructType)
        return PackedRows(table.row)

    @property
    def rows(self) -> PackedRows:
        rows: PackedRows = self.values[self.table]
        return rows

    def read(self, name: str) -> Any:
        return self._lookups.value() if name == self._statistics else super().read(name)

    def was_read(self, name: str) -> None:
        self._lookups.set({})

    @property
    def by_prefix(self) -> dict[Prefix, int]:
        return {(key[:-1], key[-1]): index for key, index in self.holders.items()}

    def admit(self, name: str, index: int | None, old: Any, new: Any) -> None:
        if new is MISSING:
            return
        if new["Prefixlen"] > 8 * self.family.octets:
            raise refuse(ResultCode.VALUE_OUT_OF_RANGE, f"prefix length {new['Prefixlen']}")
        if not self._leads_somewhere(new):
            what = "group" if new["ECMPFlag"] else "next hop"
            raise refuse(ResultCode.INVALID_PARAMETERS, f"no {what} {new['HopSelector']}")
        holder = self.holders.get(self.family.key_of(new), index)
        if holder != index:
            raise refuse(ResultCode.EXISTS, f"row {holder} has this prefix")
        if old is MISSING and len(self.rows) >= TABLE_LIMIT:
            raise refuse(ResultCode.MEMORY_ERROR, f"at most {TABLE_LIMIT} prefixes")

    def _leads_somewhere(self, row: dict[str, Any]) -> bool:
        return row["HopSelector"] in SELECTORS and self.leads_somewhere(self.family.target(row))

    def leads_somewhere(self, target: int) -> bool:
        """Whether there is a row of this identifier of the datapath."""
        if target >= GROUPS_FROM:
            return target - self.family.group_id(0) in self.groups.rows
        return target - self.family.first_id in self.next_hops.rows

    def set_many(self, name: str, run: PathRun, edit: int, free: Free) -> Many | None:
        return ManySet.of(self, run, edit, free)

    def delete_many(
        self, name: str, indexes: list[int], edit: int, one_edit: bool, free: Free
    ) -> Many | None:
        return ManyGone.of(self, indexes, edit, one_edit, free)

    def put(self, name: str, index: int | None, old: Any, new: Any) -> None:
        super().put(name, index, old, new)
        if index is None:
            return
        family = self.family
        before = after = None
        if old is not MISSING:
            before = family.key_of(old)
            self.users[family.target(old)].discard(index)
        if new is not MISSING:
            after = family.key_of(new)
            self.users.setdefault(family.target(new), set()).add(index)
        if before != after:
            if before is not None:
                del self.holders[before]
            if after is not None:
                self.holders[after] = index
                self.held += 1

    def hold(self, keys: list[bytes], indexes: list[int]) -> bool:
        """These rows hold these prefixes; False, and nothing has changed, if another row holds
        one of them, or two of these do. One look at each: a table is larger than any cache."""
        holders, before = self.holders, len(self.holders)
        found = list(map(holders.setdefault, keys, indexes))
        self.held += 1
        if len(holders) == before + len(keys):
            return True
        own = map(operator.eq, found, indexes)
        self.let_go(dict.fromkeys(compress(keys, own)))
        return False

    def let_go(self, keys: Iterable[bytes]) -> None:
        deque(map(self.holders.pop, keys), maxlen=0)

    def complete(self, changes: Changes) -> tuple[int, ProtocolError] | None:
        """A next hop may have come and gone within one Config."""
        for _, new, edit in changes.get(self.table, {}).values():
            if new is not MISSING and not self._leads_somewhere(new):
                return edit, refuse(ResultCode.INVALID_PARAMETERS, "its next hop is gone again")
        return None

    def clear(self) -> None:
        """As `NextHops.clear`; this one goes first."""
        self.values[self.table] = self._no_rows()
        self.holders.clear()
        self.users.clear()

    def usable(self, target: int) -> bool:
        """Whether the datapath can have this next hop or group now."""
        if target >= GROUPS_FROM:
            return self.groups.usable(target - self.family.group_id(0))
        return self.next_hops.usable(target - self.family.first_id)

    def plan(self, changes: Changes, plan: Plan) -> None:
        family = self.family
        rows = changes.get(self.table, {}).values()
        before = {
            family.prefix_of(old): (family.target(old), edit)
            for old, _, edit in rows
            if old is not MISSING
        }
        for _, new, edit in rows:
            if new is MISSING:
                continue
            prefix, target = family.prefix_of(new), family.target(new)
            had = before.get(prefix)
            if (had is None or had[0] != target) and self.usable(target):
                plan.add(SetRoute(*prefix, target), edit)
            elif had is not None and had[0] != target:
                plan.add(DelRoute(*prefix), edit)
        for prefix, (_, edit) in before.items():
            if prefix[0] + prefix[1].to_bytes() not in self.holders:
                plan.add(DelRoute(*prefix), edit)

    def insist(self, prefix: Prefix, tables: ChangesByInstance, plan: Plan) -> None:
        """Plan the prefix's route as the tables want it, whatever the datapath has now."""
        index = self.holders.get(prefix[0] + prefix[1].to_bytes())
        row = None if index is None else self.rows[index]
        if index is None or row is None or not self.usable(self.family.target(row)):
            plan.add(DelRoute(*prefix))
            return
        _, _, edit = tables.get(self, {}).get(self.table, {}).get(index, (None, None, -1))
        plan.add(SetRoute(*prefix, self.family.target(row)), edit)

    def program(self, target: int, plan: Plan, edit: int = -1) -> None:
        """The routes over a next hop or group that the datapath has not had."""
        users = self.users.get(target, ())
        if len(users) >= MANY:
            routes = self._columns(users)
            nexthops = routes.targets.astype("u4")
            plan.add_many(SetRoutes(routes.prefixes, routes.lengths, nexthops), [edit] * len(users))
            return
        for user in users:
            plan.add(SetRoute(*self.family.prefix_of(self.rows[user]), target), edit)

    def withdraw(self, target: int, plan: Plan, edit: int = -1) -> None:
        users = self.users.get(target, ())
        if len(users) >= MANY:
            routes = self._columns(users)
            plan.add_many(DelRoutes(routes.prefixes, routes.lengths), [edit] * len(users))
            return
        for user in users:
            plan.add(DelRoute(*self.family.prefix_of(self.rows[user])), edit)

    def _columns(self, users: Collection[int]) -> Columns:
        rows = self.rows
        return Columns(self.family, table_of(rows.type, [rows.octets[user] for user in users]))
