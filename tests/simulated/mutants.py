"""Named damages to the cores: each one breaks a promise, and the hunt has to notice.

A mutant is a few lines of monkeypatch. What no mutant survives, the checkers really check.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from ce.fe_tables import FeTables, Op, Table, Write
from ce.ne_state import NeState
from ce.takeover import Takeover
from fe_datapath.context import Context
from fe_datapath.element import ForwardingElement
from fe_datapath.ha import HighAvailability
from forces import mastership as m
from forces.mastership import Mastership
from forces.mastership_table import Step


@dataclass(frozen=True, slots=True)
class Mutant:
    name: str
    apply: Callable[[pytest.MonkeyPatch], None]
    seeds: int
    """Within so many schedules the hunt finds it."""


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
    patch.setattr(FeTables, "stale", lambda self, table: {})


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


MUTANTS = (
    Mutant("fence removed", _fence_removed, 400),
    Mutant("PrimaryCEDown not sent", _issue(_only_changed), 5),
    Mutant("PrimaryCEChanged sent twice", _issue(_twice), 5),
    Mutant("stale rows not removed", _stale_rows_stay, 100),
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
    Mutant("port never comes back", _port_stays_down, 100),
)
