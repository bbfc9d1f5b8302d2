"""dtime1, dtime2, dtime3 from the journals (DESIGN section 3; RFC 7121 section 1.1's metrics)."""

from __future__ import annotations

from dataclasses import dataclass

from experiments.measures.records import (
    ISOLATE_SOME,
    MASTER_FAULTS,
    PLANNED,
    TEARDOWN,
    Event,
    Trial,
    is_fe_crash,
)
from lab.backend import AppliedFault


@dataclass(frozen=True, slots=True)
class Failover:
    """What one FE went through. An instant that did not come is None."""

    fe: str
    old_master: str
    new_master: str | None
    source: str | None
    """Who noticed: `tml`, `guard`, `heartbeat`, `claim`, `teardown`, `planned`."""
    t_fault_ns: int
    t_detect_ns: int | None
    t_master_ns: int | None
    t_ready_ns: int | None

    @property
    def dtime1_ms(self) -> float | None:
        return _ms(self._since_ns, self.t_detect_ns)

    @property
    def dtime2_ms(self) -> float | None:
        return _ms(self.t_detect_ns, self.t_master_ns)

    @property
    def dtime3_ms(self) -> float | None:
        return _ms(self.t_master_ns, self.t_ready_ns)

    @property
    def total_ms(self) -> float | None:
        return _ms(self._since_ns, self.t_ready_ns)

    @property
    def _since_ns(self) -> int | None:
        """A planned switch takes nothing away before the FE is told: nobody has to notice it."""
        return self.t_detect_ns if self.source == "planned" else self.t_fault_ns


def _ms(start: int | None, end: int | None) -> float | None:
    return None if start is None or end is None else (end - start) / 1e6


def master_at(trial: Trial, fe: str, t_ns: int) -> str | None:
    """Whom this FE held for its master at that instant, by its own journal."""
    name = None
    for event in trial.of("master", fe):
        if event.t > t_ns:
            break
        name = event.fields.get("ce")
    return name


def failing_fault(trial: Trial, fe: str) -> tuple[AppliedFault, str] | None:
    """The first fault that takes this FE's master away, and that master."""
    for fault in sorted(trial.description.faults, key=lambda f: f.before_ns):
        if fault.spec.kind not in MASTER_FAULTS or not _reaches(fault, fe):
            continue
        if is_fe_crash(fault, trial.description.fes):
            continue
        master = master_at(trial, fe, fault.before_ns)
        if master is not None and fault.target in (master, fe):
            return fault, master
    return None


def _reaches(fault: AppliedFault, fe: str) -> bool:
    """Whether a fault that cuts a node off from some others only has to do with this FE."""
    if fault.spec.kind != ISOLATE_SOME or fault.target == fe:
        return True
    peers = fault.spec.arguments.get("peers", ())
    names = peers.split(",") if isinstance(peers, str) else peers
    return fe in [str(name).strip() for name in names]


def must_fail_over(trial: Trial, fault: AppliedFault) -> bool:
    """Whether an FE has to notice. A fault that heals within the dead interval need not be seen;
    and without another CE nobody takes over unless the fault heals."""
    settings, heal_ms = trial.description.settings, fault.spec.heal_after_ms
    if fault.spec.kind in (PLANNED, TEARDOWN):
        return True
    if settings.system == "frr":
        return False  # a router has no other one to take over from it
    if not _left_over(trial, fault):
        return False
    if heal_ms is None:
        return settings.mode != "none" and len(trial.description.ces) > 1
    return fault.spec.kind == "crash" or heal_ms > 2 * settings.cehdi_ms


def _left_over(trial: Trial, fault: AppliedFault) -> set[str]:
    """CEs that some time after this fault, and within the observed time, nothing keeps away."""
    about = trial.description
    away = set()
    for other in about.faults:
        heal_ms = other.spec.heal_after_ms
        healed_ns = None if heal_ms is None else other.before_ns + heal_ms * 1e6
        if (
            other.spec.kind in MASTER_FAULTS - {PLANNED, TEARDOWN, ISOLATE_SOME}
            and other is not fault
            and (healed_ns is None or healed_ns > trial.observed_until_ns)
        ):
            away.add(other.target)
    if fault.spec.heal_after_ms is None:
        away.add(fault.target)
    return set(about.ces) - away


def failovers(trial: Trial) -> tuple[Failover, ...]:
    """One for each FE whose master was hit, in the order of their names."""
    found = []
    for fe in trial.description.fes:
        hit = failing_fault(trial, fe)
        if hit is not None:
            found.append(_failover(trial, fe, *hit))
    return tuple(found)


def _failover(trial: Trial, fe: str, fault: AppliedFault, old: str) -> Failover:
    end = trial.observed_until_ns
    seen = (e for e in trial.of("detect", fe) if fault.before_ns <= e.t <= end)
    detect = next((e for e in seen if e.fields.get("ce") == old), None)
    if detect is None:
        return Failover(fe, old, None, None, fault.before_ns, None, None, None)
    master, ready = _recovery(trial, fe, detect.t)
    return Failover(
        fe,
        old,
        master.fields["ce"] if master else None,
        _source(detect),
        fault.before_ns,
        detect.t,
        master.t if master else None,
        _ready_at(trial, fe, master, ready),
    )


def _ready_at(trial: Trial, fe: str, master: Event | None, ready: Event | None) -> int | None:
    """A CE that acknowledged every change of the last master, and at last the one that hands the
    FE over to it (`prepared`), has the FE's picture before the FE has moved."""
    if master is None or ready is None or ready.fields.get("how") != "handed-over":
        return ready.t if ready else None
    prepared = [e.t for e in trial.of("prepared", ready.node) if e.fields.get("fe") == fe]
    since = max((t for t in prepared if t <= ready.t), default=ready.t)
    return max(since, master.t)


def _source(detect: Event) -> str | None:
    """A guard speaks through the transport, and not for it: a transport alone knows later."""
    return "guard" if detect.fields.get("cause") == "guard" else detect.fields.get("source")


def _recovery(trial: Trial, fe: str, since_ns: int) -> tuple[Event | None, Event | None]:
    """The change of master that led to a ready one; without any, the first change. An FE may try
    a CE that dies under it: only the one that got ready ended the outage."""
    end = trial.observed_until_ns
    masters = [e for e in trial.of("master", fe) if since_ns <= e.t <= end and e.fields.get("ce")]
    for index, master in enumerate(masters):
        until = masters[index + 1].t if index + 1 < len(masters) else end
        for ready in trial.of("ready", master.fields["ce"]):
            if ready.fields.get("fe") == fe and master.t <= ready.t <= until:
                return master, ready
    return (masters[0] if masters else None), None


def of_network_element(found: tuple[Failover, ...]) -> Failover | None:
    """The NE's failover is that of its last FE; None while an FE has not got through it."""
    if not found or any(f.t_ready_ns is None for f in found):
        return None
    return max(found, key=lambda f: f.t_ready_ns or 0)
