"""Runs a plan, trial after trial, and keeps what was measured whatever happens.

A trial is complete when its `trial.json` and `verdict.json` are there: a resumed run does
everything else again. Trials that are not `ok` get a successor, up to a cap per cell.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from experiments import folders
from experiments.measures.records import Description, Limits, RecordError, describe
from experiments.measures.records import read_description as read_trial_json
from experiments.measures.verdict import Outcome, judge
from experiments.plan import Cell, Plan, PlannedTrial, as_json, drawn, from_json, with_extra
from experiments.results import measured, metric_values
from experiments.statistics import summarise
from lab.backend import FaultFailed, Lab, LabError
from topologies.impairments import one_way_ms
from topologies.model import Topology

MAX_FAILURES_IN_A_ROW = 5
"""After this many trials that the lab could not even run, the machine is the problem."""


def cap(trials: int) -> int:
    """How often a cell is tried for this many `ok` trials."""
    return trials + max(2, trials // 2)


class Progress(Protocol):
    """Who shows how far a run is."""

    def begin(self, planned: PlannedTrial, total: int) -> None: ...

    def end(self, outcome: Outcome) -> None: ...


@dataclass(frozen=True, slots=True)
class Setting:
    """What a run needs beside its plan."""

    folder: Path
    topology: Topology
    limits: Limits


class GaveUp(LabError):
    """The lab failed again and again."""

    exit_code = 3


def start(folder: Path, plan: Plan) -> None:
    """Write down the plan before the first trial."""
    folders.write_json(folder / "plan.json", as_json(plan))


def load_plan(folder: Path) -> Plan:
    """RunError if the folder has none."""
    try:
        return from_json(folders.read_json(folder / "plan.json"))
    except ValueError as error:
        raise folders.RunError(f"{folder}/plan.json: {error}") from None


def trial_folder(folder: Path, number: int) -> Path:
    return folder / "trials" / str(number)


def load_outcomes(folder: Path, plan: Plan) -> list[Outcome]:
    """Judged anew from the raw records of every complete trial."""
    outcomes = []
    for planned in plan.trials:
        place = trial_folder(folder, planned.number)
        if (place / "verdict.json").is_file():
            try:
                description = read_trial_json(place)
            except RecordError as error:
                raise folders.RunError(str(error)) from None
            lab_failed = _lab_failure(place)
            outcomes.append(
                Outcome(description, "invalid", lab_failed)
                if lab_failed
                else judge(place, description)
            )
    return outcomes


def _lab_failure(place: Path) -> tuple[str, ...]:
    """A trial that the lab could not run has no records: its reason is kept as it was."""
    verdict = folders.read_json(place / "verdict.json")
    return tuple(verdict.get("lab_failed", ()))


def run(
    plan: Plan, lab: Lab, setting: Setting, progress: Progress, outcomes: list[Outcome]
) -> Plan:
    """Run what is not in `outcomes` yet, adding to it as trials end (so that an interruption
    loses nothing); returns the plan with the trials that had to be added."""
    failures = 0
    done = {o.description.trial for o in outcomes}
    while True:
        for planned in plan.trials:
            if planned.number in done:
                continue
            progress.begin(planned, len(plan.trials))
            outcome, lab_failed = _one(plan, planned, lab, setting)
            done.add(planned.number)
            outcomes.append(outcome)
            progress.end(outcome)
            failures = failures + 1 if lab_failed else 0
            if failures == MAX_FAILURES_IN_A_ROW:
                raise GaveUp(f"{failures} trials in a row failed: {'; '.join(outcome.reasons)}")
        short = lacking(plan, outcomes, within_cap=True) or unsure(plan, outcomes)
        if not short:
            return plan
        plan = with_extra(plan, short)
        start(setting.folder, plan)


def lacking(plan: Plan, outcomes: Sequence[Outcome], within_cap: bool = False) -> list[str]:
    """Cells with fewer `ok` trials than asked for; with `within_cap`, those worth another try."""
    names = []
    for cell in plan.cells:
        trials = measured(outcomes, cell.name)
        ok = sum(o.verdict == "ok" for o in trials)
        if ok < cell.trials and not (within_cap and len(trials) >= cap(cell.trials)):
            names.append(cell.name)
    return names


def unsure(plan: Plan, outcomes: Sequence[Outcome], within_cap: bool = True) -> list[str]:
    """Cells whose median is not known as well as the plan asks for (`Plan.until`). A figure that
    no trial of a cell gave does not apply to it."""
    until = plan.until
    if until is None:
        return []
    names = []
    for cell in plan.cells:
        trials = measured(outcomes, cell.name)
        good = [metric_values(o)[until.figure] for o in trials if o.verdict == "ok"]
        figure = summarise(good, plan.seed)
        if figure.median is None:
            continue
        width = None if figure.interval is None else figure.interval[1] - figure.interval[0]
        wide = width is None or width > abs(figure.median) * until.percent / 100
        may = len(good) < until.max_trials and len(trials) < cap(until.max_trials)
        if wide and (may or not within_cap):
            names.append(cell.name)
    return names


def _one(plan: Plan, planned: PlannedTrial, lab: Lab, setting: Setting) -> tuple[Outcome, bool]:
    """One trial and whether the lab failed to run it."""
    folders.check_space(setting.folder)
    place = trial_folder(setting.folder, planned.number)
    shutil.rmtree(place, ignore_errors=True)
    cell = plan.cell(planned.cell)
    description = _description(plan, planned, setting)
    failed: tuple[str, ...] = ()
    try:
        place.mkdir(parents=True)
        try:
            lab.prepare(cell.settings, place, planned.seed)
            faults = drawn(cell.faults, planned.seed)
            records = lab.trial(faults, cell.calibrate_ms, cell.observe_ms)
            description = replace(
                description,
                faults=records.faults,
                start_ns=records.start_ns,
                end_ns=records.end_ns,
            )
        except FaultFailed as error:
            failed = (f"fault: {error}",)
        except LabError as error:
            failed = (f"lab: {error}",)
        _write_description(place, description)
        outcome = Outcome(description, "invalid", failed) if failed else judge(place, description)
        verdict = {"verdict": outcome.verdict, "reasons": list(outcome.reasons)}
        folders.write_json(
            place / "verdict.json", verdict | ({"lab_failed": list(failed)} if failed else {})
        )
    except OSError as error:
        raise folders.explain(error, setting.folder) from None
    if outcome.verdict == "invalid":
        # A probe process that could not write its records is the disk's failure, not the trial's.
        folders.check_space(setting.folder)
    return outcome, bool(failed)


def _description(plan: Plan, planned: PlannedTrial, setting: Setting) -> Description:
    cell, topology = plan.cell(planned.cell), setting.topology
    return Description(
        cell=cell.name,
        trial=planned.number,
        seed=planned.seed,
        warmup=planned.warmup,
        fault=cell.fault,
        settings=cell.settings,
        faults=(),
        start_ns=0,
        end_ns=0,
        calibrate_ms=cell.calibrate_ms,
        observe_ms=cell.observe_ms,
        must_lose=cell.must_lose,
        fes=tuple(node.name for node in topology.of_kind("fe")[: cell.settings.fes]),
        ces={node.name: node.id for node in topology.of_kind("ce")[: cell.settings.ces]},
        limits=limits_of(setting, cell),
    )


def limits_of(setting: Setting, cell: Cell) -> Limits:
    """The run's, and what impaired links add: a new master's first change is under way for longer,
    and so is a packet that a fault may still take."""
    topology = setting.topology
    impaired = (*topology.impairments, *cell.settings.impairments)
    return replace(
        setting.limits,
        jitter_ms=(cell.jitter_ms or setting.limits.jitter_ms)
        + one_way_ms(topology, impaired, control=True),
        sender_pause_ms=cell.sender_pause_ms or setting.limits.sender_pause_ms,
        fault_margin_ms=setting.limits.fault_margin_ms
        + one_way_ms(topology, impaired, control=False),
    )


def _write_description(place: Path, description: Description) -> None:
    """Beside what the back end may have written there itself."""
    path = place / "trial.json"
    try:
        own = json.loads(path.read_text())
    except (OSError, ValueError):
        own = {}
    folders.write_json(path, (own if isinstance(own, dict) else {}) | describe(description))
