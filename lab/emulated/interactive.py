"""A lab for people: boots a topology, keeps it running, answers a second shell (`ceha up`)."""

from __future__ import annotations

import http.client
import json
import os
import select
import signal
import socket
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FrameType
from typing import Any

from lab.backend import CellSettings, FaultSpec, LabError
from lab.emulated.control import Claim, Server
from lab.emulated.faults import kinds
from lab.emulated.faults.schedule import Strikes, UndoJournal, heal
from lab.emulated.forkserver import ForkServer
from lab.emulated.network import Network
from lab.emulated.nodes import NetworkElement
from lab.machine import NO_TRANSPORT_SECURITY
from topologies.model import Node, Topology

READY_BUDGET_S = 20.0

API_TIMEOUT_S = 0.3
"""A frozen process does not answer; a status has to come all the same."""

WATCH_S = 0.5

Say = Callable[[str], None]


class InteractiveLab:
    """Runs in a sandbox. `run()` returns when somebody has asked for the end."""

    def __init__(self, topology: Topology, settings: CellSettings, claim: Claim, say: Say) -> None:
        self._topology = topology
        self._settings = settings
        self._claim = claim
        self._say = say
        self._faults = threading.Lock()
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_write, False)
        self._network = Network(topology)
        self._forkserver = ForkServer()
        self._element: NetworkElement | None = None
        self._undo = UndoJournal(claim.nodes / "undo.jsonl")
        self._seen_accidents: set[str] = set()
        self._is_ready = False

    def run(self, ready: Callable[[float], None]) -> int:
        """Boot, call `ready` with the seconds that took, serve. LabError if it does not boot."""
        begin = time.monotonic()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._on_signal)
        _empty(self._claim.nodes)
        self._forkserver.start()
        try:
            self._network.start()
            self._element = NetworkElement(
                self._network, self._forkserver, self._settings, self._claim.nodes
            )
            self._element.start()
            self._element.await_ready(READY_BUDGET_S)
            server = Server(
                self._claim.socket,
                {
                    "status": lambda _request: self.status(),
                    "where": self._where,
                    "fault": self._fault,
                    "heal": lambda _request: self._heal_all(),
                    "down": lambda _request: self._stop(),
                },
            )
            server.start()
            self._is_ready = True
            ready(time.monotonic() - begin)
            self._watch()
            server.close()
            self._element.stop()
        finally:
            self._network.stop()
            self._forkserver.stop()
        return 0

    def status(self) -> dict[str, Any]:
        """Nodes, processes, masters: what `ceha status` shows."""
        ne = self._running()
        nodes = self._topology.nodes
        with ThreadPoolExecutor(max_workers=16) as pool:
            described = list(pool.map(self._describe, nodes))
        missing = ne.not_ready()
        return {
            "name": self._claim.folder.name,
            "topology": self._topology.name,
            "mode": self._settings.mode,
            "policy": self._settings.policy,
            "ready": not missing,
            "missing": missing,
            "masters": ne.masters(),
            "nodes": described,
            "faults": [
                {"kind": spec.kind, "target": spec.target}
                for _number, spec in self._undo.outstanding()
            ],
            "folder": str(self._claim.nodes),
            "security": NO_TRANSPORT_SECURITY,
        }

    def _describe(self, node: Node) -> dict[str, Any]:
        ne = self._running()
        described: dict[str, Any] = {
            "name": node.name,
            "kind": node.kind,
            "id": node.id,
            "control_address": node.control_address,
            "process": None,
            "state": "no process",
            "api": None,
        }
        if node.name in {element.name for element in ne.elements}:
            proc = ne.proc(node.name)
            described["process"] = proc.pid
            described["state"] = _state(proc.pid) if proc.is_running() else "ended"
            described["exit_code"] = proc.poll()
            if described["state"] == "running":
                described["api"] = ask_api(ne.api_socket(node.name), "state")
        return described

    def _where(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The pid in the sandbox whose namespaces are the node's."""
        return {"pid": self._network.node(str(request.get("node", ""))).pid}

    def _fault(self, request: Mapping[str, Any]) -> dict[str, Any]:
        spec = FaultSpec(
            kind=str(request.get("kind")),
            target=str(request.get("target")),
            arguments=dict(request.get("arguments", {})),
        )
        ne = self._running()
        kinds.check(ne, spec)
        with self._faults:
            if request.get("heal"):
                return self._take_back(spec)
            strikes = Strikes(ne, self._undo, self._journal)
            try:
                now = time.monotonic_ns()
                strikes.run([spec], now, now)
                applied = strikes.applied()[0]
                if reasons := strikes.reasons():
                    error = LabError(reasons[0])
                    error.exit_code = 3
                    raise error
            finally:
                strikes.close()
        return {
            "kind": spec.kind,
            "target": applied.target,
            "took_us": round((applied.after_ns - applied.before_ns) / 1000, 1),
            "verified": applied.verified,
        }

    def _take_back(self, spec: FaultSpec) -> dict[str, Any]:
        """Those outstanding faults that `spec` describes; "master" is whoever was struck."""
        outstanding = self._undo.outstanding()
        chosen = [
            (number, each)
            for number, each in outstanding
            if each.kind == spec.kind and spec.target in (each.target, "master")
        ]
        if not chosen:
            listed = ", ".join(f"{each.kind} {each.target}" for _number, each in outstanding)
            raise LabError(
                f"no {spec.kind} of {spec.target} to heal (outstanding: {listed or 'nothing'})"
            )
        return {"healed": self._heal(chosen)}

    def _heal_all(self) -> dict[str, Any]:
        with self._faults:
            return {"healed": self._heal(self._undo.outstanding())}

    def _heal(self, chosen: list[tuple[int, FaultSpec]]) -> list[dict[str, str]]:
        ne = self._running()
        armed = [
            (number, spec.kind, spec.target, kinds.arm(ne, spec, spec.target))
            for number, spec in chosen
        ]
        try:
            heal(armed, self._undo, self._journal)
        finally:
            for _number, _kind, _target, fault in armed:
                fault.close()
        return [{"kind": kind, "target": target} for _number, kind, target, _fault in armed]

    def _stop(self) -> None:
        os.write(self._wake_write, b"x")

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        if not self._is_ready:
            raise KeyboardInterrupt
        self._stop()

    def _watch(self) -> None:
        """Tell of processes that end by themselves, until somebody asks for the end."""
        waiting = select.poll()
        waiting.register(self._wake_read, select.POLLIN)
        while not waiting.poll(WATCH_S * 1000):
            ne = self._running()
            for name, code in ne.accidents().items():
                if name not in self._seen_accidents:
                    self._seen_accidents.add(name)
                    self._say(f"{name} ended with exit code {code}: {ne.last_words(name)}")

    def _running(self) -> NetworkElement:
        if self._element is None:
            raise LabError("the lab is still starting")
        return self._element

    def _journal(self, event: str, fields: Mapping[str, Any]) -> None:
        entry = {"t": time.monotonic_ns(), "node": "lab", "event": event, **fields}
        with (self._claim.nodes / "lab.journal.jsonl").open("a") as file:
            file.write(json.dumps(entry) + "\n")


def ask_api(path: str, command: str, timeout_s: float = API_TIMEOUT_S) -> Any:
    """`GET /<command>` of an FE's or CE's API; None where no answer comes in time."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
        link.settimeout(timeout_s)
        try:
            link.connect(path)
            link.sendall(b"GET /%s HTTP/1.1\r\nHost: ceha\r\nConnection: close\r\n\r\n" %
                         command.encode())  # fmt: skip
            response = http.client.HTTPResponse(link)
            response.begin()
            return json.loads(response.read())
        except (OSError, ValueError, http.client.HTTPException):
            return None


def _state(pid: int) -> str:
    """`frozen` for a stopped process: SIGSTOP leaves it there, deaf."""
    try:
        letter = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "ended"
    return {"T": "frozen", "Z": "ended", "X": "ended"}.get(letter, "running")


def _empty(folder: Path) -> None:
    """What the last lab of this name left."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        if path.is_file():
            path.unlink()
