"""Loop-free alternates (RFC 5286): the next hop that an FE goes on with by itself when the link of
the primary one is cut, before any CE has answered, or while there is none.

A neighbour N of S protects the link from S to E, on the way to D, if its own shortest paths to D
do not lead back over S (section 3.1, inequality 1):

    dist(N, D) < dist(N, S) + dist(S, D)

Then no packet comes back whatever the others do, since they send as before. Preferred is one whose
paths avoid E as well (section 3.2, inequality 3). Pure, and the same on every CE.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

SELECTOR_BITS = 15
"""A group's index is made of two HopSelectors, and has 30 bits itself."""
MAX_SELECTOR = (1 << SELECTOR_BITS) - 1

Distances = Mapping[int, Mapping[int, int]]
"""To an FE -> from an FE -> cost; what cannot be reached from somewhere is missing there."""


@dataclass(frozen=True, slots=True)
class Way:
    """A port of an FE to another one."""

    neighbor: int
    port: int
    cost: int


@dataclass(frozen=True, slots=True)
class Group:
    """A row of Ext-ECMP: HopSelectors of the next hop in use, and of its alternate."""

    primary: int
    standby: int

    @property
    def index(self) -> int:
        """Of the row. It names its contents, so no group ever changes, and a new master's
        comparison finds nothing to rename."""
        return self.primary << SELECTOR_BITS | self.standby


def alternate(
    fe: int, to: int, primary: Way, ways: Sequence[Way], distances: Distances
) -> Way | None:
    """What `fe` has instead of its shortest way to the FE `to`: one that spares the next FE if it
    can, then the shortest, then by neighbour and port. None: there is none. `distances` to every
    FE that takes part."""
    there, home = distances[to], distances[fe]
    around = distances[primary.neighbor]
    found: list[tuple[bool, int, int, int, Way]] = []
    for way in ways:
        near = way.neighbor
        if way.port == primary.port or near not in there:
            continue
        if near in home and there[near] >= home[near] + there[fe]:
            continue
        spares_node = near != primary.neighbor and (
            near not in around or there[near] < around[near] + there[primary.neighbor]
        )
        found.append((not spares_node, way.cost + there[near], near, way.port, way))
    return min(found)[-1] if found else None
