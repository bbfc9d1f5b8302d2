"""Carrying faults out: undo first, strike on time, see that it happened, heal, see that it healed.

The undo journal is a file: one line before a fault is applied, one when it is healed. Whatever
stands in it without the second is outstanding, and `heal_outstanding` takes it back in any order.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from lab.backend import AppliedFault, FaultFailed, FaultSpec, LabError
from lab.emulated.clock import STRIKE_PRIORITY, set_fifo, sleep_until
from lab.emulated.faults import kinds
from lab.emulated.faults.bench import Bench, Fault

HAPPEN_BUDGET_S = 5.0
"""In cold standby a planned switch of FEs with 100,000 routes each takes its time."""
HEAL_BUDGET_S = 5.0
POLL_S = 0.004
RESOLVE_LEAD_NS = 25_000_000
"""How long before its moment a fault looks up its target and opens its sockets."""
VERIFY_LEAD_NS = 12_000_000
"""This shortly before a moment no witness is asked any more: the slowest one takes 8 ms."""
MAX_FAULTS = 100

Journal = Callable[[str, Mapping[str, Any]], None]
"""(event, fields): a line in lab.journal.jsonl."""


class UndoJournal:
    """What was applied and not yet healed."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def record(self, spec: FaultSpec, target: str) -> int:
        """Before the fault is applied; returns the number to give to `done`."""
        number = len(self._lines())
        self._append(
            {"undo": number, "kind": spec.kind, "target": target, "arguments": dict(spec.arguments)}
        )
        return number

    def done(self, number: int) -> None:
        self._append({"healed": number})

    def outstanding(self) -> list[tuple[int, FaultSpec]]:
        """Latest first."""
        open_ones: dict[int, FaultSpec] = {}
        for line in self._lines():
            if "healed" in line:
                open_ones.pop(line["healed"], None)
            else:
                open_ones[line["undo"]] = FaultSpec(
                    line["kind"], line["target"], arguments=line["arguments"]
                )
        return sorted(open_ones.items(), reverse=True)

    def _lines(self) -> list[dict[str, Any]]:
        try:
            return [json.loads(line) for line in self._path.read_text().splitlines()]
        except FileNotFoundError:
            return []

    def _append(self, line: Mapping[str, Any]) -> None:
        with self._path.open("a") as file:
            file.write(json.dumps(line) + "\n")
            file.flush()
            os.fsync(file.fileno())


@dataclass(slots=True)
class _Struck:
    """A fault of the schedule that is on its way."""

    spec: FaultSpec
    target: str = ""
    fault: Fault | None = None
    undo: int | None = None
    before_ns: int = 0
    after_ns: int = 0
    verified: bool = False
    verify_until: float | None = None
    """None: nothing to verify (any more)."""
    healed_until: float | None = None
    """None: not being healed."""
    reason: str = ""

    @property
    def pending(self) -> bool:
        return self.verify_until is not None or self.healed_until is not None


class Strikes:
    """The faults of one trial, or those that were asked for by hand."""

    def __init__(self, bench: Bench, undo: UndoJournal, journal: Journal) -> None:
        self._bench = bench
        self._undo = undo
        self._journal = journal
        self._all: list[_Struck] = []

    def run(
        self,
        specs: Sequence[FaultSpec],
        start_ns: int,
        until_ns: int,
        on_start: Callable[[], None] = lambda: None,
    ) -> None:
        """Strike and heal at their moments after `start_ns`; returns at `until_ns` or when the
        last fault is verified, whichever is later. LabError before anything is struck.
        `on_start` is called just before `start_ns`."""
        if len(specs) > MAX_FAULTS:
            raise LabError(f"{len(specs)} faults in one schedule are more than {MAX_FAULTS}")
        for spec in specs:
            kinds.check(self._bench, spec)
        self._all = [_Struck(spec) for spec in specs]
        strikes: dict[int, list[_Struck]] = {}
        moments: list[tuple[int, int, Callable[[], None], int]] = []
        for order, struck in enumerate(self._all):
            at_ns = start_ns + round(struck.spec.at_ms * 1e6)
            strikes.setdefault(at_ns, []).append(struck)
            if struck.spec.heal_after_ms is not None:
                heal_ns = at_ns + round(struck.spec.heal_after_ms * 1e6)
                moments.append((heal_ns, order, partial(self._heal_at, struck, heal_ns), 1))
        for at_ns, group in strikes.items():
            order = self._all.index(group[0])
            moments.append((at_ns, order, partial(self._strike_all, group, at_ns), len(group)))
        self._wait(start_ns - RESOLVE_LEAD_NS * max(1, len(strikes.get(start_ns, ()))))
        on_start()
        for at_ns, _order, action, count in sorted(moments, key=lambda moment: moment[:2]):
            self._wait(at_ns - RESOLVE_LEAD_NS * count)
            action()
        self._wait(until_ns)
        while any(struck.pending for struck in self._all):
            self._look()
            time.sleep(POLL_S)

    def _wait(self, until_ns: int) -> None:
        """Time between two moments goes to verification."""
        while (left := until_ns - time.monotonic_ns()) > 0:
            pending = any(struck.pending for struck in self._all)
            granted_ns = round(self._bench.network.allowance.more_ms * 1e6)
            if pending and left > VERIFY_LEAD_NS + granted_ns:
                self._look()
                time.sleep(POLL_S)
            else:
                sleep_until(until_ns)

    def _strike_all(self, group: Sequence[_Struck], at_ns: int) -> None:
        """The faults of one moment: all are armed before the first one strikes, so that nothing
        but their calls lies between them."""
        armed = [struck for struck in group if self._arm(struck, at_ns)]
        sleep_until(at_ns)
        set_fifo(STRIKE_PRIORITY)
        try:
            for struck in armed:
                assert struck.fault is not None, "it is armed"
                struck.before_ns = time.monotonic_ns()
                struck.fault.strike()
                struck.after_ns = time.monotonic_ns()
        finally:
            set_fifo(0)
        for struck in armed:
            assert struck.fault is not None, "it is armed"
            self._journal("fault", self._fields(struck))
            try:
                struck.fault.confirm()
            except (FaultFailed, OSError) as error:
                self._failed(struck, error)
                continue
            struck.verify_until = time.monotonic() + HAPPEN_BUDGET_S

    def _arm(self, struck: _Struck, at_ns: int) -> bool:
        struck.before_ns = struck.after_ns = at_ns
        try:
            struck.target = kinds.resolve(self._bench, struck.spec.target)
            struck.fault = kinds.arm(self._bench, struck.spec, struck.target)
            struck.undo = self._undo.record(struck.spec, struck.target)
            struck.fault.prepare()
        except (LabError, OSError) as error:
            self._failed(struck, error)
            return False
        return True

    def _look(self) -> None:
        """Ask the witnesses of what was struck or healed and is not settled yet. FaultFailed for
        a fault that does not heal."""
        for struck in self._all:
            if struck.verify_until is not None:
                self._look_for_sign(struck, struck.verify_until)
            if struck.healed_until is not None:
                self._look_for_healing(struck, struck.healed_until)

    def _look_for_sign(self, struck: _Struck, until: float) -> None:
        assert struck.fault is not None, "verification is asked for after a strike"
        try:
            if struck.fault.happened():
                struck.verified, struck.verify_until = True, None
                self._journal("verified", self._fields(struck))
            elif time.monotonic() > until:
                raise FaultFailed(
                    f"{struck.spec.kind} of {struck.target}: no sign of it within "
                    f"{HAPPEN_BUDGET_S:g} s"
                )
        except (LabError, OSError) as error:
            self._failed(struck, error)

    def _look_for_healing(self, struck: _Struck, until: float) -> None:
        assert struck.fault is not None, "healing is asked for after a strike"
        assert struck.undo is not None, "what heals was on record"
        if struck.fault.healed():
            struck.healed_until = None
            self._undo.done(struck.undo)
            self._journal("healed", {"kind": struck.spec.kind, "target": struck.target})
        elif time.monotonic() > until:
            raise FaultFailed(_not_healed(f"{struck.spec.kind} of {struck.target}"))

    def _heal_at(self, struck: _Struck, at_ns: int) -> None:
        """Only the call: whether it healed is looked for while the schedule goes on."""
        if struck.verify_until is not None:
            self._look()
        sleep_until(at_ns)
        if struck.undo is None or struck.fault is None:
            return
        if struck.verify_until is not None:
            self._failed(struck, FaultFailed("healed before there was a sign of it"))
        self._journal("heal", {"kind": struck.spec.kind, "target": struck.target})
        struck.fault.heal()
        struck.healed_until = time.monotonic() + HEAL_BUDGET_S

    def _failed(self, struck: _Struck, error: Exception) -> None:
        struck.verified, struck.verify_until, struck.reason = False, None, str(error)
        self._journal("fault_failed", {**self._fields(struck), "reason": struck.reason})

    def _fields(self, struck: _Struck) -> dict[str, Any]:
        return {
            "kind": struck.spec.kind,
            "target": struck.target,
            "before_ns": struck.before_ns,
            "after_ns": struck.after_ns,
        }

    def applied(self) -> tuple[AppliedFault, ...]:
        """What really happened, in the order of the schedule."""
        return tuple(
            AppliedFault(each.spec, each.target, each.before_ns, each.after_ns, each.verified)
            for each in self._all
        )

    def reasons(self) -> list[str]:
        """Why faults were not verified."""
        return [struck.reason for struck in self._all if struck.reason]

    def close(self) -> None:
        for struck in self._all:
            if struck.fault is not None:
                struck.fault.close()


def heal_outstanding(
    bench: Bench,
    undo: UndoJournal,
    journal: Journal,
    chosen: Callable[[FaultSpec], bool] = lambda _spec: True,
) -> list[FaultSpec]:
    """Take back everything that the undo journal holds, or what of it is chosen, and return it;
    FaultFailed naming what did not heal."""
    specs = [(number, spec) for number, spec in undo.outstanding() if chosen(spec)]
    armed: list[tuple[int, str, str, Fault]] = []
    try:
        for number, spec in specs:
            armed.append((number, spec.kind, spec.target, kinds.arm(bench, spec, spec.target)))
        heal(armed, undo, journal)
        return [spec for _number, spec in specs]
    finally:
        for _number, _kind, _target, fault in armed:
            fault.close()


def heal(armed: Sequence[tuple[int, str, str, Fault]], undo: UndoJournal, journal: Journal) -> None:
    """First all are taken back, then all are checked: one may stand in another's way."""
    for _number, kind, target, fault in armed:
        journal("heal", {"kind": kind, "target": target})
        fault.heal()
    deadline = time.monotonic() + HEAL_BUDGET_S
    waiting = list(armed)
    while waiting:
        for each in list(waiting):
            number, kind, target, fault = each
            if fault.healed():
                undo.done(number)
                journal("healed", {"kind": kind, "target": target})
                waiting.remove(each)
        if not waiting:
            return
        if time.monotonic() > deadline:
            names = ", ".join(f"{kind} of {target}" for _, kind, target, _ in waiting)
            raise FaultFailed(_not_healed(names))
        time.sleep(POLL_S)


def _not_healed(names: str) -> str:
    return f"not healed within {HEAL_BUDGET_S:g} s: {names}"
