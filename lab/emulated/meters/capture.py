"""Captures of the control network, one file per node, taken at the control switch's end of its
link: what a node sent is there even if the fault swallowed it a hop later."""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path

from lab.backend import LabError
from lab.emulated.network import Network

START_BUDGET_S = 5.0
STOP_BUDGET_S = 2.0
_BUFFER_KIB = 16_384


class Capture:
    """tcpdump on the control ports of some nodes; `<node>.pcap` in a folder."""

    def __init__(self, network: Network, nodes: Iterable[str], folder: Path) -> None:
        """LabError if there is no tcpdump, or one does not start."""
        if shutil.which("tcpdump") is None:
            raise LabError("a capture needs tcpdump, which is not installed")
        switch = network.control_switch_node
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        for node in nodes:
            port = network.control_port(node)
            # -Z root: as its own user it could not write into the run's folder.
            arguments = f"-i {port} -U --immediate-mode -Z root -B {_BUFFER_KIB} -s 0 -w"
            self._running[node] = subprocess.Popen(
                [*switch.prefix(), "tcpdump", *arguments.split(), str(folder / f"{node}.pcap")],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
            )
        try:
            self._await_listening()
        except LabError:
            self.stop()
            raise

    def _await_listening(self) -> None:
        deadline = time.monotonic() + START_BUDGET_S
        for node, process in self._running.items():
            said = b""
            assert process.stderr is not None
            while b"listening on" not in said:
                left = deadline - time.monotonic()
                readable, _, _ = select.select([process.stderr], [], [], max(0.0, left))
                chunk = os.read(process.stderr.fileno(), 4096) if readable else b""
                if not chunk:
                    words = said.decode(errors="replace").strip().splitlines() or ["no word"]
                    raise LabError(f"tcpdump for {node} did not start: {words[-1]}")
                said += chunk

    def stop(self) -> None:
        """What is in the kernel's buffers is written; then the files are complete."""
        for process in self._running.values():
            process.terminate()
        for process in self._running.values():
            try:
                process.wait(STOP_BUDGET_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stderr is not None:
                process.stderr.close()
        self._running.clear()
