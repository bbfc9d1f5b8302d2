"""Config messages on their way through tables and kernel, one after the other.

The tables change at once, under an undo log; the kernel follows; the answer goes out when it has.
What the kernel refuses is taken back in the tables, and in the kernel by a second program. Queries
and heartbeats go on meanwhile, and see committed values only.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from fe_datapath.datapath import Change
from fe_datapath.edits import Edits
from fe_datapath.lfbs.plan import Origins, one_by_one
from fe_datapath.lfbs.unicast import Unicast
from fe_datapath.store import Store
from fe_datapath.transaction import Transaction, instead, plan_for
from fe_datapath.twophase import Make, TwoPhase
from forces.association import Association
from forces.effects import Program
from forces.errors import ResultCode
from forces.messages import Message
from forces.values import value

QUEUE_LIMIT = 4096
"""Configs waiting. A CE that waits for answers has a few; one that does not must not cost an FE
its memory."""


@value
class Request:
    """A Config message that waits for its turn."""

    peer: int
    message: Message
    size: int
    """Octets on the wire."""
    association: Association
    """In which it came. The same CE in a later association knows nothing of it."""
    term: int
    """Of Ext-FEStateSync, in which it came."""


@dataclass(slots=True)
class _UnderWay:
    request: Request
    make: Make
    edits: Edits
    token: int
    changes: tuple[Change, ...]
    origins: Origins
    refused: dict[int, ResultCode] = field(default_factory=dict)
    """Edits that the datapath does not take. Not empty: it is being brought back."""


@value
class Finished:
    """A Config that has ended, one way or the other."""

    request: Request
    edits: Edits
    diverged: str = ""
    """Why the kernel could not be brought back to what the tables say; empty: it could."""


@dataclass(slots=True)
class Configs:
    store: Store
    unicast: Unicast
    next_token: Callable[[], int]
    waiting: deque[Request] = field(default_factory=deque)
    two_phase: TwoPhase = field(init=False)
    _current: _UnderWay | None = None

    def __post_init__(self) -> None:
        self.two_phase = TwoPhase(self.store)

    @property
    def transaction(self) -> Transaction | None:
        """Of the Config that the kernel is being programmed for."""
        return None if self._current is None else self._current.edits.transaction

    @property
    def pending(self) -> int:
        """Configs that were taken and have not ended."""
        return len(self.waiting) + (self._current is not None)

    @property
    def under_way(self) -> tuple[Request, int] | None:
        """The Config that the kernel is being programmed for, and the program's token."""
        return None if self._current is None else (self._current.request, self._current.token)

    def of_another_term(self, term: int) -> bool:
        """The kernel is being programmed for a Config that came in another term than this."""
        return self._current is not None and self._current.request.term != term

    def submit(self, request: Request) -> bool:
        """False: too many are waiting, and this one was not taken."""
        if len(self.waiting) >= QUEUE_LIMIT:
            return False
        self.waiting.append(request)
        return True

    def next(self, allowed: Callable[[Request], bool]) -> Finished | Program | None:
        """Start the first that waits, if none is under way. What may not be carried out any more
        `allowed` says (it takes note of it)."""
        while self._current is None and self.waiting:
            request = self.waiting.popleft()
            if not allowed(request):
                continue
            make = self.two_phase.edits(request.peer, request.message)
            edits = make({})
            changes, origins = edits.transaction.plan().result()
            if not changes:
                return self._ended(request, edits)
            self._current = _UnderWay(request, make, edits, 0, changes, origins)
            return self._program(changes, origins)
        return None

    def _program(self, changes: tuple[Change, ...], origins: Origins) -> Program:
        current = self._current
        assert current is not None
        current.token = self.next_token()
        current.changes, current.origins = changes, origins
        # Changes are ordered by kind, not by edit: only all-or-none may stop at the first failure.
        stop = current.edits.atomic and not current.refused
        return Program(current.token, changes, stop_on_failure=stop)

    def done(
        self, token: int, failed: Mapping[int, str], codes: Mapping[int, int]
    ) -> Finished | Program | None:
        """The kernel's answer. None: it is not about a Config under way."""
        current = self._current
        if current is None or token != current.token:
            return None
        if not failed:
            return self._ended(current.request, current.edits)
        changes, origins = one_by_one(current.changes, current.origins)
        current.changes, current.origins = changes, origins
        real = {index for index in failed if not self.unicast.excused(changes[index])}
        if not real:
            rest = self._rest(current, min(failed))
            if rest[0]:
                return self._program(*rest)
            return self._ended(current.request, current.edits)
        if any(origins[index] < 0 for index in real):
            self._current = None
            return Finished(current.request, current.edits, "; ".join(failed.values()))
        refused = {index: origins[index] for index in real}
        return self._take_back(current, refused, codes)

    def _rest(self, current: _UnderWay, first: int) -> tuple[tuple[Change, ...], Origins]:
        """After an excused failure the datapath has stopped: what is left to do."""
        if current.refused or not current.edits.atomic:
            return (), ()
        pairs = list(zip(current.changes, current.origins, strict=True))[first + 1 :]
        left = [pair for pair in pairs if not self.unicast.excused(pair[0])]
        return tuple(c for c, _ in left), tuple(o for _, o in left)

    def _take_back(
        self, current: _UnderWay, failed: Mapping[int, int], codes: Mapping[int, int]
    ) -> Finished | Program:
        """The tables as if the refused edits had been refused from the start (all-or-none: as if
        nothing had been asked for), and the kernel brought to them."""
        attempt = current.changes
        for index in failed:
            self.unicast.refused(attempt[index])
        for index in sorted(failed, reverse=True):
            code = ResultCode(codes.get(index, ResultCode.INTERNAL_ERROR))
            current.refused[failed[index]] = code
        attempted = current.edits.transaction.changes(many=True)
        current.edits.take_back_all()
        current.edits = current.make(current.refused)
        way = instead(attempted, current.edits.transaction, current.refused)
        plan = plan_for(way)
        tables = current.edits.transaction.changes()
        self.unicast.insist([attempt[index] for index in sorted(failed)], tables, plan)
        changes, origins = plan.result()
        if changes:
            return self._program(changes, origins)
        return self._ended(current.request, current.edits)

    def _ended(self, request: Request, edits: Edits) -> Finished:
        self._current = None
        self.two_phase.finished(request.peer, edits)
        return Finished(request, edits)

    def forget(self) -> None:
        """Take the tables back to what they were before the Config under way, without a word to
        the kernel or the CE: all of it is about to be discarded."""
        if self._current is not None:
            self._current.edits.take_back_all()
            self._current = None
        self.two_phase = TwoPhase(self.store)
