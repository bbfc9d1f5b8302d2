"""A cut is repaired with no CE alive: an FE process, a group with a backup, and a CE that is gone.

The benchmark is the scenario; how long a repair takes it says, and is no matter here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CUTS = 2


@pytest.mark.kernel
def test_an_fe_whose_ce_is_gone_moves_its_group_to_the_backup_and_back() -> None:
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    command = [sys.executable, "-m", "benchmarks.bench_repair", "--cuts", str(CUTS)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert run.returncode in (0, 1), run.stderr  # 1: slower than the bound
    detail = json.loads(run.stdout.splitlines()[0])
    assert detail["name"] == "repair.detail", run.stderr
    assert detail["cuts"] == CUTS  # each was repaired, and each mending taken note of
    assert detail["sent"] > 0
    assert detail["lost"] < detail["sent"] / 2
