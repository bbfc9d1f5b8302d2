"""Ext-ECMP, our vendor class (forces/model/lfb/ecmp.xml), as next hop groups of the datapath.

The group that the datapath has follows from the row and from which members it has: the members
that are no backups share the traffic, the first backup waits as the standby; without any of the
former the backup carries it. So a cut is repaired by one replacement, with no CE (RFC 5286: a
backup is an alternate that was computed beforehand), and the return of the port by another.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fe_datapath.datapath import Change, DelNextHop, SetNextHopGroup
from fe_datapath.lfbs.family import SELECTORS, Family
from fe_datapath.lfbs.instance import MISSING, Changes, Instance, refuse
from fe_datapath.lfbs.nexthops import NextHops
from fe_datapath.lfbs.plan import Plan
from forces.errors import ProtocolError, ResultCode
from forces.model import Library

if TYPE_CHECKING:
    from fe_datapath.lfbs.prefixes import Prefixes

GROUPS = "GroupTable"
GROUP_LIMIT = 1 << 16
MEMBER_LIMIT = 32
"""Shares of less than half a bucket of `linux.messages.GROUP_BUCKETS` would get nothing."""


class Groups(Instance):
    planned = 2  # after the next hops

    def __init__(self, library: Library, family: Family, next_hops: NextHops) -> None:
        super().__init__(library.cls("Ext-ECMP"), family.ecmp_instance)
        self.family = family
        self.next_hops = next_hops
        self.prefixes: Prefixes
        self.users: dict[int, set[int]] = {}
        """HopSelector of a next hop -> rows that have it as a member."""
        self.in_kernel: dict[int, SetNextHopGroup] = {}
        """Rows that the datapath has, or has been asked for, as it has them."""
        self._before: dict[int, SetNextHopGroup | None] = {}
        """What the latest replacement of each took the place of."""

    @property
    def rows(self) -> dict[int, dict[str, Any]]:
        rows: dict[int, dict[str, Any]] = self.values[GROUPS]
        return rows

    def admit(self, name: str, index: int | None, old: Any, new: Any) -> None:
        if new is MISSING or index is None:
            return
        if index not in SELECTORS:
            raise refuse(ResultCode.INVALID_ARRAY_CREATION, "a HopSelector is 1 to 2^30 - 1")
        if old is MISSING and len(self.rows) >= GROUP_LIMIT:
            raise refuse(ResultCode.MEMORY_ERROR, f"at most {GROUP_LIMIT} groups")
        members = list(new["Members"].values())
        hops = [member["HopSelector"] for member in members]
        if len(members) > MEMBER_LIMIT:
            raise refuse(ResultCode.MEMORY_ERROR, f"at most {MEMBER_LIMIT} members")
        if all(member["Backup"] for member in members) or len(set(hops)) != len(hops):
            reason = "members, each once, one of them no backup"
            raise refuse(ResultCode.INVALID_PARAMETERS, reason)
        for hop in hops:
            if hop not in self.next_hops.rows:
                raise refuse(ResultCode.INVALID_PARAMETERS, f"no next hop {hop}")

    def put(self, name: str, index: int | None, old: Any, new: Any) -> None:
        super().put(name, index, old, new)
        if index is None:
            return
        if old is not MISSING:
            for member in old["Members"].values():
                self.users[member["HopSelector"]].discard(index)
        if new is not MISSING:
            for member in new["Members"].values():
                self.users.setdefault(member["HopSelector"], set()).add(index)

    def complete(self, changes: Changes) -> tuple[int, ProtocolError] | None:
        """The first edit that left a member without a next hop, or prefixes without a group."""
        for index, (_, new, edit) in changes.get(GROUPS, {}).items():
            if index is None:
                continue
            if new is MISSING:
                if self.prefixes.users.get(self.family.group_id(index)):
                    return edit, refuse(ResultCode.INVALID_PARAMETERS, "prefixes use the group")
            elif any(m["HopSelector"] not in self.next_hops.rows for m in new["Members"].values()):
                return edit, refuse(ResultCode.INVALID_PARAMETERS, "a next hop is gone again")
        return None

    def clear(self) -> None:
        self.values[GROUPS] = {}
        self.users.clear()
        self.in_kernel.clear()

    def usable(self, selector: int) -> bool:
        row = self.rows.get(selector)
        return row is not None and any(
            self.next_hops.usable(member["HopSelector"]) for member in row["Members"].values()
        )

    def plan(self, changes: Changes, plan: Plan) -> None:
        for index, (_, _, edit) in changes.get(GROUPS, {}).items():
            if index is not None:
                self._refresh(index, plan, edit)

    def follow(self, hops: Mapping[int, int], plan: Plan, lost: bool = False) -> None:
        """The groups of these next hops, which the datapath has got or given up (each with the
        edit that did it). `lost`: the kernel has dropped them by itself."""
        for hop, edit in hops.items():
            for index in sorted(self.users.get(hop, ())):
                self._refresh(index, plan, edit, lost)

    def _refresh(self, index: int, plan: Plan, edit: int, lost: bool = False) -> None:
        identifier = self.family.group_id(index)
        has, wanted = self.in_kernel.get(index), self._wanted(index)
        if has == wanted:
            return
        self._before[index] = has
        if wanted is not None:
            self.in_kernel[index] = wanted
            plan.add(wanted, edit)
            if has is None:
                self.prefixes.program(identifier, plan, edit)
            return
        del self.in_kernel[index]
        if not lost:  # else the kernel has dropped the group as well, and the routes over it
            self.prefixes.withdraw(identifier, plan, edit)
            plan.add(DelNextHop(identifier), edit)

    def _wanted(self, index: int) -> SetNextHopGroup | None:
        row = self.rows.get(index)
        if row is None:
            return None
        there = [
            member
            for _, member in sorted(row["Members"].items())
            if member["HopSelector"] in self.next_hops.in_kernel
        ]
        hop_id, identifier = self.family.hop_id, self.family.group_id(index)
        sharing = tuple(
            (hop_id(m["HopSelector"]), int(m["Weight"])) for m in there if not m["Backup"]
        )
        backups = [hop_id(m["HopSelector"]) for m in there if m["Backup"]]
        if sharing:
            return SetNextHopGroup(identifier, sharing, backups[0] if backups else 0)
        return SetNextHopGroup(identifier, ((backups[0], 1),)) if backups else None

    def excused(self, change: SetNextHopGroup) -> bool:
        """A port went, or came, after this was planned: another one has followed."""
        index = change.id - self.family.group_id(0)
        return self.in_kernel.get(index) != change

    def refused(self, change: Change) -> None:
        """The datapath did not take this change of the latest plan."""
        if isinstance(change, SetNextHopGroup):
            index = change.id - self.family.group_id(0)
            before = self._before.get(index)
            if before is not None:
                self.in_kernel[index] = before
            elif index in self._before:
                self.in_kernel.pop(index, None)
