"""Network namespaces as threads: each has a thread that has left for a namespace of its own.

A socket belongs to the namespace of the thread that opened it, and so does /proc/sys/net as a
thread sees it; the kernel removes the namespace, and every link in it, with the thread and its
last socket. Nothing has a name that could be left over.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import pytest

_CLONE_NEWNET = 0x40000000
T = TypeVar("T")


class Namespace:
    """Skips the test where there can be none."""

    def __init__(self) -> None:
        self._worker = ThreadPoolExecutor(max_workers=1)
        try:
            self.run(_leave)
        except PermissionError:
            self._worker.shutdown()
            pytest.skip("a network namespace of its own needs root")
        self.run(_forward_nothing)
        self.tid = self.run(_thread_id)
        self.ip("link set lo up")

    def run(self, function: Callable[..., T], *arguments: object) -> T:
        """Call a function in the namespace."""
        return self._worker.submit(function, *arguments).result(timeout=60)

    def ip(self, *commands: str) -> str:
        """`ip` with each of these argument lists, in one process."""
        return self.run(ip_batch, "\n".join(commands))

    def show(self, command: str) -> str:
        """What `ip -d COMMAND` prints."""
        return self.run(_ip, command)

    def sysctl(self, name: str) -> str:
        return self.run((Path("/proc/sys/net") / name).read_text).strip()

    def close(self) -> None:
        self._worker.shutdown()


def _leave() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _forward_nothing() -> None:
    """As after a boot. A new namespace has what the host's has: a host with containers forwards."""
    for name in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
        (Path("/proc/sys/net") / name).write_text("0")


def _thread_id() -> int:
    return int(os.readlink("/proc/thread-self").rsplit("/", 1)[1])


def ip_batch(commands: str) -> str:
    return subprocess.run(
        ["ip", "-batch", "-"], input=commands, check=True, capture_output=True, text=True
    ).stdout


def _ip(command: str) -> str:
    return subprocess.run(
        ["ip", "-d", *command.split()], check=True, capture_output=True, text=True
    ).stdout
