"""The network element of the OpenFlow baseline: Ryu controllers for CEs, switches for FEs.

The same processes at the same places as with ForCES, so faults, probes and journals need not know
which system they look at.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lab.backend import CellSettings, LabError
from lab.emulated.clock import ELEMENT_PRIORITY
from lab.emulated.config_for import ces_in_use, config_for, journal_path
from lab.emulated.forkserver import ForkServer
from lab.emulated.network import Network
from lab.emulated.nodes import NetworkElement
from lab.openflow import switch
from topologies.model import Node

FAIL_MODE = {1: "secure", 0: "standalone"}
"""CEFailoverPolicy's nearest relative: go on with the flows that are there, or give them up."""

SWITCH_PRIORITY = ELEMENT_PRIORITY + 5
"""Of a switch, for it is also the datapath: a kernel's forwarding waits for no process either.
Below the probes'."""


class OpenFlowElement(NetworkElement):
    """LabError for a cell that OpenFlow has no counterpart of."""

    def __init__(
        self, network: Network, forkserver: ForkServer, settings: CellSettings, folder: Path
    ) -> None:
        if settings.mode != "hot":
            raise LabError(
                f"system openflow has mode hot only, not {settings.mode}: a slave is connected to"
                " the switches all the time"
            )
        if not settings.beacon_ms:
            raise LabError("system openflow needs beacon_ms: the first beat is its first change")
        if settings.policy == 0 and _has_loop(network):
            raise LabError(
                "system openflow with policy 0 is fail_mode=standalone, and switches that learn"
                f" addresses flood for ever where there is a loop, as in {network.topology.name}"
            )
        switch.check_possible()
        super().__init__(network, forkserver, settings, folder)

    def start(self) -> None:
        """Checksums by the hosts: a veth leaves them to its other end, and the datapath in user
        space passes on what it reads."""
        self._checksums("off")
        super().start()

    def stop(self) -> None:
        super().stop()
        self._checksums("on")

    def _checksums(self, state: str) -> None:
        for host in self.topology.of_kind("host"):
            node = self.network.node(host.name)
            for interface in node.interfaces:
                done = node.run("ethtool", "-K", interface, "tx", state)
                if done.returncode:
                    raise LabError(f"ethtool -K {interface} tx {state}: {done.stderr.strip()}")

    def _priority(self, node: Node) -> int:
        return SWITCH_PRIORITY if node.kind == "fe" else super()._priority(node)

    def _target(self, node: Node) -> str:
        return {"fe": "lab.openflow.switch:run", "ce": "lab.openflow.controller:run"}[node.kind]

    def _config(self, node: Node) -> dict[str, Any]:
        journal = str(journal_path(self._folder, node.name))
        if node.kind == "fe":
            ces = ces_in_use(self.topology, self.settings)
            return {
                "name": node.name,
                "id": node.id,
                "ports": [[end.interface, end.port] for end, _other in self._ends(node.name)],
                "controllers": [_address(ce) for ce in ces],
                "fail_mode": FAIL_MODE[self.settings.policy],
                "journal": journal,
            }
        api_socket = Path(self.api_socket(node.name))
        return {
            "ce": config_for(self.topology, self.settings, node, self._folder, api_socket),
            "fes": {
                fe.name: {
                    "macs": self._macs(fe.name),
                    "journal": str(journal_path(self._folder, fe.name)),
                }
                for fe in self.topology.of_kind("fe")
            },
            "dead_ms": self.settings.cehdi_ms,
        }

    def _macs(self, fe: str) -> dict[str, list[str]]:
        own = self.network.node(fe)
        return {
            str(end.port): [
                own.mac_of(end.interface),
                self.network.node(other.node).mac_of(other.interface),
            ]
            for end, other in self._ends(fe)
        }

    def _ends(self, fe: str) -> list[tuple[Any, Any]]:
        return [
            (end, other)
            for link in self.topology.links
            for end, other in ((link.a, link.b), (link.b, link.a))
            if end.node == fe
        ]


def _address(node: Node) -> str:
    assert node.control_address is not None, f"{node.name} is on the control network"
    return node.control_address.split("/")[0]


def _has_loop(network: Network) -> bool:
    fes = {node.name for node in network.topology.of_kind("fe")}
    parent = {fe: fe for fe in fes}

    def root(fe: str) -> str:
        while parent[fe] != fe:
            fe = parent[fe]
        return fe

    for link in network.topology.links:
        if link.a.node in fes and link.b.node in fes:
            a, b = root(link.a.node), root(link.b.node)
            if a == b:
                return True
            parent[a] = b
    return False
