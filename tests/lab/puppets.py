"""An FE and a CE that play their parts without ForCES, so that the lab can be tried on its own.

The FE puppet forwards by shortest paths and says what an FE says in its journal. Its transport is
a TCP connection to one CE at a time: when that ends, it goes to the next one. The CE puppet
accepts, and counts as ready at once. The FE makes its master's beats.
"""

from __future__ import annotations

import base64
import json
import select
import socket
import struct
import subprocess
import time
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

import networkx

from ce.config import beacon_prefix
from forces.io.journal import JournalWriter
from topologies.loader import load_topology
from topologies.model import Topology

PORT = 7000
BEAT_S = 0.005


def run_ce(config: Mapping[str, Any]) -> None:
    journal = JournalWriter(config["journal"], config["name"])
    names = {fe["address"]: fe["name"] for fe in config["fes"]}
    listener = socket.create_server((config["control_address"], PORT))
    journal.write("start", {"tml": "puppet"}, time.monotonic_ns())
    api = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    Path(config["api_socket"]).unlink(missing_ok=True)
    api.bind(config["api_socket"])
    api.listen()
    open_ones: list[socket.socket] = [listener, api]
    while True:
        for each in select.select(open_ones, [], [])[0]:
            if each is listener:
                fe, address = listener.accept()
                open_ones.append(fe)
                name = names[address[0]]
                journal.write("ready", {"fe": name, "kind": "cold"}, time.monotonic_ns())
                journal.write("beacon", {"fe": name, "what": "start"}, time.monotonic_ns())
            elif each is api:
                if _answer(api.accept()[0]):
                    for fe in open_ones[2:]:
                        fe.close()
                    del open_ones[2:]
                    break
            elif not each.recv(100):
                open_ones.remove(each)


def _answer(client: socket.socket) -> bool:
    """`GET /routes?fe=<fe>&packed=1`: what the FE puppets program. `POST /switch`: true, and all
    FEs go."""
    with client:
        path = client.recv(4096).split()[1].decode()
        fe = path.partition("=")[2].partition("&")[0]
        prefixes, next_hops = b"", {}
        for prefix, port, gateway in routes(load_topology("diamond"), fe) if fe else []:
            network = IPv4Network(prefix)
            next_hops[port] = {"port": port, "gateway": gateway}
            row = network.network_address.packed, network.prefixlen, port
            prefixes += struct.pack("!4sB3xI", *row)
        packed = base64.b64encode(prefixes).decode()
        body = json.dumps({fe: {"prefixes": packed, "next_hops": next_hops, "groups": {}}}).encode()
        client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
    return path == "/switch"


def run_fe(config: Mapping[str, Any]) -> None:
    journal = JournalWriter(config["journal"], config["name"])

    def note(event: str, **fields: object) -> None:
        journal.write(event, fields, time.monotonic_ns())

    note("start", tml="puppet")
    for prefix, port, gateway in routes(load_topology("diamond"), config["name"]):
        _ip(f"route replace {prefix} via {gateway} dev {config['name']}-eth{port} proto 200")
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    note("forwarding", on=True)
    ces = config["ces"]
    if config["ha_mode"] == 2:
        for ce in ces:
            note("associated", peer=ce["name"])
    last, at = None, 0
    while True:
        ce = ces[at % len(ces)]
        at += 1
        try:
            link = socket.create_connection(
                (ce["address"], PORT), 0.2, (config["control_address"], 0)
            )
        except OSError:
            time.sleep(0.01)
            continue
        note("master", ce=ce["name"], last=last)
        last = ce["name"]
        _beat_until_lost(link, ce["id"])
        note("detect", ce=last, source="tml", cause="closed")


def _beat_until_lost(link: socket.socket, ce: int) -> None:
    beat = 0
    while not select.select([link], [], [], BEAT_S)[0]:
        beat += 1
        _ip(f"route replace {IPv4Address(beacon_prefix(ce, beat))}/32 dev lo proto 200")
        if beat > 1:
            _ip(f"route del {IPv4Address(beacon_prefix(ce, beat - 1))}/32 dev lo proto 200")
    link.close()


def _ip(arguments: str) -> None:
    subprocess.run(["ip", *arguments.split()], check=False, capture_output=True)


def routes(topology: Topology, fe: str) -> list[tuple[str, int, str]]:
    """(prefix, port, gateway) of an FE towards every host that is not its own neighbour."""
    graph = networkx.Graph((link.a.node, link.b.node) for link in topology.links)
    found = []
    for host in topology.of_kind("host"):
        way = networkx.shortest_path(graph, fe, host.name)
        if len(way) == 2:
            continue
        here, there = _ends(topology, fe, way[1])
        _far, attached = _ends(topology, way[-2], host.name)
        for address in attached.addresses:
            subnet = address.rpartition(".")[0] + ".0/24"
            found.append((subnet, here.port, there.addresses[0].split("/")[0]))
    return found


def _ends(topology: Topology, a: str, b: str) -> tuple[Any, Any]:
    for link in topology.links:
        if (link.a.node, link.b.node) == (a, b):
            return link.a, link.b
        if (link.b.node, link.a.node) == (a, b):
            return link.b, link.a
    raise KeyError((a, b))
