"""Two-phase commit over several FEs (RFC 5810 section 4.3.1.2), the CE's part.

Every FE validates (Configs with SOT, MOT, ...); when all have agreed, all commit (EOT and COMMIT);
when all have committed, TRCOMP ends it. A refusal, a silence beyond the time-out, or a lost FE
before that aborts it everywhere (ABT and COMMIT), also where it is committed already. Pure: time
comes with the answers, and `Exchange` gives the time-outs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from ce.answers import all_failures
from ce.exchange import Answer, Exchange, Outcome
from forces.header import TransPhase
from forces.messages import LfbSelect, Operation, OperType

PHASE_TIMEOUT_NS = 2_000_000_000
MAX_MESSAGES = 64
"""Of one FE: what an FE of ours keeps of a transaction."""

Body = tuple[LfbSelect, ...]


class Phase(Enum):
    VALIDATING = "validating"
    COMMITTING = "committing"
    ABORTING = "aborting"
    COMMITTED = "committed"
    ABORTED = "aborted"


@dataclass(slots=True)
class Transaction:
    """Begins with `start`; `on_end` is called once, with `now`, when it is COMMITTED or ABORTED."""

    changes: Mapping[int, Sequence[Body]]
    """FE -> its Configs, in order."""
    exchanges: Mapping[int, Exchange]
    on_end: Callable[[Transaction, int], None]
    on_abort: Callable[[Transaction, int], None] | None = None
    """Called once when the abort has been sent: what is sent to an FE from then on finds it as it
    was (HP keeps the order)."""
    timeout_ns: int = PHASE_TIMEOUT_NS
    """Of each phase, per message."""
    phase: Phase = Phase.VALIDATING
    failures: dict[int, str] = field(default_factory=dict)
    """FE -> why it did not agree."""
    unconfirmed: set[int] = field(default_factory=set)
    """FEs that did not confirm the abort: what they hold, only reading them can tell."""
    _waiting: dict[int, int] = field(default_factory=dict)
    """FE -> answers still due in this phase."""

    def start(self, now: int) -> None:
        """Raises ValueError for an empty transaction, or one that is too long."""
        longest = max((len(bodies) for bodies in self.changes.values()), default=0)
        if not self.changes or not all(self.changes.values()) or longest > MAX_MESSAGES:
            raise ValueError(f"a transaction is 1 to {MAX_MESSAGES} Configs for each FE")
        self._waiting = {fe: len(bodies) for fe, bodies in self.changes.items()}
        for fe, bodies in self.changes.items():
            for number, body in enumerate(bodies):
                phase = TransPhase.MOT if number else TransPhase.SOT
                if self.phase is not Phase.VALIDATING:
                    return  # an FE is lost already: ABT has gone to all
                self._send(fe, body, phase, now)

    def _send(self, fe: int, body: Body, phase: TransPhase, now: int) -> None:
        sent_in = self.phase
        self.exchanges[fe].transact(
            body, phase, now, lambda answer, when: self._answered(fe, sent_in, answer, when),
            self.timeout_ns,
        )  # fmt: skip

    def _end_all(self, phase: TransPhase, now: int) -> None:
        """A COMMIT to every FE, to commit or to abort."""
        self._waiting = dict.fromkeys(self.changes, 1)
        begun = self.phase
        for fe in self.changes:
            if self.phase is not begun:
                return
            self._send(fe, self._on_first_lfb(fe, OperType.COMMIT), phase, now)

    def _on_first_lfb(self, fe: int, kind: OperType) -> Body:
        """COMMIT and TRCOMP need some LFBselect to be in: the transaction's own first one."""
        first = self.changes[fe][0][0]
        return (LfbSelect(first.class_id, first.instance_id, (Operation(kind),)),)

    def _answered(self, fe: int, sent_in: Phase, answer: Answer, now: int) -> None:
        if sent_in is not self.phase:
            return  # a straggler of a phase that has ended
        why = _refusal(answer)
        if self.phase is Phase.ABORTING:
            if why is not None:
                self.unconfirmed.add(fe)
        elif why is not None:
            self.failures.setdefault(fe, why)
        self._waiting[fe] -= 1
        if self.phase is not Phase.ABORTING and self.failures:
            self._abort(now)
        elif not any(self._waiting.values()):
            self._next(now)

    def abort(self, fe: int, why: str, now: int) -> None:
        """It is not wanted any more, because of this FE. Too late where it has ended."""
        if self.phase in (Phase.VALIDATING, Phase.COMMITTING):
            self.failures.setdefault(fe, why)
            self._abort(now)

    def _abort(self, now: int) -> None:
        self.phase = Phase.ABORTING
        self._end_all(TransPhase.ABT, now)
        if self.on_abort is not None:
            self.on_abort(self, now)

    def _next(self, now: int) -> None:
        if self.phase is Phase.VALIDATING:
            self.phase = Phase.COMMITTING
            self._end_all(TransPhase.EOT, now)
            return
        if self.phase is Phase.COMMITTING:
            self.phase = Phase.COMMITTED
            for fe in self.changes:
                body = self._on_first_lfb(fe, OperType.TRCOMP)
                self.exchanges[fe].transaction_complete(body, now)
        else:
            self.phase = Phase.ABORTED
        self.on_end(self, now)


def _refusal(answer: Answer) -> str | None:
    """Why this is no agreement; None: it is one."""
    if answer.outcome is Outcome.TIMEOUT:
        return "no answer in time"
    if answer.message is None:
        return "lost"
    failed = all_failures(answer.message)
    if not failed:
        return None
    (class_id, instance, ids), code = next(iter(failed.items()))
    return f"LFB {class_id}.{instance} path {'.'.join(map(str, ids))}: result 0x{code:02x}"
