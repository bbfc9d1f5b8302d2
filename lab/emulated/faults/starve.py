"""CPU starvation: a process gets a share of a core and no more. DESIGN section 9.

A child of the lab's stops and continues it in turns, in periods of 10 ms, at a priority above all
else. cpu.max would not do: it leaves SCHED_FIFO tasks alone, and on a machine of two cores a burner
of higher priority starves the FEs and the meter as well.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, NoReturn

from lab.backend import FaultFailed, LabError
from lab.emulated.clock import STRIKE_PRIORITY, become_punctual, sleep_until
from lab.emulated.faults.bench import Bench
from lab.emulated.faults.process import thread_states
from lab.emulated.namespaces import die_with_parent

PERIOD_NS = 10_000_000
DEFAULT_PERCENT = 10.0
LOOKS = 40
"""At the process, per call of `happened`, a quarter of a millisecond apart."""
LOOK_S = 0.00025

_starvers: dict[int, int] = {}
"""Starved process -> the child that does it: a fault that is armed again to be healed finds it
here. With the lab's process the children end."""


class Starvation:
    def __init__(self, bench: Bench, target: str, arguments: Mapping[str, Any]) -> None:
        try:
            self._percent = float(arguments.get("percent", DEFAULT_PERCENT))
        except (TypeError, ValueError):
            raise LabError(f"percent {arguments['percent']!r} is not a number") from None
        if not 0 < self._percent < 100:
            raise LabError(f"percent {self._percent:g} is outside 0 to 100")
        self._bench = bench
        self._target = target
        self._pid = bench.process(target) if bench.is_alive(target) else None
        self._pidfd = None if self._pid is None else os.pidfd_open(self._pid)
        self._go: int | None = None
        self._seen: set[bool] = set()

    def prepare(self) -> None:
        """The child waits for the word."""
        if self._pidfd is None:
            raise FaultFailed(f"{self._target} has no process to starve")
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(write)
            self._starve(read, self._pidfd)
        os.close(read)
        assert self._pid is not None, "it has a pidfd"
        _starvers[self._pid], self._go = child, write

    def strike(self) -> None:
        assert self._go is not None, "prepare() comes first"
        os.write(self._go, b"!")

    def confirm(self) -> None:
        child = _starvers.get(self._pid or 0)
        try:
            lives = child is not None and os.waitpid(child, os.WNOHANG) == (0, 0)
        except ChildProcessError:  # the sandbox was faster to collect it
            lives = False
        if not lives:
            raise FaultFailed(f"what starves {self._target} has ended")

    def happened(self) -> bool:
        """It was seen stopped, and it was seen running."""
        assert self._pid is not None
        for _ in range(LOOKS):
            self._seen.add(thread_states(self._pid) == {"T"})
            time.sleep(LOOK_S)
        return len(self._seen) == 2

    def heal(self) -> None:
        self._end_child()
        self._continue()

    def healed(self) -> bool:
        return self._pid is None or (
            self._pid not in _starvers and "T" not in thread_states(self._pid)
        )

    def close(self) -> None:
        """What is still to be healed is healed by who armed it again."""
        if self._go is not None:
            os.close(self._go)  # a child that waits for the word ends
            self._go = None
        if self._pidfd is not None:
            os.close(self._pidfd)
            self._pidfd = None

    def _end_child(self) -> None:
        child = _starvers.pop(self._pid or 0, None)
        if child is not None:
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
            with suppress(ChildProcessError):
                os.waitpid(child, 0)

    def _continue(self) -> None:
        if self._pidfd is not None:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGCONT)

    def _starve(self, go: int, pidfd: int) -> NoReturn:
        """In the child, until it is killed or the process has gone."""
        try:
            die_with_parent(signal.SIGKILL)
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                signal.signal(number, signal.SIG_DFL)
            become_punctual(STRIKE_PRIORITY)
            if not os.read(go, 1):
                os._exit(0)
            running_ns = round(PERIOD_NS * self._percent / 100)
            at = time.monotonic_ns()
            while True:
                signal.pidfd_send_signal(pidfd, signal.SIGSTOP)
                at += PERIOD_NS - running_ns
                sleep_until(at)
                signal.pidfd_send_signal(pidfd, signal.SIGCONT)
                at += running_ns
                sleep_until(at)
        finally:
            os._exit(0)
