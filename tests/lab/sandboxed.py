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


def skip_unless_possible() -> None:
    try:
        sandbox.check_possible()
    except LabError as error:
        pytest.skip(str(error))


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
