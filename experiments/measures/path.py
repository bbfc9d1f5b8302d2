"""A failover's way (DESIGN section 13), step by step: where each millisecond went between the fault
and the new master's first change in the FE's kernel.

The steps follow each other without a gap, so they add up to the whole. All instants but the last
are the processes' own journals; the last one is the beacon's, the kernel's word.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from experiments.measures.beacon import ControlGap
from experiments.measures.failover import Failover
from experiments.measures.records import Trial

STEPS = ("error", "fr", "look", "switch", "check", "change")
"""What ends each of them is in `STEP_NAMES`."""

STEP_NAMES: Mapping[str, str] = {
    "error": "transport error: until the first of FE and next CE knows that the old one is gone",
    "fr": "Fr: until the next CE's question is at the FE (none: the FE knew by itself)",
    "look": "FE's look: until it declares its master lost",
    "switch": "switch: until the next CE has heard that it is the master",
    "check": "generation check: until the next CE is ready",
    "change": "first change: until the FE's kernel has the next CE's first change",
}


@dataclass(frozen=True, slots=True)
class Path:
    """Of one FE: the length of each step in ms, in the order of `STEPS`."""

    fe: str
    steps_ms: tuple[float, ...]

    @property
    def total_ms(self) -> float:
        return sum(self.steps_ms)


def paths(
    trial: Trial, found: Sequence[Failover], gaps: Mapping[str, ControlGap]
) -> dict[str, Path]:
    """Of each FE that went through the whole failover; not of planned switches, where nobody has
    to notice anything."""
    made = {}
    for failover in found:
        gap = gaps.get(failover.fe)
        if gap is not None and failover.source != "planned":
            path = _path(trial, failover, gap)
            if path is not None:
                made[failover.fe] = path
    return made


def _path(trial: Trial, failover: Failover, gap: ControlGap) -> Path | None:
    fe, old, new = failover.fe, failover.old_master, failover.new_master
    detect, ready, fault = failover.t_detect_ns, failover.t_ready_ns, failover.t_fault_ns
    if detect is None or ready is None or new is None:
        return None
    looks = [e.t for e in trial.of("look", fe) if fault <= e.t <= detect]
    # What the next CE knew is on the way only if it asked the FE.
    lost = [
        e.t
        for node in ((fe, new) if looks else (fe,))
        for e in trial.of("tml_lost", node)
        if e.fields.get("peer") == old and fault <= e.t <= detect
    ]
    silent = [
        e.t
        for e in trial.of("fr_silent", new)
        if looks and e.fields.get("peer") == old and fault <= e.t <= detect
    ]
    takeovers = [
        e.t
        for e in trial.of("takeover", new)
        if e.fields.get("fe") == fe and detect <= e.t <= ready
    ]
    error = min([*lost, *silent], default=detect)
    fr = min(looks, default=error)
    switch = max(takeovers, default=detect)
    instants = [fault]
    for instant in (error, fr, detect, switch, ready, gap.first_ns):
        instants.append(max(instant, instants[-1]))
    steps = tuple((b - a) / 1e6 for a, b in pairwise(instants))
    return Path(fe, steps)
