"""What a data probe leaves on disk (docs/seams.md, "A trial's folder"), and the packet itself.

A probe packet carries its sequence number and the CLOCK_MONOTONIC time of its sending; all
processes of a lab share that clock. The sender and the receiver of a flow each write their half
of the description; the trial joins them when both have ended.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

Direction = Literal["fwd", "rev"]

TX_DTYPE = np.dtype([("seq", "<u8"), ("due_ns", "<i8"), ("sent_ns", "<i8")])
RX_DTYPE = np.dtype([("seq", "<u8"), ("sent_ns", "<i8"), ("kernel_ns", "<i8")])

PAYLOAD = struct.Struct("=QQ")
"""seq, sent_ns; the rest of the datagram is padding."""
DATAGRAM_OCTETS = 64
FIRST_PORT = 9000
"""UDP port of a host's first flow; the following flows count up."""

MIN_PPS = 20
"""Below this a stop request would wait longer than 50 ms for the next deadline."""
MAX_PPS = 50_000
"""Of all flows of one host together: above it one core does not keep up (PLATFORM section 3)."""
MAX_RUN_S = 600
"""Buffers are allocated before the run, so a run has an end."""


@dataclass(frozen=True, slots=True)
class ProbeFlow:
    """One direction of one flow."""

    name: str
    direction: Direction
    source_address: str
    destination_address: str
    port: int

    def file(self, folder: str | Path, suffix: str) -> Path:
        return Path(folder) / f"probe-{self.name}-{self.direction}.{suffix}"


def flows_of(config: Mapping[str, Any]) -> tuple[ProbeFlow, ...]:
    """The flows in the configuration that a probe process was given (plain JSON values)."""
    return tuple(ProbeFlow(**flow) for flow in config["flows"])


def capacity(pps: int, run_s: float) -> int:
    """Packets that one direction of a flow can make in a run, with room for a late end."""
    if not MIN_PPS <= pps <= MAX_PPS:
        raise ValueError(f"pps {pps} is outside {MIN_PPS}..{MAX_PPS}")
    if not 0 < run_s <= MAX_RUN_S:
        raise ValueError(f"run of {run_s} s is outside 0..{MAX_RUN_S}")
    return int(pps * (run_s + 1)) + 1


def write_half(flow: ProbeFlow, folder: str | Path, half: str, facts: Mapping[str, Any]) -> None:
    flow.file(folder, f"{half}.json").write_text(json.dumps(facts))


def join_halves(flows: Sequence[ProbeFlow], folder: str | Path) -> list[str]:
    """Make `probe-<flow>-<dir>.json` of each flow's two halves; returns what is missing.

    A half is missing when its process was killed: the description then says so, so that a reader
    does not take an absent record for an empty one.
    """
    missing: list[str] = []
    for flow in flows:
        facts: dict[str, Any] = {"flow": flow.name, "direction": flow.direction}
        for half in ("tx", "rx"):
            part = flow.file(folder, f"{half}.json")
            try:
                facts.update(json.loads(part.read_text()))
                part.unlink()
            except FileNotFoundError:
                missing.append(f"{flow.name}-{flow.direction}.{half}")
                facts.setdefault("missing", []).append(half)
        flow.file(folder, "json").write_text(json.dumps(facts, indent=1) + "\n")
    return missing
