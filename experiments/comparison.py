"""Two runs beside each other: what moved, by how much, and whether it is more than chance.

Cells are matched by name, figures by name; only `ok` trials count. What differs in the settings
of two cells of one name is said, since then it is not the same experiment.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from experiments.expectations import METRICS
from experiments.measures.verdict import Outcome
from experiments.plan import Plan
from experiments.results import measured, metric_values
from experiments.statistics import Shift, compare
from lab.backend import CellSettings

COMPARED = tuple(m for m in METRICS if m != "data_sent")
SEED = 1
"""Of the bootstrap: the same two runs always compare alike."""


@dataclass(frozen=True, slots=True)
class Row:
    """One figure of one cell."""

    cell: str
    measure: str
    shift: Shift


@dataclass(frozen=True, slots=True)
class Comparison:
    first: str
    """Names of the runs."""
    second: str
    rows: tuple[Row, ...]
    only_first: tuple[str, ...]
    """Cells that the other run does not have."""
    only_second: tuple[str, ...]
    unlike: tuple[str, ...]
    """A sentence for each cell whose two versions are set up differently."""


def of_runs(
    first: tuple[str, Plan, Sequence[Outcome]], second: tuple[str, Plan, Sequence[Outcome]]
) -> Comparison:
    """Each run as its name, its plan and its outcomes."""
    names = [[cell.name for cell in plan.cells] for _, plan, _ in (first, second)]
    common = [name for name in names[0] if name in names[1]]
    rows = [row for name in common for row in _rows(name, first[2], second[2])]
    return Comparison(
        first[0],
        second[0],
        tuple(rows),
        tuple(name for name in names[0] if name not in common),
        tuple(name for name in names[1] if name not in common),
        tuple(_unlike(common, first[1], second[1])),
    )


def _rows(cell: str, first: Sequence[Outcome], second: Sequence[Outcome]) -> Iterable[Row]:
    values = [
        [metric_values(o) for o in measured(outcomes, cell) if o.verdict == "ok"]
        for outcomes in (first, second)
    ]
    for measure in COMPARED:
        a, b = ([v[measure] for v in side if v[measure] is not None] for side in values)
        if a and b and any((*a, *b)):
            yield Row(cell, measure, compare(a, b, SEED))


def _unlike(common: Iterable[str], first: Plan, second: Plan) -> Iterable[str]:
    if first.topology != second.topology:
        yield f"the topology is {first.topology} in the first run, {second.topology} in the second"
    for name in common:
        a, b = first.cell(name), second.cell(name)
        parts = [
            f"{f.name} is {getattr(a.settings, f.name)} and {getattr(b.settings, f.name)}"
            for f in fields(CellSettings)
            if getattr(a.settings, f.name) != getattr(b.settings, f.name)
        ]
        if a.faults != b.faults:
            parts.append("the faults differ")
        if parts:
            yield f"{name}: {'; '.join(parts)}"


def as_json(comparison: Comparison) -> dict[str, Any]:
    return {
        "first": comparison.first,
        "second": comparison.second,
        "only_first": list(comparison.only_first),
        "only_second": list(comparison.only_second),
        "unlike": list(comparison.unlike),
        "rows": [
            {"cell": row.cell, "measure": row.measure}
            | asdict(row.shift)
            | {"differs": row.shift.differs, "size": row.shift.size}
            for row in comparison.rows
        ],
    }
