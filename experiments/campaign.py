"""A whole run, from its plan to its report and exit code (DESIGN sections 10 and 12)."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import IntEnum
from pathlib import Path
from types import FrameType
from typing import Any

from experiments import folders, laboratory, results, runner
from experiments.expectations import Checked
from experiments.junit import as_junit
from experiments.laboratory import Laboratory
from experiments.measures.records import Limits
from experiments.measures.verdict import Outcome
from experiments.plan import Plan
from experiments.progress import watcher
from experiments.results import CellResult, measured
from experiments.table import failed, ratios, table
from lab.backend import LabError
from topologies.model import Topology

PACKAGES = ("mininet", "pyroute2", "numpy", "scipy", "matplotlib", "pydantic")

MAX_REASONS_SHOWN = 3
"""Per cell; the rest is in results.json."""

PLAIN_WIDTH = 110
"""Of the table where no terminal says how wide it is."""


class ExitCode(IntEnum):
    """DESIGN section 12."""

    DONE = 0
    FAILED = 1
    """An expectation failed or an invariant was violated."""
    WRONG = 2
    """Wrong usage, wrong file, or a machine that cannot do it."""
    INVALID = 3
    """Too many trials were not `ok`."""
    INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class Finished:
    """What a run came to."""

    folder: Path
    plan: Plan
    outcomes: Sequence[Outcome]
    cells: Sequence[CellResult]
    expectations: Sequence[Checked]
    manifest: Mapping[str, Any]

    @property
    def exit_code(self) -> ExitCode:
        """A violated invariant first: it stands whatever else is missing."""
        if any(o.verdict == "violated" for o in measured(self.outcomes)):
            return ExitCode.FAILED
        if runner.lacking(self.plan, self.outcomes):
            return ExitCode.INVALID
        if any(c.held is False for c in self.expectations):
            return ExitCode.FAILED
        return ExitCode.DONE


@dataclass(slots=True)
class Campaign:
    """One run in its folder."""

    folder: Path
    plan: Plan
    topology: Topology
    limits: Limits
    manifest: dict[str, Any] = field(default_factory=dict)
    pcap: bool = False
    as_json: bool = False
    laboratory: Laboratory = "emulated"

    def run(self) -> int:
        """Called inside the sandbox: measure, keep, report. Every error is one line."""
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, _interrupt)
        code = ExitCode.DONE
        outcomes: list[Outcome] = []
        try:
            outcomes = runner.load_outcomes(self.folder, self.plan)
            self._measure(outcomes)
            state = "done"
        except KeyboardInterrupt:
            code, state = ExitCode.INTERRUPTED, "interrupted"
            _say(f"interrupted: {self._kept(outcomes)}")
        except (folders.RunError, LabError) as error:
            code, state = ExitCode(error.exit_code), "failed"
            _say(f"{error}: {self._kept(outcomes)}" if outcomes else str(error))
        try:
            self.plan = runner.load_plan(self.folder)
            self.manifest |= {"state": state, "ended": _now()}
            folders.write_json(self.folder / "manifest.json", self.manifest)
            finished = finish(self.folder, self.plan, outcomes, self.manifest)
        except folders.RunError as error:
            if code != ExitCode.WRONG:
                _say(str(error))
            return code or ExitCode.WRONG
        if outcomes:
            show(finished, self.as_json)
        return int(code or finished.exit_code)

    def _measure(self, outcomes: list[Outcome]) -> None:
        lab = laboratory.open_lab(self.topology, self.folder, self.pcap, self.laboratory)
        try:
            with watcher(len(self.plan.trials)) as progress:
                setting = runner.Setting(self.folder, self.topology, self.limits)
                runner.run(self.plan, lab, setting, progress, outcomes)
        finally:
            try:
                self.manifest["environment"] = dict(lab.environment())
            finally:
                lab.close()

    def _kept(self, outcomes: Sequence[Outcome]) -> str:
        return (
            f"{len(outcomes)} of {len(self.plan.trials)} trials are kept,"
            f" `ceha run --resume {self.folder.name}` goes on"
        )


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _say(text: str) -> None:
    print(f"ceha: {text}", file=sys.stderr, flush=True)


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")


def new_manifest(
    plan: Plan,
    question: str,
    limits: Limits,
    figures: Sequence[str],
    document: str,
    laboratory: Laboratory = "emulated",
) -> dict[str, Any]:
    """What a reader of the folder needs to know, before the first trial."""
    return {
        "scenario": plan.scenario,
        "question": question,
        "laboratory": laboratory,
        "topology": plan.topology,
        "seed": plan.seed,
        "limits": asdict(limits),
        "figures": list(figures),
        "document": document,
        "started": _now(),
        "state": "running",
        "command": sys.argv[1:],
        "versions": versions(),
        "environment": {},
    }


def versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "kernel": platform.release(), "ceha": _commit()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _commit() -> str:
    """The commit, with `+` if the tree differs from it; empty outside a clone."""
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty=+", "--abbrev=12"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def finish(
    folder: Path, plan: Plan, outcomes: Sequence[Outcome], manifest: Mapping[str, Any]
) -> Finished:
    """Results, figures and report from what was measured. RunError if they cannot be written."""
    cells = results.cell_results(plan, outcomes)
    finished = Finished(
        folder, plan, outcomes, cells, results.check_expectations(cells), dict(manifest)
    )
    folders.write_text(folder / "results.csv", results.as_csv(plan, outcomes))
    folders.write_json(folder / "results.json", results.as_json(plan, outcomes, cells))
    lacking = runner.lacking(plan, outcomes)
    junit = as_junit(plan.scenario, cells, finished.expectations, lacking)
    folders.write_text(folder / "junit.xml", junit)
    if measured(outcomes):
        from experiments.report.page import write_report

        try:
            write_report(finished)
        except OSError as error:
            raise folders.explain(error, folder) from None
    return finished


def show(finished: Finished, as_json: bool) -> None:
    """On stdout: the cells as a table (or JSON), what failed, and where the report is."""
    if as_json:
        cells = [results.cell_json(cell) for cell in finished.cells]
        expectations = [asdict(checked) for checked in finished.expectations]
        print(
            json.dumps(
                {
                    "run": finished.folder.name,
                    "cells": cells,
                    "expectations": expectations,
                    "exit_code": int(finished.exit_code),
                },
                indent=1,
            ),
            flush=True,
        )
        return
    from rich.console import Console

    console = Console(highlight=False, width=None if sys.stdout.isatty() else PLAIN_WIDTH)
    console.print(table(finished.cells))
    for cell in finished.cells:
        for reason in cell.reasons[:MAX_REASONS_SHOWN]:
            console.print(f"{cell.cell.name}: {reason}", markup=False, soft_wrap=True)
    for line in (*ratios(finished.expectations), *failed(finished.expectations)):
        console.print(line, markup=False, soft_wrap=True)
    report = finished.folder / "report.html"
    if report.is_file():
        console.print(f"report: {report}", markup=False, soft_wrap=True)


def rebuild(folder: Path) -> Finished:
    """`ceha report`: everything again from the raw records."""
    found = load(folder)
    return finish(folder, found.plan, found.outcomes, found.manifest)


def load(folder: Path) -> Finished:
    """What a run came to, judged anew; nothing is written."""
    plan = runner.load_plan(folder)
    manifest_path = folder / "manifest.json"
    manifest = folders.read_json(manifest_path) if manifest_path.is_file() else {}
    outcomes = runner.load_outcomes(folder, plan)
    cells = results.cell_results(plan, outcomes)
    expectations = results.check_expectations(cells)
    return Finished(folder, plan, outcomes, cells, expectations, manifest)
