"""FEs with different masters after a partition come together (docs/ce-ce-sync.md, two masters after
a partition): the CE that has fewer of them hands its own over."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from ce.config import CeConfig
from ce.fr_peer import FrPeer

if TYPE_CHECKING:
    from ce.session import FeSession

APART_CHECKS = 3
"""Checks are a second apart: a change of master that is under way is over by then."""
COUNTED_NS = 500_000_000
"""How old the count of each CE's FEs may be."""


class Reunion:
    def __init__(
        self, config: CeConfig, sessions: Mapping[int, FeSession], peers: Mapping[int, FrPeer]
    ) -> None:
        self._config = config
        self._sessions = sessions
        self._peers = peers
        self._order = [peer.id for peer in config.ces]
        self._largest = (-COUNTED_NS, config.id)
        """When it was last counted (ns), and which CE is the master of most FEs."""
        self._apart: dict[int, int] = {}
        """FE -> at how many checks in a row another CE was the master of more FEs."""
        self.hand_over: Callable[[int, int, int], None] = lambda fe, to, now: None
        """A planned switch of an FE to a CE: called with both, and `now`."""

    def check(self, session: FeSession, now: int) -> None:
        """From time to time, of an FE that is ours. It is handed over when another CE has had more
        FEs (of equals, the one that stands earlier in the list) for a while, and that one's
        replica follows."""
        fe, to = session.fe, self._most_fes(now)
        if to not in self._peers or fe not in self._peers[to].followed:
            self._apart.pop(fe, None)
            return
        self._apart[fe] = self._apart.get(fe, 0) + 1
        if self._apart[fe] >= APART_CHECKS:
            del self._apart[fe]
            session.journal("reunite", to=self._peers[to].name)
            self.hand_over(fe, to, now)

    def _most_fes(self, now: int) -> int:
        """This CE's own ID while it does not see all FEs."""
        counted_at, most = self._largest
        if now - counted_at > COUNTED_NS:  # not for each of ten thousand FEs anew
            masters = Counter(session.master for session in self._sessions.values())
            most = max(self._order, key=lambda ce: (masters[ce], -self._order.index(ce)))
            if len(self._sessions) < len(self._config.fes):
                most = self._config.id
            self._largest = now, most
        return most
