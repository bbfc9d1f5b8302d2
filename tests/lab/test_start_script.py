"""`./ceha` itself, as somebody who is not root starts it."""

from __future__ import annotations

import os
import subprocess

import pytest

from tests.lab.sandboxed import ROOT

NOBODY = 65534


def started(*arguments: str) -> subprocess.CompletedProcess[str]:
    drop = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}
    try:
        return subprocess.run(
            [ROOT / "ceha", *arguments], capture_output=True, text=True, cwd="/", **drop
        )
    except PermissionError:
        pytest.skip("this folder is closed to other users")


@pytest.fixture(autouse=True)
def prepared() -> None:
    if not (ROOT / ".venv" / "provisioned").exists():
        pytest.skip("not prepared by ./ceha")


@pytest.mark.parametrize("verb", ["up", "run", "doctor", ""])
def test_what_needs_namespaces_says_in_one_line_that_it_needs_root(verb: str) -> None:
    ended = started(verb, "diamond")
    assert ended.returncode == 2
    assert ended.stdout == ""
    said = f"the lab needs root for its network namespaces: sudo ./ceha {verb} diamond"
    assert ended.stderr == f"ceha: {said}\n"


def test_what_only_reads_or_computes_needs_no_root() -> None:
    assert "quickstart" in started("scenarios").stdout
    hunted = started("hunt", "--seeds", "0..0")
    assert (hunted.returncode, hunted.stderr) == (0, "")


def test_help_needs_no_root() -> None:
    assert "Exit codes" in started("--help").stdout
    assert started().returncode == 2  # nothing was asked for
    assert "quickstart" in started().stderr
    for verb in ("run", "up"):
        asked = started(verb, "--help")
        assert (asked.returncode, asked.stderr) == (0, "")
        assert f"Example: ceha {verb}" in asked.stdout
