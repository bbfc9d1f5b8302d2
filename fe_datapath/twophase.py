"""Two-phase commit, the FE's part (RFC 5810 section 4.3.1.2).

SOT and MOT: each message is tried on the tables after those before it, and taken back at once, so
that the tables (and everybody who reads them) have committed values only. EOT with COMMIT carries
all of them out as one all-or-none Config, datapath included. Until TRCOMP, or the next SOT, ABT
with COMMIT takes them back again. Nothing is locked meanwhile: a stand-alone Config in between may
make the COMMIT fail, which its answer then says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fe_datapath.edits import Edits
from fe_datapath.responses import NOT_DONE
from fe_datapath.store import Store
from forces.errors import ProtocolError, ResultCode
from forces.header import ExecMode, TransPhase
from forces.messages import LfbSelect, Message, Operation, OperType

MAX_MESSAGES = 64
"""Of one transaction: each is validated after all before it, so the work grows by the square."""

Refused = Mapping[int, ResultCode]
Make = Callable[[Refused], Edits]
"""Carries a Config out on the tables, but for edits that the datapath is known to refuse."""


@dataclass(slots=True)
class _Open:
    messages: list[Message] = field(default_factory=list)
    """Validated."""
    failed: bool = False


class TwoPhase:
    """Transactions by CE; one at a time of each."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._open: dict[int, _Open] = {}
        self._committed: dict[int, Edits] = {}
        """May still be rolled back."""

    def __len__(self) -> int:
        return len(self._open) + len(self._committed)

    def edits(self, ce: int, message: Message) -> Make:
        """How to carry this Config out: alone, or as a part of a transaction."""
        flags = message.header.flags
        kinds = {operation.type for lfb in message.lfbs for operation in lfb.operations}
        if kinds == {OperType.TRCOMP}:
            self._committed.pop(ce, None)
            return lambda refused: Edits(self.store, message)
        if not flags.transaction:
            return lambda refused: Edits(self.store, message, refused)
        if flags.mode is not ExecMode.ALL_OR_NONE:
            self._fail(ce)
            return self._refuse(message, ResultCode.INVALID_FLAGS, "only execute-all-or-none")
        ending = flags.phase in (TransPhase.EOT, TransPhase.ABT)
        if kinds != {OperType.COMMIT} if ending else kinds & {OperType.COMMIT, OperType.TRCOMP}:
            self._fail(ce)
            return self._refuse(message, ResultCode.INVALID_OP, "COMMIT alone, in EOT and ABT")
        match flags.phase:
            case TransPhase.SOT:
                return self._start(ce, message)
            case TransPhase.MOT:
                return self._validate(ce, message)
            case TransPhase.EOT:
                return self._commit(ce, message)
            case TransPhase.ABT:
                return self._abort(ce, message)

    def _start(self, ce: int, message: Message) -> Make:
        if ce in self._open:
            return self._refuse(message, ResultCode.BUSY, "a transaction is open")
        self._committed.pop(ce, None)
        self._open[ce] = _Open()
        return self._validate(ce, message)

    def _validate(self, ce: int, message: Message) -> Make:
        transaction = self._open.get(ce)
        if transaction is None:
            return self._refuse(message, ResultCode.INVALID_FLAGS, "no transaction is open")
        if len(transaction.messages) >= MAX_MESSAGES:
            transaction.failed = True
            return self._refuse(message, ResultCode.MEMORY_ERROR, "too many messages")

        def make(refused: Refused) -> Edits:
            edits = Edits(self.store, message, earlier=transaction.messages)
            edits.withdraw()
            if edits.failed:
                transaction.failed = True
            else:
                transaction.messages.append(message)
            return edits

        return make

    def _commit(self, ce: int, message: Message) -> Make:
        transaction = self._open.pop(ce, None)
        if transaction is None:
            return self._refuse(message, ResultCode.INVALID_FLAGS, "no transaction is open")
        if transaction.failed:
            return self._refuse(message, ResultCode.INVALID_OP, "a message of it has failed")
        earlier = tuple(transaction.messages)
        return lambda refused: Commit(self.store, message, refused, earlier)

    def _abort(self, ce: int, message: Message) -> Make:
        """Also of what was never begun: the CE aborts everywhere when one FE fails."""
        self._open.pop(ce, None)
        committed = self._committed.pop(ce, None)
        if committed is None:
            return lambda refused: Edits(self.store, message, refused, commit=True)
        return lambda refused: Rollback(self.store, message, refused, committed)

    def _refuse(self, message: Message, code: ResultCode, reason: str) -> Make:
        return lambda refused: Refusal(self.store, message, ProtocolError(code, reason))

    def _fail(self, ce: int) -> None:
        if ce in self._open:
            self._open[ce].failed = True

    def finished(self, ce: int, edits: Edits) -> None:
        """The datapath has followed, or has refused."""
        if isinstance(edits, Commit) and not edits.failed:
            self._committed[ce] = edits

    def keep(self, associated: Callable[[int], bool]) -> None:
        """Forget the transactions of CEs whose association has ended: what was not committed is
        not, and what was stays (section 4.3.1.2.3)."""
        for known in (self._open, self._committed):
            for ce in [ce for ce in known if not associated(ce)]:
                del known[ce]


class Refusal(Edits):
    """A Config that the transaction protocol forbids: nothing of it is tried."""

    def __init__(self, store: Store, message: Message, why: ProtocolError) -> None:
        self._why = why
        super().__init__(store, message)

    def _run(self, lfb: LfbSelect, operation: Operation) -> bool:
        return False

    def _try(self, edit: Callable[..., None], *arguments: Any) -> None:
        self.reasons[len(self.codes)] = self._why.reason
        self.codes.append(self._why.code)


class Commit(Edits):
    """All of a transaction at once. Its answer names no path: the code is what failed first."""

    def __init__(
        self, store: Store, message: Message, refused: Refused, earlier: tuple[Message, ...]
    ) -> None:
        super().__init__(store, message, refused, earlier, commit=True)
        guilty = [n for n, code in enumerate(self.codes) if code is not ResultCode.SUCCESS]
        if not guilty:
            return
        first = next((n for n in guilty if self.codes[n] is not NOT_DONE), guilty[0])
        for number in range(self.first, len(self.codes)):
            self.codes[number] = self.codes[first]
            self.reasons[number] = self.reasons.get(first, "")


class Rollback(Edits):
    """A committed transaction backwards, change by change, on what the tables are now."""

    def __init__(self, store: Store, message: Message, refused: Refused, committed: Edits) -> None:
        self._committed = committed
        self._done = False
        super().__init__(store, message, refused, commit=True)

    def _without_path(self, kind: OperType) -> None:
        if not self._done:
            self._done = True
            self.reverse(self._committed)
