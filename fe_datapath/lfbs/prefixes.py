"""IPv4UcastLPM and IPv6UcastLPM (RFC 6956 sections 5.3.1 and 5.4.1) as routes over next hops, and
over groups where a row has its ECMPFlag.
"""

from __future__ import annotations

from typing import Any

from fe_datapath.datapath import DelRoute, SetRoute, SetRoutes
from fe_datapath.lfbs.counted import Tally
from fe_datapath.lfbs.ecmp import Groups
from fe_datapath.lfbs.family import TABLE_LIMIT, Family, Prefix
from fe_datapath.lfbs.instance import MISSING, Changes, ChangesByInstance, Instance, refuse
from fe_datapath.lfbs.nexthops import NextHops
from fe_datapath.lfbs.plan import Plan
from forces.errors import ProtocolError, ResultCode
from forces.model import Library

BULK_FROM = 64
"""Routes over one next hop, from which on they are put back from arrays."""


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
        self.by_prefix: dict[Prefix, int] = {}
        self.users: dict[int, set[int]] = {}
        """The datapath's identifier of a next hop or group -> rows that point to it."""

    @property
    def rows(self) -> dict[int, dict[str, Any]]:
        rows: dict[int, dict[str, Any]] = self.values[self.table]
        return rows

    def read(self, name: str) -> Any:
        return self._lookups.value() if name == self._statistics else super().read(name)

    def was_read(self, name: str) -> None:
        self._lookups.set({})

    def admit(self, name: str, index: int | None, old: Any, new: Any) -> None:
        if new is MISSING:
            return
        if new["Prefixlen"] > 8 * self.family.octets:
            raise refuse(ResultCode.VALUE_OUT_OF_RANGE, f"prefix length {new['Prefixlen']}")
        if not self._leads_somewhere(new):
            what = "group" if new["ECMPFlag"] else "next hop"
            raise refuse(ResultCode.INVALID_PARAMETERS, f"no {what} {new['HopSelector']}")
        holder = self.by_prefix.get(self.family.prefix_of(new), index)
        if holder != index:
            raise refuse(ResultCode.EXISTS, f"row {holder} has this prefix")
        if old is MISSING and len(self.rows) >= TABLE_LIMIT:
            raise refuse(ResultCode.MEMORY_ERROR, f"at most {TABLE_LIMIT} prefixes")

    def _leads_somewhere(self, row: dict[str, Any]) -> bool:
        hops = self.groups.rows if row["ECMPFlag"] else self.next_hops.rows
        return row["HopSelector"] in hops

    def put(self, name: str, index: int | None, old: Any, new: Any) -> None:
        super().put(name, index, old, new)
        if index is None:
            return
        family = self.family
        before = after = None
        if old is not MISSING:
            before = family.prefix_of(old)
            self.users[family.target(old)].discard(index)
        if new is not MISSING:
            after = family.prefix_of(new)
            self.users.setdefault(family.target(new), set()).add(index)
        if before != after:
            if before is not None:
                del self.by_prefix[before]
            if after is not None:
                self.by_prefix[after] = index

    def complete(self, changes: Changes) -> tuple[int, ProtocolError] | None:
        """A next hop may have come and gone within one Config."""
        for _, new, edit in changes.get(self.table, {}).values():
            if new is not MISSING and not self._leads_somewhere(new):
                return edit, refuse(ResultCode.INVALID_PARAMETERS, "its next hop is gone again")
        return None

    def clear(self) -> None:
        """As `NextHops.clear`; this one goes first."""
        self.values[self.table] = {}
        self.by_prefix.clear()
        self.users.clear()

    def _usable(self, row: dict[str, Any]) -> bool:
        hops = self.groups if row["ECMPFlag"] else self.next_hops
        return hops.usable(row["HopSelector"])

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
            if (had is None or had[0] != target) and self._usable(new):
                plan.add(SetRoute(*prefix, target), edit)
            elif had is not None and had[0] != target:
                plan.add(DelRoute(*prefix), edit)
        for prefix, (_, edit) in before.items():
            if prefix not in self.by_prefix:
                plan.add(DelRoute(*prefix), edit)

    def insist(self, prefix: Prefix, tables: ChangesByInstance, plan: Plan) -> None:
        """Plan the prefix's route as the tables want it, whatever the datapath has now."""
        index = self.by_prefix.get(prefix)
        if index is None or not self._usable(self.rows[index]):
            plan.add(DelRoute(*prefix))
            return
        _, _, edit = tables.get(self, {}).get(self.table, {}).get(index, (None, None, -1))
        plan.add(SetRoute(*prefix, self.family.target(self.rows[index])), edit)

    def program(self, target: int, plan: Plan, edit: int = -1) -> None:
        """The routes over a next hop or group that the datapath has not had."""
        users = self.users.get(target, ())
        if edit < 0 and len(users) >= BULK_FROM:
            plan.add(self._in_bulk(target))
            return
        for user in users:
            plan.add(SetRoute(*self.family.prefix_of(self.rows[user]), target), edit)

    def withdraw(self, target: int, plan: Plan, edit: int = -1) -> None:
        for user in self.users.get(target, ()):
            plan.add(DelRoute(*self.family.prefix_of(self.rows[user])), edit)

    def _in_bulk(self, target: int) -> SetRoutes:
        import numpy as np  # large tables only: an FE without them starts faster

        keys = [self.family.prefix_of(self.rows[user]) for user in self.users[target]]
        octets = b"".join(prefix for prefix, _ in keys)
        return SetRoutes(
            np.frombuffer(octets, np.uint8).reshape(len(keys), -1),
            np.array([length for _, length in keys], np.uint8),
            np.full(len(keys), target, np.uint32),
        )
