"""Shortest paths from FE to FE over the ports that are up, computed when somebody asks for them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from heapq import heappop, heappush

from ce.alternates import Way

PortKey = tuple[int, int]
"""(FE ID, PHYPortID)."""


@dataclass(slots=True)
class Paths:
    """Shortest paths while these ports are down, as far as somebody has asked for them."""

    down: AbstractSet[PortKey]
    usable: Mapping[int, list[Way]]
    distances: dict[int, dict[int, int]] = field(default_factory=dict)
    """FE to reach -> FE -> cost."""

    def reach(self, far: int) -> None:
        if far not in self.distances:
            self.distances[far] = _distances(far, self.usable)

    def towards(self, fe: int, far: int) -> list[Way]:
        """The ways of this FE that lead to that one at the least cost."""
        costs = self.distances[far]
        if fe not in costs:
            return []
        return [
            way
            for way in self.usable[fe]
            if way.neighbor in costs and costs[fe] == way.cost + costs[way.neighbor]
        ]


def _distances(far: int, usable: Mapping[int, Iterable[Way]]) -> dict[int, int]:
    """Costs to an FE from all that reach it (Dijkstra, from there)."""
    into: dict[int, list[tuple[int, int]]] = {fe: [] for fe in usable}
    for fe, ways in usable.items():
        for way in ways:
            into[way.neighbor].append((fe, way.cost))
    costs: dict[int, int] = {}
    nearest = [(0, far)]
    while nearest:
        cost, here = heappop(nearest)
        if here not in costs:
            costs[here] = cost
            for fe, more in into[here]:
                if fe not in costs:
                    heappush(nearest, (cost + more, fe))
    return costs
