"""One trial in virtual time: calibrate, strike, observe, heal, settle, write. The counterpart of
`lab.emulated.trial`, step by step; nothing is judged here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from forces.io.journal import JournalWriter
from lab.backend import AppliedFault, FaultFailed, FaultSpec, LabError, TrialRecords
from lab.simulated import faults
from lab.simulated.element import NetworkElement
from lab.simulated.records import Beacons, Journals, Probes, Tables
from lab.simulated.world import NS_PER_MS

SETTLE_BUDGET_MS = 5000
HAPPEN_BUDGET_MS = 2000
TAIL_MS = 30
"""Probes go on this long after the last heal: the last packets show whether traffic came back."""
POLL_MS = 5
MAX_TRIAL_MS = 500_000


@dataclass(slots=True)
class _Struck:
    spec: FaultSpec
    target: str = ""
    at_ns: int = 0
    verified: bool = False
    heal: faults.Heal | None = None
    """None: not struck, or healed already."""
    happened: faults.Happened | None = None
    """None: nothing to verify (any more)."""
    reason: str = ""


class Trial:
    def __init__(
        self, ne: NetworkElement, folder: Path, journals: Journals, beacons: Beacons
    ) -> None:
        self._ne = ne
        self._world = ne.world
        self._folder = folder
        self._journals = journals
        self._beacons = beacons
        self._journal = JournalWriter(folder / "lab.journal.jsonl", "lab")
        self._struck: list[_Struck] = []

    def run(
        self, specs: Sequence[FaultSpec], calibrate_ms: float, observe_ms: float
    ) -> TrialRecords:
        """LabError for a fault that cannot be, or a duration that the records cannot hold."""
        if not 0 <= calibrate_ms + observe_ms <= MAX_TRIAL_MS:
            raise LabError(f"a trial of {calibrate_ms + observe_ms:g} ms is not possible")
        ne, world = self._ne, self._world
        for spec in specs:
            faults.check(ne, spec)
        probes = Probes(ne)
        for process in ne.processes.values():
            process.watchers.append(probes)
        self._probes = probes
        probes.look()
        start_ns = world.now
        self._note("trial", {"what": "begin"})
        zero_ns = start_ns + round(calibrate_ms * NS_PER_MS)
        end_ns = zero_ns + round(observe_ms * NS_PER_MS)
        self._struck = [_Struck(spec) for spec in specs]
        world.at(zero_ns, self._note, "calibrated", {"what": "end"})
        for struck in self._struck:
            at_ns = zero_ns + round(struck.spec.at_ms * NS_PER_MS)
            world.at(at_ns, self._strike, struck)
            if struck.spec.heal_after_ms is not None:
                heal_ns = at_ns + round(struck.spec.heal_after_ms * NS_PER_MS)
                world.at(heal_ns, self._heal, struck)
        world.run_until(end_ns)
        self._await(lambda: all(each.happened is None for each in self._struck), HAPPEN_BUDGET_MS)
        for struck in reversed(self._struck):
            self._heal(struck)
        begun = world.now
        missing = self.settle(SETTLE_BUDGET_MS)
        self._note("settled", {"missing": missing})
        settled_s = (world.now - begun) / 1e9
        Tables(ne).write(self._folder)
        world.run_ms(TAIL_MS)
        until_ns = world.now
        self._note("trial", {"what": "end"})
        self._journal.close()
        self._journals.close()
        self._beacons.write(self._folder)
        probes.write(self._folder, ne.settings.probe_pps, start_ns, until_ns)
        applied = tuple(
            AppliedFault(each.spec, each.target, each.at_ns, each.at_ns, each.verified)
            for each in self._struck
        )
        described = {
            "laboratory": "simulated",
            "topology": ne.topology.name,
            "settings": asdict(ne.settings),
            "faults": [asdict(each) for each in applied],
            "start_ns": start_ns,
            "end_ns": until_ns,
            "calibrate_ms": calibrate_ms,
            "observe_ms": observe_ms,
            "missing_records": [],
            "unexpected_exits": [],
            "fault_reasons": [each.reason for each in self._struck if each.reason],
            "not_settled": missing,
            "settled_s": settled_s,
        }
        (self._folder / "trial.json").write_text(json.dumps(described, indent=1) + "\n")
        return TrialRecords(self._folder, applied, start_ns, until_ns)

    def settle(self, budget_ms: float) -> list[str]:
        """Until every FE has a master that is ready and beats, and forwards; what is missing."""
        self._await(lambda: not self._missing(), budget_ms)
        return self._missing()

    def stand_by(self, budget_ms: float) -> list[str]:
        """Hot standby: until every FE is associated with every CE; what is missing."""
        self._await(lambda: not self._ne.lacking_backups(), budget_ms)
        return self._ne.lacking_backups()

    @property
    def actions(self) -> int:
        """Carried out in this trial's world."""
        return self._world.actions

    def _missing(self) -> list[str]:
        missing = self._ne.not_ready()
        if not missing and self._ne.settings.beacon_ms:
            for fe in self._ne.fes:
                master = self._ne.master_of(fe.name) or ""
                if (master, fe.name) not in self._journals.beating:
                    missing.append(f"{master} does not beat for {fe.name}")
        return missing

    def _await(self, condition: Any, budget_ms: float) -> None:
        deadline = self._world.now + round(budget_ms * NS_PER_MS)
        while not condition() and self._world.now < deadline:
            self._world.run_ms(POLL_MS)

    # Faults

    def _strike(self, struck: _Struck) -> None:
        struck.at_ns = self._world.now
        struck.target = struck.spec.target
        try:
            struck.target = faults.resolve(self._ne, struck.spec.target)
            kind = faults.check(self._ne, struck.spec)
            struck.heal, happened = kind.strike(self._ne, struck.target, struck.spec.arguments)
        except LabError as error:
            self._failed(struck, error)
            return
        self._note("fault", self._fields(struck))
        self._probes.look()
        struck.happened = happened
        self._verify(struck, self._world.now + HAPPEN_BUDGET_MS * NS_PER_MS)

    def _verify(self, struck: _Struck, deadline: int) -> None:
        if struck.happened is None:
            return
        try:
            if struck.happened():
                struck.verified, struck.happened = True, None
                self._note("verified", self._fields(struck))
            elif self._world.now >= deadline:
                raise FaultFailed(f"{struck.spec.kind} of {struck.target}: no sign of it")
            else:
                self._world.after_ms(POLL_MS, self._verify, struck, deadline)
        except LabError as error:
            self._failed(struck, error)

    def _heal(self, struck: _Struck) -> None:
        if struck.heal is None:
            return
        if struck.happened is not None:
            self._failed(struck, FaultFailed("healed before there was a sign of it"))
        fields = {"kind": struck.spec.kind, "target": struck.target}
        self._note("heal", fields)
        heal, struck.heal = struck.heal, None
        heal()
        self._probes.look()
        self._note("healed", fields)

    def _failed(self, struck: _Struck, error: Exception) -> None:
        struck.verified, struck.happened, struck.reason = False, None, str(error)
        self._note("fault_failed", {**self._fields(struck), "reason": struck.reason})

    def _fields(self, struck: _Struck) -> dict[str, Any]:
        return {
            "kind": struck.spec.kind,
            "target": struck.target,
            "before_ns": struck.at_ns,
            "after_ns": struck.at_ns,
        }

    def _note(self, event: str, fields: Mapping[str, Any]) -> None:
        self._journal.write(event, fields, self._world.now)
