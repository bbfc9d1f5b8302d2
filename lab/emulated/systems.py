"""What can run on a topology's nodes (`system:` of a cell), and which parts of the lab differ.

Network, faults, probes, journals and a trial's way are the same for all. A baseline brings its
processes, its beacon's listener and its reader of tables; it is imported when a cell asks for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from lab.backend import CellSettings, System
from lab.emulated.forkserver import ForkServer
from lab.emulated.meters import kernel_record
from lab.emulated.network import Network
from lab.emulated.nodes import NetworkElement
from topologies.model import Topology

MakeElement = Callable[[Network, ForkServer, CellSettings, Path], NetworkElement]
RecordTables = Callable[[NetworkElement, Path, Iterable[str]], object]
"""Writes `kernel-<fe>.json` of these FEs."""
Listener = tuple[str, Mapping[str, object]]
"""`module:function` for the fork server, and what it has to be told."""


@dataclass(frozen=True, slots=True)
class SystemParts:
    """One system."""

    element: MakeElement
    listener: Callable[[Network, Topology], Listener]
    record_tables: RecordTables
    one_master: bool = True
    """All FEs have the same one before a trial begins."""


def of(system: System) -> SystemParts:
    """LabError where the machine lacks what it needs comes later, from `element`."""
    if system == "openflow":
        return _openflow()
    if system == "frr":
        return _frr()
    return SystemParts(NetworkElement, _kernel_listener, kernel_record.write)


def _kernel_listener(network: Network, topology: Topology) -> Listener:
    fes = {fe.name: network.node(fe.name).pid for fe in topology.of_kind("fe")}
    return "lab.emulated.meters.beacon_listener:run", {"fes": fes}


def _frr() -> SystemParts:
    from lab.frr import tables
    from lab.frr.configuration import OSPF_PROTOCOL
    from lab.frr.element import FrrElement

    def listener(network: Network, topology: Topology) -> Listener:
        target, needs = _kernel_listener(network, topology)
        return target, {**needs, "protocol": OSPF_PROTOCOL}

    return SystemParts(FrrElement, listener, tables.write, one_master=False)


def _openflow() -> SystemParts:
    from lab.openflow import tables
    from lab.openflow.element import OpenFlowElement
    from lab.openflow.switch import management_socket

    def listener(_network: Network, topology: Topology) -> Listener:
        fes = [fe.name for fe in topology.of_kind("fe")]
        sockets = {fe: str(management_socket(fe)) for fe in fes}
        return "lab.openflow.flow_listener:run", {"sockets": sockets}

    return SystemParts(OpenFlowElement, listener, tables.write)
