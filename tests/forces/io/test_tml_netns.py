"""Transports between two network namespaces, one process each: what a real kill looks like."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from forces.io.select_tml import probe_transports
from tests.forces.io.netns_peer import ADDRESSES
from tests.forces.io.tmlkit import CE, FE

ROOT = Path(__file__).parents[3]
pytestmark = pytest.mark.kernel


def namespace() -> subprocess.Popen[bytes]:
    """A process that holds a fresh network namespace until its standard input is closed."""
    holder = subprocess.Popen(["unshare", "-n", "cat"], stdin=subprocess.PIPE)
    own = os.readlink("/proc/self/ns/net")
    deadline = time.monotonic() + 5
    while True:
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/{holder.pid}/ns/net") != own:
                return holder
        assert time.monotonic() < deadline
        time.sleep(0.001)


def inside(holder: subprocess.Popen[bytes], command: str) -> None:
    enter = ["nsenter", "-t", str(holder.pid), "-n"]
    subprocess.run([*enter, *command.split()], check=True, capture_output=True)


@pytest.fixture
def namespaces() -> Iterator[dict[int, subprocess.Popen[bytes]]]:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    if subprocess.run(["unshare", "-n", "true"], capture_output=True, check=False).returncode:
        pytest.skip("no network namespaces")
    holders = {CE: namespace(), FE: namespace()}
    try:
        # Distinct indexes: with equal ones the kernel tells carrier changes late.
        inside(
            holders[CE],
            "ip link add name ctl index 11 type veth peer name ctl index 22 "
            f"netns {holders[FE].pid}",
        )
        for peer, holder in holders.items():
            inside(holder, f"ip address add {ADDRESSES[peer]}/24 dev ctl")
            inside(holder, "ip link set ctl up")
            inside(holder, "ip link set lo up")
            inside(holder, "sysctl -qw net.ipv4.icmp_ratelimit=0")
        yield holders
    finally:
        for holder in holders.values():
            assert holder.stdin is not None
            holder.stdin.close()
            holder.wait(5)


class Child:
    """A `netns_peer`, and what it said."""

    def __init__(self, holder: subprocess.Popen[bytes], *arguments: str) -> None:
        self.process = subprocess.Popen(
            [
                *("nsenter", "-t", str(holder.pid), "-n", sys.executable),
                *("-m", "tests.forces.io.netns_peer", *arguments),
            ],
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        self.said: dict[str, Any] = {}

    def until(self, key: str) -> Any:
        assert self.process.stdout is not None
        while key not in self.said:
            line = self.process.stdout.readline()
            assert line, f"it ended without saying {key}; it said {self.said}"
            self.said |= json.loads(line)
        return self.said[key]

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.mark.parametrize("name", ["usrsctp", "usrsctp-udp", "sctp", "tcp"])
def test_a_killed_ce_is_noticed_with_the_next_message_and_cannot_be_dialled(
    namespaces: dict[int, subprocess.Popen[bytes]],
    name: str,
    record_property: Any,
) -> None:
    reason = probe_transports()[name]
    if reason:
        pytest.skip(reason)
    ce = Child(namespaces[CE], "ce", name)
    fe = None
    try:
        ce.until("listening")
        fe = Child(namespaces[FE], "fe", name, "1000")
        fe.until("beating")
        assert fe.said["echoed"] == 262140
        killed_ns = time.monotonic_ns()
        os.kill(ce.process.pid, signal.SIGKILL)
        detection_ms = (fe.until("lost_ns") - killed_ns) / 1e6
        assert fe.until("refused_cause") in ("icmp", "refused")
        assert fe.said["refused_ms"] < 200  # of a connect timeout of 400
    finally:
        ce.end()
        if fe is not None:
            fe.end()
    figures = {**fe.said, "detection_ms": detection_ms}
    record_property("figures", figures)
    print(name, json.dumps(figures))
    if name.startswith("usrsctp"):
        assert fe.said["cause"] == "icmp"
        assert detection_ms < 200  # 25 ms between messages; the rest is a busy machine's


@pytest.mark.parametrize("name", ["usrsctp", "usrsctp-udp"])
def test_rfc9260_9_1_the_guard_of_a_killed_ce_aborts_its_associations(
    namespaces: dict[int, subprocess.Popen[bytes]], name: str, record_property: Any
) -> None:
    """As a kernel's SCTP would. The FE sends nothing, so nothing else can tell it."""
    reason = probe_transports()[name]
    if reason:
        pytest.skip(reason)
    ce = Child(namespaces[CE], "guarded", name)
    fe = None
    try:
        ce.until("listening")
        fe = Child(namespaces[FE], "silent", name)
        fe.until("silent")
        killed_ns = time.monotonic_ns()
        os.kill(ce.process.pid, signal.SIGKILL)
        detection_ms = (fe.until("lost_ns") - killed_ns) / 1e6
    finally:
        ce.end()
        if fe is not None:
            fe.end()
    record_property("detection_ms", detection_ms)
    assert fe.said["cause"] == "guard"


@pytest.mark.parametrize(
    ("route", "cause"), [("unreachable", "path"), ("blackhole", "retransmission")]
)
@pytest.mark.parametrize("name", ["usrsctp", "usrsctp-udp"])
def test_a_way_that_is_gone_is_told_from_a_peer_that_is_silent(
    namespaces: dict[int, subprocess.Popen[bytes]], name: str, route: str, cause: str
) -> None:
    reason = probe_transports()[name]
    if reason:
        pytest.skip(reason)
    ce, fe = Child(namespaces[CE], "ce", name), None
    try:
        ce.until("listening")
        fe = Child(namespaces[FE], "fe", name, "10")
        fe.until("beating")
        # blackhole: the kernel drops without a word to the sender's socket
        holder = namespaces[CE if route == "blackhole" else FE]
        inside(holder, f"ip route add {route} {ADDRESSES[FE if route == 'blackhole' else CE]}")
        assert fe.until("cause") == cause
    finally:
        ce.end()
        if fe is not None:
            fe.end()
