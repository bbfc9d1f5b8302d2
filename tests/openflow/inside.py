"""What the tests let run inside a sandbox; returns JSON values."""

from __future__ import annotations

import ipaddress
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from lab.emulated.forkserver import ForkServer
from lab.emulated.network import Network
from lab.openflow.switch import management_socket
from topologies.loader import load_topology

BUDGET_S = 20


def listener(beats: int) -> dict[str, Any]:
    """One switch without controllers, changed by ovs-ofctl, watched by the listener."""
    topology = load_topology("diamond")
    network, forkserver = Network(topology), ForkServer(())
    forkserver.start()
    network.start()
    folder = Path(tempfile.mkdtemp())
    config = {
        "name": "fe1",
        "id": 1,
        "ports": [["fe1-eth1", 1]],
        "controllers": ["127.0.0.1"],
        "fail_mode": "secure",
        "journal": str(folder / "fe1.journal.jsonl"),
    }
    node = network.node("fe1")
    forkserver.spawn(node, "lab.openflow.switch:run", config, log=folder / "fe1.log")
    door = management_socket("fe1")
    _wait_for(door)
    ready = folder / "ready"
    watching = forkserver.spawn(
        node,
        "lab.openflow.flow_listener:run",
        {
            "sockets": {"fe1": str(door)},
            "folder": str(folder),
            "run_s": 60,
            "ready": str(ready),
            "fifo": 0,
        },
        log=folder / "listener.log",
    )
    _wait_for(ready)
    _ofctl(door, "20.0.0.0/24")
    before, after, programmed = [], [], []
    for number in range(beats):
        address = ipaddress.IPv4Address("198.18.128.0") + number
        before.append(time.monotonic_ns())
        _ofctl(door, str(address))
        after.append(time.monotonic_ns())
        programmed.append(int(address))
    watching.signal(signal.SIGTERM)
    exit_code = watching.wait(BUDGET_S)
    record = np.load(folder / "beacon-fe1.npy")
    forkserver.stop()
    network.stop()
    return {
        "exit_code": exit_code,
        "programmed": programmed,
        "destinations": record["destination"][record["added"] == 1].tolist(),
        "other_flows_seen": int(np.count_nonzero(record["destination"] >> 17 != 0xC612 >> 1)),
        "at_ns": record["at_ns"].tolist(),
        "before_ns": before,
        "after_ns": after,
    }


def _ofctl(door: Path, destination: str) -> None:
    flow = f"ip,nw_dst={destination},actions=output:1"
    subprocess.run(["ovs-ofctl", "add-flow", f"unix:{door}", flow], check=True, timeout=BUDGET_S)


def _wait_for(path: Path) -> None:
    deadline = time.monotonic() + BUDGET_S
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} is not there after {BUDGET_S} s"
        time.sleep(0.005)
