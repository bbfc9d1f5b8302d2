"""A run's folder: where it is, and how files get into it (DESIGN section 10).

`runs/<time>-<scenario>/` with `manifest.json`, `plan.json`, `trials/<n>/`, results and report;
`runs/latest` points to the newest. `CEHA_RUNS` moves all of it. What `sudo ceha` makes belongs to
whoever called sudo, so that the verbs that need no root can go on with it.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import time
from contextlib import suppress
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


def create(scenario: str, now: float | None = None, latest: bool = True) -> Path:
    """A new folder for a run, and `latest` pointing to it (a study has no trials: it does not)."""
    root = runs_folder()
    absent = [path for path in (root, *root.parents) if not path.exists()]
    name = time.strftime("%Y%m%d-%H%M%S", time.localtime(now)) + f"-{scenario}"
    try:
        root.mkdir(parents=True, exist_ok=True)
        for path in absent:
            _give(path)
        folder = next(
            path
            for path in (
                root / (name + suffix) for suffix in ("", *(f"-{n}" for n in range(2, 99)))
            )
            if not path.exists()
        )
        (folder / "trials").mkdir(parents=True)
        if latest:
            point_latest(folder)
    except OSError as error:
        raise explain(error, root) from None
    return folder


def point_latest(folder: Path) -> None:
    """Replaced in one step, so that `latest` always is some run."""
    link, new = folder.parent / "latest", folder.parent / f".latest-{os.getpid()}"
    new.unlink(missing_ok=True)
    new.symlink_to(folder.name)
    _give(new)
    new.replace(link)


def give_to_caller(path: Path) -> None:
    """A file, or a folder with all that is in it, to the user who called sudo; nothing happens
    without sudo. From the bottom up: nobody else can change a folder before it is given."""
    for _, folders, files, opened in os.fwalk(path, topdown=False):
        for name in (*files, *folders):
            _give(name, opened)
    _give(path)


def _give(what: Path | str, folder: int | None = None) -> None:
    """Links are not followed. A file system without owners (a virtual machine's shared folder)
    may refuse: there it stays as it is."""
    user, group = (os.environ.get(name, "") for name in ("SUDO_UID", "SUDO_GID"))
    if os.geteuid() == 0 and user.isdecimal() and group.isdecimal():
        with suppress(OSError):
            os.chown(what, int(user), int(group), dir_fd=folder, follow_symlinks=False)


def find(name_or_path: str) -> Path:
    """A run by its folder's name, `latest`, or a path."""
    places = runs_folder() / name_or_path, Path(name_or_path)
    for path in places:
        if (path / "plan.json").is_file():
            return path.resolve()
    if any(path.is_dir() for path in places):
        raise RunError(f"{name_or_path} is not a run (it has no plan.json)")
    raise RunError(f"there is no run {name_or_path!r} in {runs_folder()}")


def explain(error: OSError, path: Path) -> RunError:
    """What to tell the user about a file that could not be written."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFull(f"no space left in {path}")
    advice = ""
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        root = runs_folder()
        if path == root:
            advice = "; set CEHA_RUNS to a folder of yours"
        elif path.is_relative_to(root):
            advice = "; copy the run to a folder of yours and set CEHA_RUNS to that"
    return RunError(f"cannot write to {error.filename or path}: {error.strerror}{advice}")


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
