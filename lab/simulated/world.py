"""Virtual time: a clock that jumps to the next thing that is due, and the one source of chance.

Everything that happens in a simulation is an action in this heap. Two actions of one instant run
in the order in which they were asked for, so a seed decides everything.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any

EPOCH_NS = 1_000_000_000
"""Virtual time starts here: 0 would look like "never" to a careless reader."""
NS_PER_MS = 1_000_000
MAX_PENDING = 2_000_000
"""Actions in the heap: more is a leak, not a large network."""


BUSY_ACTIONS = 1 << 18
BUSY_NS = 1_000_000
"""So many actions in less than this: something goes round in circles, and time stands still."""


class World:
    def __init__(self, seed: int | str) -> None:
        self.now = EPOCH_NS
        self.rng = random.Random(seed)
        self.actions = 0
        """Carried out so far."""
        self._heap: list[tuple[int, int, Callable[..., None], tuple[Any, ...]]] = []
        self._order = 0
        self._looked_ns = 0

    def at(self, when_ns: int, action: Callable[..., None], *arguments: Any) -> None:
        """Call `action(*arguments)` then; what is past happens next."""
        self._order += 1
        now = self.now
        heappush(self._heap, (when_ns if when_ns > now else now, self._order, action, arguments))

    def after_ms(self, delay_ms: float, action: Callable[..., None], *arguments: Any) -> None:
        self.at(self.now + round(delay_ms * NS_PER_MS), action, *arguments)

    def run_until(self, until_ns: int) -> None:
        """Everything that is due until then; the clock stands there afterwards."""
        heap = self._heap
        assert len(heap) <= MAX_PENDING, f"{len(heap)} actions are waiting"
        while heap and heap[0][0] <= until_ns:
            self.now, _order, action, arguments = heappop(heap)
            self.actions += 1
            if self.actions % BUSY_ACTIONS == 0:
                self._still_moving()
            action(*arguments)
        self.now = max(self.now, until_ns)

    def _still_moving(self) -> None:
        assert self.now - self._looked_ns >= BUSY_NS, f"time stands still at {self.now} ns"
        self._looked_ns = self.now

    def run_ms(self, duration_ms: float) -> None:
        self.run_until(self.now + round(duration_ms * NS_PER_MS))

    @property
    def pending(self) -> int:
        return len(self._heap)
