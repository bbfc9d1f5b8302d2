"""What faults need of a lab, and what a lab needs of a fault."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from lab.emulated.meters.journals import Journals
from lab.emulated.network import Network
from topologies.model import Topology


class Bench(Protocol):
    """A running lab, as faults see it."""

    @property
    def topology(self) -> Topology: ...

    @property
    def network(self) -> Network: ...

    @property
    def folder(self) -> Path:
        """Takes the records of the trial that runs."""

    @property
    def journals(self) -> Journals: ...

    def process(self, node: str) -> int:
        """pid of the node's FE or CE process; LabError where it has none."""

    def daemon(self, node: str, name: str) -> int | None:
        """pid of one of the daemons that the node consists of, None while it has none; LabError
        for a node without such a daemon."""

    def is_alive(self, node: str) -> bool: ...

    def expect_exit(self, node: str) -> None:
        """The next end of this node's process is a fault's work, not an accident."""

    def restart(self, node: str) -> None:
        """Start the node's process again with its configuration; nothing if it lives."""

    def api_socket(self, node: str) -> str:
        """Path of the Unix socket of a CE's or FE's HTTP API."""


class Fault(Protocol):
    """One armed fault. All of it is called from one thread."""

    def prepare(self) -> None:
        """Last steps before the strike that no packet notices; FaultFailed where the target is
        not in the state that the fault is to end. The undo is on record already."""

    def strike(self) -> None:
        """The call itself, and nothing else: t_fault is taken just before it."""

    def confirm(self) -> None:
        """FaultFailed if the call was refused."""

    def happened(self) -> bool:
        """A witness other than the call's own answer; polled within a budget."""

    def heal(self) -> None:
        """Take it back; no error where there is nothing (left) to take back."""

    def healed(self) -> bool:
        """Polled within a budget."""

    def close(self) -> None: ...
