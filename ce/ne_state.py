"""The CE's picture of the whole NE: port states as learnt, and what every FE should hold.

A backup keeps it as warm as the master does (events go to all associated CEs, RFC 7121 section
3.2), so that a takeover starts with the rows already computed.
"""

from __future__ import annotations

from collections.abc import Mapping

from ce.config import CeConfig, Destination
from ce.fe_tables import FeTables
from ce.routes import FeRoutes
from ce.routing import Routing
from ce.rows import RowPacker
from ce.shortest_paths import PortKey


class NeState:
    def __init__(self, config: CeConfig) -> None:
        self.routing = Routing(config)
        self.tables: dict[int, FeTables] = {fe.id: FeTables() for fe in config.network}
        """Per FE; what it holds is kept only while this CE is its master."""
        self.routes: Mapping[int, FeRoutes] = {}
        self._known: set[PortKey] = {(fe.id, port.id) for fe in config.network for port in fe.ports}
        self._up: dict[PortKey, bool] = {}
        self._packer = RowPacker()
        self._compute()

    def port(self, fe: int, port: int) -> bool | None:
        """None: not learnt yet."""
        return self._up.get((fe, port))

    def learn_port(self, fe: int, port: int, up: bool) -> bool:
        """True if it changes anything. An FE that is lost keeps its last states: its kernel goes
        on forwarding, and its neighbours' ports say more about its links than silence does."""
        if (fe, port) not in self._known or self._up.get((fe, port)) is up:
            return False
        was_up = self._up.get((fe, port), True)
        self._up[fe, port] = up
        return was_up is not up

    def add(self, destination: Destination) -> int:
        """A destination at run time; ValueError if it is none. Gives its row; `recompute` is
        the caller's next step."""
        return self.routing.add(destination)

    def remove(self, prefix: str) -> None:
        """A destination that was added at run time; no error if there is none."""
        self.routing.remove(prefix)

    def take_back(self, prefix: str) -> None:
        """As `remove`, and as if it had never been added."""
        self.routing.take_back(prefix)

    def recompute(self) -> set[int]:
        """After port states or destinations changed; the FEs whose intention did."""
        return self._compute()

    def _compute(self) -> set[int]:
        down = frozenset(key for key, up in self._up.items() if not up)
        before, self.routes = self.routes, self.routing.compute(down)
        changed = {fe for fe, routes in self.routes.items() if routes != before.get(fe)}
        for fe in changed:
            self.tables[fe].intended = self._packer.pack(self.routes[fe])
        return changed
