"""A live core, driven by events. Every message to and from it goes through its wire form, so that
what is proven here holds for octets."""

from __future__ import annotations

from typing import Any, Protocol

from forces.channels import CHANNEL_OF, Channel
from forces.effects import Effect, Journal, Send, SetTimer
from forces.events import BadMessage, Event, MessageReceived, TimerFired
from forces.io.receiving import read_message
from forces.messages import Message
from forces.wire import decode, encode

MS = 1_000_000


class Core(Protocol):
    def start(self, now: int) -> list[Effect]: ...

    def handle(self, event: Event, now: int) -> list[Effect]: ...


class Rig:
    def __init__(self, core: Core, own_id: int) -> None:
        self.core = core
        self._own_id = own_id
        self.now = 1_000 * MS
        self.effects: list[Effect] = []
        """Everything that the core asked for, in order."""
        self.timers: dict[Any, int] = {}
        self._carry_out(core.start(self.now))

    # Driving

    def event(self, event: Event) -> None:
        self._carry_out(self.core.handle(event, self.now))

    def _carry_out(self, effects: list[Effect]) -> None:
        self.effects += effects
        for effect in effects:
            if isinstance(effect, Send):
                assert decode(encode(effect.message)) == effect.message
            if isinstance(effect, SetTimer):
                self.timers[effect.key] = effect.at_ns

    def receive(self, peer: int, message: Message, channel: Channel | None = None) -> list[Message]:
        """Let the message arrive from this peer; what the core sends to it in return."""
        octets = encode(message)
        at = len(self.effects)
        where = CHANNEL_OF[message.type] if channel is None else channel
        self.event(MessageReceived(peer, where, decode(octets), len(octets)))
        return self.sent(peer, at)

    def octets(
        self, peer: int, data: bytes, channel: Channel, strict: bool = True
    ) -> list[Message]:
        """The same for octets, checked as the driver does it."""
        at = len(self.effects)
        try:
            message = read_message(data, channel, channel.ppid, peer, self._own_id, strict)
        except Exception as error:  # the law of the decoders: only ProtocolError
            self.event(BadMessage(peer, channel, len(data), error))  # type: ignore[arg-type]
        else:
            self.event(MessageReceived(peer, channel, message, len(data)))
        return self.sent(peer, at)

    def fire_due(self, until_ns: int) -> None:
        """Virtual time goes on to `until_ns`; timers fire on the way."""
        while self.timers:
            key, at = min(self.timers.items(), key=lambda entry: entry[1])
            if at > until_ns:
                break
            del self.timers[key]
            self.now = max(self.now, at)
            self.event(TimerFired(key))
        self.now = max(self.now, until_ns)

    # What came of it

    def sent(self, peer: int, since: int = 0) -> list[Message]:
        return [e.message for e in self.effects[since:] if isinstance(e, Send) and e.peer == peer]

    def journal(self, event: str) -> list[dict[str, Any]]:
        entries = [e for e in self.effects if isinstance(e, Journal) and e.event == event]
        return [dict(entry.fields) for entry in entries]
