"""The rows of every FE: the configured network with the learned port states (DESIGN section 7).

A pure function: the same configuration and the same set of ports known to be down give the same
rows on every CE, whatever order the events came in. Row indexes and HopSelectors come from the
configuration alone, so that a new master's comparison finds nothing to rename. Where alternates are
wanted (`ce.alternates`), a route that has one leads to a group of two next hops.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from functools import lru_cache

from ce.alternates import MAX_SELECTOR, Group, Way, alternate
from ce.config import CeConfig, Destination, PortView
from ce.routes import (
    FIRST_DESTINATION_ROW,
    FIRST_RUN_TIME_ROW,
    FIRST_SYNTHETIC_ROW,
    MAX_DESTINATIONS,
    MAX_SYNTHETIC,
    SYNTHETIC_BASE,
    SYNTHETIC_LENGTH,
    FeRoutes,
    NextHop,
    Prefixes,
    Route,
    Synthetic,
    run_time_row,
    synthetic_network,
)
from ce.shortest_paths import Paths, PortKey

GATEWAYS_PER_PORT = 16
"""HopSelector = port * 16 + number of the gateway on that port."""


@dataclass(frozen=True, slots=True)
class _Target:
    """A destination with everything that does not depend on port states."""

    row: int
    network: int
    length: int
    fe: int
    port: int
    gateway: str | None
    spread: int
    """Which of n equal-cost next hops: spread % n."""
    routes: dict[tuple[int, int], Route] = field(default_factory=dict, compare=False)
    """By HopSelectors, each made once: most are the same after a link event."""

    def over(self, hops: tuple[int, int]) -> Route:
        route = self.routes.get(hops)
        if route is None:
            route = self.routes[hops] = Route(self.network, self.length, *hops)
        return route


@lru_cache(maxsize=4096)
def _network(prefix: str) -> ipaddress.IPv4Network:
    """Every CE is told of the same destinations, and more than once."""
    return ipaddress.IPv4Network(prefix)


@lru_cache(maxsize=4096)
def _address(gateway: str) -> ipaddress.IPv4Address:
    return ipaddress.IPv4Address(gateway)


@dataclass(slots=True)
class Routing:
    """What the CE knows of the network beforehand, digested once. Raises ValueError for a
    configuration that cannot be routed (unknown FE or port, bad prefix, too many rows)."""

    config: CeConfig
    run_time: dict[str, Destination] = field(default_factory=dict)
    """Destinations added while running, by prefix."""
    _ports: dict[PortKey, PortView] = field(init=False)
    _far_end: dict[PortKey, PortKey] = field(init=False)
    _selectors: dict[int, dict[NextHop, int]] = field(init=False)
    _targets: list[_Target] = field(init=False)
    _synthetic: _Target | None = field(init=False)
    """Stands for all of them."""
    _rank: dict[int, int] = field(init=False)
    _paths: Paths | None = field(init=False, default=None)
    """Of the last computation: a new destination changes none."""
    _configured: set[tuple[int, int]] = field(init=False)
    """Network and length of the destinations that the configuration has."""

    def __post_init__(self) -> None:
        self._ports = {(fe.id, port.id): port for fe in self.config.network for port in fe.ports}
        self._far_end = {
            key: (port.neighbor_fe, port.neighbor_port)
            for key, port in self._ports.items()
            if port.neighbor_fe is not None and port.neighbor_port is not None
        }
        for key, far in self._far_end.items():
            if self._far_end.get(far) != key:
                raise ValueError(
                    f"port {key[1]} of FE {key[0]}: port {far[1]} of FE {far[0]} does not lead back"
                )
        for (fe, number), port in self._ports.items():
            if port.cost < 1:
                raise ValueError(f"port {number} of FE {fe}: cost {port.cost} is below 1")
            if self.config.alternates and number > MAX_SELECTOR // GATEWAYS_PER_PORT:
                raise ValueError(f"port {number} of FE {fe}: no alternates with such a number")
        if len(self.config.destinations) > MAX_DESTINATIONS:
            raise ValueError(f"more than {MAX_DESTINATIONS} destinations")
        if not 0 <= self.config.extra_routes <= MAX_SYNTHETIC:
            raise ValueError(f"extra_routes must be 0 to {MAX_SYNTHETIC}")
        if self.config.extra_routes and not self.config.destinations:
            raise ValueError("extra_routes needs a destination to follow")
        self._rank = {}
        self._selectors = {fe.id: {} for fe in self.config.network}
        for (fe, number), port in self._ports.items():
            if port.neighbor_address:
                self._number(fe, NextHop(number, port.neighbor_address))
        self._targets = []
        for row, destination in enumerate(self.config.destinations, FIRST_DESTINATION_ROW):
            self._targets.append(self._target(row, destination))
        self._synthetic = self._synthetic_target()
        self._configured = {(t.network, t.length) for t in self._targets}

    def _number(self, fe: int, hop: NextHop) -> None:
        """Give a next hop its HopSelector, if it has none."""
        known = self._selectors[fe]
        if hop in known:
            return
        count = sum(other.port == hop.port for other in known)
        if count >= GATEWAYS_PER_PORT:
            raise ValueError(f"more than {GATEWAYS_PER_PORT} gateways on port {hop.port}")
        known[hop] = hop.port * GATEWAYS_PER_PORT + count

    def _target(self, row: int, destination: Destination) -> _Target:
        if (destination.fe, destination.port) not in self._ports:
            raise ValueError(
                f"{destination.prefix}: FE {destination.fe} has no port {destination.port}"
            )
        net = _network(destination.prefix)
        if destination.gateway is not None:
            _address(destination.gateway)
            self._number(destination.fe, NextHop(destination.port, destination.gateway))
        # Ranked among those at the same FE, not in the whole list: two subnets of one host take
        # different paths however the list interleaves the hosts.
        # One added while running has only its row to go by: its rank depends on the order.
        rank = self._rank.get(destination.fe, 0) if row < FIRST_RUN_TIME_ROW else row
        if row < FIRST_RUN_TIME_ROW:
            self._rank[destination.fe] = rank + 1
        return _Target(
            row,
            int(net.network_address),
            net.prefixlen,
            destination.fe,
            destination.port,
            destination.gateway,
            rank,
        )

    def _synthetic_target(self) -> _Target | None:
        if not self.config.extra_routes:
            return None
        last = self._targets[-1]
        # There is no connected route for these: the last destination's FE needs a row as well.
        gateway = last.gateway or self._ports[last.fe, last.port].neighbor_address or None
        return _Target(
            FIRST_SYNTHETIC_ROW,
            SYNTHETIC_BASE,
            SYNTHETIC_LENGTH,
            last.fe,
            last.port,
            gateway,
            last.spread,
        )

    def _is_configured(self, network: ipaddress.IPv4Network) -> bool:
        address, length = int(network.network_address), network.prefixlen
        last = synthetic_network(self.config.extra_routes)
        synthetic = length == SYNTHETIC_LENGTH and SYNTHETIC_BASE <= address < last
        return synthetic or (address, length) in self._configured

    def add(self, destination: Destination) -> int:
        """Add, or replace, a destination while running; gives its row. ValueError says what is
        wrong with it."""
        network = _network(destination.prefix)
        prefix = str(network)
        row = run_time_row(prefix)
        if self._is_configured(network):
            raise ValueError(f"{prefix} is a destination of the configuration")
        for other in self.run_time:
            if other != prefix and run_time_row(other) == row:
                raise ValueError(f"{prefix} and {other} fall on the same row")
        if prefix not in self.run_time and len(self.run_time) >= MAX_DESTINATIONS:
            raise ValueError(f"more than {MAX_DESTINATIONS} destinations added")
        target = self._target(row, destination)
        self._targets = [old for old in self._targets if old.row != row]
        self._targets.append(target)
        self.run_time[prefix] = destination
        return row

    def remove(self, prefix: str) -> None:
        """A destination that was added while running; no error if there is none. Its next hop
        stays: it may be wanted again, and is the same for every CE."""
        if self.run_time.pop(prefix, None) is not None:
            row = run_time_row(prefix)
            self._targets = [old for old in self._targets if old.row != row]

    def take_back(self, prefix: str) -> None:
        """`remove` for what was just added: its next hop goes too, if nothing else wants it and no
        later one is numbered after it."""
        destination = self.run_time.get(prefix)
        self.remove(prefix)
        if destination is None or destination.gateway is None:
            return
        fe, port = destination.fe, destination.port
        hop, known = NextHop(port, destination.gateway), self._selectors[fe]
        wanted = hop.gateway == self._ports[fe, port].neighbor_address or any(
            (target.fe, target.port, target.gateway) == (fe, port, hop.gateway)
            for target in self._targets
        )
        newest = max(selector for other, selector in known.items() if other.port == port)
        if not wanted and known.get(hop) == newest:
            del known[hop]

    def compute(self, down: AbstractSet[PortKey]) -> dict[int, FeRoutes]:
        """Rows of every FE while these ports are known to be down. A port of which nothing is
        known counts as up: a new master meets the FEs one after the other, and must not take a
        path away because it has not met its far end yet."""
        paths = self._paths
        if paths is None or paths.down != down:
            paths = self._paths = self._paths_without(down)
        wanted = {target.fe for target in self._targets}
        for fe in self._selectors if self.config.alternates else wanted:
            paths.reach(fe)
        return {fe: self._rows(fe, down, wanted, paths) for fe in self._selectors}

    def _paths_without(self, down: AbstractSet[PortKey]) -> Paths:
        usable: dict[int, list[Way]] = {fe: [] for fe in self._selectors}
        for (fe, number), far in self._far_end.items():
            if (fe, number) in down or far in down:
                continue
            cost = self._ports[fe, number].cost
            usable[fe].append(Way(far[0], number, cost))
        for choices in usable.values():
            # By neighbour first: paths of both directions meet the same FEs.
            choices.sort(key=lambda way: (way.neighbor, way.port))
        return Paths(frozenset(down), usable)

    def _rows(
        self,
        fe: int,
        down: AbstractSet[PortKey],
        wanted: AbstractSet[int],
        paths: Paths,
    ) -> FeRoutes:
        selectors = self._selectors[fe]
        next_hops = {
            selector: hop
            for hop, selector in selectors.items()
            if (fe, hop.port) not in down and self._far_end.get((fe, hop.port)) not in down
        }
        towards = {far: paths.towards(fe, far) for far in wanted}
        standbys: dict[tuple[int, int], int] = {}
        """(FE to reach, primary port) -> HopSelector of the alternate, 0 without one."""

        def standby(far: int, primary: Way) -> int:
            if (far, primary.port) not in standbys:
                other = alternate(fe, far, primary, paths.usable[fe], paths.distances)
                selector = None if other is None else self._over(fe, other.port)
                standbys[far, primary.port] = selector or 0
            return standbys[far, primary.port]

        def hops(target: _Target) -> tuple[int, int] | None:
            """HopSelectors of next hop and alternate; None: no row (connected, or not to be
            reached)."""
            if (target.fe, target.port) in down:
                return None
            if fe == target.fe:
                if target.gateway is None:
                    return None
                return selectors[NextHop(target.port, target.gateway)], 0
            ways = towards[target.fe]
            if not ways:
                return None
            way = ways[target.spread % len(ways)]
            selector = self._over(fe, way.port)
            if selector is None:
                return None
            return selector, standby(target.fe, way) if self.config.alternates else 0

        prefixes: dict[int, Route] = {}
        for target in self._targets:
            found = hops(target)
            if found is not None:
                prefixes[target.row] = target.over(found)
        pairs = {(route.selector, route.standby) for route in prefixes.values() if route.standby}
        synthetic = None
        found = hops(self._synthetic) if self._synthetic is not None else None
        if found is not None:
            synthetic = Synthetic(self.config.extra_routes, *found)
            if synthetic.standby:
                pairs.add(found)
        groups = {group.index: group for group in (Group(*pair) for pair in sorted(pairs))}
        return FeRoutes(next_hops, Prefixes(prefixes, synthetic), groups)

    def _over(self, fe: int, port: int) -> int | None:
        """HopSelector of the neighbour on this port; None: its address is not known."""
        return self._selectors[fe].get(NextHop(port, self._ports[fe, port].neighbor_address))
