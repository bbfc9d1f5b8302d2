"""The process of a router: starts zebra, bfdd and ospfd, and starts again what died.

It stands where watchfrr does in Debian's package and does what watchfrr does, without its pauses:
a daemon that died is started again at once, and zebra's death means that the others start anew
too, for they would try to find it again only after 10 s.

Journal: `daemon` (`name`, `pid`) for each start; `detect` when a daemon died, `master` when all
daemons answer (again), `ready` when the next change that another router makes is in the kernel
(the beacon's; the routes that stood before may come back sooner).
"""

from __future__ import annotations

import grp
import os
import pwd
import select
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from forces.io.journal import JournalWriter
from lab.emulated.namespaces import die_with_parent, mount
from lab.frr.beacon import is_beat
from lab.frr.configuration import CRASH_LOGS, DAEMONS, RUN
from lab.frr.routes import RouteWatch

USER, GROUP = "frr", "frr"
START_BUDGET_S = 5.0
POLL_S = 0.002
SETTLE_POLL_S = 0.1
QUIET_S = 0.5
QUIET_BUDGET_S = 10.0
"""Whoever is not quiet by then begins all the same: the meter sees what it means."""
VTYSH_TIMEOUT_S = 3.0
MAX_RESTARTS = 20
"""In one trial; a daemon that does not stay is an error."""


def run(config: Mapping[str, Any]) -> int:
    """Until SIGTERM. Keys: `name`, `journal`, `files` (daemon -> configuration), `commands`
    (daemon -> argv), `routes` (lines for `ip -batch`), `expected` (prefixes), `routers`
    (neighbours), `about` (for the journal)."""
    _own_run_folder()
    for daemon, text in config["files"].items():
        path = RUN / f"{daemon}.conf"
        path.write_text(text)
        path.chmod(0o644)
    lines = "\n".join(config["routes"]) + "\n"
    subprocess.run(["ip", "-batch", "-"], input=lines, text=True, check=True)
    return _Router(config).serve()


def _own_run_folder() -> None:
    """File systems in memory, in this node's mount namespace only, empty."""
    for folder in (RUN, CRASH_LOGS):
        folder.mkdir(exist_ok=True)
        if not os.path.ismount(folder):
            mount("tmpfs", str(folder), "tmpfs", 0)
        for path in folder.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        os.chown(folder, pwd.getpwnam(USER).pw_uid, grp.getgrnam(GROUP).gr_gid)
    (RUN / "vtysh.conf").touch()


class _Router:
    def __init__(self, config: Mapping[str, Any]) -> None:
        self._name = str(config["name"])
        self._config = config
        self._journal = JournalWriter(config["journal"], self._name)
        self._routes = RouteWatch()
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}
        self._fds: dict[int, str] = {}
        """pidfd -> daemon."""
        self._poll = select.poll()
        self._poll.register(self._routes, select.POLLIN)
        self._wake, wake = os.pipe()
        for end in (self._wake, wake):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, lambda _number, _frame: None)
        self._poll.register(self._wake, select.POLLIN)
        self._waits_for_beat = False
        self._restarts = 0

    def serve(self) -> int:
        for daemon in DAEMONS:
            self._start(daemon)
        self._note("start", pid=os.getpid(), **self._config["about"])
        if not self._settled():
            return self._stop()
        self._note("master", ce=self._name, last=None)
        self._note("ready", fe=self._name, kind="ospf", rows_written=0)
        self._note("beacon", fe=self._name, what="start", sequence=0)
        while True:
            ready = [descriptor for descriptor, _events in self._poll.poll()]
            now = time.monotonic_ns()
            for descriptor in ready:
                if descriptor in self._fds:
                    self._died(descriptor, now)
            if self._routes.fileno() in ready:
                self._changed(now)
            if self._wake in ready:
                return self._stop()

    # Daemons

    def _start(self, daemon: str) -> None:
        """Returns when it listens: the next one would not wait for it."""
        doors = [RUN / f"{daemon}.vty", *([RUN / "zserv.api"] if daemon == "zebra" else [])]
        for door in doors:
            door.unlink(missing_ok=True)  # a stale one costs whoever finds it 10 s
        process = subprocess.Popen(self._config["commands"][daemon], stdin=subprocess.DEVNULL)
        self._daemons[daemon] = process
        descriptor = os.pidfd_open(process.pid)
        self._fds[descriptor] = daemon
        self._poll.register(descriptor, select.POLLIN)
        self._note("daemon", name=daemon, pid=process.pid)
        deadline = time.monotonic() + START_BUDGET_S
        while not all(map(_answers, doors)):
            if process.poll() is not None or time.monotonic() > deadline:
                print(f"{daemon} does not listen after {START_BUDGET_S:g} s", flush=True)
                raise SystemExit(1)
            time.sleep(POLL_S)

    def _forget(self, descriptor: int) -> str:
        self._poll.unregister(descriptor)
        os.close(descriptor)
        daemon = self._fds.pop(descriptor)
        self._daemons[daemon].wait()
        return daemon

    def _died(self, descriptor: int, now: int) -> None:
        daemon = self._forget(descriptor)
        self._restarts += 1
        if self._restarts > MAX_RESTARTS:
            raise SystemExit(f"{daemon} died again, after {MAX_RESTARTS} restarts")
        self._journal.write(
            "detect", {"ce": self._name, "source": "supervisor", "cause": daemon}, now
        )
        self._waits_for_beat = False
        self._routes.changes()
        for each in (daemon, *self._to_restart_after(daemon)):
            self._start(each)
        self._note("master", ce=self._name, last=self._name)
        self._waits_for_beat = True

    def _to_restart_after(self, daemon: str) -> Sequence[str]:
        """The daemons that have to be started anew because this one died; they have ended."""
        if daemon != "zebra":
            return ()
        for descriptor, name in list(self._fds.items()):
            # Not SIGTERM, at which ospfd tells its neighbours to route around this router.
            self._daemons[name].kill()
            self._forget(descriptor)
        return DAEMONS[1:]

    def _stop(self) -> int:
        for process in self._daemons.values():
            process.kill()
        for process in self._daemons.values():
            process.wait()
        return 0

    # Routes

    def _changed(self, now: int) -> None:
        beats = sum(is_new and is_beat(prefix) for is_new, prefix in self._routes.changes())
        if self._waits_for_beat and beats:
            self._waits_for_beat = False
            fields = {"fe": self._name, "kind": "ospf", "rows_written": beats}
            self._journal.write("ready", fields, now)

    def _settled(self) -> bool:
        """Every prefix is in the kernel, every neighbour full and watched, and for a while no
        route but the beacon's has changed. False: asked to end."""
        missing = set(self._config["expected"])
        begun = changed = time.monotonic()
        while (
            missing
            or not self._neighbours_are_up()
            or time.monotonic() < min(changed + QUIET_S, begun + QUIET_BUDGET_S)
        ):
            ready = {fd for fd, _events in self._poll.poll(SETTLE_POLL_S * 1000)}
            if self._wake in ready:
                return False
            if ready & set(self._fds):
                raise SystemExit("a daemon died at the start")
            for is_new, prefix in self._routes.changes():
                (missing.discard if is_new else missing.add)(prefix)
                if not is_beat(prefix):
                    changed = time.monotonic()
            missing &= set(self._config["expected"])
        return True

    def _neighbours_are_up(self) -> bool:
        count = len(self._config["routers"])
        full = _vtysh("ospfd", "show ip ospf neighbor").count("Full/")
        watched = _vtysh("bfdd", "show bfd peers brief").split().count("up")
        return full >= count and watched >= count

    def _note(self, event: str, **fields: Any) -> None:
        self._journal.write(event, fields, time.monotonic_ns())


def _answers(door: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client, suppress(OSError):
        client.connect(str(door))
        return True
    return False


def _vtysh(daemon: str, line: str) -> str:
    """What one daemon says to one command; empty where it does not answer."""
    with suppress(subprocess.TimeoutExpired):
        return subprocess.run(
            ["vtysh", "--config_dir", str(RUN), "-d", daemon, "-c", line],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=VTYSH_TIMEOUT_S,
            check=False,
            preexec_fn=lambda: die_with_parent(signal.SIGKILL),
        ).stdout
    return ""
