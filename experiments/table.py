"""The table at the end of a run: what each cell came to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from experiments.expectations import Checked
from experiments.results import CellResult
from experiments.statistics import Summary

if TYPE_CHECKING:
    from rich.table import Table

HEADINGS = ("cell", "n", "verdicts", "dtime1", "dtime2", "dtime3", "lost", "control\noutage")


def median_and_max(summary: Summary, digits: int = 1) -> str:
    """Median, and the largest value under it; nothing if it does not apply."""
    if summary.median is None or summary.max is None:
        return "–"
    return f"{summary.median:.{digits}f}\n{summary.max:.{digits}f}"


def verdicts(result: CellResult) -> str:
    """`10 ok, 1 invalid`: whatever occurred; with the longest gap of those that `disagree`."""
    parts = [f"{count} {name}" for name, count in result.counts.items() if count]
    if result.worst_left_out_ms is not None:
        parts.append(f"gap up to {result.worst_left_out_ms:.1f} ms in those that disagree")
    return ", ".join(parts) or "none"


def packets(result: CellResult) -> str:
    """Lost of sent."""
    return f"{result.lost} of {result.sent}" if result.sent else "–"


def cells(results: Sequence[CellResult]) -> list[tuple[str, ...]]:
    return [
        (
            result.cell.name,
            str(result.counts["ok"]),
            verdicts(result),
            *(median_and_max(result.metrics[f"dtime{i}_ms"]) for i in (1, 2, 3)),
            packets(result),
            median_and_max(result.metrics["control_outage_ms"]),
        )
        for result in results
    ]


def table(results: Sequence[CellResult]) -> Table:
    from rich import box
    from rich.table import Table

    made = Table(
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        caption="times in ms, of the ok trials: median, below it the maximum",
    )
    for index, heading in enumerate(HEADINGS):
        left = heading in ("cell", "verdicts")
        made.add_column(
            heading,
            justify="left" if left else "right",
            style="bold" if index == 0 else None,
            no_wrap=heading != "verdicts",
        )
    for line in cells(results):
        made.add_row(*line)
    return made


def ratios(checked: Sequence[Checked]) -> list[str]:
    """A line for each expectation that divides one cell's figure by another's."""
    return [
        f"{c.cell}: {c.values}: {'as' if c.held else 'not as'} expected, {c.expression}"
        for c in checked
        if "cells[" in c.expression and " / " in c.values and c.held is not None
    ]


def failed(checked: Sequence[Checked]) -> list[str]:
    """A line for each expectation that did not hold."""
    return [f"{c.cell}: expected {c.expression} ({c.values})" for c in checked if c.held is False]
