"""The invariants of DESIGN section 8 that the records of one trial can refute.

A sentence per violation, with the invariant's number. What the records do not hold is not judged:
silence here is not a proof. (8 and 9 are in `verdict`: they need all instruments together.)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np

from experiments.measures.beacon import ownership_changes
from experiments.measures.failover import Failover
from experiments.measures.probe import ProbeFigures, lost_mask
from experiments.measures.records import (
    MASTER_FAULTS,
    STREAM,
    Event,
    Trial,
    is_fe_crash,
    loses_state,
)

STOP_WITHIN_MS = 50.0
""""At once": the kernel is switched by one sysctl write in the FE's worker thread."""

TIMER_TOLERANCE_MS = 50.0
"""How far CEFTI's end and the switching off of forwarding may be apart."""

SETTLE_MS = 5.0
"""Either side of a switch of forwarding, a packet may be on the wrong side of it."""

HA_EVENTS = ("PrimaryCEDown", "PrimaryCEChanged")


def violations(
    trial: Trial, found: Sequence[Failover], probes: Sequence[ProbeFigures]
) -> tuple[str, ...]:
    """All violations. `probes` is empty if the meter cannot be believed."""
    reasons = [*_one_hand(trial), *_kernel_is_table(trial), *_forwarding(trial, found)]
    reasons += [*_no_loss(trial, probes), *_stream_whole(trial)]
    if probes:
        reasons += _stopped_means_stopped(trial)
    reasons += _events_once(trial, found)
    return tuple(reasons)


def _one_hand(trial: Trial) -> Iterator[str]:
    """1: beats of two CEs never interleave; the kernel changes hands only when the FE says so."""
    about = trial.description
    if about.settings.profile != "rfc7121":
        return
    for fe, beacon in trial.beacons.items():
        masters = [e.fields.get("ce") for e in trial.of("master", fe)]
        allowed = sum(a != b for a, b in pairwise(masters))
        seen = ownership_changes(beacon, about.start_ns, about.end_ns)
        if seen > allowed:
            yield (
                f"invariant 1: the kernel of {fe} changed hands {seen} times,"
                f" its journal has {allowed} changes of master"
            )


def _kernel_is_table(trial: Trial) -> Iterator[str]:
    """2: after quiescence, the kernel's routes are the master's committed table."""
    for fe, kernel in trial.kernels.items():
        stray, lost = kernel["stray"], kernel["lost"]
        if stray or lost:
            yield f"invariant 2: the kernel of {fe} has {stray} stray routes and lacks {lost}"


def _stream_whole(trial: Trial) -> Iterator[str]:
    """6: of a stream of changes each kernel has got, one after the other, those that were
    acknowledged and at most the one under way: none twice, none left out, none taken back."""
    stream = trial.stream
    if stream is None or trial.description.settings.mode != "hot+sync":
        return
    told, acked = len(stream.asked), len(stream.acked)
    for fe, seen in stream.seen.items():
        numbers = [number for _added, number in seen]
        removed = sum(not added for added, _number in seen)
        if removed or numbers not in (list(range(acked)), list(range(told))):
            right = next((i for i, n in enumerate(numbers) if n != i), len(numbers))
            yield (
                f"invariant 6: {acked} of {told} changes were acknowledged, the kernel of {fe} got"
                f" {len(numbers)}, in order up to number {right}, and {removed} were removed"
            )
        left = trial.kernels.get(fe, {}).get("stream")
        if left is not None and left != len(numbers) - 2 * removed:
            yield f"invariant 6: the kernel of {fe} has {left} routes of the stream in the end"


def _no_loss(trial: Trial, probes: Sequence[ProbeFigures]) -> Iterator[str]:
    """3: with policy 1 and a healthy data path, a CE failure loses no packet. 10: nor does an FE
    whose process is killed and started again."""
    about = trial.description
    if about.settings.system == "frr":
        return  # its control plane is no CE: what its end costs is the figure that is asked for
    control_only = all(
        fault.spec.kind in (*MASTER_FAULTS, STREAM) and not loses_state(fault)
        for fault in about.faults
    )
    expired = any(e.fields.get("what") == "expired" for e in trial.of("cefti"))
    lost = sum(p.lost + p.lost_after for p in probes)
    if about.faults and about.settings.policy == 1 and control_only and not expired and lost:
        if any(is_fe_crash(fault, about.fes) for fault in about.faults):
            yield f"invariant 10: {lost} packets lost by the restart of an FE under policy 1"
        else:
            yield f"invariant 3: {lost} packets lost by a CE failure under policy 1"


def _forwarding(trial: Trial, found: Sequence[Failover]) -> Iterator[str]:
    """4: policy 1 stops at CEFTI and not before, policy 0 at once."""
    settings = trial.description.settings
    t_fault = trial.t_fault_ns
    if t_fault is None or settings.system == "frr":
        return
    for fe in trial.description.fes:
        timers = list(trial.of("cefti", fe))
        ends = [e.t for e in timers if e.fields.get("what") == "expired"]
        emptied = any(loses_state(f) and f.target == fe for f in trial.description.faults)
        if settings.policy == 1 and not emptied:
            for off in _switched(trial, fe, False):
                if off.t > t_fault and not any(
                    abs(off.t - end) <= TIMER_TOLERANCE_MS * 1e6 for end in ends
                ):
                    yield f"invariant 4: {fe} stopped forwarding without CEFTI's end (policy 1)"
        for end in ends:
            starts = [e.t for e in timers if e.fields.get("what") == "start" and e.t <= end]
            if starts and (end - starts[-1]) / 1e6 < settings.cefti_ms - 1:
                yield (
                    f"invariant 4: CEFTI of {fe} ended after {(end - starts[-1]) / 1e6:.0f} ms,"
                    f" not {settings.cefti_ms} ms"
                )
    if settings.policy == 0 and settings.mode in ("none", "cold"):
        for failover in found:
            if failover.t_detect_ns is None or failover.source == "planned":
                continue
            offs = [e.t for e in _switched(trial, failover.fe, False)]
            if not any(0 <= off - failover.t_detect_ns <= STOP_WITHIN_MS * 1e6 for off in offs):
                yield (
                    f"invariant 4: {failover.fe} did not stop forwarding within"
                    f" {STOP_WITHIN_MS:g} ms of the loss of its master (policy 0)"
                )


def _switched(trial: Trial, fe: str, on: bool) -> Iterator[Event]:
    return (e for e in trial.of("forwarding", fe) if bool(e.fields.get("on")) is on)


def _stopped_means_stopped(trial: Trial) -> Iterator[str]:
    """4, seen by the other instrument: while no FE forwards, no probe packet arrives."""
    window = all_stopped(trial)
    if window is None:
        return
    start, end = window[0] + SETTLE_MS * 1e6, window[1] - SETTLE_MS * 1e6
    for probe in trial.probes:
        tx = np.sort(probe.tx, order="seq")
        lost, _ = lost_mask(probe)
        inside = (tx["sent_ns"] >= start) & (tx["sent_ns"] <= end)
        passed = int(np.count_nonzero(inside & ~lost))
        if passed:
            yield f"invariant 4: {passed} packets of {probe.name} passed while no FE forwarded"


def _takeovers(trial: Trial, failover: Failover) -> Iterator[str]:
    fe, new = failover.fe, failover.new_master
    if new is None:
        return
    end = trial.observed_until_ns
    named = [e for e in trial.of("master", fe) if failover.t_fault_ns <= e.t <= end]
    changes = sum(e.fields.get("ce") == new for e in named)
    taken = [
        e
        for e in trial.of("takeover", new)
        if e.fields.get("fe") == fe and failover.t_fault_ns <= e.t <= end
    ]
    if len(taken) > changes:
        yield f"invariant 5: {new} took {fe} over {len(taken)} times, {fe} chose it {changes} times"
    for event in taken:
        last, had = event.fields.get("last"), _had(trial, fe, new, event.t)
        if last not in (None, had):
            yield f"invariant 5: {new} was told that {fe} had {last}, it had {had}"


def _had(trial: Trial, fe: str, new: str, t_ns: int) -> str | None:
    """Whom this FE had before the change that made `new` its master at that instant. Not always
    the CE that the fault took: between the two the FE may have had, and lost, another one.

    The CE can be quicker than the FE's journal: what the FE told it is then written down by the FE
    a moment later."""
    events = list(trial.of("master", fe))
    masters = [e.fields.get("ce") for e in events if e.t <= t_ns]
    next_one = events[len(masters)] if len(masters) < len(events) else None
    soon = t_ns + trial.description.limits.jitter_ms * 1e6
    if masters[-1:] != [new] and next_one is not None and next_one.t <= soon:
        masters.append(next_one.fields.get("ce"))
    while masters and masters[-1] != new:
        masters.pop()
    return next((ce for ce in reversed(masters[:-1]) if ce is not None), None)


def all_stopped(trial: Trial) -> tuple[int, int] | None:
    """From the last FE's stop after the fault to the first FE's start."""
    offs, ons = [], []
    for fe in trial.description.fes:
        off = next(
            (e.t for e in _switched(trial, fe, False) if e.t >= (trial.t_fault_ns or 0)), None
        )
        if off is None:
            return None
        offs.append(off)
        ons.append(
            next((e.t for e in _switched(trial, fe, True) if e.t > off), trial.description.end_ns)
        )
    return (max(offs), min(ons)) if offs and max(offs) < min(ons) else None


def _events_once(trial: Trial, found: Sequence[Failover]) -> Iterator[str]:
    """5: a change of master gives its pair of events once to each associated CE, with true IDs.
    Seen where they arrive: each makes the new master take over, once, from the right one. And
    where they leave, if the FE journals what it sent (`ha_event`: `name`, `to`)."""
    for failover in found:
        if trial.description.settings.mode != "none":
            yield from _takeovers(trial, failover)
        sent: dict[tuple[str, str], int] = {}
        for event in trial.of("ha_event", failover.fe):
            if failover.t_fault_ns <= event.t <= (failover.t_ready_ns or trial.description.end_ns):
                key = (str(event.fields.get("name")), str(event.fields.get("to")))
                sent[key] = sent.get(key, 0) + 1
        for (name, to), count in sorted(sent.items()):
            if name in HA_EVENTS and count > 1:
                yield f"invariant 5: {failover.fe} sent {name} {count} times to {to}"
