"""What our changes have left in the kernel, as far as we know.

Two things need it that the kernel does not offer: taking back the later messages of a batch of
which one failed (the kernel carries on, and does not say what a replaced route was before), and
refusing to delete a next hop that routes still use (the kernel would flush them without a word).
It is not the truth: after carrier loss the kernel drops next hops and routes by itself, and says
so only by the link event.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence

from fe_datapath.datapath import (
    DelRoute,
    DelRoutes,
    SetNextHop,
    SetNextHopGroup,
    SetRoute,
    SetRoutes,
)

RouteKey = tuple[bytes, int]
WAITING_ROWS = 1 << 20
"""Some 20 MB of prefixes. The worker, when it has to ask, takes 0.4 s to enter them."""


class Ledger:
    """Used by one thread at a time."""

    def __init__(self) -> None:
        self.nexthops: dict[int, tuple[int, str]] = {}
        self.groups: dict[int, frozenset[int]] = {}
        """Group -> its next hops."""
        self.lost: set[int] = set()
        """Next hops and groups that went with their port's carrier and were not set again."""
        self._entered: dict[RouteKey, int] = {}
        """Routes over a lost next hop stay in here, and do not count, until it is set again: what
        has to be quick is the repair after the loss."""

        self._waiting: deque[Sequence[SetRoute | DelRoute] | SetRoutes | DelRoutes] = deque()
        """What has been carried out and is not entered yet, in order: nobody has asked."""
        self.waiting_rows = 0
        """Of what waits."""

    @property
    def _routes(self) -> dict[RouteKey, int]:
        while self._waiting:
            self._enter_oldest()
        return self._entered

    @_routes.setter
    def _routes(self, routes: dict[RouteKey, int]) -> None:
        self._waiting.clear()
        self.waiting_rows = 0
        self._entered = routes

    def _wait(self, changes: Sequence[SetRoute | DelRoute] | SetRoutes | DelRoutes) -> None:
        """Entering takes 0.4 us a route, and a Config that sets many of them would wait for it.
        Over the limit the oldest go in, about as many as have come: never all of them at once."""
        self._waiting.append(changes)
        self.waiting_rows += len(changes)
        while self.waiting_rows > WAITING_ROWS:
            self._enter_oldest()

    def _enter_oldest(self) -> None:
        changes = self._waiting.popleft()
        self.waiting_rows -= len(changes)
        if isinstance(changes, SetRoutes | DelRoutes):
            self._enter_bulk(changes)
        else:
            self._enter(changes)

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
        return nexthop in self.nexthops or nexthop in self.groups or nexthop in self.lost

    def group_of(self, nexthop: int) -> int | None:
        """A group that has this next hop."""
        return next((group for group, hops in self.groups.items() if nexthop in hops), None)

    def known(self) -> tuple[frozenset[RouteKey], frozenset[int], frozenset[int]]:
        """Prefixes, next hops and groups."""
        return frozenset(self._routes), frozenset(self.nexthops), frozenset(self.groups)

    def enter(self, changes: Sequence[SetRoute | DelRoute]) -> None:
        if self._waiting:
            self._wait(changes)
        else:
            self._enter(changes)

    def enter_bulk(self, changes: SetRoutes | DelRoutes) -> None:
        self._wait(changes)

    def _enter(self, changes: Iterable[SetRoute | DelRoute]) -> None:
        routes = self._entered
        for change in changes:
            if type(change) is SetRoute:
                routes[change.prefix, change.length] = change.nexthop
            else:
                routes.pop((change.prefix, change.length), None)

    def _enter_bulk(self, changes: SetRoutes | DelRoutes) -> None:
        octets = changes.prefixes.shape[1]
        prefixes = changes.prefixes.view(f"V{octets}").ravel().tolist()
        keys = zip(prefixes, changes.lengths.tolist(), strict=True)
        if isinstance(changes, SetRoutes):
            self._entered.update(zip(keys, changes.nexthops.tolist(), strict=True))
        else:
            for key in keys:
                self._entered.pop(key, None)

    def set_nexthop(self, change: SetNextHop) -> None:
        self._forget(change.id)
        self.nexthops[change.id] = (change.port, change.gateway)

    def set_group(self, change: SetNextHopGroup) -> None:
        self._forget(change.id)
        hops = frozenset(hop for hop, _ in change.members)
        self.groups[change.id] = hops | ({change.standby} - {0})

    def delete_nexthop(self, identifier: int) -> None:
        self._forget(identifier)
        self.nexthops.pop(identifier, None)
        self.groups.pop(identifier, None)

    def port_lost(self, port: int) -> None:
        """Carrier gone or admin down: the kernel has dropped the port's next hops and their
        routes."""
        gone = {identifier for identifier, (owner, _) in self.nexthops.items() if owner == port}
        for identifier in gone:
            del self.nexthops[identifier]
        for group, hops in list(self.groups.items()):
            self.groups[group] = hops - gone
            if hops <= gone:
                del self.groups[group]
                gone.add(group)
        self.lost |= gone

    def replace(
        self,
        routes: dict[RouteKey, int],
        nexthops: dict[int, tuple[int, str]],
        groups: Mapping[int, frozenset[int]],
    ) -> None:
        """Start again from what the kernel has."""
        self.lost |= self.nexthops.keys() | self.groups.keys()
        self.lost -= nexthops.keys() | groups.keys()
        self._routes = routes
        self.nexthops = nexthops
        self.groups = dict(groups)

    def _forget(self, nexthop: int) -> None:
        """Routes that went with a lost next hop do not come back with it."""
        if nexthop in self.lost:
            self.lost.remove(nexthop)
            self._routes = {key: hop for key, hop in self._routes.items() if hop != nexthop}
