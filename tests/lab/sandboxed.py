"""Runs a function of the tests in a sandbox, in a process of its own, and gives back what it
returned (JSON)."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lab.backend import LabError
from lab.emulated import sandbox

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT_S = 60
FINISHED = (0, 1, 3)
"""Exit codes of a run that has made all its trials."""


def skip_unless_possible() -> None:
    try:
        sandbox.check_possible()
    except LabError as error:
        pytest.skip(str(error))


def trials_of(scenario: str, tmp_path: Path, budget_s: float) -> list[dict[str, Any]]:
    """Of a whole `ceha run`: the trials in its results.json. What they came to on a busy machine
    (invalid, violated) is the caller's to judge."""
    file = tmp_path / "scenario.yaml"
    file.write_text(scenario)
    done = subprocess.run(
        [sys.executable, "-m", "experiments", "run", str(file)],
        cwd=ROOT,
        env={**os.environ, "CEHA_RUNS": str(tmp_path / "runs"), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=budget_s,
        check=False,
    )
    assert done.returncode in FINISHED, done.stderr
    results = json.loads((tmp_path / "runs" / "latest" / "results.json").read_text())
    trials: list[dict[str, Any]] = results["trials"]
    return trials


def in_sandbox(target: str, **arguments: Any) -> Any:
    """`module:function(**arguments)`; fails the test with the function's traceback."""
    skip_unless_possible()
    read, write = os.pipe()
    with os.fdopen(read, "rb") as results:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.lab.sandboxed", target, json.dumps(arguments)],
            cwd=ROOT,
            stderr=subprocess.PIPE,
            pass_fds=[write],
            env={**os.environ, "RESULT_FD": str(write)},
        )
        os.close(write)
        try:
            _out, errors = process.communicate(timeout=TIMEOUT_S)
        finally:
            process.kill()
        result = results.read()
    if process.returncode:
        pytest.fail(f"{target} ended with {process.returncode}:\n{errors.decode()}")
    return json.loads(result)


def _main() -> int:
    module, _, function = sys.argv[1].partition(":")
    called = getattr(importlib.import_module(module), function)

    def entry() -> int:
        result = called(**json.loads(sys.argv[2]))
        with os.fdopen(int(os.environ["RESULT_FD"]), "w") as results:
            json.dump(result, results)
        return 0

    return sandbox.run(entry)


if __name__ == "__main__":
    sys.exit(_main())
