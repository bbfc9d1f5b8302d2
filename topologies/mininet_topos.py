"""The topologies for Mininet: the lab builds its network from `LabTopo`, and `mn` loads them too.

    mn --custom topologies/mininet_topos.py --topo diamond --switch lxbr --controller none

Under plain `mn` the nodes, links and first addresses are there, but no forwarding between FEs:
routes are what the CEs program.
"""

from __future__ import annotations

import inspect
import sys
from functools import partial
from pathlib import Path
from typing import Any

from mininet.topo import Topo

# `mn --custom` executes this file's text: without __file__, and without the project on the path.
_HERE = Path(inspect.getfile(inspect.currentframe()))  # type: ignore[arg-type]
if str(_HERE.resolve().parent.parent) not in sys.path:
    sys.path.append(str(_HERE.resolve().parent.parent))

from topologies.loader import available, load_topology  # noqa: E402
from topologies.model import Endpoint, Topology  # noqa: E402

CONTROL_SWITCH = "ctl"


def control_interface(node: str) -> str:
    return f"{node}-ctl"


def control_port(node: str) -> str:
    """The bridge's end of the same link."""
    return f"{CONTROL_SWITCH}-{node}"


class LabTopo(Topo):  # type: ignore[misc]
    """Every CE, FE and host is a Mininet host; data links are point to point, and each CE and FE
    has a link of its own to a Linux bridge, the control network."""

    def build(self, topology: Topology | None = None, **_parameters: Any) -> None:
        assert topology is not None
        self.topology = topology
        self.addSwitch(CONTROL_SWITCH, dpid="1", inNamespace=True)
        first = {end.node: end.addresses[0] for link in topology.links for end in (link.a, link.b)}
        gateway = {
            host.node: fe.addresses[0].split("/")[0]
            for link in topology.links
            for host, fe in ((link.a, link.b), (link.b, link.a))
            if topology.node(host.node).kind == "host"
        }
        for number, node in enumerate(topology.nodes, start=1):
            if node.control_address is None:
                route = f"via {gateway[node.name]}"
                self.addHost(node.name, ip=first[node.name], defaultRoute=route)
                continue
            self.addHost(node.name, ip=node.control_address)
            self.addLink(
                node.name,
                CONTROL_SWITCH,
                port1=0,
                port2=number,
                intfName1=control_interface(node.name),
                intfName2=control_port(node.name),
                addr1=f"02:c0:00:00:{number:02x}:01",
                addr2=f"02:c0:00:00:{number:02x}:02",
            )
        for number, link in enumerate(topology.links, start=1):
            mac = f"02:da:00:{number >> 8:02x}:{number & 255:02x}"
            self.addLink(
                link.a.node,
                link.b.node,
                port1=link.a.port,
                port2=link.b.port,
                intfName1=link.a.interface,
                intfName2=link.b.interface,
                addr1=f"{mac}:01",
                addr2=f"{mac}:02",
                params1=self._address(link.a),
                params2=self._address(link.b),
            )

    @staticmethod
    def _address(end: Endpoint) -> dict[str, str]:
        return {"ip": end.addresses[0]}


def _topo(name: str, **parameters: Any) -> LabTopo:
    return LabTopo(topology=load_topology(name), **parameters)


topos = {name: partial(_topo, name) for name in available()}
