"""One trial's figures and its verdict (DESIGN section 3)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from experiments.measures.beacon import ControlGap, beats_missed, control_gap
from experiments.measures.failover import (
    Failover,
    failovers,
    must_fail_over,
    of_network_element,
)
from experiments.measures.invariants import violations
from experiments.measures.meter import meter_faults
from experiments.measures.path import Path as FailoverPath
from experiments.measures.path import paths
from experiments.measures.probe import ProbeFigures, measure
from experiments.measures.records import (
    MASTER_FAULTS,
    Description,
    RecordError,
    Trial,
    read_trial,
)

Verdict = Literal["ok", "disagree", "invalid", "violated"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one trial says."""

    description: Description
    verdict: Verdict
    reasons: tuple[str, ...]
    """Why it is not `ok`; all of them, also those that a worse verdict hides."""
    failovers: tuple[Failover, ...] = ()
    ne: Failover | None = None
    """Of the last FE."""
    gaps: Mapping[str, ControlGap] | None = None
    """FE -> control outage, for FEs whose master was hit."""
    probes: tuple[ProbeFigures, ...] = ()
    tml: str = ""
    """The transport that was really used."""
    false_alarms: int = 0
    """Masters that FEs declared lost while nothing was broken yet."""
    beats_missed: int | None = None
    """Beats of the beacon that were due around the change of master, all FEs together."""
    paths: Mapping[str, FailoverPath] = field(default_factory=dict)
    """FE -> where the time from the fault to the first change went."""

    @property
    def control_outage_ms(self) -> float | None:
        """The longest of all FEs."""
        return max((gap.outage_ms for gap in (self.gaps or {}).values()), default=None)

    @property
    def first_change_ms(self) -> float | None:
        """From the fault until the last FE's kernel was changed again, as the beacon has it."""
        gaps = self.gaps or {}
        return max(
            (
                (gaps[failover.fe].first_ns - failover.t_fault_ns) / 1e6
                for failover in self.failovers
                if failover.fe in gaps
            ),
            default=None,
        )

    @property
    def data_sent(self) -> int:
        return sum(p.sent for p in self.probes)

    @property
    def data_lost(self) -> int:
        return sum(p.lost for p in self.probes)

    @property
    def data_outage_ms(self) -> float | None:
        """Loss-derived, of the flow and direction that suffered most."""
        return max((p.outage_ms for p in self.probes), default=None)

    @property
    def disruptions(self) -> int:
        return sum(p.disruptions for p in self.probes)

    @property
    def detected_by(self) -> str:
        """The source at the last FE; without a whole failover, at whichever FEs noticed."""
        if self.ne is not None:
            return self.ne.source or ""
        return "+".join(sorted({f.source for f in self.failovers if f.source}))


def judge(folder: Path, description: Description) -> Outcome:
    """The outcome of the trial in this folder; records that cannot be read make it `invalid`."""
    try:
        return measure_trial(read_trial(folder))
    except RecordError as error:
        return Outcome(description, "invalid", (f"records: {error}",))


def measure_trial(trial: Trial) -> Outcome:
    """A pure function of the raw records."""
    about = trial.description
    margin_ms, until_ns = about.limits.fault_margin_ms, trial.observed_until_ns
    probes = tuple(measure(p, trial.t_fault_ns, margin_ms, until_ns) for p in trial.probes)
    found = failovers(trial)
    gaps = _gaps(trial, found)
    blind = meter_faults(trial, probes)
    # Loss is evidence against an invariant only if the meter that saw it is sound.
    broken = violations(trial, found, probes if not blind else ()) + _unfinished(trial, found)
    missing, unequal = _agreement(trial, found, gaps)
    invalid = blind + missing
    # A machine that stood still makes peers that live look dead: no verdict on timers then. Two
    # masters at once (invariant 1) no stall excuses.
    # A sender that did not get to send a packet stood still for the whole trial.
    stalled = any(not p.sent or p.sender_pause_ms > about.limits.sender_pause_ms for p in probes)
    judged = not stalled or any(reason.startswith("invariant 1:") for reason in broken)
    verdict: Verdict = (
        "violated"
        if broken and judged
        else "invalid"
        if invalid
        else "disagree"
        if unequal
        else "ok"
    )
    return Outcome(
        about,
        verdict,
        broken + invalid + unequal,
        found,
        of_network_element(found),
        gaps,
        probes,
        _transport(trial),
        _false_alarms(trial),
        _beats_missed(trial, gaps),
        paths(trial, found, gaps),
    )


def _gaps(trial: Trial, found: tuple[Failover, ...]) -> dict[str, ControlGap]:
    gaps = {}
    for failover in found:
        beacon = trial.beacons.get(failover.fe)
        noticed = failover.t_detect_ns is not None
        # A router's hang is noticed by nobody, and ends: the beacon alone tells what it cost.
        if beacon is not None and (noticed or trial.description.settings.system == "frr"):
            gap = control_gap(beacon, failover.t_fault_ns, _was_frozen(trial, failover))
            if gap is not None:
                gaps[failover.fe] = gap
    return gaps


def _agreement(
    trial: Trial, found: tuple[Failover, ...], gaps: Mapping[str, ControlGap]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Invariant 9: (what could not be compared, what differs)."""
    about = trial.description
    if not about.settings.beacon_ms:
        return (), ()
    tolerance = about.settings.beacon_ms + about.limits.jitter_ms
    missing, unequal = [], []
    for failover in found:
        if failover.total_ms is None:
            continue
        gap = gaps.get(failover.fe)
        if gap is None:
            missing.append(f"beacon of {failover.fe}: no beat after the fault")
        elif _differ(trial, failover, gap) > tolerance:
            unequal.append(
                f"{failover.fe}: dtime1+2+3 is {failover.total_ms:.1f} ms, the beacon's gap"
                f" {gap.outage_ms:.1f} ms (tolerance {tolerance:g} ms)"
            )
    return tuple(missing), tuple(unequal)


def _differ(trial: Trial, failover: Failover, gap: ControlGap) -> float:
    """A master that became deaf only still changes its FEs until somebody gives it up, and an FE
    that thaws carries out what came meanwhile: then the gap may be shorter than the failover,
    never longer."""
    assert failover.total_ms is not None, "only whole failovers are compared"
    longer_ms = gap.outage_ms - max(failover.total_ms, _kernel_busy_ms(trial, failover))
    deaf = any(
        f.spec.kind == "isolate-oneway" and f.spec.arguments.get("direction") == "to"
        for f in trial.description.faults
        if f.before_ns == failover.t_fault_ns
    )
    shorter_ms = failover.total_ms - gap.outage_ms
    return longer_ms if deaf or _was_frozen(trial, failover) else max(longer_ms, shorter_ms)


def _kernel_busy_ms(trial: Trial, failover: Failover) -> float:
    """How long after the fault a kernel took a link of the lab's down, by the lab's own call. It
    holds the lock of all network configuration (rtnetlink) meanwhile, some 10 ms: a new master
    may be ready, and its first change waits."""
    cuts = (f for f in trial.description.faults if f.spec.kind == "link-cut")
    return max(
        (
            (cut.after_ns - failover.t_fault_ns) / 1e6
            for cut in cuts
            if cut.before_ns - failover.t_fault_ns <= (failover.total_ms or 0.0) * 1e6
        ),
        default=0.0,
    )


def _was_frozen(trial: Trial, failover: Failover) -> bool:
    """Whether the fault froze the FE itself."""
    return any(
        f.spec.kind == "hang" and f.target == failover.fe and f.before_ns == failover.t_fault_ns
        for f in trial.description.faults
    )


def _unfinished(trial: Trial, found: tuple[Failover, ...]) -> tuple[str, ...]:
    """Invariant 8, the part one trial can show: a ready master within the observed time, and
    after all faults have healed."""
    reasons = [f"invariant 8: after healing, {each}" for each in _listed(trial, "not_settled")]
    for failover in found:
        fault = next(
            f
            for f in trial.description.faults
            if f.before_ns == failover.t_fault_ns and f.spec.kind in MASTER_FAULTS
        )
        if failover.t_ready_ns is None and must_fail_over(trial, fault):
            lacking = (
                "did not notice the loss of its master"
                if failover.t_detect_ns is None
                else "found no new master"
                if failover.t_master_ns is None
                else f"got no ready master (last: {failover.new_master})"
            )
            reasons.append(
                f"invariant 8: {failover.fe} {lacking} within"
                f" {trial.description.observe_ms:g} ms of the fault"
            )
    return tuple(reasons)


def _listed(trial: Trial, note: str) -> list[str]:
    value = trial.notes.get(note)
    return [str(each) for each in value] if isinstance(value, list) else []


def _false_alarms(trial: Trial) -> int:
    """Masters that were declared lost before any fault took one away."""
    about = trial.description
    struck = [f.before_ns for f in about.faults if f.spec.kind in MASTER_FAULTS]
    until = min(struck, default=trial.observed_until_ns)
    return sum(e.node in about.fes and about.start_ns <= e.t < until for e in trial.of("detect"))


def _beats_missed(trial: Trial, gaps: Mapping[str, ControlGap]) -> int | None:
    beacon_ms = trial.description.settings.beacon_ms
    if not gaps or not beacon_ms:
        return None
    return sum(beats_missed(trial.beacons[fe], gap, beacon_ms) for fe, gap in gaps.items())


def _transport(trial: Trial) -> str:
    names = {str(e.fields["tml"]) for e in trial.of("start") if e.fields.get("tml")}
    return "+".join(sorted(names)) or trial.description.settings.tml
