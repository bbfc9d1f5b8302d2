"""Another CE asks whether the master lives (docs/ce-ce-sync.md), and the FE looks for itself.

It pokes the master's transport, which reports an error if nobody is there any more, and sees
whether the master stays silent. A claim alone moves nothing.
"""

from __future__ import annotations

from collections.abc import Callable

from fe_datapath.context import NS_PER_MS, Context
from forces.association import Association
from forces.messages import Message

PATIENCE_HEARTBEATS = 3
PATIENCE_MIN_MS = 60
PATIENCE_SHARE = 0.75
"""Asked by another CE, the FE agrees that its master is gone after a silence of so many heartbeat
intervals, but not before a living process on a loaded machine would have had its turn, and never
later than after so much of the dead interval."""
LOOK_MIN_MS = 5
"""However long the silence was, an error after the poke has this time, and so has the master: an FE
that was itself asleep finds its messages waiting."""
POKE_MIN_NS = 1_000_000
"""Between two pokes, however often a CE asks."""


def agreed_silence_ms(heartbeat_ms: int | None, dead_ms: int) -> int:
    """The silence with which the FE agrees."""
    beats_ms = PATIENCE_HEARTBEATS * (heartbeat_ms or dead_ms)
    return round(min(max(beats_ms, PATIENCE_MIN_MS), PATIENCE_SHARE * dead_ms))


class Look:
    def __init__(self, context: Context) -> None:
        self._context = context
        self.at: int | None = None
        """The master that is looked at."""
        self._poked_ns = -POKE_MIN_NS
        self._heard = 0
        """Messages of the master before the look."""

    def begin(
        self,
        link: Association,
        asker: int,
        patience_ms: int,
        send: Callable[[int, Message], None],
    ) -> None:
        """`link`: to the master."""
        context, ce = self._context, link.peer_id
        if context.now - self._poked_ns < POKE_MIN_NS:
            return
        self._poked_ns, self.at = context.now, ce
        self._heard = link.statistics.recv_packets
        context.journal("look", ce=context.name(ce), asker=context.name(asker))
        send(ce, link.heartbeat())
        self._until(link, patience_ms, LOOK_MIN_MS)

    def _until(self, link: Association, patience_ms: int, least_ms: int) -> None:
        until = link.last_received_ns + patience_ms * NS_PER_MS
        least = self._context.now + least_ms * NS_PER_MS
        self._context.set_timer(("look", link.peer_id), max(until, least))

    def over(self, link: Association, patience_ms: int) -> str | None:
        """Its timer has fired. The cause, if the master is gone."""
        silence_ms = (self._context.now - link.last_received_ns) / NS_PER_MS
        if silence_ms >= patience_ms:
            self.at = None
            return f"silent for {silence_ms:.1f} ms"
        if self._heard == link.statistics.recv_packets:
            self._until(link, patience_ms, 1)  # we were asleep ourselves: neither heard nor silent
        else:
            self.at = None
        return None
