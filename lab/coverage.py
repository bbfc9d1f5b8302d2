"""How much of a topology loop-free alternates protect (RFC 5286 section 6.1.1)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter

from ce.config import CeConfig
from ce.routing import Routing
from lab.backend import CellSettings
from lab.emulated.config_for import config_for
from topologies.model import Topology

_CONFIG: TypeAdapter[CeConfig] = TypeAdapter(CeConfig)


@dataclass(frozen=True, slots=True)
class Coverage:
    routes: int
    """Of all FEs, to subnets of hosts, that lead over another FE."""
    protected: int
    """Those of them with an alternate."""
    links: int
    """Between FEs, that a route leads over in one direction or both."""
    whole: int
    """Those of them whose cut leaves no route without an alternate, at either end."""

    def __str__(self) -> str:
        share = 100 * self.protected / self.routes if self.routes else 100.0
        return (
            f"{self.protected} of {self.routes} routes ({share:.0f} %),"
            f" {self.whole} of {self.links} links whole"
        )


def coverage(topology: Topology) -> Coverage:
    """As a CE would protect it while no port is down."""
    settings = CellSettings(mode="none", routes=0, alternates=True)
    raw = config_for(topology, settings, topology.of_kind("ce")[0], Path(), Path())
    config = _CONFIG.validate_python(raw)
    far = {
        (fe.id, port.id): (port.neighbor_fe, port.neighbor_port)
        for fe in config.network
        for port in fe.ports
        if port.neighbor_fe is not None
    }
    routes = protected = 0
    used: set[frozenset[object]] = set()
    open_: set[frozenset[object]] = set()
    for fe, rows in Routing(config).compute(frozenset()).items():
        for route in rows.prefixes.values():
            near = (fe, rows.next_hops[route.selector].port)
            if near not in far:
                continue
            link: frozenset[object] = frozenset((near, far[near]))
            used.add(link)
            routes += 1
            if route.standby:
                protected += 1
            else:
                open_.add(link)
    return Coverage(routes, protected, len(used), len(used - open_))
