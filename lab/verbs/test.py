"""`ceha test`."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).parents[2]


def run_pytest(arguments: Sequence[str]) -> NoReturn:
    """Become pytest, at the project's root; its exit code is ours."""
    os.chdir(ROOT)
    os.execv(sys.executable, [sys.executable, "-m", "pytest", *arguments])
