"""Small networks for tests of the instruments: namespaces held by a process each, veths between.

h1 (10.9.1.10) -- r (10.9.1.1, 10.9.2.1) -- h2 (10.9.2.10)
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


class Namespace:
    """A network namespace with a process in it."""

    def __init__(self) -> None:
        if os.geteuid() != 0:
            pytest.skip("needs root")
        self._holder = subprocess.Popen(
            ["unshare", "--net", "sh", "-c", "ip link set lo up && echo up && exec sleep 300"],
            stdout=subprocess.PIPE,
        )
        assert self._holder.stdout is not None
        if self._holder.stdout.readline() != b"up\n":
            self.close()
            pytest.skip("needs network namespaces")

    @property
    def pid(self) -> int:
        return self._holder.pid

    def command(self, *argv: str) -> list[str]:
        return ["nsenter", f"--net=/proc/{self.pid}/ns/net", *argv]

    def run(self, *argv: str) -> str:
        return subprocess.run(
            self.command(*argv), check=True, capture_output=True, text=True
        ).stdout

    def ip(self, *arguments: str) -> None:
        self.run("ip", *arguments)

    def start(self, function: str, config: Mapping[str, Any]) -> subprocess.Popen[bytes]:
        """`module:function` with a configuration, as the fork server would start it."""
        module, name = function.split(":")
        code = f"import json,sys; from {module} import {name}; {name}(json.loads(sys.argv[1]))"
        return subprocess.Popen(
            self.command(sys.executable, "-c", code, json.dumps(config)), cwd=ROOT
        )

    def close(self) -> None:
        self._holder.kill()
        self._holder.wait()
        if self._holder.stdout is not None:
            self._holder.stdout.close()


def connect(a: Namespace, a_name: str, b: Namespace, b_name: str, first_index: int = 10) -> None:
    """A veth whose ends have different interface indexes (PLATFORM trap 1)."""
    a.ip(
        *f"link add {a_name} index {first_index} type veth".split(),
        *f"peer name {b_name} index {first_index + 50} netns {b.pid}".split(),
    )
    a.ip("link", "set", a_name, "up")
    b.ip("link", "set", b_name, "up")


@contextmanager
def namespaces(count: int) -> Iterator[list[Namespace]]:
    made: list[Namespace] = []
    try:
        for _ in range(count):
            made.append(Namespace())
        yield made
    finally:
        for each in made:
            each.close()


@contextmanager
def routed_pair() -> Iterator[tuple[Namespace, Namespace, Namespace]]:
    """h1, r, h2 of the drawing, forwarding, neighbours known."""
    with namespaces(3) as (h1, r, h2):
        for number, (host, name) in enumerate(((h1, "h1"), (h2, "h2")), start=1):
            connect(host, f"{name}-eth1", r, f"r-eth{number}", 10 + number)
            host.ip(*f"addr add 10.9.{number}.10/24 dev {name}-eth1".split())
            r.ip(*f"addr add 10.9.{number}.1/24 dev r-eth{number}".split())
            host.ip(*f"route add default via 10.9.{number}.1".split())
        r.run("sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
        wait_for(lambda: _reaches(h1, "10.9.2.10"), 5, "h2 reachable from h1")
        yield h1, r, h2


def _reaches(host: Namespace, address: str) -> bool:
    code = (
        "import socket,sys\n"
        "c=socket.socket();c.settimeout(.3)\n"
        "try: c.connect((sys.argv[1],9))\n"
        "except ConnectionRefusedError: sys.exit(0)\n"
        "except OSError: sys.exit(1)\n"
    )
    return subprocess.run(host.command(sys.executable, "-c", code, address)).returncode == 0


def wait_for(condition: Callable[[], bool], budget_s: float, what: str) -> None:
    """Poll within a budget; fails the test with what was awaited."""
    deadline = time.monotonic() + budget_s
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"not within {budget_s} s: {what}")
        time.sleep(0.005)
