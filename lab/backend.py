"""The seam between experiments and a laboratory (DESIGN section 4: lab/ back ends).

A back end runs a topology, brings it to a cell's state, applies faults, and leaves raw records
on disk. It judges nothing: `experiments` does, afterwards, from the records.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from topologies.model import Impairment

Mode = Literal["none", "cold", "hot", "hot+sync"]
System = Literal["forces", "openflow", "frr"]
"""What runs on the topology's nodes: docs/baselines.md."""


class LabError(Exception):
    """The lab cannot do what was asked: one sentence for the user. `exit_code` per DESIGN 12."""

    exit_code = 2


class FaultFailed(LabError):
    """A fault was applied and the check that it happened (or healed) said no."""

    exit_code = 3


@dataclass(frozen=True, slots=True)
class CellSettings:
    """What a back end needs to bring the NE to a cell's state."""

    mode: Mode
    system: System = "forces"
    policy: Literal[0, 1] = 1
    profile: Literal["rfc7121", "slides"] = "rfc7121"
    routes: int = 100
    """Synthetic prefixes per FE."""
    tml: str = "auto"
    detect: Literal["tml", "heartbeat", "both"] = "both"
    ce_heartbeat_ms: int = 25
    fe_heartbeat_ms: int = 25
    cehdi_ms: int = 100
    cefti_ms: int = 10_000
    beacon_ms: int = 5
    replication: Literal["async", "semi"] = "async"
    """Mode hot+sync: whether an FE may see a change before a replica has it."""
    fr_heartbeat_ms: int = 5
    """Mode hot+sync: between CEs."""
    probe_pps: int = 1000
    """Packets per second, per flow and direction."""
    guard: bool = False
    """A guard beside each CE aborts its associations when its process dies: what a kernel's SCTP
    does by itself, and userland's does not (docs/baselines.md)."""
    alternates: bool = False
    """The CEs give each FE loop-free alternates, so that it repairs a cut by itself."""
    ces: int | None = None
    """How many of the topology's CEs take part, the first ones; None: all of them."""
    load: int = 0
    """Processes beside the lab that compute without end, at SCHED_OTHER, while a trial runs: as
    many as the machine has cores leave none of them idle."""
    fes: int | None = None
    """The same of its FEs, with the hosts and links between them."""
    impair: str = "none"
    """Name of the set of impairments, as the scenario has it."""
    impairments: tuple[Impairment, ...] = ()
    """What links do to frames, beside what the topology says and in its place."""

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> CellSettings:
        """The inverse of `asdict`. TypeError if it is none."""
        impairments = tuple(Impairment(**each) for each in raw.get("impairments", ()))
        return cls(**{**raw, "impairments": impairments})


@dataclass(frozen=True, slots=True)
class FaultSpec:
    """One fault of a schedule. Kinds: DESIGN section 9; the first ones are
    crash, hang, isolate-carrier, isolate-silent, planned-switch, link-cut."""

    kind: str
    target: str
    """A node name, a link name, or "master" (whoever is master when it strikes)."""
    at_ms: float = 0.0
    """After the schedule's start."""
    heal_after_ms: float | None = None
    """None: healed at the end of the trial. For crash: when the process is started again; for
    hang: SIGCONT."""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    jitter_ms: float = 0.0
    """The plan moves the moment by up to this much, drawn from the trial's seed; a back end gets
    faults whose moment is drawn."""


@dataclass(frozen=True, slots=True)
class AppliedFault:
    """What really happened, from the lab's journal. All times CLOCK_MONOTONIC ns."""

    spec: FaultSpec
    target: str
    before_ns: int
    """t_fault: just before the call."""
    after_ns: int
    """Just after it."""
    verified: bool


@dataclass(frozen=True, slots=True)
class TrialRecords:
    """Where one trial's raw records lie, and the few facts that are not in them."""

    folder: Path
    faults: tuple[AppliedFault, ...]
    start_ns: int
    """Calibration starts."""
    end_ns: int


class Lab(Protocol):
    """A running laboratory."""

    def prepare(self, settings: CellSettings, folder: Path, seed: int = 0) -> None:
        """Start fresh FE and CE processes with these settings, journals under `folder`, and
        return when every FE has a master that is ready and beats. LabError after a budget.
        `seed`: the trial's; only a laboratory in virtual time draws its chance from it."""

    def trial(
        self, faults: tuple[FaultSpec, ...], calibrate_ms: float, observe_ms: float
    ) -> TrialRecords:
        """Start probes and beacon listeners, wait `calibrate_ms`, strike, observe, heal, stop the
        probes, end the FE and CE processes."""

    def environment(self) -> Mapping[str, Any]:
        """For the manifest: kernel, cores, load, scheduling jitter, transport in use, what the
        kernel lacks."""

    def close(self) -> None: ...
