"""The data probe on real packets: two hosts and a router in namespaces of their own."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lab.emulated.meters.probe_records import RX_DTYPE, TX_DTYPE, ProbeFlow, join_halves
from tests.lab.namespaces import Namespace, routed_pair, wait_for

pytestmark = pytest.mark.kernel

H1, H2 = "10.9.1.10", "10.9.2.10"
Net = tuple[Namespace, Namespace, Namespace]


@pytest.fixture(scope="module")
def net() -> Iterator[Net]:
    with routed_pair() as made:
        yield made


class Probe:
    """`flows` forward flows of h1 to h2 while the block runs; records are there after it."""

    def __init__(
        self, net: Net, folder: Path, flows: int = 1, pps: int = 1000, **more: int
    ) -> None:
        self.more = more
        self.net, self.folder, self.pps = net, folder, pps
        self.flows = [ProbeFlow(f"f{n}", "fwd", H1, H2, 9000 + n) for n in range(flows)]

    def __enter__(self) -> Probe:
        common = {
            "flows": [asdict(flow) for flow in self.flows],
            "pps": self.pps,
            "folder": str(self.folder),
            "run_s": 20,
            **self.more,
        }
        self.receiver = self._start(1, "receiver", common)
        start = time.monotonic_ns() + 300_000_000
        self.sender = self._start(0, "sender", {**common, "start_ns": start})
        wait_for(lambda: time.monotonic_ns() > start, 3, "start")
        return self

    def _start(self, host: int, what: str, config: dict[str, Any]) -> subprocess.Popen[bytes]:
        ready = self.folder / f"{what}.ready"
        function = f"lab.emulated.meters.probe_{what}:run"
        process = self.net[2 * host].start(function, {**config, "ready": str(ready)})
        wait_for(ready.exists, 5, f"{what} ready")
        return process

    def __exit__(self, *_: object) -> None:
        for process in (self.sender, self.receiver):
            process.terminate()
            assert process.wait(5) == 0
        assert join_halves(self.flows, self.folder) == []

    def record(self, flow: int = 0) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
        named = self.flows[flow]
        description = json.loads(named.file(self.folder, "json").read_text())
        tx = np.load(named.file(self.folder, "tx.npy"))
        rx = np.load(named.file(self.folder, "rx.npy"))
        assert (tx.dtype, rx.dtype) == (TX_DTYPE, RX_DTYPE)
        return tx, rx, description


def run_for(seconds: float) -> None:
    until = time.monotonic() + seconds
    wait_for(lambda: time.monotonic() > until, seconds + 5, "time to pass")


def test_every_packet_of_every_flow_arrives_once_and_is_stamped_after_it_was_sent(
    net: Net, tmp_path: Path
) -> None:
    with Probe(net, tmp_path, flows=3) as probe:
        run_for(0.5)
    for flow in range(3):
        tx, rx, description = probe.record(flow)
        assert len(tx) >= 400
        assert np.array_equal(tx["seq"], rx["seq"])
        assert np.array_equal(tx["sent_ns"], rx["sent_ns"])
        assert np.array_equal(tx["seq"], np.arange(len(tx)))
        delay = rx["kernel_ns"] - rx["sent_ns"]
        assert delay.min() > -50_000
        assert np.median(delay) < 5_000_000
        assert (tx["sent_ns"] >= tx["due_ns"] - 2_000).all()
        assert np.diff(tx["due_ns"]).max() == 1_000_000
        assert description["overflow"] == description["unstamped"] == 0
        assert description["sent"] == description["received"] == len(tx)


def test_a_known_outage_is_measured_by_the_packets_lost(net: Net, tmp_path: Path) -> None:
    router = net[1]
    with Probe(net, tmp_path, pps=5000) as probe:
        run_for(0.2)
        script = f"ip route add blackhole {H2}/32 && sleep 0.05 && ip route del blackhole {H2}/32"
        before = time.monotonic_ns()
        router.run("sh", "-c", script)
        after = time.monotonic_ns()
        run_for(0.2)
    tx, rx, _ = probe.record()
    lost = np.setdiff1d(tx["seq"], rx["seq"]).astype(int)
    assert np.array_equal(lost, np.arange(lost[0], lost[-1] + 1)), "one hole"
    sent = tx["sent_ns"][lost]
    assert before < sent[0] < sent[-1] < after
    seen_ns = len(lost) * 1e9 / 5000
    late_ns = int((tx["sent_ns"] - tx["due_ns"]).max())  # the machine may stand still meanwhile
    assert 50e6 - 1e6 - late_ns < seen_ns < after - before + late_ns
    span = sent[-1] - sent[0]
    assert abs(seen_ns - span) < 2e6 + late_ns, "loss-derived and bracket agree"


def test_what_was_recorded_survives_sigterm_of_a_receiver_alone(net: Net, tmp_path: Path) -> None:
    with Probe(net, tmp_path) as probe:
        run_for(0.2)
        probe.receiver.terminate()
        assert probe.receiver.wait(5) == 0
        run_for(0.1)
    tx, rx, description = probe.record()
    assert 100 < len(rx) < len(tx)
    assert description["send_errors"] > 0 or len(tx) > len(rx)


def test_own_drops_of_a_full_receive_buffer_are_counted_as_overflow(
    net: Net, tmp_path: Path
) -> None:
    """The probe's own loss must never look like the network's."""
    with Probe(net, tmp_path, pps=5000, receive_buffer=16 << 10) as probe:
        run_for(0.05)
        probe.receiver.send_signal(signal.SIGSTOP)
        run_for(0.1)
        probe.receiver.send_signal(signal.SIGCONT)
        run_for(0.05)
    tx, rx, description = probe.record()
    assert description["overflow"] > 100
    assert len(tx) == len(rx) + description["overflow"]
