"""Which cells of a plan can run in virtual time. The others are left out, with the reason."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace

from experiments.plan import Plan
from lab.backend import LabError
from lab.simulated.lab import lacking
from topologies.model import Topology


def cannot(plan: Plan, topology: Topology) -> dict[str, str]:
    """Cell -> why not."""
    reasons = {}
    for cell in plan.cells:
        why = lacking(topology, cell.settings, cell.faults)
        if why is not None:
            reasons[cell.name] = why
    return reasons


def refuse_what_cannot(plan: Plan, topology: Topology, named: bool) -> Plan:
    """The plan of what can be simulated; see `without`."""
    return without(plan, cannot(plan, topology), named)


def without(plan: Plan, reasons: Mapping[str, str], named: bool) -> Plan:
    """The plan less the cells that cannot run. LabError where nothing is left, or where a cell was
    asked for by name (`named`)."""
    lines = [f"{cell}: {why}" for cell, why in reasons.items()]
    if len(reasons) == len(plan.cells) or (named and reasons):
        raise LabError("; ".join(lines))
    for line in lines:
        print(f"ceha: left out: {line}", file=sys.stderr)
    return replace(
        plan,
        cells=tuple(cell for cell in plan.cells if cell.name not in reasons),
        trials=tuple(trial for trial in plan.trials if trial.cell not in reasons),
    )
