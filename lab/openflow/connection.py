"""A connected switch as its controller knows it: its role, its flows, and the barriers that it has
not answered.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from lab.openflow.flows import FlowWriter, Rows


@dataclass(slots=True)
class Connection:
    fe: int
    name: str
    datapath: Any
    writer: FlowWriter
    all_rows: Rows
    """With no port down."""
    rows: Rows = field(default_factory=dict)
    """As sent, while this controller is its master."""
    is_slave: bool = False
    """By the switch's own word; a fresh connection is EQUAL (OpenFlow 1.3.5, section 6.3.4)."""
    is_master: bool = False
    """By the switch's own word."""
    ready: bool = False
    is_refused: bool = False
    """Since its last word on our role."""
    prepared: tuple[Rows, bytes] | None = None
    """A table, and the messages that put it into the switch whatever it holds."""
    waiting: dict[int, str] = field(default_factory=dict)
    """Barriers in the order of sending (OpenFlow answers in order) and what they are for."""
    barriers: int = 0

    def send(self, octets: bytes, what: str) -> None:
        """With a barrier behind; `answered` says what for when its answer has come."""
        self.barriers += 1
        self.waiting[self.barriers] = what
        self.datapath.send(octets + self.writer.barrier())

    def answered(self) -> str | None:
        """What the barrier was for that has just been answered; None: for nothing of ours."""
        return self.waiting.pop(min(self.waiting)) if self.waiting else None

    def everything(self, wanted: Rows) -> bytes:
        """The whole table, whatever the switch has: every row anew, and away with those that may
        be there and should not. Built when the network was last seen to change."""
        if self.prepared is None or self.prepared[0] is not wanted:
            unknown = dict.fromkeys(self.all_rows, (0, ""))
            self.prepared = (wanted, b"".join(self.writer.changes(unknown, wanted)))
        self.rows = wanted
        return self.prepared[1]

    def reroute(self, wanted: Rows) -> None:
        octets = b"".join(self.writer.changes(self.rows, wanted))
        self.rows = wanted
        if octets:
            self.send(octets, "rerouted")
