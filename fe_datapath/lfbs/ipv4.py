"""IPv4NextHop and IPv4UcastLPM (RFC 6956 sections 5.3.1 and 5.3.2) as kernel objects.

A next hop row's index is the HopSelector and the identifier of a next hop object; a prefix row is
a route over it. The tables are the truth: a next hop whose port has no carrier is accepted, and
the kernel gets it (and the routes over it) when the port comes up, for it has dropped them when
the port went down.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from fe_datapath.datapath import Change, DelNextHop, DelRoute, SetNextHop, SetRoute
from fe_datapath.lfbs.instance import MISSING, Changes, Instance, refuse
from fe_datapath.lfbs.plan import Plan
from forces.errors import ProtocolError, ResultCode
from forces.model import Library

ADDRESS_BITS = 32
TABLE_LIMIT = 1 << 20
"""Rows of a table: what a full Internet table needs, about 0.6 GiB of row values."""
PREFIXES = "IPv4PrefixTable"
NEXT_HOPS = "IPv4NextHopTable"

Prefix = tuple[bytes, int]


def prefix_of(row: dict[str, Any]) -> Prefix:
    """A row's prefix with its host bits cleared: two rows that differ only there are the same
    route."""
    address: bytes = row["IPv4Address"]
    length: int = row["Prefixlen"]
    host = (1 << ADDRESS_BITS - length) - 1
    number = int.from_bytes(address, "big")
    if number & host:
        address = (number & ~host).to_bytes(4, "big")
    return address, length


class NextHops(Instance):
    planned = 1  # after the prefixes, which know which edit asked for a route

    def __init__(
        self, library: Library, ports: Iterable[int], port_up: Callable[[int], bool]
    ) -> None:
        super().__init__(library.cls("IPv4NextHop"), 1)
        self._ports = frozenset(ports)
        self._port_up = port_up
        self.users: dict[int, set[int]] = {}
        """HopSelector -> indexes of the prefix rows that use it. Kept by `Prefixes`."""
        self.prefixes: Prefixes
        self.in_kernel: set[int] = set()
        """Next hops that the datapath has, or has been asked for."""
        self._created: set[int] = set()
        """Those of them that the latest plan asked for anew."""

    @property
    def rows(self) -> dict[int, dict[str, Any]]:
        rows: dict[int, dict[str, Any]] = self.values[NEXT_HOPS]
        return rows

    def admit(self, name: str, index: int | None, old: Any, new: Any) -> None:
        if new is MISSING or index is None:
            return
        if not 0 < index < 1 << 32:
            raise refuse(ResultCode.INVALID_ARRAY_CREATION, "a HopSelector is 1 or more")
        if old is MISSING and len(self.rows) >= TABLE_LIMIT:
            raise refuse(ResultCode.MEMORY_ERROR, f"at most {TABLE_LIMIT} next hops")
        if new["L3PortID"] not in self._ports:
            raise refuse(ResultCode.VALUE_OUT_OF_RANGE, f"no port {new['L3PortID']}")

    def complete(self, changes: Changes) -> tuple[int, ProtocolError] | None:
        """The first edit that took away a next hop which prefixes still use, and the error."""
        for index, (_, new, edit) in changes.get(NEXT_HOPS, {}).items():
            if new is MISSING and index is not None and self.users.get(index):
                count = len(self.users[index])
                reason = f"HopSelector {index} is used by {count} prefixes"
                return edit, refuse(ResultCode.INVALID_PARAMETERS, reason)
        return None

    def clear(self) -> None:
        """Forget all rows, without a word to the kernel."""
        self.values[NEXT_HOPS] = {}
        self.users.clear()
        self.in_kernel.clear()

    def usable(self, selector: int) -> bool:
        row = self.rows.get(selector)
        return row is not None and self._port_up(row["L3PortID"])

    def plan(self, changes: Changes, plan: Plan) -> None:
        self._created = set()
        for index, (old, new, edit) in changes.get(NEXT_HOPS, {}).items():
            if index is None:
                continue
            if new is not MISSING and self._port_up(new["L3PortID"]):
                present = index in self.in_kernel
                if not present or old is MISSING or _way(old) != _way(new):
                    plan.add(_object(index, new), edit)
                if not present:
                    self.in_kernel.add(index)
                    self._created.add(index)
                    self._routes(index, plan, edit)
            elif index in self.in_kernel:
                self.in_kernel.discard(index)
                for user in self.users.get(index, ()):
                    plan.add(DelRoute(*prefix_of(self.prefixes.rows[user])), edit)
                plan.add(DelNextHop(index), edit)

    def _routes(self, selector: int, plan: Plan, edit: int = -1) -> None:
        for user in self.users.get(selector, ()):
            plan.add(SetRoute(*prefix_of(self.prefixes.rows[user]), selector), edit)

    def refused(self, change: Change) -> None:
        """The datapath did not take this change of the latest plan. What it was to replace is
        still there."""
        if isinstance(change, SetNextHop) and change.id in self._created:
            self.in_kernel.discard(change.id)

    def port_lost(self, port: int) -> None:
        """The kernel has dropped every next hop object on the port, and the routes over them."""
        self.in_kernel -= {i for i in self.in_kernel if self._is_on(i, port)}

    def port_back(self, port: int, plan: Plan) -> None:
        """Put back what the kernel dropped."""
        for index, row in self.rows.items():
            if row["L3PortID"] == port:
                self.in_kernel.add(index)
                plan.add(_object(index, row))
                self._routes(index, plan)

    def _is_on(self, index: int, port: int) -> bool:
        row = self.rows.get(index)
        return row is not None and bool(row["L3PortID"] == port)


class Prefixes(Instance):
    unsupported = frozenset({"IPv4UcastLPMStats"})

    def __init__(self, library: Library, next_hops: NextHops) -> None:
        super().__init__(library.cls("IPv4UcastLPM"), 1)
        self.next_hops = next_hops
        next_hops.prefixes = self
        self.by_prefix: dict[Prefix, int] = {}

    @property
    def rows(self) -> dict[int, dict[str, Any]]:
        rows: dict[int, dict[str, Any]] = self.values[PREFIXES]
        return rows

    def admit(self, name: str, index: int | None, old: Any, new: Any) -> None:
        if new is MISSING:
            return
        if new["Prefixlen"] > ADDRESS_BITS:
            raise refuse(ResultCode.VALUE_OUT_OF_RANGE, f"prefix length {new['Prefixlen']}")
        if new["ECMPFlag"]:
            raise refuse(ResultCode.NOT_SUPPORTED, "there is no ECMP LFB")
        if new["HopSelector"] not in self.next_hops.rows:
            reason = f"no next hop {new['HopSelector']}"
            raise refuse(ResultCode.INVALID_PARAMETERS, reason)
        holder = self.by_prefix.get(prefix_of(new), index)
        if holder != index:
            raise refuse(ResultCode.EXISTS, f"row {holder} has this prefix")
        if old is MISSING and len(self.rows) >= TABLE_LIMIT:
            raise refuse(ResultCode.MEMORY_ERROR, f"at most {TABLE_LIMIT} prefixes")

    def put(self, name: str, index: int | None, old: Any, new: Any) -> None:
        super().put(name, index, old, new)
        if index is None:
            return
        users = self.next_hops.users
        if old is not MISSING:
            del self.by_prefix[prefix_of(old)]
            users[old["HopSelector"]].discard(index)
        if new is not MISSING:
            self.by_prefix[prefix_of(new)] = index
            users.setdefault(new["HopSelector"], set()).add(index)

    def complete(self, changes: Changes) -> tuple[int, ProtocolError] | None:
        """A next hop may have come and gone within one Config."""
        present = self.next_hops.rows
        for _, new, edit in changes.get(PREFIXES, {}).values():
            if new is not MISSING and new["HopSelector"] not in present:
                return edit, refuse(ResultCode.INVALID_PARAMETERS, "its next hop is gone again")
        return None

    def clear(self) -> None:
        """As `NextHops.clear`; this one goes first."""
        self.values[PREFIXES] = {}
        self.by_prefix.clear()

    def plan(self, changes: Changes, plan: Plan) -> None:
        rows = changes.get(PREFIXES, {}).values()
        before = {
            prefix_of(old): (old["HopSelector"], edit)
            for old, _, edit in rows
            if old is not MISSING
        }
        for _, new, edit in rows:
            if new is MISSING:
                continue
            prefix, selector = prefix_of(new), new["HopSelector"]
            had = before.get(prefix)
            if (had is None or had[0] != selector) and self.next_hops.usable(selector):
                plan.add(SetRoute(*prefix, selector), edit)
            elif had is not None and had[0] != selector:
                plan.add(DelRoute(*prefix), edit)
        for prefix, (_, edit) in before.items():
            if prefix not in self.by_prefix:
                plan.add(DelRoute(*prefix), edit)


def _way(row: dict[str, Any]) -> tuple[int, bytes]:
    return row["L3PortID"], row["NextHopIPAddr"]


def _object(index: int, row: dict[str, Any]) -> SetNextHop:
    return SetNextHop(index, row["L3PortID"], ".".join(map(str, row["NextHopIPAddr"])))
