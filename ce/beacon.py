"""The control beacon of one FE (DESIGN section 3): a small numbered forwarding change every few
ms for as long as this CE is the FE's master and ready.

Row BEACON_ROW of the prefix table, nobody's intention and never compared. The next master's first
beat replaces the last one's row.
"""

from __future__ import annotations

from ce.config import BEACON_ROW, beacon_prefix
from ce.exchange import Exchange
from ce.fe_tables import FeTables, Table
from ce.lfbs import table
from ce.routes import Route
from ce.rows import hop_selector, pack_route
from forces.effects import Effect, Journal
from forces.messages import OperType
from forces.paths import FullData, PathData


class FeBeacon:
    def __init__(
        self, ce_id: int, fe_name: str, tables: FeTables, exchange: Exchange, out: list[Effect]
    ) -> None:
        self.running = False
        self.sequence = 0
        """Of the next beat."""
        self.contents: bytes | None = None
        """Of the row that the FE has now, as far as we know."""
        self._ce_id = ce_id
        self._fe_name = fe_name
        self._tables = tables
        self._exchange = exchange
        self._out = out
        self._selector: int | None = None
        """HopSelector of the row that the FE has now, as far as we know."""
        target = table(Table.PREFIXES)
        self._target = target
        self._ids = (*target.ids, BEACON_ROW)

    def found(self, contents: bytes | None) -> None:
        """The beacon row that the FE has from an earlier master; None: there is none."""
        self.contents = contents
        self._selector = None if contents is None else hop_selector(contents)

    def start(self, now: int) -> None:
        self.running = True
        self._out.append(
            Journal("beacon", {"fe": self._fe_name, "what": "start", "sequence": self.sequence})
        )
        self.beat(now)

    def stop(self) -> None:
        """No beat follows."""
        if self.running:
            self.running = False
            self._out.append(
                Journal("beacon", {"fe": self._fe_name, "what": "stop", "sequence": self.sequence})
            )

    def beat(self, now: int) -> None:
        """One beat over a next hop that the FE has and keeps; none without such a next hop."""
        if not self.running:
            return
        have = self._tables.expected[Table.NEXT_HOPS]
        for selector in self._tables.intended[Table.NEXT_HOPS]:
            if selector in have:
                break
        else:
            return
        route = Route(beacon_prefix(self._ce_id, self.sequence), 32, selector)
        self.contents = pack_route(route)
        path = PathData(self._ids, content=FullData(self.contents))
        self._exchange.config_unanswered((self._target.select(OperType.SET, path),), now)
        self._selector = selector
        self.sequence += 1

    def leave(self, selectors: set[int], now: int) -> None:
        """These next hops are about to be deleted: no row may point to them any more."""
        if self._selector not in selectors:
            return
        self.beat(now)
        if self._selector in selectors:
            path = PathData(self._ids)
            self._exchange.config_unanswered((self._target.select(OperType.DEL, path),), now)
            self._selector = self.contents = None
