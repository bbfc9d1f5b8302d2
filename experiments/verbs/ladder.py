"""`ceha ladder RUN/TRIAL`: what happened in one trial, message by message."""

from __future__ import annotations

import json
from pathlib import Path

from experiments import folders, ladders, runner
from experiments.measures.records import RecordError, Trial, read_trial
from experiments.measures.verdict import measure_trial
from experiments.plan import Plan, PlannedTrial


def find_trial(place: str) -> tuple[Path, Plan, PlannedTrial]:
    """`RUN/TRIAL`: the run's folder, its plan, and the trial in it. RunError if there is none."""
    run, _, number = place.rstrip("/").rpartition("/")
    run = run.removesuffix("/trials")
    if not run or not number.isdecimal():
        raise folders.RunError(f"{place!r} is not RUN/TRIAL, e.g. latest/7")
    folder = folders.find(run)
    plan = runner.load_plan(folder)
    for trial in plan.trials:
        if trial.number == int(number):
            return folder, plan, trial
    raise folders.RunError(f"{folder.name} has no trial {number} (1 to {len(plan.trials)})")


def read(place: str) -> Trial:
    folder, _, planned = find_trial(place)
    trials = runner.trial_folder(folder, planned.number)
    try:
        return read_trial(trials)
    except RecordError as error:
        raise folders.RunError(str(error)) from None


def show(place: str, fe: str | None, picture: Path | None, as_json: bool) -> None:
    """On stdout; and as a figure if asked for."""
    trial = read(place)
    try:
        ladder = ladders.build(trial, measure_trial(trial), fe)
    except ValueError as error:
        raise folders.RunError(str(error)) from None
    if picture is not None:
        from experiments.report import lifelines, style

        with style.looks():
            figure = lifelines.draw(ladder)
            try:
                figure.savefig(picture, dpi=style.PNG_DPI)
            except OSError as error:
                raise folders.explain(error, picture) from None
            except ValueError as error:
                raise folders.RunError(f"{picture}: {error}") from None
    if as_json:
        print(json.dumps(ladders.as_json(ladder), indent=1), flush=True)
        return
    for line in ladders.as_text(ladder):
        print(line, flush=True)
