"""Ext-FEStateSync: the FE's generation, the journal of its last changes, and the question whether
its master lives. A vendor class of ours (forces/model/lfb/state-sync.xml, docs/ce-ce-sync.md).

The generation grows by one with every Config of the master that was carried out, whatever came of
it: so a master that counts what it sends knows the generation of each of its changes beforehand.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from fe_datapath.lfbs.instance import Instance
from forces.messages import Message
from forces.model import Library
from forces.values import value
from forces.wire import encode

JOURNAL_ROWS = 4096
JOURNAL_OCTETS = 4 << 20
"""Whatever is more than a backup misses while it reads a large table: 20 s of a fast beacon."""
INDEX_BITS = 0xFFFFFFFF


@value
class Change:
    generation: int
    term: int
    exact: bool
    """What the message says is what was done."""
    message: Message
    size: int
    """Octets on the wire."""


class StateSync(Instance):
    def __init__(
        self,
        library: Library,
        pending: Callable[[], int],
        liveness: Callable[[], tuple[int, int, int]],
    ) -> None:
        """`pending`: Configs that wait. `liveness`: master, its silence and our patience in ms."""
        super().__init__(library.cls("Ext-FEStateSync"), 1)
        self.incarnation = 0
        self.term = 0
        self.generation = 0
        self.asked = False
        """MasterLiveness was read, and nobody has looked since."""
        self._last = (0, 0)
        self._inexact = 0
        self._changes: OrderedDict[int, Change] = OrderedDict()
        self._octets = 0
        self._pending = pending
        self._liveness = liveness

    def begin(self, now: int) -> None:
        """A new life of the state: what was before is gone."""
        self.incarnation = max(now, self.incarnation + 1)
        self.generation = self._inexact = 0
        self._last = (0, 0)
        self._changes.clear()
        self._octets = 0

    def new_master(self) -> None:
        """The correlators of the one before mean nothing to it, even if it is the same one."""
        self.term += 1
        self._last = (self._last[0], 0)

    def not_taken(self) -> None:
        """A Config found no room to wait: what its master counts from here on is wrong."""
        self._inexact = self.generation + self._pending() + 1

    def carried_out(self, message: Message, size: int, exact: bool, term: int) -> None:
        """A Config of the master has ended; `term`: when it came. If that is over, it belongs to
        it all the same, and the present master does not take its correlator for one of its own."""
        self.generation += 1
        correlator = message.header.correlator if term == self.term else 0
        self._last = (message.header.source, correlator)
        if not exact:
            self._inexact = max(self._inexact, self.generation)
        change = Change(self.generation, term, exact, message, size)
        self._changes[self.generation & INDEX_BITS] = change
        self._octets += size
        while len(self._changes) > JOURNAL_ROWS or self._octets > JOURNAL_OCTETS:
            _, oldest = self._changes.popitem(last=False)
            self._octets -= oldest.size

    def change(self, generation: int) -> Change | None:
        """None: the journal does not have it (any more)."""
        return self._changes.get(generation & INDEX_BITS)

    def read(self, name: str) -> Any:
        if name == "Position":
            return {
                "Incarnation": self.incarnation,
                "Term": self.term,
                "Generation": self.generation,
                "CEID": self._last[0],
                "Correlator": self._last[1],
                "Pending": self._pending(),
                "Inexact": self._inexact,
            }
        if name == "Journal":
            return _Rows(self._changes)
        self.asked = True
        return dict(zip(("CEID", "Silence", "Patience"), self._liveness(), strict=True))


class _Rows(Mapping[int, Any]):
    """The journal as a table's rows, each encoded only when it is asked for."""

    def __init__(self, changes: Mapping[int, Change]) -> None:
        self._changes = changes

    def __len__(self) -> int:
        return len(self._changes)

    def __iter__(self) -> Iterator[int]:
        return iter(self._changes)

    def __getitem__(self, index: int) -> dict[str, Any]:
        change = self._changes[index]
        return {
            "Generation": change.generation,
            "Term": change.term,
            "Exact": change.exact,
            "Config": encode(change.message),
        }
