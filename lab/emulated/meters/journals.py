"""Reading the journals of a running trial (docs/seams.md, "The journal").

Followed while they grow: who is whose master, who is ready, what a fault led to. A process may be
killed in the middle of a line; an unfinished line is left for the next look.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

Entry = Mapping[str, Any]

MAX_ENTRIES = 1_000_000
"""Of one node in one trial; a journal that grows beyond is not followed any further."""


class Journals:
    """The journals of some nodes in one folder."""

    def __init__(self, folder: Path, nodes: Iterable[str]) -> None:
        self._paths = {node: folder / f"{node}.journal.jsonl" for node in nodes}
        self._offsets: dict[str, int] = dict.fromkeys(self._paths, 0)
        self._entries: dict[str, list[Entry]] = defaultdict(list)
        self.malformed = 0

    def poll(self) -> None:
        """Read what was added since the last time."""
        for node, path in self._paths.items():
            try:
                with path.open("rb") as file:
                    file.seek(self._offsets[node])
                    octets = file.read()
            except FileNotFoundError:
                continue
            whole = octets[: octets.rfind(b"\n") + 1]
            self._offsets[node] += len(whole)
            for line in whole.splitlines():
                self._add(node, line)

    def _add(self, node: str, line: bytes) -> None:
        entries = self._entries[node]
        try:
            entry = json.loads(line)
        except ValueError:
            # A line cut off by SIGKILL, with the restarted process's first line behind it.
            self.malformed += 1
            return
        if isinstance(entry, dict) and len(entries) < MAX_ENTRIES:
            entries.append(entry)

    def entries(self, node: str, event: str, since_ns: int = 0) -> Iterator[Entry]:
        """Events of that name, oldest first, stamped at or after `since_ns`."""
        for entry in self._entries[node]:
            if entry.get("event") == event and entry.get("t", 0) >= since_ns:
                yield entry

    def has(self, node: str, event: str, since_ns: int = 0, **fields: Any) -> bool:
        """Whether such an event with these field values is in the journal."""
        return any(
            all(entry.get(name) == value for name, value in fields.items())
            for entry in self.entries(node, event, since_ns)
        )

    def master_of(self, fe: str) -> str | None:
        """The CE that this FE holds to be its master; None before the first and after a loss."""
        master: str | None = None
        for entry in self._entries[fe]:
            event = entry.get("event")
            if event == "master":
                master = entry.get("ce")
            elif event == "start" or (event == "detect" and entry.get("ce") == master):
                master = None
        return master
