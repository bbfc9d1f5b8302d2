"""The simulated laboratory: a back end (lab/backend.py) in virtual time. No root, no sandbox.

All chance of a trial comes from its seed: a run can be had again, one trial of it too, and a
resumed one goes on as if it had never stopped.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lab.backend import CellSettings, FaultSpec, LabError, TrialRecords
from lab.simulated.element import NetworkElement
from lab.simulated.network import Manners
from lab.simulated.records import HOP_US, Beacons, Journals
from lab.simulated.trial import Trial
from lab.simulated.world import World
from topologies.model import Topology

READY_BUDGET_MS = 8000
DRIFT_MS = 200.0
MAX_ROUTES = 1_000_000
CHECKED_SHARE = 0.02
"""Of the messages: encoded, decoded and compared."""
KERNEL_TRANSPORTS = ("sctp", "tcp")
"""Their kernels abort a killed process's associations, and acknowledge for a stopped one."""


def manners_of(settings: CellSettings) -> Manners:
    """How the control network behaves with this transport (PLATFORM section 2)."""
    kernel = settings.tml in KERNEL_TRANSPORTS
    return Manners(kernel_closes=kernel, kernel_acknowledges=kernel, guard=settings.guard)


def lacking(topology: Topology, settings: CellSettings, specs: tuple[FaultSpec, ...]) -> str | None:
    """Why this cannot be simulated, if it cannot: one sentence."""
    from lab.simulated.faults import check

    try:
        if settings.system != "forces":
            raise LabError(f"system {settings.system} cannot be simulated: it has no core of ours")
        if settings.load:
            raise LabError("a load on the machine cannot be simulated: virtual time has no cores")
        ne = NetworkElement(topology, settings, World(0))
        for spec in specs:
            check(ne, spec)
    except LabError as error:
        return str(error)
    return None


class SimulatedLab:
    """Implements lab.backend.Lab."""

    def __init__(self, topology: Topology) -> None:
        self._topology = topology
        self._trial: Trial | None = None
        self._manners = Manners()
        self._events = 0
        """Carried out in all trials so far."""

    def prepare(self, settings: CellSettings, folder: Path, seed: int = 0) -> None:
        """See lab.backend.Lab."""
        self._trial = None
        why = lacking(self._topology, settings, ())
        if why is not None:
            raise LabError(why)
        if not 0 <= settings.routes <= MAX_ROUTES:
            raise LabError(f"routes {settings.routes} is outside 0..{MAX_ROUTES}")
        folder.mkdir(parents=True, exist_ok=True)
        world = World(seed)
        self._manners = manners_of(settings)
        ne = NetworkElement(self._topology, settings, world, self._manners, CHECKED_SHARE)
        tml = "simulated" if settings.tml == "auto" else f"simulated {settings.tml}"
        journals = Journals(world, folder, list(ne.processes), tml)
        beacons = Beacons(world, [fe.name for fe in ne.fes])
        for process in ne.processes.values():
            process.watchers += [journals, beacons]
        trial = Trial(ne, folder, journals, beacons)
        ne.start()
        missing = trial.settle(READY_BUDGET_MS) or trial.stand_by(READY_BUDGET_MS)
        if missing:
            raise LabError(f"not ready after {READY_BUDGET_MS} ms: {'; '.join(missing)}")
        masters = {fe.name: ne.master_of(fe.name) for fe in ne.fes}
        if len(set(masters.values())) > 1:
            found = ", ".join(f"{fe} has {ce}" for fe, ce in masters.items())
            raise LabError(f"the FEs did not choose the same master: {found}")
        # Nothing here drifts by itself: without this every trial's fault would strike at the same
        # moment between two heartbeats.
        world.run_ms(world.rng.uniform(0, DRIFT_MS))
        self._trial = trial

    def trial(
        self, faults: tuple[FaultSpec, ...], calibrate_ms: float, observe_ms: float
    ) -> TrialRecords:
        """See lab.backend.Lab."""
        if self._trial is None:
            raise LabError("nothing is prepared: prepare() comes before trial()")
        trial, self._trial = self._trial, None
        try:
            return trial.run(faults, calibrate_ms, observe_ms)
        finally:
            self._events += trial.actions

    def environment(self) -> Mapping[str, Any]:
        """See lab.backend.Lab: nothing of this machine is in the figures."""
        return {
            "laboratory": "simulated: virtual time, no kernel, no transport, no computing time",
            "control_network": {
                "delay_ms": self._manners.delay_ms,
                "jitter_ms": self._manners.jitter_ms,
                "retransmission_limit_ms": self._manners.retransmission_limit_ms,
            },
            "data_hop_us": HOP_US,
            "events": self._events,
        }

    def close(self) -> None:
        self._trial = None
