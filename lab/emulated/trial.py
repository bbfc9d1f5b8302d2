"""One trial (DESIGN section 13, "a trial's way"): calibrate, strike, observe, heal, settle, write.

What is left in the folder is docs/seams.md's; nothing is judged here. What could not be done (a
fault that did not happen, a heal that did not heal, a process that died by itself) is written
down beside the rest.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from forces.io.journal import JournalWriter
from lab.backend import FaultFailed, FaultSpec, LabError, TrialRecords
from lab.emulated.clock import sleep_until
from lab.emulated.faults import kinds
from lab.emulated.faults.schedule import Strikes, UndoJournal, heal_outstanding
from lab.emulated.meters.instruments import Instruments
from lab.emulated.nodes import NetworkElement
from lab.emulated.systems import RecordTables

SETTLE_BUDGET_S = 5.0
"""After the last heal: every FE has a ready master again and forwards."""
TAIL_S = 0.03
"""Probes go on this long after that: the last packets show whether traffic came back."""
LONGER_THAN_PLANNED_S = 30.0
"""What verification, healing and settling may take on top; the instruments' buffers hold it."""
MAX_TRIAL_S = 500.0
POLL_S = 0.005
LOG_TAIL_OCTETS = 4000


class Trial:
    """One trial on a network element that is ready."""

    def __init__(
        self,
        ne: NetworkElement,
        folder: Path,
        calibrate_ms: float,
        observe_ms: float,
        record_tables: RecordTables,
    ) -> None:
        """LabError for a duration that the instruments cannot hold."""
        planned_s = (calibrate_ms + observe_ms) / 1000
        if calibrate_ms < 0 or observe_ms < 0 or planned_s > MAX_TRIAL_S:
            raise LabError(f"a trial of {planned_s:g} s is not possible (0 to {MAX_TRIAL_S:g} s)")
        self._ne = ne
        self._folder = folder
        self._record_tables = record_tables
        self._calibrate_ns = round(calibrate_ms * 1e6)
        self._observe_ns = round(observe_ms * 1e6)
        self.run_s = planned_s + LONGER_THAN_PLANNED_S
        self._journal = JournalWriter(folder / "lab.journal.jsonl", "lab")
        self.undo = UndoJournal(folder / "undo.jsonl")
        self._notes: dict[str, Any] = {}

    def run(self, instruments: Instruments, specs: Sequence[FaultSpec], pcap: bool) -> TrialRecords:
        """FaultFailed if a fault could not be taken back: the network is not what it was."""
        for spec in specs:
            kinds.check(self._ne, spec)
        strikes = Strikes(self._ne, self.undo, self._note)
        begun = time.monotonic()
        start_ns = end_ns = time.monotonic_ns()
        try:
            start_ns = instruments.start(pcap)
            sleep_until(start_ns)
            self._note("trial", {"what": "begin"})
            zero_ns = start_ns + self._calibrate_ns
            strikes.run(specs, zero_ns, zero_ns + self._observe_ns, self._on_calibrated)
            heal_outstanding(self._ne, self.undo, self._note)
            self._settle()
            fes = [fe.name for fe in self._ne.topology.of_kind("fe")]
            self._record_tables(self._ne, self._folder, fes)
            sleep_until(time.monotonic_ns() + round(TAIL_S * 1e9))
        except FaultFailed as error:
            self._notes["not_healed"] = str(error)
            raise
        finally:
            end_ns = time.monotonic_ns()
            self._note("trial", {"what": "end"})
            strikes.close()
            self._notes["missing_records"] = instruments.stop()
            self._notes["unexpected_exits"] = self._accidents()
            self._notes["fault_reasons"] = strikes.reasons()
            took_s = time.monotonic() - begun - (self._calibrate_ns + self._observe_ns) / 1e9
            self._notes["overhead_s"] = round(took_s, 3)
            self._write(strikes, start_ns, end_ns)
            self._journal.close()
        return TrialRecords(self._folder, strikes.applied(), start_ns, end_ns)

    def _on_calibrated(self) -> None:
        self._note("calibrated", {"what": "end"})

    def _settle(self) -> None:
        """Within a budget; whether it did is on record, and the measures see what it means."""
        begun = time.monotonic()
        missing = self._not_settled()
        while missing and time.monotonic() - begun < SETTLE_BUDGET_S:
            time.sleep(POLL_S)
            missing = self._not_settled()
        self._notes["settled_s"] = round(time.monotonic() - begun, 3)
        self._notes["not_settled"] = missing
        self._note("settled", {"missing": missing})

    def _not_settled(self) -> list[str]:
        missing = self._ne.not_ready()
        for fe in self._ne.topology.of_kind("fe"):
            switched = [e["on"] for e in self._ne.journals.entries(fe.name, "forwarding")]
            if switched and not switched[-1]:
                missing.append(f"{fe.name} does not forward")
        return missing

    def _accidents(self) -> list[dict[str, Any]]:
        return [
            {"node": node, "exit_code": code, "log": _tail(self._ne.log(node))}
            for node, code in self._ne.accidents().items()
        ]

    def _note(self, event: str, fields: Mapping[str, Any]) -> None:
        self._journal.write(event, fields, time.monotonic_ns())

    def _write(self, strikes: Strikes, start_ns: int, end_ns: int) -> None:
        described = {
            "topology": self._ne.topology.name,
            "settings": asdict(self._ne.settings),
            "faults": [asdict(each) for each in strikes.applied()],
            "start_ns": start_ns,
            "end_ns": end_ns,
            "calibrate_ms": self._calibrate_ns / 1e6,
            "observe_ms": self._observe_ns / 1e6,
            **self._notes,
        }
        (self._folder / "trial.json").write_text(json.dumps(described, indent=1) + "\n")


def _tail(path: Path) -> str:
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - LOG_TAIL_OCTETS))
            return file.read().decode(errors="replace")
    except OSError:
        return ""
