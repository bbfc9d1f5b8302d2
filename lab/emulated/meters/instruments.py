"""The instruments of one trial: probe senders and receivers, beacon listener, capture.

They are processes that record until they are told to stop, and know nothing of faults. One
sender and one receiver per host, one listener for all FEs: on two cores every process counts.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from signal import SIGTERM

from lab.backend import LabError
from lab.emulated.clock import ClockRecord, measure_offset
from lab.emulated.forkserver import ForkServer, Proc
from lab.emulated.meters.capture import Capture
from lab.emulated.meters.probe_records import FIRST_PORT, MAX_PPS, MIN_PPS, ProbeFlow, join_halves
from lab.emulated.network import NetNode, Network
from lab.emulated.sandbox import PRIVATE
from topologies.model import Topology

START_BUDGET_S = 5.0
STOP_BUDGET_S = 10.0
SENDER_LEAD_NS = 30_000_000
"""From the senders' start to their first packet: forks and sockets take 5 ms, or more on a loaded
machine; a sender that is not ready by then starts later, and is not late."""
POLL_S = 0.001


def flows_of(topology: Topology) -> list[tuple[str, str, ProbeFlow]]:
    """(sending host, receiving host, flow) for both directions of every flow."""
    flows = []
    for number, flow in enumerate(topology.flows):
        there = ProbeFlow(
            flow.name, "fwd", flow.source_address, flow.destination_address, FIRST_PORT + number
        )
        back = ProbeFlow(
            flow.name, "rev", flow.destination_address, flow.source_address, FIRST_PORT + number
        )
        flows.append((flow.source, flow.destination, there))
        flows.append((flow.destination, flow.source, back))
    return flows


class Instruments:
    """`start()`, then things happen, then `stop()`: the records are in the folder."""

    def __init__(
        self,
        network: Network,
        topology: Topology,
        forkserver: ForkServer,
        folder: Path,
        pps: int,
        run_s: float,
        listener: tuple[str, Mapping[str, object]],
    ) -> None:
        """`topology`: what of the network's takes part. `listener`: the beacon's, as the fork
        server calls it, and what it needs beside folder and duration. LabError if a host would
        have to send more than it can."""
        self._network = network
        self._topology = topology
        self._forkserver = forkserver
        self._folder = folder
        self._common = {"pps": pps, "folder": str(folder), "run_s": run_s}
        self._listener = listener
        self._flows = flows_of(topology)
        busiest = max((len(self._of(host, 0)) for host, _, _ in self._flows), default=0)
        if pps < MIN_PPS or pps * busiest > MAX_PPS:
            raise LabError(
                f"probe_pps {pps} is not possible: a flow has at least {MIN_PPS}/s, and all "
                f"{busiest} flows of one host at most {MAX_PPS}/s together"
            )
        self._senders: list[Proc] = []
        self._recorders: list[Proc] = []
        self._capture: Capture | None = None
        self._clock_start = measure_offset()

    def start(self, pcap: bool) -> int:
        """Returns the CLOCK_MONOTONIC time of the first packet; everything is listening by then."""
        if pcap:
            nodes = [n.name for n in self._topology.nodes if n.control_address is not None]
            self._capture = Capture(self._network, nodes, self._folder)
        ready = []
        for host in dict.fromkeys(receiver for _, receiver, _ in self._flows):
            flag = self._flag(f"receiver-{host}")
            config = {**self._common, "flows": self._of(host, 1), "ready": str(flag)}
            self._recorders.append(self._spawn(host, "probe_receiver", config))
            ready.append(flag)
        flag = self._flag("listener")
        target, needs = self._listener
        config = {**self._common, **needs, "ready": str(flag)}
        switch = self._network.control_switch_node
        self._recorders.append(self._spawn(switch, target, config))
        ready.append(flag)
        self._await(lambda: all(each.exists() for each in ready), self._recorders)
        start_ns = time.monotonic_ns() + SENDER_LEAD_NS
        for host in dict.fromkeys(sender for sender, _, _ in self._flows):
            config = {**self._common, "flows": self._of(host, 0), "start_ns": start_ns}
            self._senders.append(self._spawn(host, "probe_sender", config))
        return start_ns

    def stop(self) -> list[str]:
        """Senders first, then receivers drain. Returns what is missing of the records."""
        silent = [*_end(self._senders), *_end(self._recorders)]
        if self._capture is not None:
            self._capture.stop()
        clock = ClockRecord(self._clock_start, measure_offset())
        (self._folder / "clock.json").write_text(json.dumps(clock.as_json(), indent=1) + "\n")
        missing = join_halves([flow for _, _, flow in self._flows], self._folder)
        for fe in self._topology.of_kind("fe"):
            if not (self._folder / f"beacon-{fe.name}.npy").exists():
                missing.append(f"beacon-{fe.name}")
        return [*missing, *silent]

    def _of(self, host: str, end: int) -> list[dict[str, object]]:
        """Configuration of the flows that start (0) or end (1) at this host."""
        return [asdict(each[2]) for each in self._flows if each[end] == host]

    def _flag(self, name: str) -> Path:
        flag = PRIVATE / f"{name}.ready"
        flag.unlink(missing_ok=True)
        return flag

    def _spawn(self, where: str | NetNode, module: str, config: dict[str, object]) -> Proc:
        node = self._network.node(where) if isinstance(where, str) else where
        target = module if ":" in module else f"lab.emulated.meters.{module}:run"
        name = target.partition(":")[0].rpartition(".")[2]
        return self._forkserver.spawn(
            node, target, config, log=self._folder / f"{name}.log", name=f"{name} on {node.name}"
        )

    def _await(self, condition: Callable[[], bool], procs: list[Proc]) -> None:
        deadline = time.monotonic() + START_BUDGET_S
        while not condition():
            for proc in procs:
                if not proc.is_running():
                    raise LabError(f"{proc.name} ended at once: see {proc.log}")
            if time.monotonic() > deadline:
                raise LabError(f"instruments not ready within {START_BUDGET_S:g} s")
            time.sleep(POLL_S)


def _end(procs: list[Proc]) -> list[str]:
    """SIGTERM to all, then wait; returns those that failed."""
    for proc in procs:
        with suppress(ProcessLookupError):
            proc.signal(SIGTERM)
    failed = []
    for proc in procs:
        code = proc.stop(STOP_BUDGET_S)
        if code != 0:
            failed.append(f"{proc.name} ended with exit code {code}")
    procs.clear()
    return failed
