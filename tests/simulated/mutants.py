"""Named damages to the cores: each one breaks a promise, and the hunt has to notice.

A mutant is a few lines of monkeypatch. What no mutant survives, the checkers really check.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from ce.fe_tables import FeTables, Op, Table, Write
from ce.ne_state import NeState
from ce.position import read_state
from ce.replica import FeReplica
from ce.sync_takeover import SyncTakeover
from ce.takeover import Takeover
from fe_datapath.context import Context
from fe_datapath.element import ForwardingElement
from fe_datapath.ha import HighAvailability
from fe_datapath.lfbs import sync as sync_module
from fe_datapath.lfbs.sync import StateSync
from forces import mastership_actions as m
from forces.mastership import Mastership
from forces.mastership_table import Step, Trigger


@dataclass(frozen=True, slots=True)
class Mutant:
    name: str
    apply: Callable[[pytest.MonkeyPatch], None]
    seeds: int
    """Within so many schedules the hunt finds it."""
    faults: str | None = None
    """Instead of the seeds' own: for what needs several things at once."""


def _fence_removed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ForwardingElement, "_obeys", lambda self, ce: True)


def _queue_not_fenced(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ForwardingElement, "_still_allowed", lambda self, request: True)


def _issue(change: Callable[[Callable[[Any, str], None], Any, str], None]) -> Any:
    def apply(patch: pytest.MonkeyPatch) -> None:
        real = ForwardingElement.issue
        patch.setattr(ForwardingElement, "issue", lambda self, name: change(real, self, name))

    return apply


def _only_changed(real: Callable[[Any, str], None], fe: Any, name: str) -> None:
    if name != "PrimaryCEDown":
        real(fe, name)


def _twice(real: Callable[[Any, str], None], fe: Any, name: str) -> None:
    real(fe, name)
    if name == "PrimaryCEChanged":
        real(fe, name)


def _stale_rows_stay(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(FeTables, "_to_delete", lambda self, table, want, rows: {})


def _cefti(factor: float) -> Callable[[pytest.MonkeyPatch], None]:
    def apply(patch: pytest.MonkeyPatch) -> None:
        real = Context.set_timer_in

        def set_timer_in(self: Context, key: Any, delay_ms: float) -> None:
            real(self, key, delay_ms * factor if key[0] == "cefti" else delay_ms)

        patch.setattr(Context, "set_timer_in", set_timer_in)

    return apply


def _without_step(step: Step) -> Callable[[pytest.MonkeyPatch], None]:
    def apply(patch: pytest.MonkeyPatch) -> None:
        real = Mastership._step

        def do(self: Mastership, wanted: Step, trigger: Any, ce: int) -> None:
            if wanted is not step:
                real(self, wanted, trigger, ce)

        patch.setattr(Mastership, "_step", do)

    return apply


def _without_action(kind: type) -> Callable[[pytest.MonkeyPatch], None]:
    def apply(patch: pytest.MonkeyPatch) -> None:
        real = HighAvailability._do

        def do(self: HighAvailability, action: m.Action) -> None:
            if not isinstance(action, kind):
                real(self, action)

        patch.setattr(HighAvailability, "_do", do)

    return apply


def _goes_on_forwarding(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ForwardingElement, "stop_forwarding", lambda self: None)


def _stops_at_once(patch: pytest.MonkeyPatch) -> None:
    real = HighAvailability._do

    def do(self: HighAvailability, action: m.Action) -> None:
        real(self, action)
        if isinstance(action, m.StartCefti):
            self.owner.stop_forwarding()

    patch.setattr(HighAvailability, "_do", do)


def _last_is_new(patch: pytest.MonkeyPatch) -> None:
    real = Mastership._adopt

    def adopt(self: Mastership, ce: int) -> None:
        self.last_ceid = ce
        real(self, ce)

    patch.setattr(Mastership, "_adopt", adopt)


def _table_emptied_first(patch: pytest.MonkeyPatch) -> None:
    """A takeover that deletes every row before it writes them: packets are lost meanwhile."""
    real = Takeover._write

    def write(self: Takeover, now: int) -> None:
        tables = self._session.tables
        rows = dict(tables.intended[Table.PREFIXES])
        if rows:
            self._programmer.write([Write(Op.DEL, Table.PREFIXES, rows)], now)
        real(self, now)

    patch.setattr(Takeover, "_write", write)


def _takeover_writes_nothing(patch: pytest.MonkeyPatch) -> None:
    def write(self: Takeover, now: int) -> None:
        self.writing = True
        self.settle(now)

    patch.setattr(Takeover, "_write", write)
    patch.setattr(FeTables, "difference", lambda self: [])


def _port_stays_down(patch: pytest.MonkeyPatch) -> None:
    """A CE that never believes that a port came back."""
    real = NeState.learn_port

    def learn_port(self: NeState, fe: int, port: int, up: bool) -> bool:
        return real(self, fe, port, up) if self.port(fe, port) is not False else False

    patch.setattr(NeState, "learn_port", learn_port)


def _generation_not_bumped(patch: pytest.MonkeyPatch) -> None:
    real = StateSync.carried_out

    def carried_out(self: StateSync, *arguments: Any) -> None:
        real(self, *arguments)
        if self.generation % 7 == 0:
            self.generation -= 1

    patch.setattr(StateSync, "carried_out", carried_out)


def _term_not_bumped(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(StateSync, "new_master", lambda self: None)


def _journal_too_short(patch: pytest.MonkeyPatch) -> None:
    """It ends too early, and nobody looks whether what is read of it is all that was asked for."""
    patch.setattr(sync_module, "JOURNAL_ROWS", 1)

    def tail(self: SyncTakeover, until: int, answer: Any, now: int) -> None:
        if self._answered(answer, now):
            for entry in read_state(answer.message).entries:
                self._replica.generation = entry.generation - 1
                self._replica.apply(entry.generation, entry.message)
            self._in_step("tail", now)

    patch.setattr(SyncTakeover, "_tail", tail)


def _claim_believed(patch: pytest.MonkeyPatch) -> None:
    def look(self: HighAvailability, asker: int) -> None:
        if self.master is not None and asker != self.master:
            self._trigger(Trigger.LOST, self.master, "claim", "told so")

    patch.setattr(HighAvailability, "look", look)


def _nothing_resent(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(SyncTakeover, "_resend", lambda self, theirs, now: self._in_step("resent", now))


def _resent_backwards(patch: pytest.MonkeyPatch) -> None:
    real = SyncTakeover._resend

    def resend(self: SyncTakeover, theirs: int, now: int) -> None:
        kept = self._replica.kept
        late = [one for one in kept if one[0] > theirs]
        if len(late) > 1:
            numbers = [n for n, _ in late]
            turned = [(n, message) for n, (_, message) in zip(numbers, reversed(late), strict=True)]
            self._replica.kept = deque([one for one in kept if one[0] <= theirs] + turned)
        real(self, theirs, now)

    patch.setattr(SyncTakeover, "_resend", resend)


def _equal_whatever(patch: pytest.MonkeyPatch) -> None:
    """A new master that does not compare generations."""
    patch.setattr(SyncTakeover, "_compare", lambda self, position, now: self._in_step("equal", now))


def _replica_skips(patch: pytest.MonkeyPatch) -> None:
    """A replica that counts every fifth change and does not carry it out."""
    real = FeReplica.apply

    def apply(self: FeReplica, generation: int, message: Any) -> None:
        if generation % 5:
            real(self, generation, message)
        else:
            self.generation = generation

    patch.setattr(FeReplica, "apply", apply)


LOST_ON_THE_WAY = "stream ce1 0 250; one-way ce1>fe2 50 400"
"""Replicas get what the FE does not."""

ADDED_AND_CRASHED = "churn 30.1.2.0/24 20 5; crash ce1 60 400"
"""The next master does not want the route."""

MUTANTS = (
    Mutant("fence removed", _fence_removed, 20, "rogue ce2 50 5; rogue ce3 90 5"),
    Mutant("PrimaryCEDown not sent", _issue(_only_changed), 5),
    Mutant("PrimaryCEChanged sent twice", _issue(_twice), 5),
    Mutant("stale rows not removed", _stale_rows_stay, 60, ADDED_AND_CRASHED),
    Mutant("CEFTI doubled", _cefti(2.0), 100),
    Mutant("CEFTI halved", _cefti(0.5), 100),
    Mutant("CEFTI not cancelled", _without_step(Step.CANCEL_CEFTI), 50),
    Mutant("CEFTI not started", _without_step(Step.START_CEFTI), 50),
    Mutant("lost backup not associated again", _without_step(Step.RETRY_LATER), 50),
    Mutant("backups not gathered", _without_step(Step.GATHER), 10),
    Mutant("no retry without a master", _without_action(m.RetryLater), 100),
    Mutant("goes on forwarding when it must stop", _goes_on_forwarding, 50),
    Mutant("stops forwarding at once under policy 1", _stops_at_once, 50),
    Mutant("LastCEID is the new master", _last_is_new, 5),
    Mutant("LastCEID not set on a loss", _without_step(Step.RETIRE), 50),
    Mutant("takeover empties the table first", _table_emptied_first, 50),
    Mutant("takeover writes nothing", _takeover_writes_nothing, 5),
    Mutant("queued Config of an old master", _queue_not_fenced, 400),
    Mutant("generation not bumped", _generation_not_bumped, 20),
    Mutant("term not bumped", _term_not_bumped, 100),
    Mutant("journal ends too early", _journal_too_short, 400),
    Mutant("claim believed without a look", _claim_believed, 400),
    Mutant("nothing resent", _nothing_resent, 60, LOST_ON_THE_WAY),
    Mutant("resent backwards", _resent_backwards, 60, LOST_ON_THE_WAY),
    Mutant("generations not compared", _equal_whatever, 60, LOST_ON_THE_WAY),
    Mutant("replica skips changes", _replica_skips, 100),
    Mutant("port never comes back", _port_stays_down, 100),
)
