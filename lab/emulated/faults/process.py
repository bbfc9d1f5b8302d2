"""Faults of a process: crash (SIGKILL) and hang (SIGSTOP). DESIGN section 9."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lab.backend import FaultFailed, LabError
from lab.emulated.faults.bench import Bench
from lab.emulated.kernel_state import clean

DYING_BUDGET_S = 2.0
POLL_S = 0.001


def thread_states(pid: int) -> set[str]:
    """The one-letter states of a process's threads (proc(5)); empty when it is gone."""
    states = set()
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            states.add((task / "stat").read_text().rpartition(")")[2].split()[0])
    except (FileNotFoundError, ProcessLookupError):
        pass  # it ended while we looked: what was read of it counts
    return states


def give_way(pid: int) -> None:
    """No real-time priority for this process any more. The kernel takes a dead one's memory apart
    at the dead one's priority, 15 ms for a CE with large tables; on a machine of its own that would
    keep nobody waiting, here it kept FEs of the same priority from one of the lab's cores."""
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            os.sched_setscheduler(int(task), os.SCHED_OTHER, os.sched_param(0))
    except (FileNotFoundError, ProcessLookupError):
        pass  # it ended while we looked


class _ProcessFault:
    """Holds the process by a pidfd: a pid that was given to another process is never struck."""

    number: signal.Signals

    def __init__(self, bench: Bench, target: str, arguments: Mapping[str, Any]) -> None:
        self._bench = bench
        self._target = target
        self._pid: int | None = None
        self._pidfd: int | None = None
        self._error: OSError | None = None
        self._daemon: str | None = arguments.get("daemon")
        if self._daemon is not None:
            self._pid = bench.daemon(target, self._daemon)
        elif bench.is_alive(target):
            self._pid = bench.process(target)
        if self._pid is not None:
            self._pidfd = os.pidfd_open(self._pid)

    def prepare(self) -> None:
        if self._pidfd is None:
            raise FaultFailed(f"{self._target} has no process to strike")

    def strike(self) -> None:
        assert self._pidfd is not None, "prepare() comes first"
        try:
            signal.pidfd_send_signal(self._pidfd, self.number)
        except OSError as error:
            self._error = error

    def confirm(self) -> None:
        if self._error is not None:
            raise FaultFailed(f"{self.number.name} to {self._target}: {self._error.strerror}")

    def close(self) -> None:
        if self._pidfd is not None:
            os.close(self._pidfd)
            self._pidfd = None


class Crash(_ProcessFault):
    """Of an FE with `state: clean`, what its kernel still forwards by goes before it starts again:
    its machine was off. Else the new process finds it (fe_datapath/restart.py)."""

    number = signal.SIGKILL

    def __init__(self, bench: Bench, target: str, arguments: Mapping[str, Any]) -> None:
        state = arguments.get("state", "keep")
        if state not in ("keep", "clean"):
            raise LabError(f"crash: state is keep or clean, not {state!r}")
        if state == "clean" and bench.network.node(target).kind != "fe":
            raise LabError(f"crash: only an FE has state to clean, {target} is none")
        super().__init__(bench, target, arguments)
        self._clean = state == "clean"
        self._struck = False
        self._healed_from_ns = 0

    def prepare(self) -> None:
        super().prepare()
        if self._daemon is None:
            self._bench.expect_exit(self._target)

    def strike(self) -> None:
        assert self._pid is not None, "prepare() comes first"
        give_way(self._pid)
        super().strike()
        self._struck = True

    def happened(self) -> bool:
        assert self._pid is not None
        return thread_states(self._pid) <= {"Z", "X"}

    def heal(self) -> None:
        if self._daemon is not None:
            return  # its node's supervisor has started it again
        deadline = time.monotonic() + DYING_BUDGET_S
        while self._struck and self._bench.is_alive(self._target) and time.monotonic() < deadline:
            time.sleep(POLL_S)  # on a busy machine a killed process takes its time to end
        alive = self._bench.is_alive(self._target)
        if self._clean and not alive:
            clean(self._bench.network.node(self._target))
        self._healed_from_ns = 0 if alive else time.monotonic_ns()
        self._bench.restart(self._target)

    def healed(self) -> bool:
        """The process says that it is ready to talk."""
        if self._daemon is not None:
            return self._bench.daemon(self._target, self._daemon) is not None
        self._bench.journals.poll()
        return self._bench.is_alive(self._target) and self._bench.journals.has(
            self._target, "start", self._healed_from_ns
        )


class Hang(_ProcessFault):
    number = signal.SIGSTOP

    def happened(self) -> bool:
        assert self._pid is not None
        return thread_states(self._pid) == {"T"}

    def heal(self) -> None:
        if self._pidfd is None:
            return
        try:
            signal.pidfd_send_signal(self._pidfd, signal.SIGCONT)
        except ProcessLookupError:
            pass  # it was killed meanwhile, by another fault: nothing is left to thaw
        except OSError as error:
            raise LabError(f"SIGCONT to {self._target}: {error.strerror}") from None

    def healed(self) -> bool:
        return self._pid is None or "T" not in thread_states(self._pid)
