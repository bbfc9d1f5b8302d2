"""What tests let run inside a sandbox (tests/lab/sandboxed.py); each returns JSON values."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lab.backend import LabError
from lab.emulated.sandbox import PRIVATE


def surroundings() -> dict[str, Any]:
    return {
        "pids": sorted(int(name) for name in os.listdir("/proc") if name.isdigit()),
        "interfaces": [line.split(":")[0].strip() for line in
                       Path("/proc/net/dev").read_text().splitlines()[2:]],
        "sys_interfaces": os.listdir("/sys/class/net"),
        "cgroups": sorted(os.listdir("/sys/fs/cgroup")),
        "private_is_own": os.path.ismount(PRIVATE),
    }  # fmt: skip


def orphans() -> list[int]:
    """Zombies left after a grandchild ended whose parent had ended before."""
    subprocess.run(["sh", "-c", "sleep 0.05 &"], check=True)
    deadline = time.monotonic() + 5
    while (left := _processes(" ") - {1, os.getpid()}) and time.monotonic() < deadline:
        time.sleep(0.01)
    return sorted(left)


def _processes(_state: str) -> set[int]:
    return {int(name) for name in os.listdir("/proc") if name.isdigit()}


def network(topology: str) -> dict[str, Any]:
    """Boots, and tells what was found."""
    from lab.emulated.network import Network
    from topologies.loader import load_topology

    loaded = load_topology(topology)
    net = Network(loaded)
    begin = time.monotonic()
    net.start()
    booted = time.monotonic() - begin
    fe1, h1, ce1 = net.node("fe1"), net.node("h1"), net.node("ce1")
    facts: dict[str, Any] = {
        "boot_s": booted,
        "interfaces": {node.name: node.interfaces for node in net.nodes},
        "indexes": {
            f"{node.name}/{name}": [
                int(Path(f"/proc/{node.pid}/root/sys/class/net/{name}/{file}").read_text())
                for file in ("ifindex", "iflink")
            ]
            for node in (*net.nodes, net.control_switch_node)
            for name in node.interfaces
        },
        "outside": os.listdir("/sys/class/net"),
        "first_ping": {},
    }
    # The very first packet of each pair has to arrive: one ping, no second try.
    for other in loaded.nodes:
        if other.control_address and other.name != "ce1":
            address = other.control_address.split("/")[0]
            done = ce1.run("ping", "-c", "1", "-W", "1", address)
            facts["first_ping"][other.name] = done.returncode
    facts["host_to_fe"] = [
        h1.run("ping", "-c", "1", "-W", "1", "-I", a, b).returncode
        for a, b in (("10.101.1.10", "10.101.1.1"), ("10.101.2.10", "10.101.2.1"))
    ]
    facts["across_without_routes"] = h1.run("ping", "-c", "1", "-W", "1", "10.102.1.10").returncode
    facts["neighbours"] = {
        node.name: node.run("ip", "neigh", "show").stdout.splitlines() for node in net.nodes
    }
    facts["sysctls"] = {
        name: fe1.run("cat", f"/proc/sys/net/ipv4/{name}").stdout.strip()
        for name in ("ip_forward", "icmp_ratelimit", "conf/all/rp_filter")
    }
    facts["unknown"] = []
    for call in (
        lambda: net.node("fe9"),
        lambda: net.node("ctl"),
        lambda: net.link("fe1-fe9"),
        lambda: net.control_port("h1"),
    ):
        try:
            call()
        except LabError as error:
            facts["unknown"].append(str(error))
    facts["link_either_way"] = net.link("fe2-fe1").name
    fe1.ip("link set fe1-eth2 down")
    net.configure("fe1", "fe1-eth2")
    facts["after_configure"] = {
        "neighbour": "10.1.1.2 " in fe1.run("ip", "neigh", "show", "dev", "fe1-eth2").stdout,
        "ping": fe1.run("ping", "-c", "1", "-W", "1", "10.1.1.2").returncode,
    }
    net.stop()
    return facts


def carrier_latency_ms(rounds: int) -> list[float]:
    """From an end's going down to the other end's lost carrier, as the kernel shows it."""
    from lab.emulated.network import Network
    from topologies.loader import load_topology

    net = Network(load_topology("diamond"))
    net.start()
    fe2 = Path(f"/proc/{net.node('fe2').pid}/root/sys/class/net/fe2-eth1/operstate")
    found = []
    for _ in range(rounds):
        net.node("fe1").ip("link set fe1-eth2 down")
        begin = time.monotonic()
        while fe2.read_text().strip() == "up" and time.monotonic() < begin + 2:
            time.sleep(0.0002)
        found.append((time.monotonic() - begin) * 1000)
        net.configure("fe1", "fe1-eth2")
        while fe2.read_text().strip() != "up":
            time.sleep(0.001)
    return found


def forks() -> dict[str, Any]:
    """A fork server's life."""
    from lab.emulated.forkserver import ForkServer
    from lab.emulated.network import Network
    from topologies.loader import load_topology

    folder = Path(tempfile.mkdtemp())
    server = ForkServer(preimport=("asyncio", "no.such.module"))
    server.start()
    net = Network(load_topology("diamond"))
    net.start()
    log = folder / "log"
    target = "tests.lab.forked:"
    facts: dict[str, Any] = {}

    begin = time.monotonic()
    procs = [
        server.spawn(node, target + "report", {"k": node.name, "exit": 5}, fifo=10, log=log)
        for node in net.nodes
    ]
    facts["exits"] = [proc.wait(10) for proc in procs]
    facts["spawned_s"] = time.monotonic() - begin
    facts["reports"] = sorted(log.read_text().splitlines())

    sleeper = server.spawn(net.node("fe1"), target + "sleep", {}, log=log)
    facts["running"] = [sleeper.poll(), sleeper.is_running()]
    try:
        sleeper.wait(0.05)
    except TimeoutError as error:
        facts["timeout"] = str(error)
    sleeper.signal(signal.SIGKILL)
    facts["killed"] = [sleeper.wait(5), sleeper.is_running(), sleeper.exit_code]
    try:
        sleeper.signal(signal.SIGTERM)
    except ProcessLookupError:
        facts["signal_to_the_dead"] = "ProcessLookupError"
    facts["reaped"] = not Path(f"/proc/{sleeper.pid}").exists()

    frozen = server.spawn(net.node("fe1"), target + "sleep", {}, log=log)
    frozen.signal(signal.SIGSTOP)
    facts["frozen_stops"] = frozen.stop(0.5)

    broken_log = folder / "broken"
    broken = server.spawn(net.node("fe1"), "no.such:thing", {}, log=broken_log)
    facts["broken"] = [broken.wait(5), broken_log.read_text().splitlines()[-1]]
    try:
        server.spawn(net.node("fe1"), target + "sleep", {}, log=folder / "none" / "log")
    except LabError as error:
        facts["no_log"] = str(error).replace(str(folder), "")

    big = server.spawn(net.node("fe1"), target + "report", {"k": "x" * 400_000}, log=log)
    facts["big_configuration"] = big.wait(10)

    facts["interrupted"] = interrupted(
        lambda: server.spawn(net.node("fe1"), target + "report", {"k": "x"}, log=log)
    )

    left = server.spawn(net.node("fe1"), target + "sleep", {}, log=log)
    server.stop()
    facts["stopped"] = [left.poll(), left.is_running()]
    net.stop()
    return facts


def interrupted(spawn: Callable[[], Any]) -> list[int]:
    """Processes whose end is told although SIGINT keeps arriving, and how often it did."""
    told = interrupts = 0
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    for _ in range(200):
        proc = spawn()
        done = threading.Event()

        def interrupt(done: threading.Event = done) -> None:
            while not done.wait(0.0002):
                os.kill(os.getpid(), signal.SIGINT)

        thread = threading.Thread(target=interrupt)
        ended = None
        while ended is None:
            try:
                if thread.ident is None:
                    thread.start()
                ended = proc.wait(5)
                done.set()
            except KeyboardInterrupt:
                interrupts += 1
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        done.set()
        thread.join()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        told += ended == 0
    signal.signal(signal.SIGINT, handler)
    return [told, interrupts]


def mn(*_nothing: Any) -> dict[str, Any]:
    """Mininet's own command loads the diamond and pings over the control network."""
    done = subprocess.run(
        [
            Path(sys.executable).with_name("mn"),
            *["--custom", "topologies/mininet_topos.py", "--topo", "diamond", "--switch", "lxbr"],
            *["--controller", "none", "--test", "pingpair"],
        ],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    return {"code": done.returncode, "output": done.stdout + done.stderr}
