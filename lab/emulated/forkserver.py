"""Starts the lab's Python processes by forking one that has imported everything already.

An FE process started from scratch costs 180 ms and 30 MiB; a fork 3 ms and what it changes. The
server is forked itself, early, before the lab has threads. It forks, the child enters a node's
namespaces and calls a function; the server reaps it and reports how it ended.

A process is known by a pidfd, so a signal can never hit another one that got its number.
"""

from __future__ import annotations

import gc
import importlib
import json
import logging
import os
import select
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from lab.backend import LabError
from lab.emulated.namespaces import die_with_parent, enter
from lab.emulated.network import NetNode

PREIMPORTED = (
    "ce.main",
    "fe_datapath.main",
    "lab.emulated.entries",
    "lab.emulated.meters.beacon_listener",
    "lab.emulated.meters.probe_receiver",
    "lab.emulated.meters.probe_sender",
)

MAX_MESSAGE = 1 << 19
"""A CE's configuration names every FE, port and destination: some 100 octets each."""

REPLY_TIMEOUT_S = 10.0
SPAWN_TIMEOUT_S = 60.0
"""The first process of a kind waits for what it needs to be imported."""

_SO_SNDBUFFORCE = 32
"""socket(7), for asm-generic; Python has no name for it. SO_SNDBUF stops at wmem_max."""

_FAILED = 1
"""Exit code of a process whose function raised; the traceback is in its log."""


class Proc:
    """A process of a node."""

    def __init__(self, server: ForkServer, name: str, pid: int, log: Path) -> None:
        self.name = name
        self.pid = pid
        self.log = log
        self._server = server
        self._pidfd = os.pidfd_open(pid)
        self._status: int | None = None

    def poll(self) -> int | None:
        """Exit code, minus the signal's number if one ended it; None while it runs."""
        if self._status is None:
            self._server._collect()
        return self._status

    @property
    def exit_code(self) -> int | None:
        return self.poll()

    def wait(self, timeout: float) -> int:
        """Exit code; TimeoutError if it still runs after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        ended = select.poll()
        ended.register(self._pidfd, select.POLLIN)
        if not ended.poll(max(0.0, timeout * 1000)):
            raise TimeoutError(f"{self.name} (pid {self.pid}) still runs after {timeout:g} s")
        # It is gone; the server's word on how it ended follows at once.
        while (status := self.poll()) is None:
            if time.monotonic() > deadline + REPLY_TIMEOUT_S:
                raise LabError(f"the fork server does not say how {self.name} ended")
            self._server._await(0.05)
        return status

    def is_running(self) -> bool:
        """As the kernel sees it at this instant; a zombie does not run."""
        ended = select.poll()
        ended.register(self._pidfd, select.POLLIN)
        return not ended.poll(0)

    def signal(self, number: int) -> None:
        """ProcessLookupError if it has ended."""
        signal.pidfd_send_signal(self._pidfd, number)

    def stop(self, timeout: float = 2.0) -> int:
        """SIGTERM, and SIGKILL for one that does not listen. SIGCONT first: it may be frozen."""
        for number, patience in ((signal.SIGTERM, timeout), (signal.SIGKILL, REPLY_TIMEOUT_S)):
            with suppress(ProcessLookupError):
                self.signal(number)
                self.signal(signal.SIGCONT)
            with suppress(TimeoutError):
                return self.wait(patience)
        raise LabError(f"{self.name} (pid {self.pid}) does not end, not even by SIGKILL")

    def _ended(self, status: int) -> None:
        self._status = status
        # The descriptor stays open: is_running() and signal() go on telling the truth.

    def __del__(self) -> None:
        with suppress(OSError, AttributeError):
            os.close(self._pidfd)


@dataclass(frozen=True, slots=True)
class _Request:
    namespace_pid: int
    target: str
    config: Mapping[str, Any]
    fifo: int | None
    log: str
    name: str


class ForkServer:
    """`start()` before any thread; `spawn()` from any thread."""

    def __init__(self, preimport: tuple[str, ...] = PREIMPORTED) -> None:
        self._preimport = preimport
        self._socket: socket.socket | None = None
        self._pid = 0
        self._lock = threading.RLock()
        self._procs: dict[int, Proc] = {}

    def start(self) -> None:
        assert self._socket is None, "a fork server starts once"
        if threading.active_count() > 1:
            raise LabError("the fork server has to start before any thread (they do not fork)")
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for end in (ours, theirs):
            end.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, 2 * MAX_MESSAGE)
        sys.stdout.flush()
        sys.stderr.flush()
        self._pid = os.fork()
        if self._pid == 0:
            ours.close()
            _guarded(lambda: _serve(theirs, self._preimport))
        theirs.close()
        self._socket = ours

    def spawn(
        self,
        node: NetNode,
        target: str,
        config: Mapping[str, Any],
        *,
        fifo: int | None = None,
        log: Path,
        name: str | None = None,
    ) -> Proc:
        """Call `module:function` with `config` (JSON values) in a new process of `node`; what it
        prints goes to the end of `log`. `fifo`: SCHED_FIFO priority; where the kernel refuses it,
        the log says so."""
        request = {
            "namespace_pid": node.pid,
            "target": target,
            "config": config,
            "fifo": fifo,
            "log": str(log),
            "name": name or node.name,
        }
        octets = json.dumps(request).encode()
        if len(octets) > MAX_MESSAGE:
            raise LabError(f"the configuration of {target} on {node.name} is too large")
        with self._lock, _uninterrupted():
            link = self._connected()
            try:
                link.send(octets)
            except OSError as error:
                raise LabError(f"the fork server has ended: {error}") from None
            while True:
                reply = self._receive(SPAWN_TIMEOUT_S)
                if reply is None:
                    raise LabError("the fork server does not answer")
                if "failed" in reply:
                    raise LabError(f"{target} on {node.name}: {reply['failed']}")
                if "started" in reply:
                    break
                self._note(reply)
            try:
                proc = Proc(self, name or node.name, int(reply["started"]), log)
            finally:
                # Only now may the server reap the child: until then its number is its own.
                link.send(b"known")
            self._procs[proc.pid] = proc
            return proc

    def stop(self) -> None:
        """Ends the server; processes that still run are its children, and are killed."""
        with self._lock:
            if self._socket is None:
                return
            for proc in list(self._procs.values()):
                if proc.poll() is None:
                    with suppress(ProcessLookupError):
                        proc.signal(signal.SIGKILL)
            for proc in list(self._procs.values()):
                proc.wait(REPLY_TIMEOUT_S)
            self._socket.close()
            self._socket = None
            os.waitpid(self._pid, 0)

    def _connected(self) -> socket.socket:
        if self._socket is None:
            raise LabError("the fork server does not run")
        return self._socket

    def _receive(self, timeout: float) -> dict[str, Any] | None:
        readable = select.poll()
        readable.register(self._connected(), select.POLLIN)
        if not readable.poll(timeout * 1000):
            return None
        octets = self._connected().recv(MAX_MESSAGE)
        if not octets:
            raise LabError("the fork server has ended")
        message = json.loads(octets)
        assert isinstance(message, dict)
        return message

    def _note(self, message: dict[str, Any]) -> None:
        proc = self._procs.pop(int(message["ended"]), None)
        if proc is not None:
            proc._ended(int(message["status"]))

    def _collect(self) -> None:
        with self._lock, _uninterrupted():
            while self._socket is not None and (message := self._receive(0)) is not None:
                self._note(message)

    def _await(self, timeout: float) -> None:
        with self._lock, _uninterrupted():
            if (message := self._receive(timeout)) is not None:
                self._note(message)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """No KeyboardInterrupt between a message's arrival and the note taken of it: it comes after.

    Else the end of a process could be read and forgotten, and would be waited for in vain. The
    handlers are put off, not the signals blocked: any thread may receive them for this one.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    arrived: list[int] = []
    handlers = {
        number: signal.signal(number, lambda number, _frame: arrived.append(number))
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    }
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for number in arrived:
            signal.raise_signal(number)


def _guarded(body: Callable[[], object]) -> NoReturn:
    """A forked child must never run on into its parent's code."""
    code = _FAILED
    try:
        body()
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else (0 if error.code is None else 1)
    except BaseException:
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        os._exit(code)


def _serve(link: socket.socket, preimport: tuple[str, ...]) -> None:
    """The server's life: one request at a time, and the ends of its children in between."""
    die_with_parent(signal.SIGKILL)
    os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    os.set_blocking(wake_read, False)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    # numpy's OpenBLAS would start a thread per core, and we are about to fork.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    for module in preimport:
        # A module that cannot be imported is tried again where it is used: the traceback is
        # then in the log of the process that needed it.
        with suppress(Exception):
            importlib.import_module(module)
    gc.collect()
    gc.freeze()  # a collection in a child would copy every page it marks
    waiting = select.poll()
    waiting.register(link, select.POLLIN)
    waiting.register(wake_read, select.POLLIN)
    while True:
        ready = {fd for fd, _events in waiting.poll()}
        if wake_read in ready:
            with suppress(BlockingIOError):
                os.read(wake_read, 4096)
            _reap(link)
        if link.fileno() in ready:
            octets = link.recv(MAX_MESSAGE)
            if not octets:
                return
            _start(link, _Request(**json.loads(octets)))


def _start(link: socket.socket, request: _Request) -> None:
    module = request.target.partition(":")[0]
    if module not in sys.modules:
        # Here, so that the next process of its kind has it already (a baseline's controller takes
        # 0.7 s to import, all of it at its element's priority).
        with suppress(Exception):
            importlib.import_module(module)
            gc.freeze()
    try:
        # Opened by the server, so that an impossible path is the caller's error.
        log = os.open(request.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        pid = os.fork()
    except OSError as error:
        link.send(json.dumps({"failed": f"{error.strerror} ({request.log})"}).encode())
        return
    if pid == 0:
        _guarded(lambda: _child(request, log))
    os.close(log)
    link.send(json.dumps({"started": pid}).encode())
    link.recv(16)


def _reap(link: socket.socket) -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        code = os.waitstatus_to_exitcode(status)
        link.send(json.dumps({"ended": pid, "status": code}).encode())


def _child(request: _Request, log: int) -> None:
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGINT, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    die_with_parent(signal.SIGKILL)
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.closerange(3, os.sysconf("SC_OPEN_MAX") if os.sysconf("SC_OPEN_MAX") < 65536 else 65536)
    # Line by line: what a killed process said last is what one wants to read.
    sys.stdout = open(1, "w", buffering=1, closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
    # To the process' own log, whatever the program that forked the server had set up.
    logging.root.handlers[:] = [logging.StreamHandler(sys.stderr)]
    Path("/proc/self/comm").write_text(request.name)  # what ps shows; the kernel cuts it at 15
    enter(request.namespace_pid, "net", "mnt")
    if request.fifo is not None:
        try:
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(request.fifo))
        except OSError as error:
            print(f"no SCHED_FIFO: {error}", file=sys.stderr)
    module, _, function = request.target.partition(":")
    result = getattr(importlib.import_module(module), function)(dict(request.config))
    if isinstance(result, int):
        raise SystemExit(result)
