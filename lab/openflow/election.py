"""Who of the controllers is master: a pure core, fed with heartbeats and their absence.

OpenFlow 1.3 leaves this to the controllers: a switch tells a slave nothing of its master's end
(role status messages come with 1.4, and report changes of role, not lost connections). What it
gives is a fence: a switch refuses a MASTER request whose generation_id is older than one it has
seen (OpenFlow 1.3.5, section 6.3.5), so that two controllers who both believe in themselves are
put in an order by their terms. A term is `epoch << 8 | number`, never equal for two controllers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

Source = Literal["tml", "heartbeat"]
"""How the end of a master was noticed: its connection ended, or it was silent for too long."""

START_GRACE_INTERVALS = 5
"""Dead intervals in which a fresh controller waits to hear from those that may be at work."""


@dataclass(frozen=True, slots=True)
class MasterLost:
    """The master counts as lost."""

    master: int
    source: Source


@dataclass(frozen=True, slots=True)
class TakeOver:
    """This controller is master from now on."""

    term: int
    last: int | None


@dataclass(frozen=True, slots=True)
class Follow:
    """Another one is master; whoever was it steps down."""

    master: int
    term: int


Effect = MasterLost | TakeOver | Follow


@dataclass(slots=True)
class Election:
    """One controller's view. Times are ns of any one clock."""

    me: int
    order: Sequence[int]
    """All controllers, the most preferred first; at most 256."""
    dead_ns: int
    start_ns: int
    term: int = 0
    """Newest that is known."""
    master: int | None = None
    _heard: dict[int, int] = field(default_factory=dict)
    """Live controllers, and when they were last heard."""
    _vacant_since: int = field(init=False)
    _last_master: int | None = None

    def __post_init__(self) -> None:
        assert self.me in self.order, "a controller stands in its own order"
        assert len(self.order) <= 256, "a term has eight bits for the number"
        self._vacant_since = self.start_ns

    @property
    def is_master(self) -> bool:
        return self.master == self.me

    def heard(self, peer: int, term: int, is_master: bool, now: int) -> list[Effect]:
        """A heartbeat."""
        if peer == self.me or peer not in self.order:
            return []
        self._heard[peer] = now
        effects: list[Effect] = []
        if is_master and term >= self.term and self.master != peer:
            effects.append(Follow(peer, term))
            self.master = self._last_master = peer
        self.term = max(self.term, term)
        return effects + self.tick(now)

    def lost(self, peer: int, now: int) -> list[Effect]:
        """Its connection ended."""
        if self._heard.pop(peer, None) is None:
            return []
        return self._gone(peer, "tml", now) + self.tick(now)

    def tick(self, now: int) -> list[Effect]:
        """Time has passed; at `deadline` at the latest."""
        effects: list[Effect] = []
        for peer, at in list(self._heard.items()):
            if now - at >= self.dead_ns:
                del self._heard[peer]
                effects += self._gone(peer, "heartbeat", now)
        if self.master is None and now >= self._may_take_over_at():
            epoch = (self.term >> 8) + 1
            self.term = epoch << 8 | self.order.index(self.me)
            self.master = self.me
            effects.append(TakeOver(self.term, self._last_master))
            self._last_master = self.me
        return effects

    def deadline(self) -> int | None:
        """When `tick` is due."""
        moments = [at + self.dead_ns for at in self._heard.values()]
        if self.master is None:
            moments.append(self._may_take_over_at())
        return min(moments, default=None)

    def _gone(self, peer: int, source: Source, now: int) -> list[Effect]:
        if peer != self.master:
            return []
        self.master = None
        self._vacant_since = now
        return [MasterLost(peer, source)]

    def _may_take_over_at(self) -> int:
        """The first live one in the order at once, each one behind it a dead interval later."""
        ahead = self.order[: self.order.index(self.me)]
        wait = sum(peer in self._heard for peer in ahead) * self.dead_ns
        others = [peer for peer in self.order if peer != self.me]
        if self._last_master is None and not all(peer in self._heard for peer in others):
            wait = max(wait, START_GRACE_INTERVALS * self.dead_ns)
        return self._vacant_since + wait
