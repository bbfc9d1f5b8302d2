"""The journal: one JSON object a line, `{"t": <CLOCK_MONOTONIC ns>, "node": ..., "event": ...}`.

docs/seams.md lists the events. Every line is one `write` to a file opened for appending, so that
whatever was written before a SIGKILL is in the file; the reader forgives a torn last line.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)


def _plain(value: Any) -> Any:
    """What JSON has no form for."""
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).hex()
    if isinstance(value, set | frozenset):
        return sorted(value, key=str)
    return str(value)


_encode = json.JSONEncoder(
    separators=(",", ":"), default=_plain, check_circular=False, ensure_ascii=True
).encode


class JournalWriter:
    """Writes one process's journal; without a path it forgets everything."""

    def __init__(self, path: str | Path | None, node: str) -> None:
        self.node = node
        self.lost = 0
        """Lines that the file system did not take."""
        self._fd = -1
        if path:
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            self._fd = os.open(path, flags, 0o644)

    def write(self, event: str, fields: Mapping[str, Any], at_ns: int) -> None:
        if self._fd < 0:
            return
        # `t`, `node` and `event` come last in the merge: no field may replace them.
        record = {"t": at_ns, "node": self.node, "event": event}
        line = (_encode(record | dict(fields) | record) + "\n").encode("ascii")
        try:
            written = os.write(self._fd, line)
            while written < len(line):
                written += os.write(self._fd, line[written:])
        except OSError as error:
            self.lost += 1
            if self.lost == 1:
                log.error("the journal of %s cannot be written: %s", self.node, error.strerror)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def read_journal(path: str | Path) -> list[dict[str, Any]]:
    """Every whole line. ValueError, with file and line, for one in the middle that is none."""
    records = []
    lines = Path(path).read_bytes().split(b"\n")
    for number, line in enumerate(lines, 1):
        if not line:
            continue
        try:
            record = json.loads(line)
        except ValueError:
            if number == len(lines):
                break  # torn: the writer was killed
            raise ValueError(f"{path}:{number}: not a line of JSON") from None
        records.append(record)
    return records
