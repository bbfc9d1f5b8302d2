"""What a listener writes down of one FE's beacon (DESIGN section 3, 2), whoever it listens to."""

from __future__ import annotations

import json
from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

BEACON_NETWORK, BEACON_MASK = 0xC6120000, 0xFFFE0000
"""198.18.0.0/15, RFC 2544's benchmarking range."""
STREAM_NETWORK, STREAM_MASK = 0x64400000, 0xFFC00000
"""100.64.0.0/10 (RFC 6598), which nothing else here uses: of a stream of changes number n is the
n-th /24 of it (`lab/emulated/faults/stream.py`)."""

BEACON_DTYPE = np.dtype([("at_ns", "<i8"), ("added", "u1"), ("destination", "<u4")])

MAX_EVENTS = 1_000_000
"""Of one FE in one run: 200 beats a second, two changes each, for 40 minutes."""


@dataclass(slots=True)
class BeaconRecord:
    """`beacon-FE.npy` (`BEACON_DTYPE`) and `beacon-FE.json`; a stream of changes: `changes-`."""

    fe: str
    kind: str = "beacon"
    at_ns: array[int] = field(default_factory=lambda: array("q"))
    added: bytearray = field(default_factory=bytearray)
    destination: array[int] = field(default_factory=lambda: array("I"))
    blind_ns: list[int] = field(default_factory=list)
    """When the listener's source said that it had dropped something."""

    def note(self, at_ns: int, added: bool, destination: int) -> None:
        if len(self.at_ns) < MAX_EVENTS:
            self.at_ns.append(at_ns)
            self.added.append(added)
            self.destination.append(destination)

    def write(self, folder: str | Path, facts: Mapping[str, Any]) -> None:
        record = np.zeros(len(self.at_ns), BEACON_DTYPE)
        record["at_ns"] = np.frombuffer(self.at_ns, np.int64)
        record["added"] = np.frombuffer(self.added, np.uint8)
        record["destination"] = np.frombuffer(self.destination, np.uint32)
        np.save(Path(folder) / f"{self.kind}-{self.fe}.npy", record)
        described = {
            **facts,
            "events": len(record),
            "truncated": len(record) == MAX_EVENTS,
            "blind_ns": self.blind_ns,
        }
        (Path(folder) / f"{self.kind}-{self.fe}.json").write_text(json.dumps(described) + "\n")
