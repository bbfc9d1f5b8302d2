"""The meter against truths that are known, inside a sandbox: outages that a program in the kernel
makes to the nanosecond, and meters that are sabotaged in the middle of a trial."""

from __future__ import annotations

import random
import signal
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from experiments import runner
from experiments.measures.probe import measure
from experiments.measures.records import Limits, Probe, _probes
from experiments.plan import Cell, make_plan
from lab.backend import CellSettings
from lab.emulated import lab as emulated
from lab.emulated import systems
from lab.emulated.forkserver import ForkServer
from lab.emulated.meters.instruments import Instruments
from lab.emulated.network import Network
from tests.lab import exact_drops
from topologies.loader import load_topology

MS = 1_000_000
LEAD_NS, BETWEEN_NS = 60 * MS, 25 * MS

LINE = """\
description: One FE between two hosts
ces: [ce1]
fes: [fe1]
hosts: [{name: h1}, {name: h2}]
links: [{ends: [h1, fe1]}, {ends: [fe1, h2]}]
flows: [{name: a, from: h1, to: h2}]
"""


def known_outages(pps: int, count: int, seed: int) -> list[dict[str, float]]:
    """Outages of 0.3 ms to 1 s in both directions; what the meter makes of each one."""
    folder = Path(tempfile.mkdtemp())
    (folder / "line.yaml").write_text(LINE)
    network = Network(load_topology(folder / "line.yaml"))
    server = ForkServer(("lab.emulated.meters.probe_sender", "lab.emulated.meters.probe_receiver"))
    server.start()
    network.start()
    try:
        network.node("fe1").write_sysctls({"net/ipv4/ip_forward": "1"})
        spans = _spans(count, seed)
        listener = systems.of("forces").listener(network, network.topology)
        run_s = (spans[-1][1] + LEAD_NS) / 1e9 + 10
        instruments = Instruments(network, network.topology, server, folder, pps, run_s, listener)
        start_ns = instruments.start(pcap=False)
        spans = [(start_ns + a, start_ns + b) for a, b in spans]
        for host in ("h1", "h2"):
            exact_drops.install(network.node(host).pid, f"{host}-eth1", spans)
        assert time.monotonic_ns() < spans[0][0], "the first span began before it was installed"
        until = spans[-1][1] + LEAD_NS
        while (left := until - time.monotonic_ns()) > 0:
            time.sleep(left / 1e9)
        missing = instruments.stop()
        assert not missing, missing
        return [
            figures
            for probe in _probes(folder)
            for number, span in enumerate(spans)
            if (figures := _one(probe, spans, number, span))
        ]
    finally:
        server.stop()
        network.stop()


def _spans(count: int, seed: int) -> list[tuple[int, int]]:
    """Relative to the start; lengths spread evenly over the decades, phases at random."""
    rng = random.Random(seed)
    lengths = [round(10 ** rng.uniform(-0.52, 2.3) * MS) for _ in range(count - 2)]
    lengths += [round(0.3 * MS), 1000 * MS]
    rng.shuffle(lengths)
    at, spans = 4 * LEAD_NS, []
    for length in lengths:
        at += rng.randrange(MS)
        spans.append((at, at + length))
        at += length + BETWEEN_NS
    return spans


def _one(
    probe: Probe, spans: list[tuple[int, int]], number: int, span: tuple[int, int]
) -> dict[str, float]:
    """What the meter says of the part of its records around one span."""
    low = span[0] - BETWEEN_NS // 2
    high = span[1] + BETWEEN_NS // 2
    tx = probe.tx[(probe.tx["sent_ns"] >= low) & (probe.tx["sent_ns"] < high)]
    rx = probe.rx[np.isin(probe.rx["seq"], tx["seq"])]
    part = Probe(probe.flow, probe.direction, probe.pps, probe.overflow, tx, rx)
    figures = measure(part, span[0], 2.0)
    return {
        "truth_ms": (span[1] - span[0]) / 1e6,
        "loss_ms": figures.outage_ms,
        "gap_ms": figures.gap_outage_ms,
        "pause_ms": figures.sender_pause_ms,
        "interval_ms": 1000 / probe.pps,
        "disruptions": figures.disruptions,
    }


def sabotaged(how: str) -> dict[str, Any]:
    """One trial without any fault whose meter is broken on the way; its verdict and the reasons.
    FEs and CEs are puppets."""
    from lab.emulated import nodes

    nodes.TARGETS.update({"fe": "tests.lab.puppets:run_fe", "ce": "tests.lab.puppets:run_ce"})
    folder = Path(tempfile.mkdtemp())
    topology = load_topology("diamond")
    emulated.Instruments = _sabotaged(how)  # type: ignore[misc, assignment]
    lab = emulated.EmulatedLab(topology, folder)
    try:
        cell = Cell("c", CellSettings("cold", routes=0), "none", (), 1, 200, 500, False, ())
        plan = make_plan("made", "diamond", [cell], 1, 0)
        outcomes: list[Any] = []
        setting = runner.Setting(folder, topology, Limits())
        for planned in plan.trials:
            outcomes.append(runner._one(plan, planned, lab, setting)[0])
        (outcome,) = outcomes
        return {"verdict": outcome.verdict, "reasons": list(outcome.reasons)}
    finally:
        lab.close()


def _sabotaged(how: str) -> type[Instruments]:
    class Sabotaged(Instruments):
        def start(self, pcap: bool) -> int:
            def drop_from(begin_ns: int) -> None:
                h2 = self._network.node("h2").pid
                exact_drops.install(h2, "h2-eth1", [(begin_ns, 2**62)])

            if how == "blind":
                drop_from(0)
            start_ns = super().start(pcap)
            middle_s = (start_ns - time.monotonic_ns()) / 1e9 + 0.4
            sender, receiver = self._senders[0], self._recorders[1]

            def strike() -> None:
                match how:
                    case "sniffer ends early":
                        receiver.signal(signal.SIGTERM)
                    case "sniffer is killed":
                        receiver.signal(signal.SIGKILL)
                    case "sender pauses":
                        sender.signal(signal.SIGSTOP)
                        time.sleep(0.06)
                        sender.signal(signal.SIGCONT)

            if how == "traffic never returns":
                drop_from(start_ns + 400 * MS)
            elif how not in ("blind", "nothing"):
                threading.Timer(middle_s, strike).start()
            return start_ns

    return Sabotaged
