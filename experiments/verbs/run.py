"""`ceha run`: a scenario, the rest of an interrupted run, or one trial of an old one again."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, NoReturn

import typer

from experiments import folders, laboratory, runner
from experiments.campaign import Campaign, new_manifest
from experiments.expectations import METRICS
from experiments.laboratory import Laboratory
from experiments.measures.records import Limits
from experiments.plan import Plan, Until, make_plan, replayed
from experiments.plan import as_json as plan_json
from experiments.scenario import Scenario, load_scenario
from experiments.verbs.ladder import find_trial
from lab.backend import LabError
from lab.cli import EXIT_USAGE, fail
from topologies.document import suggestion
from topologies.impairments import mistakes
from topologies.loader import load_topology
from topologies.model import Topology

OVERHEAD_S = 2.0
"""What a trial costs beside its own time (fresh processes, associations), for the estimate."""

ROUTES_PER_S = 20_000
"""And how fast tables fill, all FEs together."""

DEFAULT_MAX_TRIALS = 50
MAX_TRIALS = 10_000


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the command line says instead of the scenario's file."""

    trials: int | None = None
    only: Sequence[str] = ()
    seed: int | None = None
    topology: str | None = None
    until: str | None = None
    """`FIGURE=PERCENT`."""
    max_trials: int | None = None
    dry_run: bool = False
    pcap: bool = False
    as_json: bool = False
    simulated: bool = False

    @property
    def chosen(self) -> list[str]:
        """The options given that change the plan."""
        return [
            f"--{f.name.replace('_', '-')}"
            for f in fields(self)
            if f.name not in ("pcap", "as_json", "simulated")
            and getattr(self, f.name) not in (None, (), [], False)
        ]


def fresh(scenario: str, wishes: Wishes) -> None:
    """A new run of a scenario; with `dry_run` only its plan."""
    loaded = load_scenario(scenario)
    chosen = topology_of(loaded, wishes.topology)
    place = chosen.source if wishes.topology not in (None, chosen.name) else chosen.name
    plan = _plan(loaded, place, wishes)
    if wishes.dry_run:
        show_plan(plan, len(chosen.of_kind("fe")), wishes.as_json)
        return
    where: Laboratory = "simulated" if wishes.simulated else "emulated"
    left_out = laboratory.cannot(plan, chosen, where)
    plan = possible(plan, left_out, bool(wishes.only))
    content = loaded.content
    limits = Limits(**content.limits.model_dump())
    folder = folders.create(plan.scenario + ("-simulated" if wishes.simulated else ""))
    written = loaded.document.path.read_text()
    manifest = new_manifest(plan, content.question, limits, content.figures, written, where)
    if content.sweep is not None:
        manifest["sweep"] = content.sweep.model_dump()
    if left_out:
        manifest["left_out"] = left_out
    if content.beside:
        manifest["beside"] = content.beside
    folders.write_json(folder / "manifest.json", manifest)
    runner.start(folder, plan)
    takes = f"about {duration(estimate_s(plan, len(chosen.of_kind('fe'))))}"
    typer.echo(
        f"{plan.scenario}: {content.question}\n{size(plan)},"
        f" {'in virtual time' if wishes.simulated else takes}, in {folder}",
        err=True,
    )
    _inside(Campaign(folder, plan, chosen, limits, manifest, wishes.pcap, wishes.as_json, where))


def resume(name: str, pcap: bool, as_json: bool) -> NoReturn:
    """Go on with what an interrupted run has left."""
    folder = folders.find(name)
    plan = runner.load_plan(folder)
    manifest = folders.read_json(folder / "manifest.json")
    limits = Limits(**manifest["limits"])
    topology = load_topology(plan.topology)
    _inside(Campaign(folder, plan, topology, limits, manifest, pcap, as_json, _where(manifest)))


def replay(place: str, pcap: bool, as_json: bool) -> NoReturn:
    """One trial of an old run again, as a run of its own."""
    old, plan, trial = find_trial(place)
    again = replayed(plan, trial)
    before = folders.read_json(old / "manifest.json")
    limits = Limits(**before["limits"])
    question = f"Trial {trial.number} of {old.name} again: {before['question']}"
    folder = folders.create(f"{plan.scenario}-replay")
    figures, document = before["figures"], before["document"]
    manifest = new_manifest(again, question, limits, figures, document, _where(before))
    manifest |= {"replay_of": f"{old.name}/{trial.number}"}
    folders.write_json(folder / "manifest.json", manifest)
    runner.start(folder, again)
    typer.echo(
        f"trial {trial.number} of {old.name} ({trial.cell}, seed {trial.seed}) again, in {folder}",
        err=True,
    )
    topology = load_topology(plan.topology)
    _inside(Campaign(folder, again, topology, limits, manifest, pcap, as_json, _where(before)))


def topology_of(scenario: Scenario, instead: str | None = None) -> Topology:
    """The scenario's topology; what its faults strike must be in it."""
    topology = load_topology(instead or scenario.content.topology)
    names = {node.name for node in topology.nodes} | {link.name for link in topology.links}
    for schedule, faults in scenario.content.faults.items():
        for index, fault in enumerate(faults):
            if fault.target != "master" and fault.target not in names:
                raise scenario.document.error(
                    ("faults", schedule, index, "target"),
                    f"topology {topology.name} has no node or link {fault.target!r}",
                )
    for name, written in scenario.content.impairments.items():
        for row, field, message in mistakes(topology, written):
            raise scenario.document.error(("impairments", name, row, field), message)
    return topology


def _plan(scenario: Scenario, topology: str, wishes: Wishes) -> Plan:
    cells = scenario.cells
    known = [cell.name for cell in cells]
    for name in wishes.only:
        if name not in known:
            fail(
                f"{scenario.name} has no cell {name!r} (there are: {', '.join(known)})", EXIT_USAGE
            )
    content = scenario.content
    return make_plan(
        scenario.name,
        topology,
        [cell for cell in cells if not wishes.only or cell.name in wishes.only],
        content.seed if wishes.seed is None else wishes.seed,
        content.warmup,
        wishes.trials,
        _until(scenario.until, wishes),
    )


def _until(of_file: Until | None, wishes: Wishes) -> Until | None:
    cap = wishes.max_trials or (of_file.max_trials if of_file else DEFAULT_MAX_TRIALS)
    if wishes.until is None:
        if wishes.max_trials and of_file is None:
            fail("--max-trials is the cap of --until, and there is none", EXIT_USAGE)
        return of_file and Until(of_file.figure, of_file.percent, cap)
    figure, _, percent = wishes.until.partition("=")
    if figure not in METRICS:
        known = suggestion(figure, list(METRICS))
        fail(f"--until: {figure!r} is not a figure{known}", EXIT_USAGE)
    try:
        share = float(percent.removesuffix("%"))
    except ValueError:
        share = 0.0
    if not 0 < share <= 1000:
        fail(f"--until: {wishes.until!r} is not FIGURE=PERCENT, e.g. dtime2_ms=10", EXIT_USAGE)
    return Until(figure, share, cap)


def possible(plan: Plan, left_out: Mapping[str, str], named: bool) -> Plan:
    """The plan less the cells that cannot run, which are told with their reasons. LabError where
    nothing is left, or where a cell was asked for by name (`named`)."""
    lines = [f"{cell}: {why}" for cell, why in left_out.items()]
    if len(left_out) == len(plan.cells) or (named and left_out):
        raise LabError("; ".join(lines))
    for line in lines:
        typer.echo(f"ceha: left out: {line}", err=True)
    return plan.without(left_out)


def estimate_s(plan: Plan, fes: int) -> float:
    """How long the run will take if no trial has to be done again."""
    settings = [plan.cell(trial.cell).settings for trial in plan.trials]
    rows = sum(each.routes * (each.fes or fes) for each in settings)
    return plan.seconds(OVERHEAD_S) + rows / ROUTES_PER_S


def duration(seconds: float) -> str:
    """`42 s`, `3 min 20 s`."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def size(plan: Plan) -> str:
    """`44 trials in 4 cells`."""

    def counted(number: int, what: str) -> str:
        return f"{number} {what}{'' if number == 1 else 's'}"

    return f"{counted(len(plan.trials), 'trial')} in {counted(len(plan.cells), 'cell')}"


def show_plan(plan: Plan, fes: int, as_json: bool) -> None:
    if as_json:
        estimate = {"estimate_s": round(estimate_s(plan, fes))}
        typer.echo(json.dumps(plan_json(plan) | estimate, indent=1))
        return
    for trial in plan.trials:
        typer.echo(f"{trial.number:4} {trial.cell}{' (warm-up)' if trial.warmup else ''}")
    typer.echo(f"{size(plan)}, seed {plan.seed}, about {duration(estimate_s(plan, fes))}")
    if plan.until is not None:
        typer.echo(
            f"then on until the 95 % interval of each median of {plan.until.figure} is narrower"
            f" than {plan.until.percent:g} % of it, at most {plan.until.max_trials} trials a cell"
        )


def _where(manifest: Mapping[str, Any]) -> Laboratory:
    return "simulated" if manifest.get("laboratory") == "simulated" else "emulated"


def _inside(campaign: Campaign) -> NoReturn:
    try:
        if campaign.laboratory == "simulated":
            raise typer.Exit(campaign.run())
        raise typer.Exit(laboratory.inside(campaign.run))
    finally:
        folders.give_to_caller(campaign.folder)
