"""Destinations that were added to a CE while it runs (`POST /routes`), known to all CEs.

A replica says what an FE holds, not what is wanted: without this the next master would take such
routes away. A CE SETs a row of Ext-CEReplica.Destinations at every other CE before the changes that
follow from it, and all of them at one that has just associated (docs/ce-ce-sync.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ce.config import Destination
from ce.fr_peer import FrPeer
from ce.lfbs import component
from ce.ne_state import NeState
from ce.replica_lfb import LFB
from ce.routes import run_time_row
from forces.errors import ResultCode
from forces.messages import LfbSelect, OperType


class SharedDestinations:
    def __init__(
        self,
        ne: NeState,
        peers: Iterable[FrPeer],
        intention_changed: Callable[[int], None],
    ) -> None:
        """`peers`: the other CEs."""
        self._ne = ne
        self._peers = tuple(peers)
        self._intention_changed = intention_changed
        self._known: dict[int, Destination] = {}
        """Row -> what was added here, or told by another CE."""

    def tell(self, destination: Destination) -> None:
        """One that was added here; sent with what else there is for the other CEs."""
        row = run_time_row(destination.prefix)
        self._known[row] = destination
        for peer in self._peers:
            if peer.replicates:
                peer.queue_other(_select(row, destination))

    def tell_all(self, peer: FrPeer) -> None:
        for row, destination in self._known.items():
            peer.queue_other(_select(row, destination))

    def learn(self, row: int, value: Mapping[str, Any], now: int) -> ResultCode:
        """Another CE has it."""
        gateway = value["Gateway"] or None
        told = Destination(value["Prefix"], value["FEID"], value["PHYPortID"], gateway)
        if self._known.get(row) == told:
            return ResultCode.SUCCESS
        try:
            if row != run_time_row(told.prefix):
                return ResultCode.INVALID_PARAMETERS
            self._ne.add(told)
        except ValueError:
            return ResultCode.INVALID_PARAMETERS
        self._known[row] = told
        self._intention_changed(now)
        return ResultCode.SUCCESS


def _select(row: int, destination: Destination) -> LfbSelect:
    target = component(LFB, "Destinations", row)
    value = {
        "Prefix": destination.prefix,
        "FEID": destination.fe,
        "PHYPortID": destination.port,
        "Gateway": destination.gateway or "",
    }
    return target.select(OperType.SET, target.set(value))
