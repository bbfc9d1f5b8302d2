"""IPv4NextHop and IPv6NextHop (RFC 6956 sections 5.3.2 and 5.4.2) as next hop objects.

A row's index is the HopSelector. The tables are the truth: a next hop whose port has no carrier is
accepted, and the kernel gets it (and the routes over it) when the port comes up, for it has
dropped them when the port went down.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from fe_datapath.datapath import Change, DelNextHop, SetNextHop
from fe_datapath.lfbs.encap import EtherEncap
from fe_datapath.lfbs.family import SELECTORS, TABLE_LIMIT, Family
from fe_datapath.lfbs.instance import MISSING, Changes, Instance, refuse
from fe_datapath.lfbs.plan import Plan
from forces.errors import ProtocolError, ResultCode
from forces.model import Library

if TYPE_CHECKING:
    from fe_datapath.lfbs.ecmp import Groups
    from fe_datapath.lfbs.prefixes import Prefixes


class NextHops(Instance):
    planned = 1  # after the prefixes, which know which edit asked for a route

    def __init__(
        self,
        library: Library,
        family: Family,
        ports: Iterable[int],
        port_up: Callable[[int], bool],
        encap: EtherEncap,
    ) -> None:
        super().__init__(library.cls(family.next_hop), 1)
        self.family = family
        self.table = family.next_hop_table
        self._ports = frozenset(ports)
        self._port_up = port_up
        self._encap = encap
        self.prefixes: Prefixes
        self.groups: Groups
        self.in_kernel: set[int] = set()
        """Rows that the datapath has, or has been asked for."""
        self._created: set[int] = set()
        """Those of them that the latest plan asked for anew."""

    @property
    def rows(self) -> dict[int, dict[str, Any]]:
        rows: dict[int, dict[str, Any]] = self.values[self.table]
        return rows

    def admit(self, name: str, index: int | None, old: Any, new: Any) -> None:
        if new is MISSING or index is None:
            return
        if index not in SELECTORS:
            raise refuse(ResultCode.INVALID_ARRAY_CREATION, "a HopSelector is 1 to 2^30 - 1")
        if old is MISSING and len(self.rows) >= TABLE_LIMIT:
            raise refuse(ResultCode.MEMORY_ERROR, f"at most {TABLE_LIMIT} next hops")
        if new["L3PortID"] not in self._ports:
            raise refuse(ResultCode.VALUE_OUT_OF_RANGE, f"no port {new['L3PortID']}")

    def put(self, name: str, index: int | None, old: Any, new: Any) -> None:
        super().put(name, index, old, new)
        if index is not None:
            self._encap.hop_put(self.family, index, old, new)

    def complete(self, changes: Changes) -> tuple[int, ProtocolError] | None:
        """The first edit that took away a next hop which is still used, or that does not go with
        EncapTable, and the error."""
        for index, (_, new, edit) in changes.get(self.table, {}).items():
            if index is None:
                continue
            if new is not MISSING:
                wrong = self._encap.wrong(self.family, index)
                if wrong is not None:
                    return edit, wrong
                continue
            count = len(self.prefixes.users.get(self.family.hop_id(index), ()))
            groups = self.groups.users.get(index)
            if count or groups:
                user = f"{count} prefixes" if count else f"group {min(groups or ())}"
                reason = f"HopSelector {index} is used by {user}"
                return edit, refuse(ResultCode.INVALID_PARAMETERS, reason)
        return None

    def clear(self) -> None:
        """Forget all rows, without a word to the kernel."""
        self.values[self.table] = {}
        self.in_kernel.clear()

    def usable(self, selector: int) -> bool:
        row = self.rows.get(selector)
        return row is not None and self._port_up(row["L3PortID"])

    def plan(self, changes: Changes, plan: Plan) -> None:
        self._created = set()
        came_or_went: dict[int, int] = {}
        for index, (old, new, edit) in changes.get(self.table, {}).items():
            if index is None:
                continue
            if new is not MISSING and self._port_up(new["L3PortID"]):
                present = index in self.in_kernel
                if not present or old is MISSING or _way(old) != _way(new):
                    plan.add(self._object(index, new), edit)
                if not present:
                    self.in_kernel.add(index)
                    self._created.add(index)
                    came_or_went[index] = edit
                    self.prefixes.program(self.family.hop_id(index), plan, edit)
            elif index in self.in_kernel:
                self.in_kernel.discard(index)
                came_or_went[index] = edit
                self.prefixes.withdraw(self.family.hop_id(index), plan, edit)
                plan.add(DelNextHop(self.family.hop_id(index)), edit)
            self._encap.follow(self.family, old, new, plan, edit)
        self.groups.follow(came_or_went, plan)

    def refused(self, change: Change) -> None:
        """The datapath did not take this change of the latest plan. What it was to replace is
        still there."""
        if isinstance(change, SetNextHop):
            selector = change.id - self.family.first_id
            if selector in self._created:
                self.in_kernel.discard(selector)

    def port_lost(self, port: int, plan: Plan) -> None:
        """The kernel has dropped every next hop object on the port, and the routes over them."""
        gone = {index for index in self.in_kernel if self._is_on(index, port)}
        self.in_kernel -= gone
        self.groups.follow(dict.fromkeys(gone, -1), plan, lost=True)

    def port_back(self, port: int, plan: Plan) -> None:
        """Put back what the kernel dropped."""
        back = [index for index, row in self.rows.items() if row["L3PortID"] == port]
        self.in_kernel.update(back)
        for index in back:
            plan.add(self._object(index, self.rows[index]))
            self.prefixes.program(self.family.hop_id(index), plan)
        self.groups.follow(dict.fromkeys(back, -1), plan)

    def _is_on(self, index: int, port: int) -> bool:
        row = self.rows.get(index)
        return row is not None and bool(row["L3PortID"] == port)

    def _object(self, index: int, row: dict[str, Any]) -> SetNextHop:
        gateway = self.family.gateway(row["NextHopIPAddr"])
        return SetNextHop(self.family.hop_id(index), row["L3PortID"], gateway)


def _way(row: dict[str, Any]) -> tuple[int, bytes]:
    return row["L3PortID"], row["NextHopIPAddr"]
