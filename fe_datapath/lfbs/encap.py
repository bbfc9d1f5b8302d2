"""EtherEncap (RFC 6956 section 5.1.4) as neighbour entries.

A neighbour entry is made of two rows: a next hop's, which says port, address and
MediaEncapInfoIndex, and the row of EncapTable with that index, which says the MAC address. A next
hop whose index has no row here is the table miss of section 5.1.4.1: the kernel resolves it by ARP
or ND, and "the result of the L2 resolution is to update the EncapTable": it is read there, under
the index that the next hop gives it, until a CE sets that row itself. (Not where next hops of one
index mean several neighbours: one row cannot tell of them.) Index 0 asks for neither.

Linux puts a port's own MAC address into a header, and no VLAN tag: a row that asks for another
one is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from fe_datapath.datapath import Change, DelNeighbor, NeighborKey, Readings, SetNeighbor
from fe_datapath.lfbs.ether import Port
from fe_datapath.lfbs.family import TABLE_LIMIT, Family
from fe_datapath.lfbs.instance import MISSING, Changes, Instance, refuse
from fe_datapath.lfbs.plan import Plan
from fe_datapath.neighbors import is_station
from forces.errors import ProtocolError, ResultCode
from forces.model import Library

TABLE = "EncapTable"
INDEX = "MediaEncapInfoIndex"
ON_LINK = ("0.0.0.0", "::")

Hop = tuple[int, int]
"""IP version and HopSelector."""


class EtherEncap(Instance):
    planned = 3  # after the next hops, which ask for most of it

    def __init__(
        self, library: Library, ports: Mapping[int, Port], readings: Readings | None
    ) -> None:
        super().__init__(library.cls("EtherEncap"), 1)
        self._ports = ports
        self._readings = readings
        self._hops: dict[Hop, tuple[NeighborKey, int]] = {}
        """Next hops with an index -> their neighbour, and the index."""
        self._at: dict[NeighborKey, set[Hop]] = {}
        self._users: dict[int, set[Hop]] = {}
        """Index -> next hops."""
        self.in_kernel: dict[NeighborKey, bytes] = {}
        """What the datapath has, or has been asked for."""
        self._before: dict[NeighborKey, bytes | None] = {}
        """What the latest change of each took the place of."""

    @property
    def rows(self) -> dict[int, dict[str, Any]]:
        """Those of a CE."""
        rows: dict[int, dict[str, Any]] = self.values[TABLE]
        return rows

    def read(self, name: str) -> Any:
        if name != TABLE:
            return super().read(name)
        missed = [index for index, hops in self._users.items() if hops and index not in self.rows]
        resolved = self._resolved(missed) if missed and self._readings is not None else {}
        return {**self.rows, **resolved} if resolved else self.rows

    def _resolved(self, missed: Iterable[int]) -> dict[int, dict[str, Any]]:
        assert self._readings is not None
        known, found = self._readings.neighbors(), {}
        for index in missed:
            neighbors = {self._hops[hop][0] for hop in self._users[index]}
            if len(neighbors) == 1 and (neighbor := neighbors.pop()) in known:
                found[index] = self._row(neighbor[0], known[neighbor])
        return found

    def _row(self, port: int, mac: bytes) -> dict[str, Any]:
        source = self._ports[port].state.mac
        return {"DstMac": mac, "SrcMac": source, "VlanID": 0, "Reserved": 0, "L2PortID": port}

    def admit(self, name: str, index: int | None, old: Any, new: Any) -> None:
        if new is MISSING or index is None:
            return
        if index == 0:
            raise refuse(ResultCode.INVALID_ARRAY_CREATION, "index 0 is no row")
        if old is MISSING and len(self.rows) >= TABLE_LIMIT:
            raise refuse(ResultCode.MEMORY_ERROR, f"at most {TABLE_LIMIT} rows")
        port = self._ports.get(new["L2PortID"])
        if port is None:
            raise refuse(ResultCode.VALUE_OUT_OF_RANGE, f"no port {new['L2PortID']}")
        if not is_station(new["DstMac"]):
            raise refuse(ResultCode.VALUE_OUT_OF_RANGE, "DstMac is no station's")
        if new["VlanID"]:
            raise refuse(ResultCode.NOT_SUPPORTED, "no VLAN tags")
        if any(new["SrcMac"]) and new["SrcMac"] != port.state.mac:
            raise refuse(ResultCode.NOT_SUPPORTED, "SrcMac is the port's own, or 0")

    def complete(self, changes: Changes) -> tuple[int, ProtocolError] | None:
        for index, (_, new, edit) in changes.get(TABLE, {}).items():
            for hop in self._users.get(index or 0, ()) if new is not MISSING else ():
                wrong = self._wrong(hop)
                if wrong is not None:
                    return edit, wrong
        return None

    def wrong(self, family: Family, selector: int) -> ProtocolError | None:
        """What a next hop's row and EncapTable have against each other."""
        hop = (family.version, selector)
        return self._wrong(hop) if hop in self._hops else None

    def _wrong(self, hop: Hop) -> ProtocolError | None:
        neighbor, index = self._hops[hop]
        row = self.rows.get(index)
        if row is None:
            return None
        if row["L2PortID"] != neighbor[0]:
            reason = f"row {index} has port {row['L2PortID']}, the next hop {neighbor[0]}"
            return refuse(ResultCode.INVALID_PARAMETERS, reason)
        others = (self.rows.get(self._hops[other][1]) for other in self._at[neighbor])
        if any(other is not None and other["DstMac"] != row["DstMac"] for other in others):
            return refuse(ResultCode.INVALID_PARAMETERS, f"two MACs for {neighbor[1]}")
        return None

    def clear(self) -> None:
        """Forget all rows, without a word to the kernel. The next hops' go with them."""
        self.values[TABLE] = {}
        self.in_kernel.clear()
        self._hops.clear()
        self._at.clear()
        self._users.clear()

    # What the next hops tell

    def hop_put(self, family: Family, selector: int, old: Any, new: Any) -> None:
        """A next hop's row is another one."""
        hop = (family.version, selector)
        had = self._hops.pop(hop, None)
        if had is not None:
            self._at[had[0]].discard(hop)
            self._users[had[1]].discard(hop)
        neighbor = _neighbor(family, new)
        if neighbor is not None:
            self._hops[hop] = (neighbor, new[INDEX])
            self._at.setdefault(neighbor, set()).add(hop)
            self._users.setdefault(new[INDEX], set()).add(hop)

    def follow(self, family: Family, old: Any, new: Any, plan: Plan, edit: int) -> None:
        """Plan what a next hop's change asks for."""
        for row in (old, new):
            neighbor = _neighbor(family, row)
            if neighbor is not None:
                self._refresh(neighbor, plan, edit)

    # The datapath

    def plan(self, changes: Changes, plan: Plan) -> None:
        for index, (_, _, edit) in changes.get(TABLE, {}).items():
            for hop in sorted(self._users.get(index or 0, ())):
                self._refresh(self._hops[hop][0], plan, edit)

    def _refresh(self, neighbor: NeighborKey, plan: Plan, edit: int) -> None:
        has, wanted = self.in_kernel.get(neighbor), self._wanted(neighbor)
        if has == wanted:
            return
        self._before[neighbor] = has
        if wanted is None:
            del self.in_kernel[neighbor]
            plan.add(DelNeighbor(*neighbor), edit)
        else:
            self.in_kernel[neighbor] = wanted
            plan.add(SetNeighbor(*neighbor, wanted), edit)

    def _wanted(self, neighbor: NeighborKey) -> bytes | None:
        for hop in sorted(self._at.get(neighbor, ())):
            row = self.rows.get(self._hops[hop][1])
            if row is not None:
                mac: bytes = row["DstMac"]
                return mac
        return None

    def refused(self, change: Change) -> None:
        """The datapath did not take this change of the latest plan."""
        if isinstance(change, SetNeighbor):
            neighbor = (change.port, change.address)
            before = self._before.get(neighbor)
            if before is not None:
                self.in_kernel[neighbor] = before
            else:
                self.in_kernel.pop(neighbor, None)

    def port_back(self, port: int, plan: Plan) -> None:
        """The kernel drops neighbours when a port is set down."""
        for neighbor, mac in self.in_kernel.items():
            if neighbor[0] == port:
                plan.add(SetNeighbor(*neighbor, mac))


def _neighbor(family: Family, row: Any) -> NeighborKey | None:
    """Of a next hop's row, if it has an index and a gateway."""
    if row is MISSING or not row[INDEX]:
        return None
    gateway = family.gateway(row["NextHopIPAddr"])
    return None if gateway in ON_LINK else (row["L3PortID"], gateway)
