"""Clocks, and being on time (DESIGN section 3: one kernel, one clock, CLOCK_MONOTONIC in ns).

The kernel stamps received packets with CLOCK_REALTIME only, so the difference between the two
clocks is measured at the start and at the end of a recording and interpolated between. A process
that has to be punctual asks for SCHED_FIFO here and records whether it got it: without it, a
sleeper beside two busy processes is up to 300 ms late (PLATFORM trap 7).
"""

from __future__ import annotations

import ctypes
import gc
import os
import time
from dataclasses import asdict, dataclass
from typing import Any

_PR_SET_TIMERSLACK = 29
_OFFSET_READINGS = 32

ELEMENT_PRIORITY = 5
"""SCHED_FIFO of FEs and CEs: a control plane runs on machines of its own, so what else a shared
machine does must not count as failover time. Stated in every report."""
SENDER_PRIORITY = 20
LISTENER_PRIORITY = 22
"""Above the senders: a listener runs for microseconds, and its stamp is taken when it runs."""
STRIKE_PRIORITY = 25
"""Of the lab itself, only while it makes a fault call."""


@dataclass(frozen=True, slots=True)
class ClockOffset:
    """CLOCK_REALTIME minus CLOCK_MONOTONIC at one moment."""

    at_ns: int
    """CLOCK_MONOTONIC."""
    offset_ns: int
    uncertainty_ns: int
    """Half of the time between the two readings that bracket the third."""


def measure_offset() -> ClockOffset:
    """The tightest of a few readings."""
    best: ClockOffset | None = None
    for _ in range(_OFFSET_READINGS):
        before = time.monotonic_ns()
        real = time.time_ns()
        after = time.monotonic_ns()
        middle = (before + after) // 2
        reading = ClockOffset(middle, real - middle, (after - before + 1) // 2)
        if best is None or reading.uncertainty_ns < best.uncertainty_ns:
            best = reading
    assert best is not None
    return best


@dataclass(frozen=True, slots=True)
class ClockRecord:
    """The two clocks over one recording."""

    start: ClockOffset
    end: ClockOffset

    @property
    def drift_ns(self) -> int:
        """How far the clocks moved apart (NTP slews; a step shows as a large value)."""
        return self.end.offset_ns - self.start.offset_ns

    def offset_at(self, monotonic_ns: Any) -> Any:
        """Interpolated offset; works on an int and on a numpy array alike."""
        span = max(1, self.end.at_ns - self.start.at_ns)
        return self.start.offset_ns + (monotonic_ns - self.start.at_ns) * self.drift_ns // span

    def to_monotonic(self, realtime_ns: Any) -> Any:
        """A CLOCK_REALTIME stamp (or an array of them) on the monotonic clock."""
        return realtime_ns - self.offset_at(realtime_ns - self.start.offset_ns)

    def as_json(self) -> dict[str, Any]:
        return {"start": asdict(self.start), "end": asdict(self.end), "drift_ns": self.drift_ns}


@dataclass(frozen=True, slots=True)
class Punctuality:
    """What the scheduler granted to this process."""

    fifo_priority: int
    """0: SCHED_FIFO was refused (a child cpu cgroup without cpu.rt_runtime_us, no privilege)."""
    timer_slack_1ns: bool


def become_punctual(fifo_priority: int) -> Punctuality:
    """SCHED_FIFO if it is granted, timer slack 1 ns, no garbage collection."""
    granted = fifo_priority if set_fifo(fifo_priority) else 0
    libc = ctypes.CDLL(None, use_errno=True)
    slack = libc.prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0) == 0
    gc.collect()
    gc.freeze()
    gc.disable()
    return Punctuality(granted, slack)


def set_fifo(priority: int) -> bool:
    """SCHED_FIFO at `priority`, or back to SCHED_OTHER with 0; False if refused."""
    policy = os.SCHED_FIFO if priority else os.SCHED_OTHER
    try:
        os.sched_setscheduler(0, policy, os.sched_param(priority))
    except OSError:
        return False
    return True


def sleep_until(deadline_ns: int) -> None:
    """Sleep to an absolute CLOCK_MONOTONIC time; returns at once when it is past."""
    while (left := deadline_ns - time.monotonic_ns()) > 0:
        time.sleep(left / 1e9)
