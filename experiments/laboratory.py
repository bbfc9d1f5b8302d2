"""Where trials run: the one place that knows which back end is in use.

The emulated lab lives in a sandbox (DESIGN section 1): `inside` runs the campaign in it, so that
whatever ends this process, the kernel removes all of the lab. The simulated one needs no place.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from experiments.plan import Plan
from lab.backend import Lab
from topologies.model import Topology

Laboratory = Literal["emulated", "simulated"]


def cannot(plan: Plan, topology: Topology, laboratory: Laboratory) -> dict[str, str]:
    """Cell -> why it cannot run there: virtual time has no machine and no cores but ours, and a
    machine's kernel has not every transport."""
    if laboratory == "simulated":
        from lab.simulated.lab import lacking

        why = {cell.name: lacking(topology, cell.settings, cell.faults) for cell in plan.cells}
    else:
        from lab.machine import lacking_transport

        why = {cell.name: lacking_transport(cell.settings.tml) for cell in plan.cells}
    return {cell: reason for cell, reason in why.items() if reason}


def inside(entry: Callable[[], int]) -> int:
    """Call `entry` where a lab can be opened; its exit code. LabError if this machine cannot."""
    from lab.emulated import sandbox

    return sandbox.run(entry)


def open_lab(topology: Topology, folder: Path, pcap: bool, laboratory: Laboratory) -> Lab:
    """Boot the topology. LabError if that fails."""
    if laboratory == "simulated":
        from lab.simulated.lab import SimulatedLab

        return SimulatedLab(topology)
    from lab.emulated.lab import EmulatedLab

    return EmulatedLab(topology, folder, pcap=pcap) if pcap else EmulatedLab(topology, folder)
