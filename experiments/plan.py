"""What will be run, in which order: a pure function of scenario and seed.

Warm-ups first, then rounds: in each round every cell once, in an order drawn anew. Drift of the
machine thus falls on all cells alike, and an interrupted run has measured all of them.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from lab.backend import CellSettings, FaultSpec

PLAN_VERSION = 1


@dataclass(frozen=True, slots=True)
class Cell:
    """One combination of settings and faults; its trials are repetitions of the same thing."""

    name: str
    settings: CellSettings
    fault: str
    """Name of the schedule."""
    faults: tuple[FaultSpec, ...]
    trials: int
    calibrate_ms: float
    observe_ms: float
    must_lose: bool
    expect: tuple[str, ...]
    jitter_ms: float | None = None
    """How far journal and beacon may differ here; None: as in the whole run (`Limits`)."""
    sender_pause_ms: float | None = None
    """As `jitter_ms`: how long a probe's sender may be held up."""


@dataclass(frozen=True, slots=True)
class PlannedTrial:
    number: int
    """From 1, over the whole run; names the folder."""
    cell: str
    seed: int
    warmup: bool = False


@dataclass(frozen=True, slots=True)
class Until:
    """Adaptive stop: a cell gets further trials until its median is known well enough."""

    figure: str
    """One of `expectations.METRICS`."""
    percent: float
    """The 95 % interval of the median has to be narrower than this share of the median."""
    max_trials: int
    """`ok` trials per cell at which it stops in any case."""


@dataclass(frozen=True, slots=True)
class Plan:
    scenario: str
    topology: str
    seed: int
    cells: tuple[Cell, ...]
    trials: tuple[PlannedTrial, ...]
    until: Until | None = None

    def cell(self, name: str) -> Cell:
        """KeyError for an unknown name."""
        for cell in self.cells:
            if cell.name == name:
                return cell
        raise KeyError(name)

    def without(self, names: Collection[str]) -> Plan:
        """Less these cells, and their trials."""
        return replace(
            self,
            cells=tuple(cell for cell in self.cells if cell.name not in names),
            trials=tuple(trial for trial in self.trials if trial.cell not in names),
        )

    def seconds(self, overhead_s: float) -> float:
        """What the trials take, if each costs this much beside its own time."""
        return sum(
            overhead_s + (self.cell(t.cell).calibrate_ms + self.cell(t.cell).observe_ms) / 1000
            for t in self.trials
        )


def make_plan(
    scenario: str,
    topology: str,
    cells: Sequence[Cell],
    seed: int,
    warmup: int,
    trials: int | None = None,
    until: Until | None = None,
) -> Plan:
    """`trials` overrides what the cells say."""
    rng = random.Random(seed)
    if trials is not None:
        cells = [replace(cell, trials=trials) for cell in cells]
    order: list[tuple[str, bool]] = []
    for _ in range(warmup):
        order += [(cell.name, True) for cell in _shuffled(cells, rng)]
    for number in range(max((cell.trials for cell in cells), default=0)):
        due = [cell for cell in cells if number < cell.trials]
        order += [(cell.name, False) for cell in _shuffled(due, rng)]
    planned = tuple(
        PlannedTrial(number, name, rng.getrandbits(32), is_warmup)
        for number, (name, is_warmup) in enumerate(order, 1)
    )
    return Plan(scenario, topology, seed, tuple(cells), planned, until)


def replayed(plan: Plan, trial: PlannedTrial) -> Plan:
    """A plan of this one trial again, with its seed: the same settings, the same faults, at the
    same drawn moments. What it came to before is no reason to expect anything."""
    cell = replace(plan.cell(trial.cell), trials=1, expect=())
    again = replace(trial, number=1, warmup=False)
    return Plan(plan.scenario, plan.topology, plan.seed, (cell,), (again,))


def drawn(faults: Sequence[FaultSpec], seed: int) -> tuple[FaultSpec, ...]:
    """The trial's faults, their moments moved within their jitter. What strikes at one moment is
    moved by the same draw: it stays one moment."""
    rng = random.Random(seed)
    draws: dict[tuple[float, float], float] = {}
    made = []
    for spec in faults:
        key = spec.at_ms, spec.jitter_ms
        if spec.jitter_ms and key not in draws:
            draws[key] = rng.uniform(0, spec.jitter_ms)
        made.append(replace(spec, at_ms=spec.at_ms + draws.get(key, 0.0), jitter_ms=0.0))
    return tuple(made)


def with_extra(plan: Plan, cells: Sequence[str]) -> Plan:
    """One more trial for each of these cells, in a seeded order, after all others."""
    first = len(plan.trials) + 1
    rng = random.Random(f"{plan.seed}/{first}")
    extra = tuple(
        PlannedTrial(first + i, name, rng.getrandbits(32))
        for i, name in enumerate(_shuffled(cells, rng))
    )
    return replace(plan, trials=plan.trials + extra)


def _shuffled(items: Sequence[Any], rng: random.Random) -> list[Any]:
    order = list(items)
    rng.shuffle(order)
    return order


def as_json(plan: Plan) -> dict[str, Any]:
    return {"version": PLAN_VERSION} | asdict(plan)


def from_json(raw: dict[str, Any]) -> Plan:
    """The inverse of `as_json`. ValueError if it is not a plan of this version."""
    if raw.get("version") != PLAN_VERSION:
        raise ValueError(f"not a plan of version {PLAN_VERSION}")
    try:
        cells = tuple(
            Cell(
                **(
                    cell
                    | {
                        "settings": CellSettings.from_json(cell["settings"]),
                        "faults": tuple(FaultSpec(**fault) for fault in cell["faults"]),
                        "expect": tuple(cell["expect"]),
                    }
                )
            )
            for cell in raw["cells"]
        )
        trials = tuple(PlannedTrial(**trial) for trial in raw["trials"])
        until = Until(**raw["until"]) if raw.get("until") else None
        return Plan(raw["scenario"], raw["topology"], raw["seed"], cells, trials, until)
    except (KeyError, TypeError) as error:
        raise ValueError(f"not a plan: {error}") from None
