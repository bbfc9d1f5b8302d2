"""Impaired links, measured inside a sandbox by packets that carry the time they were sent."""

from __future__ import annotations

import itertools
import select
import socket
import statistics
import struct
import tempfile
import time
from pathlib import Path
from typing import Any

from lab.backend import FaultSpec
from lab.emulated.forkserver import ForkServer
from lab.emulated.impairments import Impairments
from lab.emulated.namespaces import network_of
from lab.emulated.network import Network
from topologies.loader import load_topology
from topologies.model import Impairment, Topology

_STAMP = struct.Struct("=Qq")
CE1, FE1, FE2 = "10.255.0.1", "10.255.0.101", "10.255.0.102"
DRAIN_S = 0.5


class Lab:
    """The diamond's links, and nothing on its nodes."""

    def __init__(self) -> None:
        self.topology: Topology = load_topology("diamond")
        self.network = Network(self.topology)
        self.server = ForkServer(())
        self.server.start()
        self.network.start()
        folder = Path(tempfile.mkdtemp())
        self.impairments = Impairments(self.network, self.server, folder)

    def close(self) -> None:
        self.impairments.close()
        self.server.stop()
        self.network.stop()

    def flow(
        self, a: str, a_address: str, b: str, b_address: str, count: int, pause_s: float,
        octets: int = 64,
    ) -> dict[str, Any]:  # fmt: skip
        """What became of so many packets from a to b."""
        with network_of(self.network.node(a).pid):
            sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sender.bind((a_address, 0))
        with network_of(self.network.node(b).pid):
            receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        receiver.setsockopt(socket.SOL_SOCKET, 33, 8 << 20)  # SO_RCVBUFFORCE
        receiver.bind((b_address, 0))
        receiver.setblocking(False)
        delays, order, last = [], [], time.monotonic()
        first_ns = last_ns = 0

        def drain() -> None:
            nonlocal last, first_ns, last_ns
            while True:
                try:
                    got = receiver.recv(2048)
                except BlockingIOError:
                    return
                now = time.monotonic_ns()
                number, sent = _STAMP.unpack_from(got)
                delays.append((now - sent) / 1e6)
                order.append(number)
                first_ns, last_ns, last = first_ns or now, now, time.monotonic()

        due = time.monotonic()
        for number in range(count):
            due += pause_s
            while (left := due - time.monotonic()) > 0:
                select.select([receiver], [], [], left)
                drain()
            stamp = _STAMP.pack(number, time.monotonic_ns())
            sender.sendto(stamp.ljust(octets, b"\0"), receiver.getsockname())
            drain()
        last = time.monotonic()
        while time.monotonic() - last < DRAIN_S and len(order) < count:
            select.select([receiver], [], [], 0.05)
            drain()
        sender.close()
        receiver.close()
        return {
            "arrived": len(order),
            "min_ms": min(delays, default=None),
            "median_ms": statistics.median(delays) if delays else None,
            "p90_ms": sorted(delays)[len(delays) * 9 // 10] if delays else None,
            "reordered": sum(b < a for a, b in itertools.pairwise(order)),
            "seconds": (last_ns - first_ns) / 1e9,
        }


def delay_one_direction() -> dict[str, Any]:
    """10 ms from the control network to ce1, nothing the other way, nothing on fe2's link."""
    lab = Lab()
    try:
        lab.impairments.apply([Impairment("ce1", "ce1", delay_ms=10)], 1000)
        towards = lab.flow("fe1", FE1, "ce1", CE1, 100, 0.002)
        back = lab.flow("ce1", CE1, "fe1", FE1, 100, 0.002)
        other = lab.flow("fe1", FE1, "fe2", FE2, 100, 0.002)
        allowance = lab.network.allowance.more_ms
        lab.impairments.apply([], 1000)
        healed = lab.flow("fe1", FE1, "ce1", CE1, 100, 0.002)
        return {
            "towards": towards,
            "back": back,
            "other": other,
            "healed": healed,
            "allowance": allowance,
            "whole_again": lab.network.allowance.more_ms,
            "done_by": lab.impairments.done_by,
            "described": lab.impairments.describe(),
        }
    finally:
        lab.close()


def jitter_loss_and_rate() -> dict[str, Any]:
    """Of ce1's link, one after the other."""
    lab = Lab()
    try:
        lab.impairments.apply([Impairment("ce1", "ctl", delay_ms=6, jitter_ms=5)], 1000)
        jitter = lab.flow("ce1", CE1, "fe1", FE1, 300, 0.001)
        lab.impairments.apply([Impairment("ce1", "ctl", loss_percent=20)], 1000)
        loss = lab.flow("ce1", CE1, "fe1", FE1, 3000, 0.0002)
        both = [Impairment("ce1", "ctl", delay_ms=2, loss_percent=20)]
        lab.impairments.apply(both, 1000)
        delayed_loss = lab.flow("ce1", CE1, "fe1", FE1, 3000, 0.0003)
        lab.impairments.apply([Impairment("ce1", "ctl", rate_mbit=8)], 1000)
        # 70 frames of 1042 octets: 73 KiB, that is 73 ms at 8 Mbit/s, less the burst
        rate = lab.flow("ce1", CE1, "fe1", FE1, 70, 0.0, octets=1000)
        return {"jitter": jitter, "loss": loss, "delayed_loss": delayed_loss, "rate": rate}
    finally:
        lab.close()


def faults_on_impaired_links() -> dict[str, Any]:
    """A fault meets a delayed frame once, is seen to happen, and heals without the impairment."""
    from lab.emulated.faults import kinds

    lab = Lab()

    class Bench:
        topology, network = lab.topology, lab.network

    found: dict[str, Any] = {}
    try:
        everywhere = [
            Impairment("ces", delay_ms=20),
            Impairment("fes", delay_ms=20),
            Impairment("fe1-fe2", delay_ms=5),
        ]
        lab.impairments.apply(everywhere, 1000)
        for spec in (
            FaultSpec("isolate-silent", "ce1"),
            FaultSpec("isolate-oneway", "ce1", arguments={"direction": "to"}),
            FaultSpec("control-loss", "ce1", arguments={"percent": 30}),
            FaultSpec("link-silent", "fe1-fe2"),
        ):
            fault = kinds.arm(Bench, spec, spec.target)  # type: ignore[arg-type]
            fault.prepare()
            before = fault.happened() if spec.kind != "control-loss" else False
            fault.strike()
            fault.confirm()
            happened = _within(5, fault.happened)
            through = None
            if spec.kind == "control-loss":
                through = lab.flow("ce1", CE1, "fe1", FE1, 2000, 0.0003)["arrived"]
            fault.heal()
            healed = _within(5, fault.healed)
            fault.close()
            found[spec.kind] = [before, happened, healed, through]
        found["still"] = lab.flow("ce1", CE1, "fe1", FE1, 50, 0.002)["min_ms"]
        return found
    finally:
        lab.close()


def _within(budget_s: float, condition: Any) -> bool:
    deadline = time.monotonic() + budget_s
    while not condition():
        if time.monotonic() > deadline:
            return False
    return True
