"""A laboratory that never was: a Lab whose raw records follow from stated times and losses.

Knobs say what a failover cost and which instrument is broken; the verdicts are then checked
against what is known to be true. Writes the files of docs/seams.md, "A trial's folder".
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ce.config import beacon_prefix
from experiments.measures.records import BEACON, MASTER_FAULTS, RX, TX, is_fe_crash
from lab.backend import AppliedFault, CellSettings, FaultSpec, LabError, TrialRecords
from lab.emulated.meters.route_rows import comparison

MS = 1_000_000
FES = ("fe1", "fe2", "fe3", "fe4")
CES = {"ce1": 0x40000001, "ce2": 0x40000002}
FLOWS = ("a", "b")
ONE_WAY_NS = 80_000


@dataclass(frozen=True, slots=True)
class Knobs:
    """The truth of one trial, and what is broken about its records."""

    dtime1_ms: float = 20.0
    dtime2_ms: float = 6.0
    dtime3_ms: float = 9.0
    spread_ms: float = 0.0
    """Each FE is this much later than the one before it, in dtime2."""
    source: str = "tml"
    detects: bool = True
    recovers: bool = True
    outages: tuple[tuple[str, str, float, float], ...] = ()
    """(flow, direction, ms after the fault, ms): packets due in it are lost."""
    dead_flow: str | None = None
    """This flow's receiver sees nothing at all."""
    receiver_ends_ms: float | None = None
    """After the fault: every receiver stops recording."""
    sender_pause_ms: float = 0.0
    """In the middle of the trial."""
    overflow: int = 0
    calibration_loss: int = 0
    duplicates: int = 0
    swaps: int = 0
    foreign: int = 0
    blind_beacon: str | None = None
    beacon_extra_ms: float = 0.0
    """The kernel's gap is longer than the journals say."""
    old_master_beats_on_ms: float = 0.0
    """After the new one's first change: two hands in one kernel."""
    stop_forwarding: bool | None = None
    """None: as the policy has it."""
    verified: bool = True
    stray_routes: int = 0
    doubled_event: bool = False
    fails: str | None = None
    """The lab itself gives up with this sentence."""
    strike: Callable[[Path], None] | None = None
    """Called in the middle of the trial, e.g. to raise."""


@dataclass
class SyntheticLab:
    """See the module. `knobs` may depend on settings and faults."""

    knobs: Callable[[CellSettings, tuple[FaultSpec, ...]], Knobs] | Knobs = field(
        default_factory=Knobs
    )
    now_ns: int = 5_000_000_000_000
    settings: CellSettings | None = None
    folder: Path = Path()
    trials: int = 0
    closed: bool = False

    def prepare(self, settings: CellSettings, folder: Path, seed: int = 0) -> None:
        self.settings, self.folder = settings, folder

    def trial(
        self, faults: tuple[FaultSpec, ...], calibrate_ms: float, observe_ms: float
    ) -> TrialRecords:
        assert self.settings is not None
        self.trials += 1
        knobs = self.knobs if isinstance(self.knobs, Knobs) else self.knobs(self.settings, faults)
        if knobs.fails:
            raise LabError(knobs.fails)
        if knobs.strike:
            knobs.strike(self.folder)
        writer = Writer(self.folder, self.settings, knobs, self.now_ns, calibrate_ms, observe_ms)
        self.now_ns = writer.end_ns + 1000 * MS
        return writer.write(faults)

    def environment(self) -> Mapping[str, Any]:
        return {"kernel": "synthetic", "cores": 2, "tml": "memory"}

    def close(self) -> None:
        self.closed = True


class Writer:
    """One trial's files."""

    def __init__(
        self,
        folder: Path,
        settings: CellSettings,
        knobs: Knobs,
        start_ns: int,
        calibrate_ms: float,
        observe_ms: float,
    ) -> None:
        self.folder, self.settings, self.knobs = folder, settings, knobs
        self.start_ns = start_ns
        self.fault_ns = start_ns + int(calibrate_ms * MS) + 137_000
        # As in a real trial, the probes go on while the lab heals.
        self.end_ns = self.fault_ns + int((observe_ms + 40) * MS)
        self.journals: dict[str, list[dict[str, Any]]] = {n: [] for n in (*FES, *CES, "lab")}

    def log(self, node: str, t: int, event: str, **fields: Any) -> None:
        self.journals[node].append({"t": t, "node": node, "event": event} | fields)

    def write(self, faults: tuple[FaultSpec, ...]) -> TrialRecords:
        applied = tuple(
            AppliedFault(
                spec,
                "ce1" if spec.target == "master" else spec.target,
                self.fault_ns + int(spec.at_ms * MS),
                self.fault_ns + int(spec.at_ms * MS) + 200_000,
                self.knobs.verified,
            )
            for spec in faults
        )
        for fault in applied:
            self.log(
                "lab",
                fault.before_ns,
                "fault",
                kind=fault.spec.kind,
                target=fault.target,
                before_ns=fault.before_ns,
                after_ns=fault.after_ns,
            )
        kinds = {f.spec.kind for f in applied}
        fails_master = any(
            f.spec.kind in MASTER_FAULTS and not is_fe_crash(f, FES) for f in applied
        )
        planned = "planned-switch" in kinds
        stops = [self.element(i, fe, fails_master, planned) for i, fe in enumerate(FES)]
        windows = [s for s in stops if s]
        self.probes(windows)
        for node, lines in self.journals.items():
            lines.sort(key=lambda line: line["t"])
            text = "".join(json.dumps(line) + "\n" for line in lines)
            (self.folder / f"{node}.journal.jsonl").write_text(text)
        return TrialRecords(self.folder, applied, self.start_ns, self.end_ns)

    def element(
        self, index: int, fe: str, fails_master: bool, planned: bool
    ) -> tuple[int, int] | None:
        """An FE's and its masters' journals and beacon; when it did not forward."""
        k, mode = self.knobs, self.settings.mode
        new = "ce1" if mode == "none" else "ce2"
        before = self.start_ns - 500 * MS
        self.log(fe, before, "start", pid=1, tml="memory")
        self.log(fe, before + MS, "associated", peer="ce1")
        self.log(fe, before + MS, "master", ce="ce1", last=None)
        self.log("ce1", before + 20 * MS, "ready", fe=fe, kind="cold", rows_written=100)
        detect = self.fault_ns + int(k.dtime1_ms * MS)
        master = detect + int((k.dtime2_ms + index * k.spread_ms) * MS)
        ready = master + int(k.dtime3_ms * MS)
        window = None
        if fails_master and k.detects:
            source = "planned" if planned else k.source
            self.log(fe, detect, "detect", ce="ce1", source=source, cause="gone")
            stops = k.stop_forwarding
            if stops is None:
                stops = self.settings.policy == 0 and mode != "hot" and not planned
            if stops:
                self.log(fe, detect + 100_000, "forwarding", on=False)
            if k.recovers:
                self.log(fe, master, "master", ce=new, last="ce1")
                if mode != "hot":
                    self.log(fe, master - 2 * MS, "tml_up", peer=new)
                    self.log(new, master - 2 * MS + 90_000, "tml_up", peer=fe)
                    self.log(new, master - MS, "associated", peer=fe)
                    self.log(fe, master - 1, "associated", peer=new)
                    self.log(new, (master + ready) // 2, "discovered", fe=fe, rows=212)
                self.log(new, master + 50_000, "takeover", fe=fe, last="ce1")
                self.log(new, ready, "ready", fe=fe, kind=mode, rows_written=100)
                for copy in range(2 if k.doubled_event else 1):
                    self.log(fe, master + copy, "ha_event", name="PrimaryCEChanged", to=new)
                if stops:
                    self.log(fe, ready, "forwarding", on=True)
            window = (detect + 100_000, ready if k.recovers else self.end_ns) if stops else None
        failed = fails_master and k.detects
        self.beacon(fe, new, failed, planned, detect, ready)
        routes = [f"20.0.{n}.0/24" for n in range(3)]
        stray = [f"9.9.{n}.0/24" for n in range(k.stray_routes)]
        (self.folder / f"kernel-{fe}.json").write_text(
            json.dumps(comparison(fe, new, routes + stray, routes, ""))
        )
        return window

    def beacon(
        self, fe: str, new: str, failed: bool, planned: bool, detect: int, ready: int
    ) -> None:
        k, step = self.knobs, self.settings.beacon_ms * MS
        if not step or k.blind_beacon == fe:
            rows: list[tuple[int, int, int]] = []
        else:
            last = (detect if planned else self.fault_ns) if failed else self.end_ns
            first = ready + int(k.beacon_extra_ms * MS) + 300_000
            last += int(k.old_master_beats_on_ms and first - last + k.old_master_beats_on_ms * MS)
            olds = list(range(self.start_ns, last, step))
            news = list(range(first, self.end_ns, step)) if failed and k.recovers else []
            beats = [(at, CES["ce1"], n) for n, at in enumerate(olds)]
            beats += [(at, CES[new], n) for n, at in enumerate(news)]
            rows, previous = [], 0
            for at, ce, sequence in sorted(beats):
                prefix = beacon_prefix(ce, sequence)
                rows.append((at, 1, prefix))
                if previous:
                    rows.append((at + 1000, 0, previous))
                previous = prefix
        np.save(self.folder / f"beacon-{fe}.npy", np.array(rows, dtype=BEACON))

    def probes(self, windows: list[tuple[int, int]]) -> None:
        k = self.knobs
        step = 1_000_000_000 // self.settings.probe_pps
        due = np.arange(self.start_ns, self.end_ns, step, dtype=np.int64)
        for flow in FLOWS:
            for direction in ("fwd", "rev"):
                tx = np.zeros(len(due), TX)
                tx["seq"], tx["due_ns"], tx["sent_ns"] = np.arange(len(due)), due, due + 15_000
                if k.sender_pause_ms:
                    start = self.fault_ns - 20 * MS
                    end = start + int(k.sender_pause_ms * MS)
                    late = (tx["sent_ns"] > start) & (tx["sent_ns"] < end)
                    tx["sent_ns"][late] = end
                lost = np.zeros(len(tx), bool)
                spans = [(a, b) for a, b in windows]
                spans += [
                    (self.fault_ns + int(at * MS), self.fault_ns + int((at + length) * MS))
                    for name, way, at, length in k.outages
                    if (name, way) == (flow, direction)
                ]
                for a, b in spans:
                    lost |= (tx["sent_ns"] >= a) & (tx["sent_ns"] < b)
                lost[5 : 5 + k.calibration_loss] = True
                if k.receiver_ends_ms is not None:
                    lost |= tx["sent_ns"] > self.fault_ns + int(k.receiver_ends_ms * MS)
                if flow == k.dead_flow:
                    lost[:] = True
                self.save(flow, direction, tx, lost)

    def save(self, flow: str, direction: str, tx: np.ndarray, lost: np.ndarray) -> None:
        k, got = self.knobs, tx[~lost]
        rx = np.zeros(len(got), RX)
        rx["seq"], rx["sent_ns"] = got["seq"], got["sent_ns"]
        rx["kernel_ns"] = got["sent_ns"] + ONE_WAY_NS
        for n in range(k.swaps):
            i = 40 + 3 * n
            rx["kernel_ns"][[i, i + 1]] = rx["kernel_ns"][[i + 1, i]]
        extra = rx[20 : 20 + k.duplicates].copy()
        extra["kernel_ns"] += 10_000
        strange = rx[: k.foreign].copy()
        strange["seq"] += 10**9
        stem = self.folder / f"probe-{flow}-{direction}"
        np.save(f"{stem}.tx.npy", tx)
        np.save(f"{stem}.rx.npy", np.concatenate((rx, extra, strange)))
        about = {"pps": self.settings.probe_pps, "overflow": k.overflow, "sender_late_ns": 15_000}
        stem.with_name(stem.name + ".json").write_text(json.dumps(about))


def by_mode(seed: int = 1, **changes: Any) -> Callable[[Any, Any], Knobs]:
    """Plausible truths for a whole run: cold pays more than hot, nothing is ever twice the same."""
    rng = random.Random(seed)

    def knobs(settings: CellSettings, faults: tuple[FaultSpec, ...]) -> Knobs:
        kind = faults[0].kind if faults else "none"
        heartbeat = kind in ("hang", "isolate-silent")
        made = Knobs(
            dtime1_ms=(105 if heartbeat else 16) + rng.gauss(0, 2),
            dtime2_ms={"none": 330.0, "cold": 24.0, "hot": 0.4}[settings.mode]
            * rng.uniform(0.8, 1.3),
            dtime3_ms={"none": 30.0, "cold": 28.0, "hot": 6.0}[settings.mode]
            * rng.uniform(0.8, 1.3),
            spread_ms=0.05,
            source="heartbeat" if heartbeat else "tml",
            outages=(("a", "fwd", 0.4, 6.0), ("a", "rev", 0.3, 5.0)) if kind == "link-cut" else (),
        )
        if kind == "planned-switch":
            made = replace(made, dtime1_ms=0.6)
        return replace(made, **changes)

    return knobs
