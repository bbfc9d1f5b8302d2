"""RFC 6984's scenario 4, inside a sandbox (tests/lab/sandboxed.py):

h1 10.101.1.10 -- eth2 fe1 eth1 10.1.1.1 -- 10.1.1.2 r (FRR) -- h2 10.50.0.10
                    |
                   ce1 (and beside it FRR: zebra, ospfd)
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.fe_datapath import frames
from tests.lab.namespaces import ROOT, Namespace, connect, namespaces

FRR = Path("/usr/lib/frr")
DEAD_MS = 1000
"""A test must hold on a busy machine."""
HOSTS, BEYOND = "10.101.1.0/24", "10.50.0.0/24"
CE_CONF = """
interface fe1-eth1
 ip ospf area 0
 ip ospf hello-interval 1
 ip ospf dead-interval 4
interface fe1-eth2
 ip ospf area 0
 ip ospf passive
router ospf
 ospf router-id 9.9.9.1
 timers throttle spf 0 20 1000
"""
ROUTER_CONF = """
interface r-eth1
 ip ospf area 0
 ip ospf hello-interval 1
 ip ospf dead-interval 4
interface r-eth2
 ip ospf area 0
 ip ospf passive
router ospf
 ospf router-id 9.9.9.2
 timers throttle spf 0 20 1000
"""
FLOOD = """
import socket, sys, time
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
s.bind(("r-eth1", 0))
frame = bytes.fromhex(sys.argv[1])
end = time.monotonic() + 2
sent = 0
while time.monotonic() < end:
    for _ in range(50):
        try:
            s.send(frame)
            sent += 1
        except OSError:
            pass
print(sent)
"""


def until(
    condition: Callable[[], Any], budget_s: float, what: str, detail: Callable[[], str]
) -> float:
    """Seconds it took; AssertionError after the budget."""
    begin = time.monotonic()
    while not condition():
        assert time.monotonic() - begin < budget_s, f"not in {budget_s} s: {what}\n{detail()}"
        time.sleep(0.02)
    return time.monotonic() - begin


class Frr:
    """zebra and ospfd in a namespace, as user frr; their files are the sandbox's own."""

    def __init__(self, name: str, namespace: Namespace, conf: str, closing: ExitStack) -> None:
        self.name = name
        for place in ("/etc/frr", "/run/frr"):
            folder = Path(place, name)
            folder.mkdir()
            shutil.chown(folder, "frr", "frr")
        Path("/etc/frr", name, "vtysh.conf").touch()
        self._start("zebra", namespace, "", closing)
        until(lambda: Path("/run/frr", name, "zserv.api").exists(), 20, "zebra", str)
        self._start("ospfd", namespace, conf, closing)
        until(lambda: Path("/run/frr", name, "ospfd.vty").exists(), 20, "ospfd", str)

    def _start(self, daemon: str, namespace: Namespace, conf: str, closing: ExitStack) -> None:
        path = Path("/etc/frr", self.name, f"{daemon}.conf")
        path.write_text(conf)
        process = subprocess.Popen(
            namespace.command(str(FRR / daemon), "-N", self.name, "-f", str(path), "-P", "0"),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        closing.callback(process.wait)
        closing.callback(process.kill)

    def show(self, *commands: str) -> str:
        words = [word for command in commands for word in ("-c", command)]
        return subprocess.run(
            ["vtysh", "-N", self.name, *words], capture_output=True, text=True, timeout=10
        ).stdout

    def full(self) -> bool:
        return "Full/" in self.show("show ip ospf neighbor")


def ask(path: Path, command: str, arguments: dict[str, Any] | None = None) -> Any:
    with socket.socket(socket.AF_UNIX) as link:
        link.settimeout(10)
        link.connect(str(path))
        body = b"" if arguments is None else json.dumps(arguments).encode()
        verb = "GET" if arguments is None else "POST"
        head = f"{verb} /{command} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        link.sendall(head.encode() + body)
        response = http.client.HTTPResponse(link)
        response.begin()
        return json.loads(response.read(response.length))


class Scenario:
    def __init__(self, folder: Path, closing: ExitStack) -> None:
        self.folder = folder
        h1, self.fe, self.ce, self.r, h2 = closing.enter_context(namespaces(5))
        self.h1, self.h2 = h1, h2
        for a, a_name, b, b_name, index in (
            (self.fe, "fe1-ctl", self.ce, "ce1-ctl", 10),
            (self.fe, "fe1-eth1", self.r, "r-eth1", 20),
            (self.fe, "fe1-eth2", h1, "h1-eth1", 30),
            (self.r, "r-eth2", h2, "h2-eth1", 40),
        ):
            connect(a, a_name, b, b_name, index)
        for node, address, name in (
            (self.fe, "10.255.0.101/24", "fe1-ctl"),
            (self.ce, "10.255.0.1/24", "ce1-ctl"),
            (self.fe, "10.1.1.1/30", "fe1-eth1"),
            (self.r, "10.1.1.2/30", "r-eth1"),
            (self.fe, "10.101.1.1/24", "fe1-eth2"),
            (h1, "10.101.1.10/24", "h1-eth1"),
            (self.r, "10.50.0.1/24", "r-eth2"),
            (h2, "10.50.0.10/24", "h2-eth1"),
        ):
            node.ip("addr", "add", address, "dev", name)
        h1.ip("route", "add", "default", "via", "10.101.1.1")
        h2.ip("route", "add", "default", "via", "10.50.0.1")
        self.r.run("sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
        self.ce_api, self.fe_api = folder / "ce1.sock", folder / "fe1.sock"
        self._start("ce.main", self.ce, self._ce_config(), closing)
        self._start("fe_datapath.main", self.fe, self._fe_config(), closing)
        until(self._ready, 30, "ce1 is ready", self._journals)
        self.ce_frr = Frr("ce1", self.ce, CE_CONF, closing)
        self.r_frr = Frr("r", self.r, ROUTER_CONF, closing)

    def _ce_config(self) -> dict[str, Any]:
        ports = [
            {"id": 1, "address": "10.1.1.1/30", "neighbor_address": "10.1.1.2"},
            {"id": 2, "address": "10.101.1.1/24", "neighbor_address": "10.101.1.10"},
        ]
        none = {"neighbor_fe": None, "neighbor_port": None}
        return {
            "id": 0x40000001,
            "name": "ce1",
            "control_address": "10.255.0.1",
            "fes": [{"id": 1, "name": "fe1", "address": "10.255.0.101"}],
            "ces": [{"id": 0x40000001, "name": "ce1", "address": "10.255.0.1"}],
            "network": [{"id": 1, "name": "fe1", "ports": [port | none for port in ports]}],
            "destinations": [],
            "redirect": True,
            "fe_dead_ms": DEAD_MS,
            "api_port": 0,
            "api_socket": str(self.ce_api),
        }

    def _fe_config(self) -> dict[str, Any]:
        return {
            "id": 1,
            "name": "fe1",
            "control_address": "10.255.0.101",
            "ces": [{"id": 0x40000001, "name": "ce1", "address": "10.255.0.1"}],
            "ports": [
                {"id": 1, "interface": "fe1-eth1", "address": "10.1.1.1/30"},
                {"id": 2, "interface": "fe1-eth2", "address": "10.101.1.1/24"},
            ],
            "redirect": {"rate_pps": 500, "burst": 100},
            "cehdi_ms": DEAD_MS,
            "api_socket": str(self.fe_api),
        }

    def _start(
        self, module: str, node: Namespace, config: dict[str, Any], closing: ExitStack
    ) -> None:
        path = self.folder / f"{config['name']}.json"
        shared = {"tml": "tcp", "journal": str(self._journal(config["name"]))}
        path.write_text(json.dumps(config | shared))
        command = node.command("chrt", "-f", "10", sys.executable, "-m", module, str(path))
        process = subprocess.Popen(command, cwd=ROOT)
        closing.callback(process.wait)
        closing.callback(process.kill)

    def _journal(self, name: str) -> Path:
        return self.folder / f"{name}.jsonl"

    def events(self, name: str, event: str) -> list[dict[str, Any]]:
        path = self._journal(name)
        lines = path.read_text().splitlines() if path.exists() else []
        return [entry for entry in map(json.loads, lines) if entry["event"] == event]

    def _ready(self) -> bool:
        return bool(self.events("ce1", "ready"))

    def _journals(self) -> str:
        texts = [path.read_text() for path in sorted(self.folder.glob("*.jsonl"))]
        return "\n".join(texts)[-3000:]

    def _detail(self) -> str:
        shown = [frr.show("show ip ospf neighbor", "show ip route") for frr in self.frrs()]
        links = self.ce.run("ip", "addr") + self.fe.run("ip", "route")
        return "\n".join([*shown, links, json.dumps(ask(self.fe_api, "state")), self._journals()])

    def frrs(self) -> tuple[Frr, Frr]:
        return self.ce_frr, self.r_frr

    def await_(self, condition: Callable[[], Any], budget_s: float, what: str) -> float:
        return until(condition, budget_s, what, self._detail)

    def fe_has(self, prefix: str) -> bool:
        return prefix in self.fe.run("ip", "route", "show", "proto", "200")

    def r_has(self, prefix: str) -> bool:
        return prefix in self.r.run("ip", "route", "show", "proto", "ospf")

    def ping(self, count: int = 20) -> int:
        """Answers."""
        command = self.h1.command(
            "ping", "-n", "-q", "-i", "0.01", "-c", str(count), "-W", "2", "10.50.0.10"
        )
        out = subprocess.run(command, capture_output=True, text=True).stdout
        return int(out.split(" received")[0].rsplit(" ", 1)[1])


def scenario(folder: str) -> dict[str, Any]:
    for place in ("/etc/frr", "/run/frr"):
        os.makedirs(place, exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", place], check=True)
        shutil.chown(place, "frr", "frr")
    with ExitStack() as closing:
        lab = Scenario(Path(folder), closing)
        found: dict[str, Any] = {}
        found["full_s"] = lab.await_(lambda: all(f.full() for f in lab.frrs()), 40, "Full")
        lab.await_(lambda: lab.fe_has(BEYOND), 15, "r's network in fe1's kernel")
        lab.await_(lambda: lab.r_has(HOSTS), 15, "h1's network in r's kernel")
        found["ping"] = lab.ping()
        found["kernel"] = lab.fe.run("ip", "route", "show", "proto", "200")
        found["storm"] = storm(lab)
        lab.await_(lambda: all(f.full() for f in lab.frrs()), 40, "Full after the storm")
        lab.await_(lambda: lab.fe_has(BEYOND) and lab.r_has(HOSTS), 20, "routes after the storm")
        lab.r.ip("link", "set", "r-eth2", "down")
        found["withdrawn_from_fe_s"] = lab.await_(lambda: not lab.fe_has(BEYOND), 15, "withdrawn")
        lab.r.ip("link", "set", "r-eth2", "up")
        lab.await_(lambda: lab.fe_has(BEYOND), 15, "back in fe1's kernel")
        lab.h1.ip("link", "set", "h1-eth1", "down")
        found["withdrawn_from_r_s"] = lab.await_(lambda: not lab.r_has(HOSTS), 15, "withdrawn")
        lab.h1.ip("link", "set", "h1-eth1", "up")
        lab.h1.ip("route", "add", "default", "via", "10.101.1.1")
        lab.await_(lambda: lab.r_has(HOSTS) and lab.fe_has(BEYOND), 15, "back in r's kernel")
        found["ping_again"] = lab.ping()
        found["redirect"] = ask(lab.fe_api, "state")["redirect"]
        found["detect"] = lab.events("fe1", "detect")
        found["fe_lost"] = lab.events("ce1", "fe_lost")
        return found


def storm(lab: Scenario) -> dict[str, Any]:
    """OSPF packets as fast as r can for 2 s, while routes are added through the CE."""
    before = ask(lab.fe_api, "state")["redirect"]
    shown = json.loads(lab.fe.run("ip", "-j", "link", "show", "fe1-eth1"))
    mac = bytes.fromhex(shown[0]["address"].replace(":", ""))
    frame = mac + frames.ipv4("10.1.1.1", source="10.1.1.2", body=bytes(1000))[6:]
    flood = subprocess.Popen(
        lab.r.command(sys.executable, "-c", FLOOD, frame.hex()), stdout=subprocess.PIPE
    )
    begin = time.monotonic()
    configs_ms = []
    number = 0
    while flood.poll() is None and number < 250:
        prefix = f"20.1.{number}.0/24"
        route = {"prefix": prefix, "fe": "fe1", "port": 1, "gateway": "10.1.1.2"}
        asked = time.monotonic()
        ask(lab.ce_api, "routes", route)
        until(lambda prefix=prefix: confirmed(lab, prefix), 5, prefix, lab._detail)
        configs_ms.append((time.monotonic() - asked) * 1e3)
        number += 1
    sent = int(flood.communicate()[0])
    after = ask(lab.fe_api, "state")["redirect"]
    return {
        "offered": sent,
        "sent_up": after["sent"] - before["sent"],
        "seconds": time.monotonic() - begin,
        "configs": len(configs_ms),
        "config_p50_ms": sorted(configs_ms)[len(configs_ms) // 2],
        "config_max_ms": max(configs_ms),
    }


def confirmed(lab: Scenario, prefix: str) -> bool:
    rows = ask(lab.ce_api, "routes")["fe1"]
    return any(row["prefix"] == prefix and row["confirmed"] for row in rows)
