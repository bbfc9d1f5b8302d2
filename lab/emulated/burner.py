"""A load on the machine: a process that computes without end, as anybody's program would.

At SCHED_OTHER, in the lab's sandbox; one for each core leaves no core idle. FEs, CEs and meters run
before it (`lab/emulated/clock.py`), but share caches, the scheduler's ticks and the hypervisor's
patience with it. It writes to memory, so that the caches are not left in peace either.
"""

from __future__ import annotations

import array
import os
import signal
from collections.abc import Mapping
from typing import Any

OCTETS = 8 << 20
"""More than a core's own cache holds."""


def run(config: Mapping[str, Any]) -> None:
    """Until it is told to stop. No keys."""
    stopping = False

    def stop(_number: int, _frame: object) -> None:
        nonlocal stopping
        stopping = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    values = array.array("Q", bytes(OCTETS))
    at = 0
    while not stopping:
        for _ in range(10_000):
            values[at] += at
            at = (at + 4099) % len(values)
