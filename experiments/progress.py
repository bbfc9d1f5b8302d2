"""How far a run is, for whoever watches: a bar on a terminal, a line per trial elsewhere."""

from __future__ import annotations

import sys
from typing import Any, Self

from experiments.measures.verdict import Outcome
from experiments.plan import PlannedTrial


def describe(outcome: Outcome) -> str:
    """One trial in a line."""
    about, ne = outcome.description, outcome.ne
    parts = [f"{about.cell}{' (warm-up)' if about.warmup else ''}: {outcome.verdict}"]
    if ne is not None:
        parts.append(
            f"dtime {ne.dtime1_ms:.1f} + {ne.dtime2_ms:.1f} + {ne.dtime3_ms:.1f} ms ({ne.source})"
        )
    if outcome.control_outage_ms is not None:
        parts.append(f"beacon gap {outcome.control_outage_ms:.1f} ms")
    if outcome.probes:
        parts.append(f"lost {outcome.data_lost} of {outcome.data_sent}")
    if outcome.reasons:
        parts.append("; ".join(outcome.reasons[:2]))
    return ", ".join(parts)


class Lines:
    """For logs and CI."""

    def __init__(self) -> None:
        self._prefix = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def begin(self, planned: PlannedTrial, total: int) -> None:
        self._prefix = f"{planned.number}/{total}"

    def end(self, outcome: Outcome) -> None:
        print(f"{self._prefix} {describe(outcome)}", file=sys.stderr, flush=True)


class Bar:
    """For a person; what was not `ok` stays on the screen above the bar."""

    def __init__(self, planned: int) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._task: Any = self._progress.add_task("starting", total=planned)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def begin(self, planned: PlannedTrial, total: int) -> None:
        note = " (warm-up)" if planned.warmup else ""
        self._progress.update(
            self._task,
            description=f"{planned.cell}{note}",
            completed=planned.number - 1,
            total=total,
        )

    def end(self, outcome: Outcome) -> None:
        from rich.text import Text

        self._progress.advance(self._task)
        if outcome.verdict != "ok":
            self._progress.console.print(Text(describe(outcome), style="yellow"))


def watcher(planned: int) -> Lines | Bar:
    """The one that fits where stderr goes."""
    return Bar(planned) if sys.stderr.isatty() else Lines()
