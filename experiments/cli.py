"""The command line: the lab's verbs, and the experiments'. Exit codes: DESIGN section 12.

Everything heavy is imported by the verb that needs it, so that help comes at once.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from lab import cli as lab_cli
from lab.cli import EXIT_USAGE, Json, fail, one_line_errors, register

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
    short_help="Run a scenario: break a lab again and again.",
    epilog="Example: ceha run quickstart --trials 3 --only hot. Exit codes: 0 every expectation "
    "held; 1 one failed, or an invariant was violated; 2 wrong file or machine; 3 too many "
    "trials were not ok; 130 interrupted (go on with --resume).",
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
    replay: Annotated[
        str | None, typer.Option(metavar="RUN/TRIAL", help="One trial again, with its seed.")
    ] = None,
    until: Annotated[
        str | None,
        typer.Option(
            metavar="FIGURE=PERCENT",
            help="Go on until the 95 % interval of each cell's median is narrower than this. "
            "FIGURE: dtime1_ms, dtime2_ms, dtime3_ms, failover_ms, control_outage_ms, "
            "first_change_ms, data_sent, data_lost, data_outage_ms, disruptions, false_alarms, "
            "beats_missed.",
        ),
    ] = None,
    max_trials: Annotated[
        int | None,
        typer.Option("--max-trials", min=3, max=10_000, help="The cap of --until (50)."),
    ] = None,
    pcap: Annotated[
        bool, typer.Option("--pcap", help="Keep captures of the control network.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Run a scenario: boot the lab, break it again and again, measure, report."""
    with _one_line_errors():
        from experiments.verbs import run as verb

        wishes = verb.Wishes(
            trials, tuple(only or ()), seed, topology, until, max_trials, dry_run, pcap, as_json
        )
        others = [*(["a scenario"] if scenario else []), *wishes.chosen]
        if replay is not None:
            others = [*(["--resume"] if resume else []), *others]
        if others and (resume is not None or replay is not None):
            name = "--resume" if replay is None else "--replay"
            fail(f"{name} cannot be combined with {others[0]}", EXIT_USAGE)
        if resume is not None:
            verb.resume(resume, pcap, as_json)
        if replay is not None:
            verb.replay(replay, pcap, as_json)
        if scenario is None:
            fail("which scenario? (see `ceha scenarios`)", EXIT_USAGE)
        verb.fresh(scenario, wishes)


@app.command(
    short_help="Run a scenario in virtual time, without root.",
    epilog="Example: ceha simulate quickstart --trials 1. Exit codes: as ceha run. It goes on with "
    "ceha run --resume, and one trial of it again is ceha run --replay.",
)
def simulate(
    scenario: Annotated[
        str, typer.Argument(help="Name (see `ceha scenarios`) or path of a YAML file.")
    ],
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
    as_json: Json = False,
) -> None:
    """Run a scenario in virtual time: the same cores and records, no network, no root."""
    with _one_line_errors():
        from experiments.verbs.run import Wishes, fresh

        chosen = tuple(only or ())
        fresh(scenario, Wishes(trials, chosen, seed, topology, as_json=as_json, simulated=True))


@app.command(
    short_help="Study failovers of up to 10,000 FEs (simulated).",
    epilog="Example: ceha scale --fes 10,100,1000,10000. Exit codes: 0 done; 2 wrong usage, or a "
    "failover that did not end. Ten thousand FEs take minutes and two gigabytes a mode.",
)
def scale(
    fes: Annotated[
        str, typer.Option(metavar="N,N,...", help="Sizes of the network element.")
    ] = "10,100,1000",
    mode: Annotated[
        list[str] | None,
        typer.Option(metavar="cold|hot|hot+sync", help="Only this one; may be repeated."),
    ] = None,
    handling_us: Annotated[
        float, typer.Option("--handling-us", min=0.0, max=1e6, help="What an event costs a CE.")
    ] = 100.0,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1)] = 1,
    as_json: Json = False,
) -> None:
    """Study how a failover grows with the number of FEs, in virtual time."""
    with _one_line_errors():
        from experiments.verbs.scale import run as study

        raise typer.Exit(study(fes, tuple(mode or ()), handling_us, seed, as_json))


@app.command(
    short_help="Show one trial: who did what, and when.",
    epilog="Example: ceha ladder latest/7 --picture ladder.svg. Exit codes: 0 done; 2 no such "
    "trial, or its records cannot be read.",
)
def ladder(
    trial: Annotated[str, typer.Argument(metavar="RUN/TRIAL", help="E.g. latest/7.")],
    fe: Annotated[
        str | None, typer.Option("--fe", metavar="FE", help="Instead of the FE that was last.")
    ] = None,
    picture: Annotated[
        Path | None,
        typer.Option("--picture", metavar="FILE", help="Draw it too (.svg, .png, .pdf)."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show one trial as a ladder: who did what and when, from the processes' own journals."""
    with _one_line_errors():
        from experiments.verbs.ladder import show

        show(trial, fe, picture, as_json)


@app.command(
    short_help="Compare two runs, cell by cell.",
    epilog="Example: ceha compare 20260101-120000-quickstart latest. Exit codes: 0 done; 2 no "
    "such run, or nothing to compare.",
)
def compare(
    first: Annotated[str, typer.Argument(metavar="A", help="A run: folder name or path.")],
    second: Annotated[str, typer.Argument(metavar="B", help="The one to hold against it.")],
    picture: Annotated[
        Path | None,
        typer.Option(
            "--picture", metavar="FILE", help="Where the figure goes, instead of B's folder."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Compare two runs: per cell and figure, the shift, its interval and the effect's size."""
    with _one_line_errors():
        from experiments.verbs.compare import show

        show(first, second, picture, as_json)


@app.command(
    short_help="Rebuild a run's report from its raw records.",
    epilog="Example: ceha report latest. Exit codes: 0 done; 2 no such run, or its records "
    "cannot be read.",
)
def report(
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="Folder name, path, or `latest`.")
    ] = "latest",
    as_json: Json = False,
) -> None:
    """Rebuild a run's results, figures and report.html from its raw records."""
    with _one_line_errors():
        from experiments.campaign import rebuild, show
        from experiments.folders import find, give_to_caller

        folder = find(run)
        finished = rebuild(folder)
        give_to_caller(folder)
        show(finished, as_json)


@app.command(
    short_help="Write docs/results.md from the runs.",
    epilog="Example: ceha results; all of it again: sudo ceha results --run. Exit codes: 0 done; "
    "2 there is no run, or the page cannot be written; 130 interrupted.",
)
def results(
    runs: Annotated[
        list[str] | None,
        typer.Argument(metavar="RUN", help="Instead of the best run of each scenario."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", metavar="FILE", help="Instead of docs/results.md.")
    ] = None,
    run: Annotated[
        bool, typer.Option("--run", help="Run the catalogue first (or the scenarios named).")
    ] = False,
    trials: Annotated[
        int | None, typer.Option(min=1, max=10_000, help="Per cell, with --run.")
    ] = None,
) -> None:
    """Write docs/results.md, with its figures, from the runs of the catalogue."""
    with _one_line_errors():
        from experiments.verbs.results import write

        write(runs or (), output, run, trials)


@app.command(
    short_help="List the scenarios and the questions they answer.",
    epilog="Example: ceha scenarios. Exit codes: 0 done; 2 a shipped file is wrong.",
)
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
