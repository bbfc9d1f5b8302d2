"""Did the machine stand still? A virtual machine's cores are taken away for up to 100 ms at a time.

A process of the highest priority wakes every 2 ms and writes down when it woke far too late; and
the kernel counts the time that the hypervisor gave to others, and what other processes used. What
a test on real time found in such a moment says nothing about our code (tests/conftest.py).
"""

from __future__ import annotations

import mmap
import os
import signal
import struct
import sys
import tempfile
import time
from dataclasses import dataclass

STILL_MS = 20
"""The lab's own rule for a trial is the same: a sender's pause that makes it `invalid`."""
PERIOD_S = 0.002
STOLEN = 0.05
"""More than this share of the cores' time: not the machine that the budgets are made for."""
FOREIGN = 0.25
"""The same for processes that are not the tests' own; interrupts and kernel threads too."""
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


@dataclass(frozen=True, slots=True)
class CoreTime:
    """Ticks of all cores so far: /proc/stat, proc(5)."""

    stolen: int
    foreign: int
    """Used by processes that do not come from this one; those that live are not told apart yet."""
    all: int


def core_time() -> CoreTime:
    with open("/proc/stat", encoding="ascii") as file:
        ticks = [int(word) for word in file.readline().split()[1:9]]
    own = round(sum(os.times()[:4]) * os.sysconf("SC_CLK_TCK"))
    idle, waiting = ticks[3:5]
    stolen = ticks[7] if len(ticks) > 7 else 0
    return CoreTime(stolen, sum(ticks) - idle - waiting - stolen - own, sum(ticks))


def was_taken(before: CoreTime, after: CoreTime) -> bool:
    """Were the cores others' between two of `core_time`?"""
    ticks = after.all - before.all
    stolen, foreign = after.stolen - before.stolen, after.foreign - before.foreign
    return ticks > 0 and (stolen / ticks > STOLEN or foreign / ticks > FOREIGN)


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
