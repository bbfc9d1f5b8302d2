"""Did the machine stand still? A virtual machine's cores are taken away for up to 100 ms at a time.

A process of the highest priority wakes every 2 ms and writes down when it woke far too late; and
the kernel counts the time that the hypervisor gave to others. What a test on real time found in
such a moment says nothing about our code (tests/conftest.py).
"""

from __future__ import annotations

import mmap
import os
import signal
import struct
import sys
import tempfile
import time

STILL_MS = 20
"""The lab's own rule for a trial is the same: a sender's pause that makes it `invalid`."""
PERIOD_S = 0.002
STOLEN = 0.05
"""More than this share of the cores' time: not the machine that the budgets are made for."""
_RECORD = struct.Struct("=qq")
"""(when the last standstill ended in ns of CLOCK_MONOTONIC, how many there were)"""


class Watch:
    """`since(start_ns)`: has the machine stood still after that?"""

    def __init__(self) -> None:
        with tempfile.TemporaryFile() as file:
            file.truncate(mmap.PAGESIZE)
            self._record = mmap.mmap(file.fileno(), mmap.PAGESIZE)
        parent = os.getpid()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                _watch(self._record, parent)
            finally:
                os._exit(0)

    def since(self, start_ns: int) -> bool:
        ended_ns, _ = _RECORD.unpack_from(self._record)
        return bool(ended_ns > start_ns)

    @property
    def count(self) -> int:
        return int(_RECORD.unpack_from(self._record)[1])

    def stop(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


def core_time() -> tuple[int, int]:
    """(stolen, all) ticks of the cores so far: /proc/stat, proc(5)."""
    with open("/proc/stat", encoding="ascii") as file:
        ticks = [int(word) for word in file.readline().split()[1:9]]
    return ticks[7] if len(ticks) > 7 else 0, sum(ticks)


def was_stolen(before: tuple[int, int], after: tuple[int, int]) -> bool:
    """Between two of `core_time`."""
    stolen, ticks = after[0] - before[0], after[1] - before[1]
    return ticks > 0 and stolen / ticks > STOLEN


def _watch(record: mmap.mmap, parent: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for number in range(3, 256):
        try:
            os.close(number)  # a terminal or a pipe of pytest's is not to be kept open by us
        except OSError:
            pass
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(99))
    except OSError as error:
        print(f"tests/standstill.py: no SCHED_FIFO: {error}", file=sys.stderr)
    count, before = 0, time.monotonic_ns()
    while os.getppid() == parent:
        time.sleep(PERIOD_S)
        now = time.monotonic_ns()
        if now - before > STILL_MS * 1_000_000:
            count += 1
            _RECORD.pack_into(record, 0, now, count)
        before = now
