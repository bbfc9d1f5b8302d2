"""The emulated laboratory: a back end (lab/backend.py) on Mininet, in a sandbox.

The network is booted once and serves all trials; FE and CE processes live for one trial. Runs
inside `lab.emulated.sandbox.run`: the end of this process is the end of everything here.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from signal import SIGKILL
from typing import Any

from lab.backend import CellSettings, FaultSpec, LabError, TrialRecords
from lab.emulated import environment, systems
from lab.emulated.faults.schedule import UndoJournal, heal_outstanding
from lab.emulated.forkserver import PREIMPORTED, ForkServer, Proc
from lab.emulated.impairments import Impairments
from lab.emulated.kernel_state import clean
from lab.emulated.meters.instruments import Instruments
from lab.emulated.network import Network
from lab.emulated.nodes import NetworkElement
from lab.emulated.sandbox import PRIVATE
from lab.emulated.trial import Trial
from topologies.model import Topology

READY_BUDGET_S = 8.0
ROUTES_PER_S = 5_000
"""How fast tables fill at the least, all FEs together: large ones get a longer budget."""
MAX_ROUTES = 1_000_000
POLL_S = 0.005


class EmulatedLab:
    """Implements lab.backend.Lab. Start no thread before it: processes are forked from here."""

    def __init__(self, topology: Topology, run_folder: Path, pcap: bool = False) -> None:
        """Boots the topology. `run_folder` takes what is of no trial; `pcap`: capture the control
        network in every trial. LabError where the machine cannot."""
        self._topology = topology
        self._pcap = pcap
        self._element: NetworkElement | None = None
        self._folder: Path | None = None
        self._undo: UndoJournal | None = None
        self._system = systems.of("forces")
        self._sleepers: list[Proc] = []
        self._tml = CellSettings(mode="none").tml
        self._stolen_ms = environment.stolen_ms()
        self._network = Network(topology)
        self._forkserver = ForkServer((*PREIMPORTED, "lab.emulated.environment"))
        self._impairments = Impairments(self._network, self._forkserver, run_folder)
        self._forkserver.start()
        try:
            self._network.start()
            self._start_sleepers(run_folder)
        except BaseException:
            self.close()
            raise

    @property
    def topology(self) -> Topology:
        return self._topology

    @property
    def element(self) -> NetworkElement:
        """LabError before `prepare`."""
        if self._element is None:
            raise LabError("nothing is prepared: prepare() comes before trial()")
        return self._element

    def prepare(self, settings: CellSettings, folder: Path, seed: int = 0) -> None:
        """See lab.backend.Lab. Journals, logs and records go into `folder`."""
        if not 0 <= settings.routes <= MAX_ROUTES:
            raise LabError(f"routes {settings.routes} is outside 0..{MAX_ROUTES}")
        self._end_element()
        for fe in self._topology.of_kind("fe"):
            clean(self._network.node(fe.name))
        wanted = (*self._topology.impairments, *settings.impairments)
        self._impairments.apply(wanted, settings.probe_pps)
        self._folder = folder
        self._tml = settings.tml
        self._system = systems.of(settings.system)
        element = self._system.element(self._network, self._forkserver, settings, folder)
        self._element = element
        budget_s = READY_BUDGET_S
        budget_s += settings.routes * len(element.topology.of_kind("fe")) / ROUTES_PER_S
        begun = time.monotonic()
        try:
            element.start()
            if self._undo is not None:
                # A heal of the last trial failed: the network has to be whole before this one.
                heal_outstanding(element, self._undo, lambda _event, _fields: None)
            self._undo = None
            element.await_ready(budget_s)
            self._await_backups(budget_s - (time.monotonic() - begun))
            masters = element.masters()
            if self._system.one_master and len(set(masters.values())) > 1:
                # RFC 7121 lets every FE choose for itself; a trial about "the master" needs one.
                found = ", ".join(f"{fe} has {ce}" for fe, ce in masters.items())
                raise LabError(f"the FEs did not choose the same master: {found}")
        except BaseException:
            self._end_element()
            raise

    def _await_backups(self, budget_s: float) -> None:
        """Hot standby: a failure of the master means something only when the backups stand by."""
        element = self.element
        if element.settings.mode not in ("hot", "hot+sync"):
            return
        ces = [node.name for node in element.elements if node.kind == "ce"]
        fes = [node.name for node in element.elements if node.kind == "fe"]
        deadline = time.monotonic() + budget_s
        while True:
            element.journals.poll()
            missing = [
                f"{fe} is not associated with {ce}"
                for fe in fes
                for ce in ces
                if not element.journals.has(fe, "associated", peer=ce)
            ]
            if element.settings.mode == "hot+sync" and not missing:
                missing = self._lacking_replicas(ces, fes)
            if not missing:
                return
            if time.monotonic() > deadline:
                raise LabError(f"not ready after {budget_s:g} s: {'; '.join(missing)}")
            time.sleep(POLL_S)

    def _lacking_replicas(self, ces: list[str], fes: list[str]) -> list[str]:
        """CE-CE synchronisation: each backup follows what the master does to each FE."""
        masters = self.element.masters()
        return [
            f"{ce} does not follow {fe}"
            for fe in fes
            for ce in ces
            if ce != masters.get(fe) and not self._follows(ce, fe)
        ]

    def _follows(self, ce: str, fe: str) -> bool:
        """It said so, and has not started over since."""

        def last(event: str) -> int:
            entries = self.element.journals.entries(ce, event)
            return max((entry["t"] for entry in entries if entry.get("fe") == fe), default=0)

        return last("follows") > max(last("replica_reset"), last("replica_failed"))

    def trial(
        self, faults: tuple[FaultSpec, ...], calibrate_ms: float, observe_ms: float
    ) -> TrialRecords:
        """See lab.backend.Lab."""
        element, folder = self.element, self._folder
        self._impairments.check()
        assert folder is not None, "prepare() sets both"
        # A collection in the middle of a strike would show in its stamps.
        gc.collect()
        gc.disable()
        burners: list[Proc] = []
        try:
            burners += self._start_burners(element.settings.load, folder)
            system = self._system
            trial = Trial(element, folder, calibrate_ms, observe_ms, system.record_tables)
            instruments = Instruments(
                self._network,
                element.topology,
                self._forkserver,
                folder,
                element.settings.probe_pps,
                trial.run_s,
                system.listener(self._network, element.topology),
            )
            self._undo = trial.undo
            records = trial.run(instruments, faults, self._pcap)
            self._impairments.check()
            return records
        finally:
            gc.enable()
            for burner in burners:
                burner.stop()
            self._end_element()

    def environment(self) -> Mapping[str, Any]:
        """See lab.backend.Lab; the jitter is that of the run so far."""
        files = {name: self._jitter_file(name) for name in environment.SLEEPERS}
        found = environment.describe(self._tml, files, self._stolen_ms)
        if self._impairments.done_by:
            found["impairments"] = self._impairments.describe()
        return found

    def close(self) -> None:
        """Ends all processes; namespaces and links go with them."""
        try:
            self._end_element()
            for sleeper in self._sleepers:
                sleeper.stop()
        finally:
            self._sleepers.clear()
            self._forkserver.stop()
            self._network.stop()

    def _start_burners(self, count: int, folder: Path) -> list[Proc]:
        return [
            self._forkserver.spawn(
                self._network.control_switch_node,
                "lab.emulated.burner:run",
                {},
                log=folder / "burner.log",
                name=f"burner {number}",
            )
            for number in range(count)
        ]

    def _start_sleepers(self, run_folder: Path) -> None:
        run_folder.mkdir(parents=True, exist_ok=True)
        for name, priority in environment.SLEEPERS.items():
            self._sleepers.append(
                self._forkserver.spawn(
                    self._network.control_switch_node,
                    "lab.emulated.environment:run_sleeper",
                    {"fifo": priority, "file": str(self._jitter_file(name))},
                    log=run_folder / "lab.log",
                    name=f"sleeper {name}",
                )
            )

    def _jitter_file(self, name: str) -> Path:
        return PRIVATE / f"jitter-{name}.json"

    def _end_element(self) -> None:
        """FEs first and at once: an FE that saw its CEs end would write one more failover into
        its journal."""
        if self._element is None:
            return
        element, self._element = self._element, None
        for node in element.elements:
            if node.kind == "fe" and element.is_alive(node.name):
                element.expect_exit(node.name)
                with suppress(ProcessLookupError):
                    element.proc(node.name).signal(SIGKILL)
        element.stop()
