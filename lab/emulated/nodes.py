"""The network element of a lab: its FE and CE processes, started, watched and ended.

Gives faults the bench that they work on (lab/emulated/faults/bench.py).
"""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Any

from lab.backend import CellSettings, LabError
from lab.emulated.clock import ELEMENT_PRIORITY
from lab.emulated.config_for import ces_in_use, config_for, taking_part
from lab.emulated.forkserver import ForkServer, Proc
from lab.emulated.meters.journals import Journals
from lab.emulated.network import Network
from lab.emulated.sandbox import PRIVATE
from topologies.model import Node, Topology

TARGETS = {"fe": "lab.emulated.entries:fe", "ce": "lab.emulated.entries:ce"}

POLL_S = 0.005
STOP_BUDGET_S = 3.0
CE_START_BUDGET_S = 3.0
LOG_TAIL_OCTETS = 4096


class NetworkElement:
    """All CEs and FEs of a lab, with one cell's settings."""

    def __init__(
        self, network: Network, forkserver: ForkServer, settings: CellSettings, folder: Path
    ) -> None:
        """`folder` takes the journals and what the processes print (`<node>.log`)."""
        self._network = network
        self._topology = taking_part(network.topology, settings)
        self._forkserver = forkserver
        self._settings = settings
        self._folder = folder
        self._elements: dict[str, Node] = {
            node.name: node for node in self._nodes(self._topology, settings)
        }
        self._journals = Journals(folder, self._elements)
        self._procs: dict[str, Proc] = {}
        self._expected: set[str] = set()

    def _nodes(self, topology: Topology, settings: CellSettings) -> tuple[Node, ...]:
        """Those that run something; CEs first."""
        return (*ces_in_use(topology, settings), *topology.of_kind("fe"))

    @property
    def topology(self) -> Topology:
        """What of the network's takes part."""
        return self._topology

    @property
    def network(self) -> Network:
        return self._network

    @property
    def folder(self) -> Path:
        return self._folder

    @property
    def journals(self) -> Journals:
        return self._journals

    @property
    def settings(self) -> CellSettings:
        return self._settings

    @property
    def elements(self) -> tuple[Node, ...]:
        """The nodes that run an FE or a CE in this mode; CEs first."""
        return tuple(self._elements.values())

    def start(self) -> None:
        """All of them; returns before they are ready. FEs when the CEs listen: an FE that finds
        nobody at its first CE's address goes to the second one, and the NE has two masters."""
        self._folder.mkdir(parents=True, exist_ok=True)
        ces = [name for name, node in self._elements.items() if node.kind == "ce"]
        for name in ces:
            self._start(name)
        deadline = time.monotonic() + CE_START_BUDGET_S
        while not self.accidents() and time.monotonic() < deadline:
            self._journals.poll()
            if all(self._journals.has(name, "start") for name in ces):
                break
            time.sleep(POLL_S)
        for name in self._elements:
            if name not in ces:
                self._start(name)

    def stop(self) -> None:
        """End all of them: FEs and CEs are asked together, then killed one by one."""
        for name, proc in self._procs.items():
            self._expected.add(name)
            for number in (signal.SIGTERM, signal.SIGCONT):
                try:
                    proc.signal(number)
                except ProcessLookupError:
                    break
        for proc in self._procs.values():
            proc.stop(STOP_BUDGET_S)

    def await_ready(self, budget_s: float) -> None:
        """Until every FE has a master that is ready for it (and beats, if it is to). LabError
        naming what is missing after the budget, or at once if a process ends."""
        deadline = time.monotonic() + budget_s
        while missing := self.not_ready():
            for name, code in self.accidents().items():
                raise LabError(f"{name} ended with exit code {code}: {self.last_words(name)}")
            if time.monotonic() > deadline:
                raise LabError(f"not ready after {budget_s:g} s: {'; '.join(missing)}")
            time.sleep(POLL_S)

    def not_ready(self) -> list[str]:
        """What is missing, for each FE."""
        self._journals.poll()
        missing = []
        for fe in self.topology.of_kind("fe"):
            master = self._journals.master_of(fe.name)
            # what was said of it before it was killed and started again does not count
            since = max((e["t"] for e in self._journals.entries(fe.name, "start")), default=0)
            if master is None:
                missing.append(f"{fe.name} has no master")
            elif not self._journals.has(master, "ready", since, fe=fe.name):
                missing.append(f"{master} is not ready for {fe.name}")
            elif self._settings.beacon_ms and not self._journals.has(
                master, "beacon", since, fe=fe.name, what="start"
            ):
                missing.append(f"{master} does not beat for {fe.name}")
        return missing

    def masters(self) -> dict[str, str | None]:
        """Each FE's master, as its journal has it."""
        self._journals.poll()
        return {fe.name: self._journals.master_of(fe.name) for fe in self.topology.of_kind("fe")}

    def accidents(self) -> dict[str, int]:
        """Exit codes of the processes that ended without a fault or `stop()` having asked."""
        return {
            name: code
            for name, proc in self._procs.items()
            if name not in self._expected and (code := proc.poll()) is not None
        }

    def process(self, node: str) -> int:
        """pid, in the sandbox; LabError where there is none."""
        return self._proc(node).pid

    def daemon(self, node: str, name: str) -> int | None:
        """See `Bench.daemon`."""
        raise LabError(f"{node} is one process, and has no daemon {name!r}")

    def proc(self, node: str) -> Proc:
        """LabError where there is none."""
        return self._proc(node)

    def is_alive(self, node: str) -> bool:
        proc = self._procs.get(node)
        return proc is not None and proc.is_running()

    def expect_exit(self, node: str) -> None:
        self._expected.add(node)

    def restart(self, node: str) -> None:
        """Start it again with its configuration; nothing if it lives."""
        self._proc(node)
        if not self.is_alive(node):
            self._expected.discard(node)
            self._start(node)

    def api_socket(self, node: str) -> str:
        return str(PRIVATE / f"{node}.api")

    def log(self, node: str) -> Path:
        return self._folder / f"{node}.log"

    def last_words(self, node: str) -> str:
        """The last line that the process printed."""
        try:
            with self.log(node).open("rb") as file:
                file.seek(max(0, file.seek(0, 2) - LOG_TAIL_OCTETS))
                lines = file.read().decode(errors="replace").strip().splitlines()
        except OSError:
            lines = []
        return lines[-1] if lines else "it said nothing"

    def _start(self, name: str) -> None:
        node = self._elements[name]
        self._procs[name] = self._forkserver.spawn(
            self._network.node(name),
            self._target(node),
            self._config(node),
            fifo=self._priority(node),
            log=self.log(name),
        )

    def _priority(self, node: Node) -> int:
        """SCHED_FIFO."""
        return ELEMENT_PRIORITY

    def _target(self, node: Node) -> str:
        """What the fork server calls for it."""
        return TARGETS[node.kind]

    def _config(self, node: Node) -> dict[str, Any]:
        """And with what: JSON values."""
        api_socket = Path(self.api_socket(node.name))
        return config_for(self.topology, self._settings, node, self._folder, api_socket)

    def _proc(self, node: str) -> Proc:
        self._network.node(node)
        if node not in self._procs:
            running = ", ".join(self._procs) or "none"
            raise LabError(f"{node} has no process (processes: {running})")
        return self._procs[node]
