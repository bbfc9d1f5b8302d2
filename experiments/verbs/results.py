"""`ceha results`: the catalogue's runs become docs/results.md."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from experiments import folders, runner
from experiments.campaign import Finished, load
from experiments.scenario import available
from lab.cli import EXIT_INTERRUPTED, EXIT_USAGE, fail

DOCS = Path(__file__).resolve().parents[2] / "docs"
NOTES = DOCS / "results-notes.yaml"


def write(names: Sequence[str], page: Path | None, run: bool, trials: int | None) -> None:
    """`names`: runs to take, instead of the newest one of each scenario."""
    if run:
        _run_catalogue(names or available(), trials)
        names = ()
    page = page or DOCS / "results.md"
    chosen = [folders.find(name) for name in names] or _newest()
    found: dict[str, Finished] = {}
    for folder in chosen:
        finished = load(folder)
        if any(cell.counts["ok"] for cell in finished.cells):
            found[finished.plan.scenario] = finished
    if not found:
        raise folders.RunError(f"there is no run with a result in {folders.runs_folder()}")
    from experiments.report import results_page

    ordered = {name: found[name] for name in sorted(found)}
    absent = [name for name in available() if name not in found]
    try:
        results_page.write(page, ordered, absent, _notes())
    except OSError as error:
        raise folders.explain(error, page) from None
    print(f"{page}: {len(ordered)} scenarios, {len(absent)} without a run", flush=True)


def _newest() -> list[Path]:
    """The run of each shipped scenario that has all cells, then most trials, then is the newest.
    What the simulated laboratory says is no measurement."""
    from experiments.scenario import load_scenario

    best: dict[str, tuple[bool, int, str, Path]] = {}
    for folder in sorted(folders.runs_folder().glob("*-*")):
        if folder.is_symlink() or not (folder / "results.json").is_file():
            continue
        manifest = folders.read_json(folder / "manifest.json")
        try:
            plan = runner.load_plan(folder)
        except folders.RunError:
            continue  # of another version
        if plan.scenario not in available() or manifest.get("laboratory") == "simulated":
            continue
        cells = {cell.name for cell in load_scenario(plan.scenario).cells}
        if "replay_of" in manifest:
            continue
        whole = cells <= {cell.name for cell in plan.cells}
        rows: list[Any] = folders.read_json(folder / "results.json")["trials"]
        ok = min(
            sum(row["verdict"] == "ok" and row["cell"] == cell.name for row in rows)
            for cell in plan.cells
        )
        candidate = (whole, ok, str(manifest.get("started", "")), folder)
        best[plan.scenario] = max(best.get(plan.scenario, candidate), candidate)
    return [folder for *_, folder in best.values()]


def _run_catalogue(names: Sequence[str], trials: int | None) -> None:
    """One after the other, each in a process and a sandbox of its own; a scenario that fails its
    expectations is a result too."""
    for name in names:
        command = [sys.executable, "-m", "experiments", "run", name]
        done = subprocess.run(
            command + (["--trials", str(trials)] if trials else []), check=False, cwd=DOCS.parent
        )
        if done.returncode in (EXIT_INTERRUPTED, EXIT_USAGE):
            fail(f"{name} ended with exit code {done.returncode}", done.returncode)


def _notes() -> dict[str, Any]:
    try:
        value = yaml.safe_load(NOTES.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise folders.RunError(f"{NOTES}: {error}") from None
    return value if isinstance(value, dict) else {}
