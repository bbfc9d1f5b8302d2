"""A run that is killed half-way, as a machine that loses its power would do it, in virtual time."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUDGET_S = 300
TRIALS = 8


def ceha(*arguments: str, runs: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "experiments", *arguments],
        cwd=ROOT,
        env={**os.environ, "CEHA_RUNS": str(runs), "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "results.csv").open() as file:
        return list(csv.DictReader(file))


def test_a_run_killed_half_way_resumes_and_ends_with_the_same_cells(tmp_path: Path) -> None:
    wanted = ("simulate", "quickstart", "--trials", str(TRIALS), "--only", "hot", "--only", "cold")
    whole = ceha(*wanted, runs=tmp_path / "whole")
    killed = ceha(*wanted, runs=tmp_path / "killed")
    folder = tmp_path / "killed" / "latest"
    deadline = time.monotonic() + BUDGET_S
    while len(list(folder.glob("trials/*/verdict.json"))) < 4:
        assert killed.poll() is None, "it ended before it was killed"
        assert time.monotonic() < deadline, "the first trials take too long"
        time.sleep(0.01)  # poll
    killed.send_signal(signal.SIGKILL)
    assert killed.wait(10) == -signal.SIGKILL
    kept = {path.parent.name for path in folder.glob("trials/*/verdict.json")}
    assert len(kept) < 2 * (TRIALS + 1)
    assert not (folder / "results.csv").exists()
    stamps = {name: (folder / "trials" / name / "verdict.json").stat().st_mtime_ns for name in kept}

    again = ceha("run", "--resume", folder.resolve().name, runs=tmp_path / "killed")
    assert again.wait(BUDGET_S) == 0
    assert whole.wait(BUDGET_S) == 0
    resumed, reference = rows(folder), rows(tmp_path / "whole" / "latest")
    assert resumed == reference, "virtual time: the same seed gives the same figures"
    assert sorted(row["cell"] for row in resumed) == ["cold"] * TRIALS + ["hot"] * TRIALS
    for name, stamp in stamps.items():
        assert (folder / "trials" / name / "verdict.json").stat().st_mtime_ns == stamp
    assert json.loads((folder / "manifest.json").read_text())["state"] == "done"
