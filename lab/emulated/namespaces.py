"""Making and joining Linux namespaces (namespaces(7), setns(2))."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager

CLONE_NEWNS = 0x00020000
CLONE_NEWNET = 0x40000000
CLONE_NEWPID = 0x20000000

PR_SET_PDEATHSIG = 1

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def unshare(flags: int) -> None:
    """Python has os.unshare and os.setns from 3.12 on only."""
    _check(_libc.unshare(flags), "unshare")


def setns(fd: int, kind: int) -> None:
    _check(_libc.setns(fd, kind), "setns")


def mount(source: str, target: str, kind: str | None, flags: int) -> None:
    result = _libc.mount(
        source.encode(), target.encode(), kind.encode() if kind else None, flags, None
    )
    _check(result, f"mount on {target}")


def die_with_parent(signal: int) -> None:
    """prctl(2) PR_SET_PDEATHSIG: the kernel sends us `signal` when the parent's thread ends."""
    _check(_libc.prctl(PR_SET_PDEATHSIG, signal, 0, 0, 0), "prctl")


def enter(pid: int, *kinds: str) -> None:
    """Move this thread for good into namespaces of `pid`: "net", "mnt", "pid". A mount namespace
    can be entered only by a process of a single thread."""
    flags = {"net": CLONE_NEWNET, "mnt": CLONE_NEWNS, "pid": CLONE_NEWPID}
    fds = [(os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY), flags[kind]) for kind in kinds]
    for fd, flag in fds:
        setns(fd, flag)
        os.close(fd)


@contextmanager
def network_of(pid: int) -> Iterator[None]:
    """This thread in the network namespace of `pid`: sockets opened here stay there, and
    /proc/sys/net and child processes are those of the namespace."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        enter(pid, "net")
        yield
    finally:
        setns(home, CLONE_NEWNET)
        os.close(home)
