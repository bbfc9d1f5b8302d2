"""A lab's sandbox: a net, mount and pid namespace of its own for everything a lab is made of.

    ceha (outside) -- keeper -- [ init (pid 1) -- the lab -- its nodes ... ]

The keeper makes the namespaces, init is their first process. Each of the two asks the kernel to
be killed when its parent ends (PR_SET_PDEATHSIG), and the kernel kills all of a pid namespace
with its init. So whatever ends the ceha process, SIGKILL included, ends every process of the
lab; and when the last process has left the namespaces, interfaces and mounts go with them.

This is what `unshare --net --mount --pid --fork --kill-child` does (util-linux); done here, the
lab keeps the modules that are already loaded, and a signal to ceha reaches it.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import NoReturn

from lab.backend import LabError
from lab.emulated.namespaces import (
    CLONE_NEWNET,
    CLONE_NEWNS,
    CLONE_NEWPID,
    die_with_parent,
    mount,
    unshare,
)

PRIVATE = Path("/run/ceha/.private")
"""In each sandbox a file system of its own, in memory: sockets that nobody outside needs, at
paths short enough for a socket. An empty folder outside."""

MS_BIND, MS_REC, MS_MOVE, MS_PRIVATE = 0x1000, 0x4000, 0x2000, 0x40000

FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

_NO_NAMESPACES = 125
"""Exit code by which the keeper says that it could not make the namespaces."""


def check_possible() -> None:
    """LabError unless this machine can hold a sandbox."""
    if sys.platform != "linux":
        raise LabError(f"the lab needs Linux, this is {sys.platform}")
    if os.geteuid() != 0:
        raise LabError("the lab needs root (its network, mount and pid namespaces): use sudo")
    for kind in ("net", "mnt", "pid"):
        if not os.path.exists(f"/proc/self/ns/{kind}"):
            raise LabError(f"this kernel has no {kind} namespaces")


def run(entry: Callable[[], int]) -> int:
    """Call `entry` in a new sandbox and return its exit code (128 + n if signal n ended it).

    `entry` runs in a fork of this process, so call this before any thread is started. SIGTERM,
    SIGINT and SIGHUP are passed on to it. LabError where the machine allows no sandbox.
    """
    check_possible()
    sys.stdout.flush()
    sys.stderr.flush()
    alive, ours = os.pipe()
    read_why, write_why = os.pipe()
    keeper = os.fork()
    if keeper == 0:
        os.close(ours)
        os.close(read_why)
        _keep(entry, alive, write_why)
    os.close(alive)
    os.close(write_why)

    def forward(number: int, _frame: FrameType | None) -> None:
        with suppress(ProcessLookupError):
            os.kill(keeper, number)

    before = {number: signal.signal(number, forward) for number in FORWARDED}
    try:
        _pid, status = os.waitpid(keeper, 0)
        why = os.read(read_why, 500).decode()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(ours)
        os.close(read_why)
    code = _exit_code(status)
    if code == _NO_NAMESPACES and why:
        raise LabError(f"no sandbox on this machine: {why}")
    return code


def _keep(entry: Callable[[], int], alive: int, write_why: int) -> NoReturn:
    """The keeper: its only child is the sandbox's init."""
    os.setsid()  # Ctrl-C is for ceha, which passes it on, not for every process of the lab
    _bind_life(alive)
    try:
        unshare(CLONE_NEWNET | CLONE_NEWNS | CLONE_NEWPID)
    except OSError as error:
        os.write(write_why, str(error).encode())
        os._exit(_NO_NAMESPACES)
    # From a signal before init's pid is known to one after it nothing may get lost.
    signal.pthread_sigmask(signal.SIG_BLOCK, FORWARDED)
    life_read, life_write = os.pipe()
    init = os.fork()
    if init == 0:
        os.close(life_write)
        _init(entry, life_read, write_why)
    os.close(life_read)
    os.close(write_why)
    for number in FORWARDED:
        signal.signal(number, lambda got, _frame: os.kill(init, got))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, FORWARDED)
    _pid, status = os.waitpid(init, 0)
    os._exit(_exit_code(status))


def _init(entry: Callable[[], int], alive: int, write_why: int) -> NoReturn:
    """Pid 1: mounts, starts the lab, passes signals on, reaps every orphan."""
    _bind_life(alive)
    try:
        _mounts()
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True, capture_output=True)
    except (OSError, subprocess.SubprocessError) as error:
        os.write(write_why, str(error).encode())
        os._exit(_NO_NAMESPACES)
    os.close(write_why)
    lab = os.fork()
    if lab == 0:
        _lab(entry)
    for number in FORWARDED:
        # The lab may have just ended: pid 1 must not fall over it.
        signal.signal(number, lambda got, _frame: _kill_if_there(lab, got))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, FORWARDED)
    while True:
        pid, status = os.wait()
        if pid == lab:
            os._exit(_exit_code(status))


def _lab(entry: Callable[[], int]) -> NoReturn:
    for number in FORWARDED:
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, FORWARDED)
    code = 1
    try:
        code = entry()
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except KeyboardInterrupt:
        code = 130
    except BaseException:
        traceback.print_exc()
    finally:
        with suppress(OSError):
            sys.stdout.flush()
        with suppress(OSError):
            sys.stderr.flush()
        os._exit(code)


def _bind_life(alive: int) -> None:
    """Die with the parent. It may have died before the kernel was asked: then its end of the
    pipe is closed already (getppid() says nothing across a pid namespace)."""
    die_with_parent(signal.SIGKILL)
    poll = select.poll()
    poll.register(alive, select.POLLHUP)
    if poll.poll(0):
        os._exit(0)
    os.close(alive)


def _mounts() -> None:
    """/proc and /sys show the sandbox; nothing mounted here is seen outside. The cgroup mounts
    below /sys are kept (processor limits need them)."""
    mount("none", "/", None, MS_REC | MS_PRIVATE)
    mount("proc", "/proc", "proc", 0)
    cgroups = "/sys/fs/cgroup"
    kept = os.path.ismount(cgroups)
    if kept:
        # Parked in a place that every system has; hidden again when it has moved back.
        mount(cgroups, "/mnt", None, MS_BIND | MS_REC)
    mount("sysfs", "/sys", "sysfs", 0)
    if kept:
        mount("/mnt", cgroups, None, MS_MOVE)
    PRIVATE.mkdir(parents=True, exist_ok=True)
    mount("tmpfs", str(PRIVATE), "tmpfs", 0)


def _exit_code(status: int) -> int:
    if os.WIFSIGNALED(status):
        return 128 + os.WTERMSIG(status)
    return os.WEXITSTATUS(status)


def _kill_if_there(pid: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)
