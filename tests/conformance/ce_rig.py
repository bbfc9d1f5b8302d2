"""A live CE core, driven by events; its FEs are what the test says. Messages go through their wire
form both ways."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ce.config import CeConfig
from ce.controller import Controller
from forces.channels import CHANNEL_OF, Channel
from forces.effects import Disconnect, Effect, Journal, Send, SetTimer
from forces.events import BadMessage, Event, MessageReceived, PeerUp, TimerFired
from forces.header import Header, MessageType
from forces.io.receiving import read_message
from forces.messages import Message, flags_for
from forces.wire import decode, encode
from tests.ce.network import CE1, MS, diamond

FE1, FE2, STRANGER = 1, 2, 77

Answer = Callable[[Message], Message | None]


class CeRig:
    def __init__(self, config: CeConfig | None = None, **changes: Any) -> None:
        self.config = config or diamond(**changes)
        self.core = Controller(self.config)
        self.now = 1_000 * MS
        self.effects: list[Effect] = []
        self.timers: dict[Any, int] = {}
        self._carry_out(self.core.start(self.now))

    def event(self, event: Event) -> None:
        self._carry_out(self.core.handle(event, self.now))

    def _carry_out(self, effects: list[Effect]) -> None:
        self.effects += effects
        for effect in effects:
            if isinstance(effect, Send):
                assert decode(encode(effect.message)) == effect.message
            if isinstance(effect, SetTimer):
                self.timers[effect.key] = effect.at_ns

    def receive(self, fe: int, message: Message, channel: Channel | None = None) -> list[Message]:
        octets = encode(message)
        at = len(self.effects)
        where = CHANNEL_OF[message.type] if channel is None else channel
        self.event(MessageReceived(fe, where, decode(octets), len(octets)))
        return self.sent(fe, at)

    def octets(self, fe: int, data: bytes, channel: Channel, strict: bool = True) -> list[Message]:
        """Octets, checked as the driver does it."""
        at = len(self.effects)
        try:
            message = read_message(data, channel, channel.ppid, fe, self.config.id, strict)
        except Exception as error:  # the law of the decoders: only ProtocolError
            self.event(BadMessage(fe, channel, len(data), error))  # type: ignore[arg-type]
        else:
            self.event(MessageReceived(fe, channel, message, len(data)))
        return self.sent(fe, at)

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

    def fire_due(self, until_ns: int) -> None:
        while self.timers:
            key, at = min(self.timers.items(), key=lambda entry: entry[1])
            if at > until_ns:
                break
            del self.timers[key]
            self.now = max(self.now, at)
            self.event(TimerFired(key))
        self.now = max(self.now, until_ns)

    def sent(self, fe: int, since: int = 0) -> list[Message]:
        return [e.message for e in self.effects[since:] if isinstance(e, Send) and e.peer == fe]

    def journal(self, event: str) -> list[dict[str, Any]]:
        entries = [e for e in self.effects if isinstance(e, Journal) and e.event == event]
        return [dict(entry.fields) for entry in entries]

    def disconnected(self, fe: int) -> bool:
        return any(isinstance(e, Disconnect) and e.peer == fe for e in self.effects)

    def errors(self, fe: int = FE1) -> int:
        return self.core.sessions[fe].association.statistics.recv_err_packets


__all__ = ["CE1", "FE1", "FE2", "MS", "STRANGER", "CeRig"]
