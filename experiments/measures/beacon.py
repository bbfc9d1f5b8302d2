"""The control beacon: what the kernel says about who could change it, and when nobody could.

RFC 8456 section 5.4.1 takes the Controller Failover Time from the last valid frame before the gap
to the first one after it; here the "frames" are the numbered routes that a master keeps
installing, stamped by a netlink listener that knows nothing of ForCES.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

NEAR_NS = 1_000_000_000
"""What a change of master may have to do with a beat that is missing."""


@dataclass(frozen=True, slots=True)
class ControlGap:
    """The time in which no CE changed this FE's kernel."""

    last_ns: int
    """The old master's last change."""
    first_ns: int
    """The new one's first."""
    old: int
    new: int
    """CE numbers (two bits of the ForCES ID)."""

    @property
    def outage_ms(self) -> float:
        return (self.first_ns - self.last_ns) / 1e6


def changes(beacon: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(instant, CE number) of each beat. Only additions count: the beat that replaces another
    CE's row removes that one's route, which is the new master's doing."""
    added = beacon[beacon["added"] == 1]
    order = np.argsort(added["at_ns"], kind="stable")
    return added["at_ns"][order], (added["destination"][order] >> 15) & 3


def control_gap(beacon: np.ndarray, t_fault_ns: int, backlog: bool = False) -> ControlGap | None:
    """The gap around a fault; None if there were no beats before it, or none after it.

    If the same CE comes back (no standby), the gap is the longest one that ends after the fault.
    With `backlog` (an FE that was frozen may still carry out what its old master had sent) it is
    the longest one up to the first beat of another CE.
    """
    at, owner = changes(beacon)
    before = int(np.searchsorted(at, t_fault_ns, side="right"))
    if before == 0 or before == len(at):
        return None
    old = int(owner[before - 1])
    others = np.flatnonzero(owner[before:] != old)
    if len(others):
        first = before + int(others[0])
        if backlog:
            first = before + int(np.argmax(np.diff(at[before - 1 : first + 1])))
    else:
        first = before + int(np.argmax(np.diff(at[before - 1 :])))
    return ControlGap(int(at[first - 1]), int(at[first]), old, int(owner[first]))


def beats_before(beacon: np.ndarray, start_ns: int, t_fault_ns: int) -> int:
    """Beats seen while calibrating."""
    at, _ = changes(beacon)
    return int(np.count_nonzero((at >= start_ns) & (at < t_fault_ns)))


def ownership_changes(beacon: np.ndarray, start_ns: int, end_ns: int) -> int:
    """How often the hand that changes the kernel changed."""
    at, owner = changes(beacon)
    inside = owner[(at >= start_ns) & (at <= end_ns)]
    return int(np.count_nonzero(np.diff(inside.astype(np.int8))))


def beats_missed(beacon: np.ndarray, gap: ControlGap, beacon_ms: float) -> int:
    """Beats around a change of master that were due and did not come: numbers that are left out in
    what each of the two masters sent within a second of the change, and whole intervals between
    the last beat of the one and the first of the other. A beat that is late by less than half an
    interval is not missed. The new master may be the old one started again, with numbers from 0."""
    silent = max(0, round(gap.outage_ms / beacon_ms) - 1)
    added = beacon[beacon["added"] == 1]
    near = added[np.abs(added["at_ns"] - gap.first_ns) <= NEAR_NS]
    skipped = 0
    after = near["at_ns"] >= gap.first_ns
    for owner in {gap.old, gap.new}:
        own = (near["destination"] >> 15) & 3 == owner
        for part in (own & ~after, own & after):
            numbers = near["destination"][part] & 0x7FFF
            steps = np.diff(numbers.astype(np.int64)) % 0x8000
            skipped += int(np.sum(np.maximum(steps - 1, 0)))
    return silent + skipped
