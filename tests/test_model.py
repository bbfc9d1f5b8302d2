"""docs/model/sync.pml, the model of CE-CE synchronisation: spin finds nothing in it, and finds its
mutants. A small part of the search; docs/model/README.md has the whole with its figures."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

CHECK = Path(__file__).parents[1] / "docs" / "model" / "check"


@pytest.mark.skipif(
    not (shutil.which("spin") and shutil.which("gcc")), reason="spin and gcc are not installed"
)
def test_the_model_holds_and_its_mutants_do_not() -> None:
    done = subprocess.run(
        [str(CHECK), "suite"],
        capture_output=True,
        text=True,
        env={**os.environ, "MODEL_CFLAGS": "-O0", "MODEL_MEMORY_MB": "1000"},
        check=False,
    )
    verdicts = [line.split()[-1] for line in done.stdout.splitlines()]
    assert done.returncode == 0, done.stdout + done.stderr
    assert verdicts == ["holds", "holds", "violated", "violated"]
