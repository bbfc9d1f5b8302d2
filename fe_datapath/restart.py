"""What becomes of an earlier FE process's forwarding state when the FE starts again.

FEPO.FERestartPolicy knows one value (RFC 5810 section 7.3.1.1.2.13): the FE restarts its state
from scratch, in the pre-association phase. So it does: tables, subscriptions, associations and
FEState begin anew, and a CE writes them again. What the *kernel* still forwards by is a second
matter, which CEFailoverPolicy decides as it does for any loss of the CE:

- Policy 0: forwarding stops and everything found is deleted, at once.
- Policy 1, which "requires graceful restart support" (HACapabilities 0): packets go on. What was
  found is marked; what the new master sets again is simply in force; the rest is swept when the
  master says that its state is complete by SETting FEState to OperEnable, or when it has had the
  hold time and said nothing. Without a master forwarding ends with CEFTI, counted from the start
  (how long the FE was gone, nobody knows).

Forwarding that was found switched off stays off: then there is nothing to be graceful about.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from fe_datapath.config import FeConfig
from fe_datapath.context import Context
from fe_datapath.datapath import (
    Change,
    DelNeighbor,
    DelNextHop,
    DelRoute,
    Found,
    NeighborKey,
    RouteKey,
    SetForwarding,
)

TIMER = ("restart", 0)


class Restart:
    def __init__(
        self, config: FeConfig, context: Context, found: Found, has_master: Callable[[], bool]
    ) -> None:
        self._config = config
        self._context = context
        self._has_master = has_master
        self._routes = set(found.routes)
        self._next_hops = dict.fromkeys((*sorted(found.groups), *sorted(found.nexthops)))
        """In the order in which they can be deleted: a group before its members."""
        self._neighbors = set(found.neighbors)
        self._waiting = False
        """No master has come yet."""
        self.graceful = (
            config.failover_policy == 1
            and found.forwarding
            and bool(self._routes or self._next_hops or self._neighbors)
        )
        """What was found is in force, and not swept yet."""

    def start(self) -> None:
        context = self._context
        if not self.graceful:
            context.program((SetForwarding(False), *self.discard()))
            return
        context.journal("restart", routes=len(self._routes), next_hops=len(self._next_hops))
        self._waiting = True
        context.journal("cefti", what="start")
        context.set_timer_in(TIMER, self._config.cefti_ms)

    def new_master(self) -> None:
        """It has the hold time, each one anew, to say what it wants."""
        if not self.graceful:
            return
        if self._waiting:
            self._waiting = False
            self._context.journal("cefti", what="cancel")
        self._context.set_timer_in(TIMER, self._config.restart_hold_ms)

    def timer(self) -> str | None:
        """ "cefti": forwarding has to end. "hold": what is marked has to be swept. None: the
        master was lost meanwhile; FEPO's own CEFTI runs, and the next master gets its time."""
        if self._waiting:
            self._context.journal("cefti", what="expired")
            return "cefti"
        return "hold" if self.graceful and self._has_master() else None

    def sweep(
        self,
        cause: str,
        routes: Collection[RouteKey],
        next_hops: Collection[int],
        neighbors: Collection[NeighborKey],
    ) -> None:
        """Delete what was found and is not among these."""
        self._routes.difference_update(routes)
        self._neighbors.difference_update(neighbors)
        for kept in next_hops:
            self._next_hops.pop(kept, None)
        self._context.journal(
            "swept", routes=len(self._routes), next_hops=len(self._next_hops), cause=cause
        )
        self._context.program(self.discard())

    def discard(self) -> tuple[Change, ...]:
        """Deletions of all that is still marked; graceful restart is over."""
        self.graceful = self._waiting = False
        self._context.cancel_timer(TIMER)
        changes: list[Change] = [DelRoute(*key) for key in sorted(self._routes)]
        changes += [DelNextHop(number) for number in self._next_hops]
        changes += [DelNeighbor(*key) for key in sorted(self._neighbors)]
        self._routes.clear()
        self._next_hops.clear()
        self._neighbors.clear()
        return tuple(changes)
