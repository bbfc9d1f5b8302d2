"""`ceha compare A B`: two runs, cell by cell and figure by figure."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from experiments import comparison, folders, runner
from experiments.comparison import Comparison
from experiments.measures.verdict import Outcome
from experiments.plan import Plan

if TYPE_CHECKING:
    from rich.table import Table

WIDTH = 130
"""Of the table where no terminal says how wide it is."""


def show(first: str, second: str, picture: Path | None, as_json: bool) -> None:
    """On stdout; the figure goes into the second run's folder unless a file is named."""
    made = comparison.of_runs(_run(first), _run(second))
    if not made.rows:
        raise folders.RunError(
            f"{made.first} and {made.second} have no figure of a common cell to compare"
        )
    place = picture or folders.find(second) / "figures" / f"compare-{made.first}.svg"
    _draw(made, place)
    folders.give_to_caller(place)
    if as_json:
        print(json.dumps(comparison.as_json(made), indent=1), flush=True)
        return
    from rich.console import Console

    console = Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH)
    console.print(_table(made))
    for line in (*made.unlike, *_alone(made)):
        console.print(line, markup=False, soft_wrap=True)
    console.print(f"figure: {place}", markup=False, soft_wrap=True)


def _run(name: str) -> tuple[str, Plan, Sequence[Outcome]]:
    folder = folders.find(name)
    plan = runner.load_plan(folder)
    return folder.name, plan, runner.load_outcomes(folder, plan)


def _alone(made: Comparison) -> list[str]:
    return [f"only in {made.first}: {cell}" for cell in made.only_first] + [
        f"only in {made.second}: {cell}" for cell in made.only_second
    ]


def _draw(made: Comparison, place: Path) -> None:
    from experiments.report import forest, style

    with style.looks():
        figure = forest.draw(made)
        assert figure is not None, "there are rows"
        try:
            place.parent.mkdir(exist_ok=True)
            figure.savefig(place, dpi=style.PNG_DPI)
        except OSError as error:
            raise folders.explain(error, place) from None
        except ValueError as error:
            raise folders.RunError(f"{place}: {error}") from None


def _table(made: Comparison) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        title=f"{made.first} → {made.second}",
        caption="medians of the ok trials; the difference with its 95 % bootstrap interval;\n"
        "HL: Hodges-Lehmann shift; δ: Cliff's delta (1: always larger in the second run)",
    )
    for heading in ("cell", "figure", "n", "first", "second", "difference", "HL", "δ", "size"):
        left = heading in ("cell", "figure", "size")
        table.add_column(heading, justify="left" if left else "right", no_wrap=True)
    for row in made.rows:
        s = row.shift
        between = "" if s.interval is None else f" [{s.interval[0]:+.3g}, {s.interval[1]:+.3g}]"
        table.add_row(
            row.cell,
            row.measure,
            f"{s.n[0]}, {s.n[1]}",
            f"{s.medians[0]:.3g}",
            f"{s.medians[1]:.3g}",
            f"{s.difference:+.3g}{between}",
            f"{s.hodges_lehmann:+.3g}",
            f"{s.cliffs_delta:+.2f}",
            s.size if s.differs else f"({s.size})" if s.differs is None else "not told apart",
            style="bold" if s.differs else None,
        )
    return table
