"""A run's folder: where it is, and how files get into it (DESIGN section 10).

`runs/<time>-<scenario>/` with `manifest.json`, `plan.json`, `trials/<n>/`, results and report;
`runs/latest` points to the newest. `CEHA_RUNS` moves all of it.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

MIN_FREE_OCTETS = 8 << 20
"""A trial leaves about one megabyte; below this the next one would be cut in the middle."""


class RunError(Exception):
    """The user asked for what cannot be: one line, exit 2."""

    exit_code = 2


class DiskFull(RunError):
    """No space where the runs go. What was measured stays."""


def runs_folder() -> Path:
    """`CEHA_RUNS`, or `runs` beside the packages."""
    return Path(os.environ.get("CEHA_RUNS") or Path(__file__).resolve().parents[1] / "runs")


def create(scenario: str, now: float | None = None) -> Path:
    """A new folder for a run, and `latest` pointing to it."""
    root = runs_folder()
    name = time.strftime("%Y%m%d-%H%M%S", time.localtime(now)) + f"-{scenario}"
    try:
        root.mkdir(parents=True, exist_ok=True)
        folder = next(
            path
            for path in (
                root / (name + suffix) for suffix in ("", *(f"-{n}" for n in range(2, 99)))
            )
            if not path.exists()
        )
        (folder / "trials").mkdir(parents=True)
        point_latest(folder)
    except OSError as error:
        raise explain(error, root) from None
    return folder


def point_latest(folder: Path) -> None:
    """Replaced in one step, so that `latest` always is some run."""
    link, new = folder.parent / "latest", folder.parent / f".latest-{os.getpid()}"
    new.unlink(missing_ok=True)
    new.symlink_to(folder.name)
    new.replace(link)


def find(name_or_path: str) -> Path:
    """A run by its folder's name, `latest`, or a path."""
    for path in (runs_folder() / name_or_path, Path(name_or_path)):
        if (path / "plan.json").is_file():
            return path.resolve()
    raise RunError(f"there is no run {name_or_path!r} in {runs_folder()}")


def explain(error: OSError, path: Path) -> RunError:
    """What to tell the user about a file that could not be written."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFull(f"no space left in {path}")
    return RunError(f"cannot write to {error.filename or path}: {error.strerror}")


def check_space(folder: Path) -> None:
    """DiskFull before a trial rather than in the middle of it."""
    free = shutil.disk_usage(folder).free
    if free < MIN_FREE_OCTETS:
        raise DiskFull(f"no space left in {folder} ({free >> 20} MiB free)")


def write_text(path: Path, text: str) -> None:
    """All or nothing: a full disk leaves the file as it was."""
    new = path.with_name(f".{path.name}.new")
    try:
        new.write_text(text)
        new.replace(path)
    except OSError as error:
        new.unlink(missing_ok=True)
        raise explain(error, path.parent) from None


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise RunError(f"{path}: {error}") from None
