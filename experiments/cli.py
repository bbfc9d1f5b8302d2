"""The command line: the lab's verbs, and the experiments'. Exit codes: DESIGN section 12.

Everything heavy is imported by the verb that needs it, so that help comes at once.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from lab import cli as lab_cli
from lab.cli import EXIT_USAGE, Json, fail, one_line_errors, register

if TYPE_CHECKING:
    from experiments.campaign import Campaign
    from experiments.plan import Plan
    from experiments.scenario import Scenario
    from topologies.model import Topology

OVERHEAD_S = 2.0
"""What a trial costs beside its own time (fresh processes, associations), for the estimate."""

app = typer.Typer(
    name="ceha",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="A laboratory for control-element high availability in ForCES networks.\n\n"
    "First: ceha run quickstart",
    epilog="Exit codes: 0 done; 1 an expectation failed or an invariant was violated; 2 wrong "
    "usage, wrong file, or a machine that cannot do it; 3 too many invalid trials; "
    "130 interrupted.",
)
register(app)


@contextmanager
def _one_line_errors() -> Iterator[None]:
    """What a user can cause is one line, never a traceback."""
    from experiments.folders import RunError
    from experiments.scenario import ScenarioNotFound

    with one_line_errors():
        try:
            yield
        except RunError as error:
            fail(str(error), error.exit_code)
        except ScenarioNotFound as error:
            fail(str(error), EXIT_USAGE)


@app.command(
    epilog="Example: ceha run quickstart --trials 3 --only hot. Exit codes: 0 every expectation "
    "held; 1 one failed, or an invariant was violated; 2 wrong file or machine; 3 too many "
    "trials were not ok; 130 interrupted (go on with --resume)."
)
def run(
    scenario: Annotated[
        str | None, typer.Argument(help="Name (see `ceha scenarios`) or path of a YAML file.")
    ] = None,
    trials: Annotated[
        int | None, typer.Option(min=1, max=10_000, help="Trials per cell, instead of the file's.")
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option(metavar="CELL", help="Only this cell; may be repeated.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, max=2**32 - 1, help="Instead of the file's.")
    ] = None,
    topology: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Instead of the file's: a name, or a path (YAML, GraphML, GML)."
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan, run nothing.")] = False,
    resume: Annotated[
        str | None, typer.Option(metavar="RUN", help="Go on with an interrupted run.")
    ] = None,
    pcap: Annotated[
        bool, typer.Option("--pcap", help="Keep captures of the control network.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Run a scenario: boot the lab, break it again and again, measure, report."""
    with _one_line_errors():
        if resume is not None:
            if scenario or trials or only or seed is not None or topology or dry_run:
                text = "--resume goes on with a run as it was planned: no other choice with it"
                fail(text, EXIT_USAGE)
            _resume(resume, pcap, as_json)
        if scenario is None:
            fail("which scenario? (see `ceha scenarios`)", EXIT_USAGE)
        from experiments.scenario import load_scenario

        loaded = load_scenario(scenario)
        chosen = _topology(loaded, topology)
        place = chosen.source if topology and topology != chosen.name else chosen.name
        plan = _plan(loaded, place, trials, only, seed)
        if dry_run:
            _show_plan(plan, as_json)
            return
        _start(loaded, chosen, plan, pcap, as_json)


def _topology(scenario: Scenario, instead: str | None = None) -> Topology:
    """The scenario's topology; what its faults strike must be in it."""
    from topologies.loader import load_topology

    topology = load_topology(instead or scenario.content.topology)
    names = {node.name for node in topology.nodes} | {link.name for link in topology.links}
    for schedule, faults in scenario.content.faults.items():
        for index, fault in enumerate(faults):
            if fault.target != "master" and fault.target not in names:
                raise scenario.document.error(
                    ("faults", schedule, index, "target"),
                    f"topology {topology.name} has no node or link {fault.target!r}",
                )
    return topology


def _plan(
    scenario: Scenario,
    topology: str,
    trials: int | None,
    only: list[str] | None,
    seed: int | None,
) -> Plan:
    from experiments.plan import make_plan

    cells = scenario.cells
    known = [cell.name for cell in cells]
    for name in only or ():
        if name not in known:
            fail(
                f"{scenario.name} has no cell {name!r} (there are: {', '.join(known)})", EXIT_USAGE
            )
    content = scenario.content
    return make_plan(
        scenario.name,
        topology,
        [cell for cell in cells if not only or cell.name in only],
        content.seed if seed is None else seed,
        content.warmup,
        trials,
    )


def _show_plan(plan: Plan, as_json: bool) -> None:
    from experiments.plan import as_json as plan_json

    if as_json:
        typer.echo(json.dumps(plan_json(plan), indent=1))
        return
    for trial in plan.trials:
        typer.echo(f"{trial.number:4} {trial.cell}{' (warm-up)' if trial.warmup else ''}")
    seconds = plan.seconds(OVERHEAD_S)
    typer.echo(
        f"{len(plan.trials)} trials in {len(plan.cells)} cells, seed {plan.seed},"
        f" about {int(seconds // 60)} min {int(seconds % 60)} s"
    )


def _start(
    scenario: Scenario, topology: Topology, plan: Plan, pcap: bool, as_json: bool
) -> NoReturn:
    from experiments import folders, runner
    from experiments.campaign import Campaign, new_manifest
    from experiments.measures.records import Limits

    content = scenario.content
    limits = Limits(**content.limits.model_dump())
    folder = folders.create(plan.scenario)
    written = scenario.document.path.read_text()
    manifest = new_manifest(plan, content.question, limits, content.figures, written)
    folders.write_json(folder / "manifest.json", manifest)
    runner.start(folder, plan)
    seconds = plan.seconds(OVERHEAD_S)
    typer.echo(
        f"{plan.scenario}: {content.question}\n{len(plan.trials)} trials in {len(plan.cells)}"
        f" cells, about {seconds / 60:.0f} min, in {folder}",
        err=True,
    )
    _inside(Campaign(folder, plan, topology, limits, manifest, pcap, as_json))


def _resume(name: str, pcap: bool, as_json: bool) -> NoReturn:
    from experiments import folders, runner
    from experiments.campaign import Campaign
    from experiments.measures.records import Limits
    from topologies.loader import load_topology

    folder = folders.find(name)
    plan = runner.load_plan(folder)
    manifest = folders.read_json(folder / "manifest.json")
    limits = Limits(**manifest["limits"])
    topology = load_topology(plan.topology)
    _inside(Campaign(folder, plan, topology, limits, manifest, pcap, as_json))


def _inside(campaign: Campaign) -> NoReturn:
    from experiments import laboratory

    raise typer.Exit(laboratory.inside(campaign.run))


@app.command(
    epilog="Example: ceha report latest. Exit codes: 0 done; 2 no such run, or its records "
    "cannot be read."
)
def report(
    run: Annotated[
        str, typer.Argument(metavar="[RUN]", help="Folder name, path, or `latest`.")
    ] = "latest",
    as_json: Json = False,
) -> None:
    """Rebuild a run's results, figures and report.html from its raw records."""
    with _one_line_errors():
        from experiments.campaign import rebuild, show
        from experiments.folders import find

        show(rebuild(find(run)), as_json)


@app.command(epilog="Example: ceha scenarios. Exit codes: 0 done; 2 a shipped file is wrong.")
def scenarios(as_json: Json = False) -> None:
    """List the shipped scenarios and the question that each one answers."""
    with _one_line_errors():
        from experiments.scenario import available, load_scenario

        loaded = [load_scenario(name) for name in available()]
        if as_json:
            listed = [
                {
                    "name": s.name,
                    "question": s.content.question,
                    "topology": s.content.topology,
                    "cells": [cell.name for cell in s.cells],
                    "trials": sum(cell.trials for cell in s.cells),
                }
                for s in loaded
            ]
            typer.echo(json.dumps(listed, indent=1))
            return
        for s in loaded:
            typer.echo(f"{s.name}: {s.content.question}")
            typer.echo(f"    {s.content.topology}: {', '.join(cell.name for cell in s.cells)}")


def main() -> None:
    """What the start script and `python -m experiments` call."""
    lab_cli.run(app)
