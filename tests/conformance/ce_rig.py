"""A live CE core; its FEs are what the test says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ce.config import CeConfig
from ce.controller import Controller
from forces.effects import Disconnect
from forces.events import PeerUp
from forces.header import Header, MessageType
from forces.messages import Message, flags_for
from tests.ce.network import CE1, MS, diamond
from tests.conformance.rig import Rig

FE1, FE2, STRANGER = 1, 2, 77

Answer = Callable[[Message], Message | None]


class CeRig(Rig):
    core: Controller

    def __init__(self, config: CeConfig | None = None, **changes: Any) -> None:
        self.config = config or diamond(**changes)
        super().__init__(Controller(self.config), self.config.id)

    def setup(self, fe: int = FE1, source: int | None = None) -> Message:
        """An AssociationSetup arrives from this peer; the CE's response."""
        self.event(PeerUp(fe))
        kind = MessageType.ASSOCIATION_SETUP
        sender = fe if source is None else source
        header = Header(kind, sender, self.config.id, 1, flags_for(kind))
        answers = self.receive(fe, Message(header))
        responses = [m for m in answers if m.type is MessageType.ASSOCIATION_SETUP_RESPONSE]
        assert len(responses) == 1
        return responses[0]

    def disconnected(self, fe: int) -> bool:
        return any(isinstance(e, Disconnect) and e.peer == fe for e in self.effects)

    def errors(self, fe: int = FE1) -> int:
        return self.core.sessions[fe].association.statistics.recv_err_packets


__all__ = ["CE1", "FE1", "FE2", "MS", "STRANGER", "CeRig"]
