"""Work on whole tables, a slice at a time: between two slices the driver serves what has come, and
timers that are due. A CE that computes for half a second is dead to its FEs (RFC 5810 section
4.3.3), whatever it computes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from forces.effects import Effect, SetTimer

WORK_TIMER = "work"

Step = Callable[[int], None]
"""Called with `now`; does a few ms of work, and asks for another turn if there is more."""


class Work:
    """All FEs' of one CE: one slice a turn, each in its turn."""

    def __init__(self, out: list[Effect]) -> None:
        self._out = out
        self._waiting: deque[tuple[Step, int]] = deque()

    def later(self, step: Step, now: int, rest_ns: int = 0) -> None:
        """In a turn of its own; after a rest, if nobody waits for what is worked out."""
        self._waiting.append((step, rest_ns))
        if len(self._waiting) == 1:
            self._out.append(SetTimer(WORK_TIMER, now + rest_ns))

    def turn(self, now: int) -> None:
        """The timer fired."""
        step, _rest = self._waiting.popleft()
        if self._waiting:
            self._out.append(SetTimer(WORK_TIMER, now + self._waiting[0][1]))
        step(now)
