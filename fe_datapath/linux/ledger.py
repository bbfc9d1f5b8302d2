"""What our changes have left in the kernel, as far as we know.

Two things need it that the kernel does not offer: taking back the later messages of a batch of
which one failed (the kernel carries on, and does not say what a replaced route was before), and
refusing to delete a next hop that routes still use (the kernel would flush them without a word).
It is not the truth: after carrier loss the kernel drops next hops and routes by itself, and says
so only by the link event.
"""

from __future__ import annotations

from collections.abc import Iterable

from fe_datapath.datapath import DelRoute, SetNextHop, SetRoute

RouteKey = tuple[bytes, int]


class Ledger:
    """Used by one thread at a time."""

    def __init__(self) -> None:
        self.nexthops: dict[int, tuple[int, str]] = {}
        self.lost: set[int] = set()
        """Next hops that went with their port's carrier and were not set again."""
        self._routes: dict[RouteKey, int] = {}
        """Routes over a lost next hop stay in here, and do not count, until it is set again: what
        has to be quick is the repair after the loss."""

    def route(self, key: RouteKey) -> int | None:
        """The route's next hop."""
        hop = self._routes.get(key)
        return None if hop in self.lost else hop

    def users(self, nexthop: int) -> int:
        """Routes over this next hop. A scan (1 ms for 100,000 routes): it is asked for when a
        next hop is deleted, while a count would be kept up with every route."""
        return 0 if nexthop in self.lost else list(self._routes.values()).count(nexthop)

    def knows(self, nexthop: int) -> bool:
        """Set at some time, never deleted by a change."""
        return nexthop in self.nexthops or nexthop in self.lost

    def enter(self, changes: Iterable[SetRoute | DelRoute]) -> None:
        routes = self._routes
        for change in changes:
            if type(change) is SetRoute:
                routes[change.prefix, change.length] = change.nexthop
            else:
                routes.pop((change.prefix, change.length), None)

    def set_nexthop(self, change: SetNextHop) -> None:
        self._forget(change.id)
        self.nexthops[change.id] = (change.port, change.gateway)

    def delete_nexthop(self, identifier: int) -> None:
        self._forget(identifier)
        self.nexthops.pop(identifier, None)

    def port_lost(self, port: int) -> None:
        """Carrier gone or admin down: the kernel has dropped the port's next hops and their
        routes."""
        gone = {identifier for identifier, (owner, _) in self.nexthops.items() if owner == port}
        for identifier in gone:
            del self.nexthops[identifier]
        self.lost |= gone

    def replace(self, routes: dict[RouteKey, int], nexthops: dict[int, tuple[int, str]]) -> None:
        """Start again from what the kernel has."""
        self.lost |= self.nexthops.keys()
        self.lost -= nexthops.keys()
        self._routes = routes
        self.nexthops = nexthops

    def _forget(self, nexthop: int) -> None:
        """Routes that went with a lost next hop do not come back with it."""
        if nexthop in self.lost:
            self.lost.remove(nexthop)
            self._routes = {key: hop for key, hop in self._routes.items() if hop != nexthop}
