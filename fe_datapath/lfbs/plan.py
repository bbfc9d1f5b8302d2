"""Datapath changes of one Config, put into an order in which no packet is lost.

Make before break: new next hops, then groups, then routes, then the deletion of routes, then of
groups, then of next hops.
Forwarding goes off before everything and on after everything.
"""

from __future__ import annotations

from collections.abc import Sequence

from fe_datapath.datapath import (
    Change,
    DelNeighbor,
    DelNextHop,
    DelRoute,
    DelRoutes,
    SetForwarding,
    SetNeighbor,
    SetNextHop,
    SetNextHopGroup,
    SetPort,
    SetRoute,
    SetRoutes,
    singles,
)
from fe_datapath.lfbs.family import GROUPS_FROM

_ORDER: dict[type, int] = {
    SetPort: 1,
    SetNeighbor: 2,
    SetNextHop: 2,
    SetNextHopGroup: 3,
    SetRoute: 4,
    SetRoutes: 4,
    DelRoute: 5,
    DelRoutes: 5,
    DelNextHop: 7,  # of a group: 6
    DelNeighbor: 7,
}
_LAST = 8

Origins = tuple[int | Sequence[int], ...]
"""Beside each change the number of its edit, or the numbers of its rows' edits."""


_Entry = tuple[Change, int | Sequence[int]]


class Plan:
    def __init__(self) -> None:
        self._phases: dict[int, list[_Entry]] = {}
        self._routes: set[tuple[int, bytes, int]] = set()

    def add(self, change: Change, edit: int = -1) -> None:
        """`edit`: number of the edit that the change comes from, to name it if it fails."""
        if isinstance(change, SetForwarding):
            phase = _LAST if change.on else 0
        else:
            phase = _ORDER[type(change)]
            if isinstance(change, DelNextHop) and change.id >= GROUPS_FROM:
                phase -= 1
            if isinstance(change, SetRoute | DelRoute):
                route = (phase, change.prefix, change.length)
                if route in self._routes:  # a changed next hop and a changed prefix both ask for it
                    return
                self._routes.add(route)
        entries = self._phases.get(phase)
        if entries is None:
            self._phases[phase] = [(change, edit)]
        else:
            entries.append((change, edit))

    def add_many(self, change: SetRoutes | DelRoutes, edits: Sequence[int]) -> None:
        """`edits`: of each row. That a route is asked for twice does no harm."""
        self._phases.setdefault(_ORDER[type(change)], []).append((change, edits))

    def result(self) -> tuple[tuple[Change, ...], Origins]:
        """The changes in order."""
        if not self._phases:
            return (), ()
        entries = [entry for phase in sorted(self._phases) for entry in self._phases[phase]]
        changes, edits = zip(*entries, strict=True)
        return changes, edits


def one_by_one(
    changes: Sequence[Change], origins: Origins
) -> tuple[tuple[Change, ...], tuple[int, ...]]:
    """Each single change, as failures count them, and the number of its edit."""
    edits: list[int] = []
    for origin in origins:
        if isinstance(origin, int):
            edits.append(origin)
        else:
            edits.extend(origin)
    return tuple(singles(changes)), tuple(edits)
