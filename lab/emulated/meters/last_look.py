"""The last look at all tables of a trial: again and again until they agree or the patience ends,
since "after quiescence" is part of invariant 2 (DESIGN section 8).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

Look = Callable[[Sequence[str]], Mapping[str, dict[str, Any]]]
"""FEs -> what `kernel-<fe>.json` says of each of them (`route_rows.comparison`)."""


def write(
    folder: Path, fes: Iterable[str], look: Look, patience_s: float, pause_s: float
) -> list[str]:
    """`kernel-<fe>.json` for each FE; returns the FEs that did not agree."""
    waiting = list(fes)
    records: dict[str, dict[str, Any]] = {}
    deadline = time.monotonic() + patience_s
    while waiting:
        records |= look(waiting)
        waiting = [fe for fe in waiting if not records[fe]["agree"]]
        if time.monotonic() > deadline:
            break
        if waiting:
            time.sleep(pause_s)
    for fe, record in records.items():
        (folder / f"kernel-{fe}.json").write_text(json.dumps(record) + "\n")
    return waiting
