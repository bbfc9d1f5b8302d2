"""The meter's checks of itself (DESIGN section 3): a meter that sees nothing is broken.

Each reason is one sentence with the figure in it; any reason makes the trial `invalid`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from experiments.measures.beacon import beats_before
from experiments.measures.probe import ProbeFigures
from experiments.measures.records import STREAM, Trial
from lab.backend import AppliedFault

CLOCK_ERROR_MS = 1.0
"""A packet that arrives this long before it was sent: the clock conversion is wrong."""

MIN_CHANGES = 5
"""Of a stream, before the master dies."""

MIN_BEATS_SHARE = 0.5
"""Of the beats that fit into the calibration."""


def probe_faults(figures: ProbeFigures, sender_pause_ms: float) -> Iterator[str]:
    """Why one flow in one direction cannot be believed."""
    name = f"{figures.flow} {figures.direction}"
    if figures.sent == 0:
        yield f"{name}: nothing was sent"
        return
    if figures.received == 0:
        yield f"{name}: the meter saw none of {figures.sent} packets"
        return
    if figures.foreign:
        yield f"{name}: {figures.foreign} received packets were never sent"
    if figures.sent != figures.received + figures.lost:
        yield f"{name}: sent {figures.sent} is not received + lost"
    if figures.overflow:
        yield f"{name}: the receiver dropped {figures.overflow} packets"
    if figures.lost_before_fault:
        yield f"{name}: {figures.lost_before_fault} packets lost before the fault"
    if figures.sender_pause_ms > sender_pause_ms:
        yield (
            f"{name}: the sender paused {figures.sender_pause_ms:.1f} ms"
            f" (bound {sender_pause_ms:g} ms)"
        )
    if figures.earliest_arrival_ms is not None and figures.earliest_arrival_ms < -CLOCK_ERROR_MS:
        yield f"{name}: a packet arrived {-figures.earliest_arrival_ms:.1f} ms before it was sent"
    if figures.tail_lost:
        yield f"{name}: traffic did not come back"


def _stream_faults(trial: Trial) -> Iterator[str]:
    """A stream of changes that did not flow proves nothing."""
    if not any(fault.spec.kind == STREAM for fault in trial.description.faults):
        return
    stream = trial.stream
    if stream is None or len(stream.acked) < MIN_CHANGES:
        yield f"stream: {len(stream.acked) if stream else 0} changes were acknowledged"
    elif stream.refused:
        yield f"stream: a change was refused: {stream.refused[0]}"


def meter_faults(trial: Trial, probes: Sequence[ProbeFigures]) -> tuple[str, ...]:
    """Every reason not to believe this trial."""
    about = trial.description
    reasons = [r for p in probes for r in probe_faults(p, about.limits.sender_pause_ms)]
    if not probes:
        reasons.append("there are no probe records")
    reasons += _stream_faults(trial)
    why = trial.notes.get("fault_reasons") or ()
    reasons += [
        f"fault {fault.spec.kind} on {fault.target}: the check that it happened failed"
        + (f" ({'; '.join(map(str, why))})" if why else "")
        for fault in about.faults
        if not fault.verified
    ]
    reasons += _apart(trial)
    reasons += [f"there is no record {each}" for each in trial.notes.get("missing_records") or ()]
    for accident in trial.notes.get("unexpected_exits") or ():
        reasons.append(f"{accident.get('node')} ended by itself ({accident.get('exit_code')})")
    if about.must_lose and probes and not any(p.lost for p in probes):
        reasons.append(f"the fault ({about.fault}) must lose packets and the meter saw no loss")
    return tuple(reasons) + tuple(_beacon_faults(trial))


def _apart(trial: Trial) -> Iterator[str]:
    """Faults of one moment that were not: a double fault is two faults at once, or another one."""
    about = trial.description
    moments: dict[float, list[AppliedFault]] = {}
    for fault in about.faults:
        moments.setdefault(fault.spec.at_ms, []).append(fault)
    for group in moments.values():
        first = min(fault.before_ns for fault in group)
        last = max(group, key=lambda fault: fault.before_ns)
        apart_ms = (last.before_ns - first) / 1e6
        if apart_ms > about.limits.jitter_ms:
            yield f"fault {last.spec.kind} on {last.target} struck {apart_ms:.1f} ms too late"


def _beacon_faults(trial: Trial) -> Iterator[str]:
    about = trial.description
    if not about.settings.beacon_ms:
        return
    t_fault = trial.t_fault_ns if trial.t_fault_ns is not None else about.end_ns
    fitting = (t_fault - about.start_ns) / 1e6 / about.settings.beacon_ms
    for fe in about.fes:
        beacon = trial.beacons.get(fe)
        seen = 0 if beacon is None else beats_before(beacon, about.start_ns, t_fault)
        if seen < fitting * MIN_BEATS_SHARE:
            yield f"beacon of {fe}: {seen} of about {fitting:.0f} beats seen before the fault"
