"""Queries of a new master that wait until what an earlier one began has ended.

A Query is answered at once, from one instant (RFC 5810 section 7.7 has no other order). But what a
new master reads must not change under its feet: a Config of the last term that the kernel is still
being programmed for will be in the tables in a moment, and in the generation (docs/ce-ce-sync.md).
"""

from __future__ import annotations

from collections.abc import Callable

from fe_datapath.configs import Configs
from forces.association import Association
from forces.events import MessageReceived

LIMIT = 256
"""Queries that wait. A CE that takes over asks for a table of 100,000 rows by about 100."""


class Questions:
    def __init__(self, configs: Configs, term: Callable[[], int]) -> None:
        self._configs = configs
        self._term = term
        self.waiting: list[tuple[MessageReceived, Association]] = []

    def must_wait(self) -> bool:
        return self._configs.of_another_term(self._term())

    def wait(self, event: MessageReceived, association: Association) -> bool:
        """False: too many wait already."""
        if len(self.waiting) >= LIMIT:
            return False
        self.waiting.append((event, association))
        return True

    def due(self, holds: Callable[[Association], bool]) -> list[MessageReceived]:
        """Those to answer now; what an association that has ended asked is forgotten."""
        if not self.waiting or self.must_wait():
            return []
        waiting, self.waiting = self.waiting, []
        return [event for event, association in waiting if holds(association)]
