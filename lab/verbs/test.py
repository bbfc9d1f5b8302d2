"""`ceha test`."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).parents[2]


OWN_NETWORK = ("unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "test")
"""Raw SCTP sockets of two test runs on one loopback would answer each other's packets."""


def run_pytest(arguments: Sequence[str]) -> NoReturn:
    """Become pytest, at the project's root, in a network of its own; its exit code is ours."""
    os.chdir(ROOT)
    command = [sys.executable, "-m", "pytest", *arguments]
    os.execvp(OWN_NETWORK[0], [*OWN_NETWORK, *command])
