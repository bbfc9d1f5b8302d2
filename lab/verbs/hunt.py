"""`ceha hunt`."""

from __future__ import annotations

import json
import re

from lab.backend import LabError
from lab.simulated.hunt import Failure, hunt, hunt_in_parallel
from lab.simulated.schedules import parse

MAX_SEED = 2**32
EXIT_VIOLATED = 1


def run(seeds: str, faults: str | None, stop_after: int, as_json: bool, jobs: int = 1) -> int:
    """The exit code."""
    found = re.fullmatch(r"(\d+)\.\.(\d+)", seeds)
    if found is None or not int(found[1]) <= int(found[2]) < MAX_SEED:
        raise LabError(f"--seeds {seeds!r} is not A..B with A <= B < {MAX_SEED}")
    strikes = None if faults is None else parse(faults)
    chosen = range(int(found[1]), int(found[2]) + 1)
    tell = (lambda failure: None) if as_json else _tell
    if jobs > 1:
        result = hunt_in_parallel(chosen, jobs, strikes, stop_after, tell)
    else:
        result = hunt(chosen, strikes, stop_after, on_failure=tell)
    if as_json:
        failures = [
            {"text": f.text, "at_ms": f.at_ms, "seed": f.schedule.seed, "replay": f.replay}
            for f in result.failures
        ]
        figures = {"schedules": result.schedules, "events": result.events, "rate": result.rate}
        print(json.dumps({**figures, "failures": failures}, indent=1))
    else:
        print(
            f"{result.schedules} schedules, {result.events} events checked,"
            f" {len(result.failures)} failures, {result.rate:.0f} schedules/s of one core"
        )
    return EXIT_VIOLATED if result.failures else 0


def _tell(failure: Failure) -> None:
    settings = failure.schedule.settings
    print(
        f"seed {failure.schedule.seed} ({settings.mode}, policy {settings.policy}), at"
        f" {failure.at_ms:.1f} ms: {failure.text}\n  {failure.replay}",
        flush=True,
    )
